// Package proxy takes end-user traffic, finds the backend of a token or key and
// forwards, over HTTP/1.1 that it speaks itself: targets and fields reach a
// backend byte for byte, nothing is buffered that could be sent on, and what a
// client must not say never passes.
//
// What a request means is decided from host, then path (target.go). Who may be
// reached, and who is reached now, is the table's (table.go, backend.go), which
// the session with a controller keeps (session.go). An exchange (exchange.go) is
// one request on its way; whatever ends a backend, a generation, a user's right
// or the proxy itself aborts the exchanges concerned, with a cause.
package proxy
