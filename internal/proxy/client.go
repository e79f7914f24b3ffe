package proxy

// client is the way back to whoever made a request.
type client interface {
	// inform passes a 1xx response on.
	inform(r *response) error
	// begin writes a final response's head. Nothing needs to be sent before
	// flush, write of much, or end.
	begin(r *response) error
	write(b []byte) error
	flush()
	end(trailers []field) error
	// hijack writes a 101 response and hands the connection over.
	hijack(r *response) (*source, error)
	// lookOut returns when the client has gone away, which aborts the exchange,
	// or can't be watched, or when interrupted. Nobody else reads meanwhile.
	lookOut()
	// interrupt ends waits for the client's bytes until rest is called.
	interrupt()
	rest()
	// skip reads the rest of a request's body if that takes no time. Otherwise
	// the connection ends after the response.
	skip()
	// kill ends the connection, from any goroutine.
	kill()
	// done is called once a tunnel has ended.
	done()
}

// bodyReader is a request's body.
type bodyReader interface {
	// next gives bytes that stay good until the following call, or io.EOF.
	next() ([]byte, error)
	// atEnd reports whether next has given everything.
	atEnd() bool
	trailing() []field
}
