package examples

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"plane/internal/clustertest"
)

func TestAnUnmodifiedNodeServerKeepsItsRoomsApart(t *testing.T) {
	t.Parallel()
	clustertest.Program(t, "node")
	if _, err := os.Stat("node-ws/node_modules/ws"); err != nil {
		clustertest.Missing(t, "node_modules of examples/node-ws")
	}
	d := clustertest.StartDevFile(t, "node-ws/plane.yaml")
	if status, body := d.Get("kitchen", "/"); status != http.StatusOK || !strings.Contains(body, "A room") {
		t.Fatalf("%d %s", status, body)
	}
	ann, bob, garden := d.Socket("kitchen", "/ws"), d.Socket("kitchen", "/ws"), d.Socket("garden", "/ws")
	for i, say := range []string{"hello", "who is there?"} {
		if err := []*websocket.Conn{ann, bob}[i].Write(t.Context(), websocket.MessageText, []byte(say)); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]*websocket.Conn{"ann": ann, "bob": bob} {
			if got := read(t, c); got != say {
				t.Errorf("%s hears %q, not %q", name, got, say)
			}
		}
	}
	if err := garden.Write(t.Context(), websocket.MessageText, []byte("birds")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, garden); got != "birds" {
		t.Errorf("the garden hears %q of another room", got)
	}
	if got := read(t, d.Socket("kitchen", "/ws")); got != "hello" {
		t.Errorf("who comes later hears %q", got)
	}
}

func read(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
