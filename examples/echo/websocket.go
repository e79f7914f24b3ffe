package main

import (
	"net/http"

	"github.com/coder/websocket"
)

const maxMessage = 16 << 20 // bytes

// webSocket sends back every message.
func (s *server) webSocket(w http.ResponseWriter, r *http.Request) {
	// Whoever reached this program through Plane was let in there; tests come
	// with every kind of Origin.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(maxMessage)
	ctx := r.Context()
	for {
		kind, b, err := c.Read(ctx)
		if err != nil {
			_ = c.Close(websocket.StatusGoingAway, "bye")
			return
		}
		if err := c.Write(ctx, kind, b); err != nil {
			return
		}
	}
}
