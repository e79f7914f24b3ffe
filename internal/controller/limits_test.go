package controller

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"plane"
	"plane/internal/wire"
)

func TestNoMoreBackendsThanAllowed(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.MaxBackends = 5 }})
	p.drone("dr-1")
	p.drone("dr-2")
	x := p.proxy("px-1")
	p.apply("open", plane.Template{Command: []string{"./open"}, Access: plane.AccessPublic})
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		started []ConnectResponse
	)
	for i := range 40 {
		wg.Go(func() {
			b, err := p.Connect(t.Context(), operatorActor, keyed(fmt.Sprint("doc-", i)))
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				started = append(started, b)
				return
			}
			e, _ := errorOf(err)
			if e.Kind != plane.LimitExceeded || e.Status != 429 || e.Retry == 0 || !strings.Contains(e.Message, "--max-backends") || !strings.Contains(e.Message, "5 backends run") {
				t.Errorf("beyond the limit: %v", err)
			}
		})
	}
	wg.Wait()
	if len(started) != 5 {
		t.Fatalf("%d were started, 5 are allowed", len(started))
	}
	if again := p.connectTo(ConnectRequest{Key: &started[0].Key, Spec: spec()}); again.Spawned || again.BackendID != started[0].BackendID {
		t.Errorf("a live one, at the limit: %+v", again)
	}
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "open", Name: "doc"}); a.Error == nil || a.Error.Kind != plane.LimitExceeded || a.Error.Status != 503 || a.Error.RetryMS == 0 {
		t.Errorf("a key URL, at the limit: %+v", a.Error)
	}
	p.until(started[0].BackendID, plane.Ready)
	p.ends(started[0].BackendID)
	if b := p.connectTo(keyed("room")); !b.Spawned {
		t.Errorf("after one ended: %+v", b)
	}
}
