// Package client speaks with a Plane controller over its HTTP API: it starts
// backends, follows what becomes of them, and ends them.
//
//	c, err := client.New("http://127.0.0.1:8080", client.Options{})
//	got, err := c.Connect(ctx, client.ConnectRequest{Key: &plane.Key{Name: "doc-17"}, Spawn: &spec})
//	err = c.WaitReady(ctx, got.BackendID)
//
// # Sessions
//
// A Session leads to the backend of a key, whichever generation that is; a
// Socket of it is a WebSocket that comes back. The session asks Plane itself, or,
// where a program has no API key, the endpoint of an app that has one:
//
//	s, err := client.NewSession(ctx, c.Asking(req), client.SessionOptions{})
//	s, err := client.NewSession(ctx, client.Endpoint("https://app.example/connect/doc-17", nil, nil), client.SessionOptions{})
//	defer s.Close()
//
//	k := s.Socket("ws", client.SocketOptions{
//		OnMessage:    func(m client.Message) { … },
//		OnGeneration: func(now, before plane.Generation) { … }, // load the state anew
//	})
//	err = k.Run(ctx) // blocks; Send may be called meanwhile, and before
//
// When a connection breaks, Run waits anything between 0 and 0.25 s and connects
// again, each time up to twice as long, at most 2 s in the first minute after the
// loss, and later 15 s; the count begins anew after 10 s of being open, and with Retry,
// which ends the wait. The first attempt uses the old token; if that fails, or
// the connection was closed with 4100 to 4102 (moved, new generation), it asks for a
// new one, once for all sockets of the session. Close code 1013 with seconds
// in its reason ("retry-after=5"), and Retry-After, are heeded, up to a minute.
// Run ends with ctx, Close, close codes 1000 and 4103 (revoked), those that
// Reconnect rejects, and what whoever is asked refuses for good (401, 403, 404, …).
//
// If the backend is a new one, OnGeneration is called before OnOpen and before its
// first message. Send queues, in order, up to Queue bytes, and then waits; what is
// queued survives a broken connection, what was being sent may be lost, nothing is sent
// twice. Every 30 s a ping looks whether the other side is still there.
//
// # Errors
//
// Errors that the controller answers are *Failure, which wraps *plane.Error:
// plane.IsKind(err, plane.KeyHeld) works. Errors on the way there are *Unreachable.
package client
