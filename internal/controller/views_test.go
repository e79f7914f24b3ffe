package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func TestClusterState(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	p.proxy("px-1")
	p.until(p.connectTo(keyed("doc")).BackendID, plane.Ready)
	s, err := p.ClusterState(t.Context(), testCluster)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(s)
	name := string(p.Name())
	want := `{"drones":[{"ready":true,"draining":false,"last_heartbeat_age":0,"backend_count":1,` +
		`"node":{"name":{"Drone":"dr-1"},"plane_version":"1.0.0","plane_hash":"abc","controller":"` + name + `","controller_heartbeat_age":0},"runtimes":["process"]}],` +
		`"proxies":[{"name":{"Proxy":"px-1"},"plane_version":"1.0.0","plane_hash":"abc","controller":"` + name + `","controller_heartbeat_age":0}]}`
	if string(got) != want {
		t.Errorf("state\n%s, want\n%s", got, want)
	}
	d.end()
	eventually(t, "a drone that left isn't listed", func() bool {
		s, err := p.ClusterState(t.Context(), testCluster)
		return err == nil && len(s.Drones) == 0
	})
	if s, _ := p.ClusterState(t.Context(), "elsewhere"); s.Drones == nil || len(s.Drones)+len(s.Proxies) != 0 {
		t.Errorf("an unknown cluster: %+v", s)
	}
}

func TestDrain(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	ctx := t.Context()
	for i, c := range []struct{ on, updated bool }{{true, true}, {true, false}} {
		if got, err := p.Drain(ctx, operatorActor, testCluster, "dr-1", c.on); err != nil || got != c.updated {
			t.Errorf("call %d: %v, %v", i, got, err)
		}
	}
	if _, err := p.Connect(ctx, operatorActor, keyed("new")); !plane.IsKind(err, plane.NoDroneAvailable) {
		t.Errorf("a draining drone got a backend: %v", err)
	}
	if got := p.connectTo(keyed("doc")); got.BackendID != b.BackendID {
		t.Error("what it runs goes on")
	}
	if got, err := p.Drain(ctx, operatorActor, testCluster, "dr-1", false); err != nil || !got {
		t.Errorf("undrain: %v, %v", got, err)
	}
	p.connectTo(keyed("new"))
	eventually(t, "the drone hears of it", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return slices.Contains(d.drains, true) && len(d.drains) > 0 && !d.drains[len(d.drains)-1]
	})
	for _, c := range []plane.ClusterName{testCluster, "elsewhere"} {
		name := plane.NodeName("dr-none")
		if c == "elsewhere" {
			name = "dr-1"
		}
		if _, err := p.Drain(ctx, operatorActor, c, name, true); !plane.IsKind(err, plane.NotFound) {
			t.Errorf("drain %s of %s: %v", name, c, err)
		}
	}
}

func TestRevokeReachesProxiesAtOnce(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	x := p.proxy("px-1")
	user := "alice"
	r := keyed("doc")
	r.User = &user
	b := p.connectTo(r)
	p.until(b.BackendID, plane.Ready)
	old, _ := p.rings.of(testCluster).Open(p.connectTo(r).Token)
	if err := p.Revoke(t.Context(), operatorActor, b.BackendID, user); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the proxy refuses the old token", func() bool { return !x.route(b.BackendID).Allows(old) })
	now, _ := p.rings.of(testCluster).Open(p.connectTo(r).Token)
	if !x.route(b.BackendID).Allows(now) {
		t.Error("a token of after the revocation is refused")
	}
	if other := (plane.Claims{Backend: b.BackendID}); !x.route(b.BackendID).Allows(other) {
		t.Error("a token of no user is refused")
	}
	if err := p.Revoke(t.Context(), operatorActor, "unknown", user); err != nil {
		t.Errorf("nothing to revoke: %v", err)
	}
}

func TestBackendsPages(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	for i := range 10 {
		r := keyed(fmt.Sprintf("doc-%d", i))
		r.Key.Namespace = fmt.Sprintf("n%d", i%2)
		p.until(p.connectTo(r).BackendID, plane.Ready)
	}
	for _, c := range []struct {
		actor Actor
		want  int
	}{{operatorActor, 10}, {Actor{Grants: []string{"read:n1/*"}}, 5}, {Actor{Grants: []string{"read:none/*"}}, 0}} {
		for _, limit := range []int{0, 1, 3, 5, 10} {
			seen := map[plane.BackendID]bool{}
			f := store.Filter{Limit: limit}
			for {
				page, err := p.Backends(t.Context(), c.actor, f)
				if err != nil {
					t.Fatal(err)
				}
				if limit > 0 && len(page.Backends) > limit {
					t.Fatalf("a page of %d with limit %d", len(page.Backends), limit)
				}
				for _, b := range page.Backends {
					seen[b.BackendID] = true
				}
				if page.Next == nil {
					break
				}
				f.After = plane.BackendID(*page.Next)
			}
			if len(seen) != c.want {
				t.Errorf("grants %v, limit %d: %d backends, want %d", c.actor.Grants, limit, len(seen), c.want)
			}
		}
	}
}

func TestEventsTellTheStory(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kinds := make(chan string, 32)
	ended := make(chan error, 1)
	go func() {
		ended <- p.Events(ctx, operatorActor, 0, true, func(e EventView) error {
			if e.Text == "" || e.Actor == "" {
				t.Errorf("event %+v has no text or actor", e)
			}
			kinds <- e.Kind
			return nil
		})
	}()
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	if err := p.Terminate(t.Context(), Actor{Kind: "api-key", Name: "ap-1"}, b.BackendID, plane.Soft); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"join", "connect", "ready", "terminate", "stopping", "ended"} {
		select {
		case got := <-kinds:
			if got != want {
				t.Fatalf("event %q, want %q", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("no event %q", want)
		}
	}
	cancel()
	<-ended
	only := 0
	err := p.Events(t.Context(), Actor{Grants: []string{"read:elsewhere/*"}}, 0, false, func(EventView) error { only++; return nil })
	if err != nil || only != 0 {
		t.Errorf("another namespace sees %d events: %v", only, err)
	}
}

func TestExplain(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc", maxIdle(300)))
	p.until(b.BackendID, plane.Ready)
	why, err := p.Explain(t.Context(), operatorActor, "", "doc")
	if err != nil {
		t.Fatal(err)
	}
	if why.Now == nil || why.Now.IdleIn == nil || *why.Now.IdleIn < 298 || !strings.Contains(why.Now.Awake, "stopped in") {
		t.Errorf("now: %+v", why.Now)
	}
	if !strings.Contains(why.Decision, "dr-1") || len(why.History) != 1 || len(why.Events) != 2 {
		t.Errorf("explained: %+v", why)
	}
	d.conn.SendTelemetry(wire.Telemetry{Backends: []wire.Usage{{
		Backend: b.BackendID, CPUMS: 12, Memory: 1 << 20, Holds: []wire.Hold{{Name: "export", Reason: "writing", SecondsTo: 60}},
	}}})
	eventually(t, "the hold is shown", func() bool {
		why, err = p.Explain(t.Context(), operatorActor, "", "doc")
		return err == nil && len(why.Now.Holds) == 1
	})
	if !strings.Contains(why.Now.Awake, "export") || why.Now.Backend.MemoryBytes != 1<<20 {
		t.Errorf("held: %+v", why.Now)
	}
	none, err := p.Explain(t.Context(), operatorActor, "", "never")
	if err != nil || none.Now != nil || len(none.History) != 0 {
		t.Errorf("a key that never was: %+v, %v", none, err)
	}
}

func TestLogs(t *testing.T) {
	p := newPlant(t, plantOptions{})
	stopped := make(chan wire.LogsStop, 1)
	d := p.drone("dr-1", answers(func(d *drone, m wire.Message) bool {
		switch m := m.(type) {
		case wire.LogsAsk:
			_ = d.conn.Send(wire.LogsPart{ID: m.ID, Data: []byte("hello\n")})
			_ = d.conn.Send(wire.LogsPart{ID: m.ID, Data: []byte("world\n"), EOF: !m.Follow})
			return true
		case wire.LogsStop:
			stopped <- m
			return true
		}
		return false
	}))
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	r, err := p.Logs(t.Context(), operatorActor, b.BackendID, 10, false)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(r); err != nil || string(all) != "hello\nworld\n" {
		t.Errorf("output %q, %v", all, err)
	}
	_ = r.Close()
	r, err = p.Logs(t.Context(), operatorActor, b.BackendID, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 12)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "hello\nworld\n" {
		t.Errorf("followed %q, %v", buf, err)
	}
	_ = r.Close()
	<-stopped
	r, err = p.Logs(t.Context(), operatorActor, b.BackendID, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	d.end()
	if _, err := io.ReadAll(r); err == nil {
		t.Error("a log that was cut off ended as if it were whole")
	}
	_ = r.Close()
	if _, err := p.Logs(t.Context(), operatorActor, "unknown", 0, false); !plane.IsKind(err, plane.NotFound) {
		t.Errorf("an unknown backend: %v", err)
	}
}

func TestKeyURLs(t *testing.T) {
	p := newPlant(t, plantOptions{config: devConfig})
	p.apply("", plane.Template{Command: []string{"/bin/true"}})
	p.drone("dr-1")
	x := p.proxy("px-1")
	if !x.welcome.Dev || len(x.welcome.Keys) != 1 || len(x.welcome.StaticKey) != 32 {
		t.Errorf("welcome %+v", x.welcome)
	}
	answer := x.ask
	if a := answer(wire.KeyAsk{ID: 1, Cluster: testCluster, Name: "doc", NoStart: true}); a.Error == nil || a.Error.Kind != plane.KeyUnheldNoSpawnConfig {
		t.Errorf("without start: %+v", a)
	}
	first := answer(wire.KeyAsk{ID: 2, Cluster: testCluster, Name: "doc"})
	if first.Route == nil || first.Route.KeyHash != (plane.Key{Name: "doc"}).Hash() {
		t.Fatalf("first %+v", first)
	}
	if again := answer(wire.KeyAsk{ID: 3, Cluster: testCluster, Name: "doc"}); again.Route == nil || again.Route.Backend != first.Route.Backend {
		t.Errorf("again %+v", again)
	}
	if a := answer(wire.KeyAsk{ID: 4, Cluster: testCluster, Name: "doc", App: "none"}); a.Error == nil || a.Error.Kind != plane.NotFound {
		t.Errorf("an unknown app: %+v", a)
	}
	if err := p.Health(t.Context()); err != nil {
		t.Errorf("health: %v", err)
	}
}

func TestRemoveNode(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	y := p.proxy("px-2")
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	remove := func(n plane.NodeName, r Removal) error {
		return p.RemoveNode(t.Context(), operatorActor, testCluster, n, r)
	}
	if err := remove("dr-1", Removal{}); err == nil {
		t.Error("a connected drone was removed")
	}
	d.end()
	eventually(t, "the drone is gone", func() bool { return p.drones.session("dr-1") == nil })
	eventually(t, "and recorded as gone", func() bool {
		s, err := p.ClusterState(t.Context(), testCluster)
		return err == nil && len(s.Drones) == 0
	})
	if err := remove("dr-1", Removal{}); err == nil || !strings.Contains(err.Error(), "lease runs") {
		t.Errorf("a drone whose lease runs was removed: %v", err)
	}
	if err := remove("dr-1", Removal{Force: true}); err != nil {
		t.Errorf("by force: %v", err)
	}
	p.until(b.BackendID, plane.Terminated)
	if err := remove("px-1", Removal{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other proxy refuses older tokens", func() bool {
		k := received[wire.Keys](y)
		return len(k) > 0 && k[len(k)-1].OldestKey == 2
	})
	if len(received[wire.Keys](x)) != 0 {
		t.Error("the compromised proxy got the new key")
	}
	if _, err := p.rings.of(testCluster).Open(b.Token); err == nil {
		t.Error("an older token still opens")
	}
}
