// Package client speaks with a Plane controller over its HTTP API: it starts
// backends, follows what becomes of them, and ends them.
//
//	c, err := client.New("http://127.0.0.1:8080", client.Options{})
//	got, err := c.Connect(ctx, client.ConnectRequest{Key: &plane.Key{Name: "doc-17"}, Spawn: &spec})
//	err = c.WaitReady(ctx, got.BackendID)
//
// Errors that the controller answers are *Failure, which wraps *plane.Error:
// plane.IsKind(err, plane.KeyHeld) works. Errors on the way there are *Unreachable.
package client
