package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"

	"plane"
	"plane/client"
)

// A program follows a document, over kills and restarts of what serves it.
func ExampleSocket() {
	ctx := context.Background()
	c, err := client.New("http://127.0.0.1:8080", client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ask := c.Asking(client.ConnectRequest{App: "board", Key: &plane.Key{Name: "doc-17"}})
	s, err := client.NewSession(ctx, ask, client.SessionOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	k := s.Socket("ws", client.SocketOptions{
		OnMessage:    func(m client.Message) { fmt.Printf("%s\n", m.Data) },
		OnGeneration: func(now, before plane.Generation) { fmt.Println("the state is a new one") },
	})
	if err := k.Send(ctx, client.Message{Data: []byte("hello"), Text: true}); err != nil {
		log.Fatal(err)
	}
	if err := k.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// An app's own server decides who may open what, and connects for its pages.
func ExampleConnectResponse_ForPage() {
	c, err := client.New("http://127.0.0.1:8080", client.Options{APIKey: "…"})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /connect/{doc}", func(w http.ResponseWriter, r *http.Request) {
		user := "ann" // as your app knows it
		got, err := c.Connect(r.Context(), client.ConnectRequest{App: "board", Key: &plane.Key{Name: r.PathValue("doc")}, User: &user})
		var refused *client.Failure
		if errors.As(err, &refused) {
			http.Error(w, refused.Error(), refused.Err.Status)
			return
		}
		if err != nil {
			http.Error(w, "Try again.", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(got.ForPage())
	})
}
