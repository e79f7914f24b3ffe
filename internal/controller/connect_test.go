package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func TestConnectStartsOnceAndAttaches(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	x := p.proxy("px-1")
	first := p.connectTo(keyed("doc"))
	if !first.Spawned || first.Status != plane.Scheduled || first.Drone == nil || *first.Drone != "dr-1" {
		t.Fatalf("first connect: %+v", first)
	}
	if want := "http://localhost:9090/" + first.Token + "/"; first.URL != want || first.URLs.Token != want || first.URLs.Key != nil {
		t.Errorf("URL %q, want %q", first.URL, want)
	}
	if want := "http://localhost:8080/pub/b/" + string(first.BackendID) + "/status"; first.StatusURL != want {
		t.Errorf("status URL %q, want %q", first.StatusURL, want)
	}
	p.until(first.BackendID, plane.Ready)
	second := p.connectTo(ConnectRequest{Key: &plane.Key{Name: "doc"}})
	if second.Spawned || second.BackendID != first.BackendID || second.Drone != nil || second.Status != plane.Ready {
		t.Fatalf("second connect: %+v", second)
	}
	if second.Token == first.Token || second.SecretToken == nil || *second.SecretToken == "" {
		t.Error("each connect has a token and a secret of its own")
	}
	eventually(t, "the proxy has the address", func() bool { return x.route(first.BackendID).Address == "127.0.0.1:4000" })
}

func TestConnectToALiveKeyTouchesNoStore(t *testing.T) {
	count := &counting{}
	p := newPlant(t, plantOptions{idle: true, wrap: count.wrap})
	p.drone("dr-1")
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	p.connectTo(keyed("doc"))
	views, updates := count.get()
	for range 100 {
		if got := p.connectTo(keyed("doc")); got.BackendID != b.BackendID || got.Status != plane.Ready {
			t.Fatalf("connect: %+v", got)
		}
	}
	v, u := count.get()
	if u != updates || v > views+5 {
		t.Errorf("100 connects to a live key made %d reads and %d writes", v-views, u-updates)
	}
}

func TestManyConnectsToOneNewKeyGiveOneBackend(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	for round := range 4 {
		key := fmt.Sprintf("doc-%d", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		ids, spawned := map[plane.BackendID]int{}, 0
		for range 500 {
			wg.Go(func() {
				got, err := p.Connect(t.Context(), operatorActor, keyed(key))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[got.BackendID]++
				if got.Spawned {
					spawned++
				}
			})
		}
		wg.Wait()
		if len(ids) != 1 || spawned != 1 {
			t.Fatalf("round %d: %d backends, %d spawned", round, len(ids), spawned)
		}
		for id := range ids {
			p.until(id, plane.Ready)
		}
	}
	spawns := map[plane.BackendID]bool{} // one that isn't acknowledged within 10 s is sent again
	for _, m := range d.spawned() {
		spawns[m.Backend] = true
	}
	if len(spawns) != 4 {
		t.Errorf("%d backends were spawned", len(spawns))
	}
}

func TestConnectErrors(t *testing.T) {
	p := newPlant(t, plantOptions{})
	if _, err := p.Connect(t.Context(), operatorActor, keyed("doc")); !plane.IsKind(err, plane.NoDroneAvailable) {
		t.Errorf("without drones: %v", err)
	}
	p.drone("dr-1")
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	id, other := string(b.BackendID), "nowhere.example"
	badUser := strings.Repeat("x", plane.MaxClaims)
	for _, c := range []struct {
		name string
		r    ConnectRequest
		kind plane.Kind
	}{
		{"nothing", ConnectRequest{}, plane.KeyUnheldNoSpawnConfig},
		{"unheld", ConnectRequest{Key: &plane.Key{Name: "free"}}, plane.KeyUnheldNoSpawnConfig},
		{"tag", ConnectRequest{Key: &plane.Key{Name: "doc", Tag: "v2"}, Spec: spec()}, plane.KeyHeld},
		{"used id", keyed("free", func(s *plane.Spec) { s.ID = &id }), plane.FailedToAcquireKey},
		{"other cluster", keyed("free", func(s *plane.Spec) { s.Cluster = &other }), plane.NoDroneAvailable},
		{"other pool", keyed("free", func(s *plane.Spec) { s.Pool = "gpu" }), plane.NoDroneAvailable},
		{"image", keyed("free", func(s *plane.Spec) { s.Executable = []byte(`{"image":"app:1"}`) }), plane.UnsupportedExecutable},
		{"null executable", keyed("free", func(s *plane.Spec) { s.Executable = []byte(`null`) }), plane.BadRequest},
		{"bad executable", keyed("free", func(s *plane.Spec) { s.Executable = []byte(`{"cmd":[]}`) }), plane.BadRequest},
		{"app", ConnectRequest{App: "board"}, plane.BadRequest},
		{"port", ConnectRequest{Key: &plane.Key{Name: "doc"}, Port: "metrics"}, plane.BadRequest},
		{"port of one to start", ConnectRequest{Key: &plane.Key{Name: "free"}, Spec: spec(), Port: "metrics"}, plane.BadRequest},
		{"wait", ConnectRequest{WaitSeconds: 121}, plane.BadRequest},
		{"claims", ConnectRequest{Key: &plane.Key{Name: "doc"}, User: &badUser}, plane.BadRequest},
		{"auth", ConnectRequest{Key: &plane.Key{Name: "doc"}, Auth: []byte(`[1]`)}, plane.BadRequest},
	} {
		if _, err := p.Connect(t.Context(), operatorActor, c.r); !plane.IsKind(err, c.kind) {
			t.Errorf("%s: %v, want %s", c.name, err, c.kind)
		}
	}
}

func TestDronesWithoutCallersCommandsRunAppsOnly(t *testing.T) {
	p := newPlant(t, plantOptions{config: devConfig})
	p.apply("", plane.Template{Command: []string{"/bin/true"}})
	p.drone("dr-1", func(d *drone) { d.hello.Commands = false })
	if _, err := p.Connect(t.Context(), operatorActor, keyed("doc")); !plane.IsKind(err, plane.UnsupportedExecutable) {
		t.Errorf("a caller's command: %v", err)
	}
	b := p.connectTo(ConnectRequest{Key: &plane.Key{Name: "doc"}, Spec: &plane.Spec{}})
	if b.URLs.Key == nil || *b.URLs.Key != "http://doc.localhost:9090/" {
		t.Errorf("key URL: %v", b.URLs.Key)
	}
	p.until(b.BackendID, plane.Ready)
}

func TestStaticTokensStayTheSame(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	static := keyed("doc", func(s *plane.Spec) { s.UseStaticToken = true })
	a := p.connectTo(static)
	p.until(a.BackendID, plane.Ready)
	b := p.connectTo(static)
	if a.Token != b.Token || !strings.HasPrefix(a.Token, "s.") || a.SecretToken != nil {
		t.Fatalf("static tokens %q and %q", a.Token, b.Token)
	}
	if got := d.spawned()[0].StaticToken; got != a.Token {
		t.Errorf("the drone was told %q", got)
	}
	hash := x.route(a.BackendID).StaticHash
	_ = x.conn.Send(wire.RouteAsk{ID: 7, StaticHash: hash})
	eventually(t, "the route is found by its static token", func() bool {
		for _, m := range received[wire.RouteAnswer](x) {
			if m.ID == 7 && m.Route != nil && m.Route.Backend == a.BackendID {
				return true
			}
		}
		return false
	})
}

func TestConnectWaitsForReady(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	r := keyed("doc")
	r.WaitReady, r.WaitSeconds = true, 20
	got := make(chan ConnectResponse, 1)
	go func() {
		out, err := p.Connect(context.Background(), operatorActor, r)
		if err != nil {
			t.Error(err)
		}
		got <- out
	}()
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 1 })
	select {
	case <-got:
		t.Fatal("answered before it was ready")
	default:
	}
	d.say(d.spawned()[0].Backend, plane.State{Status: plane.Ready, Address: "127.0.0.1:1"})
	if out := <-got; out.Status != plane.Ready || !out.Spawned {
		t.Errorf("answer %+v", out)
	}

	r = keyed("broken")
	r.WaitReady = true
	failed := make(chan error, 1)
	go func() { _, err := p.Connect(context.Background(), operatorActor, r); failed <- err }()
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 2 })
	d.say(d.spawned()[1].Backend, plane.State{Status: plane.Terminated, Exit: &plane.Exit{Message: "no such program", Output: "boom"}})
	var e *plane.Error
	if err := <-failed; !errors.As(err, &e) || e.Kind != plane.StartFailed || e.Output != "boom" || !strings.Contains(e.Message, "It never ran: No such program.") {
		t.Errorf("a start that failed: %v", err)
	}
}

func TestConnectWaitsForTheEndOfTheOldGeneration(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	first := p.connectTo(keyed("doc"))
	p.until(first.BackendID, plane.Ready)
	d.mu.Lock()
	d.autoplay = false
	d.mu.Unlock()
	if err := p.Terminate(t.Context(), operatorActor, first.BackendID, plane.Soft); err != nil {
		t.Fatal(err)
	}
	got := make(chan ConnectResponse, 1)
	go func() {
		out, err := p.Connect(context.Background(), operatorActor, keyed("doc"))
		if err != nil {
			t.Error(err)
		}
		got <- out
	}()
	eventually(t, "the drone is told", func() bool { return len(d.stopped()) == 1 })
	select {
	case out := <-got:
		t.Fatalf("the next generation began before the end of the last: %+v", out)
	case <-time.After(50 * time.Millisecond):
	}
	d.say(first.BackendID, plane.State{Status: plane.Terminating, Termination: plane.Soft, Reason: plane.External})
	d.say(first.BackendID, plane.State{Status: plane.Terminated, Termination: plane.Soft, Reason: plane.External})
	out := <-got
	if !out.Spawned || out.Generation <= first.Generation {
		t.Errorf("next generation: %+v", out)
	}
}

func TestRefusedSpawnFreesTheKeyAndGoesElsewhere(t *testing.T) {
	p := newPlant(t, plantOptions{})
	refuses := 0
	d := p.drone("dr-1", answers(func(d *drone, m wire.Message) bool {
		s, ok := m.(wire.Spawn)
		if !ok || refuses == 1 {
			return false
		}
		refuses++
		_ = d.conn.Send(wire.Acted{Action: s.Action, Backend: s.Backend, Refusal: plane.RefusedLate})
		return true
	}))
	r := keyed("doc")
	r.WaitReady = true
	out := p.connectTo(r)
	if out.Status != plane.Ready || len(d.spawned()) != 1 {
		t.Fatalf("after a refusal: %+v", out)
	}
	why, err := p.Explain(t.Context(), operatorActor, "", "doc")
	if err != nil {
		t.Fatal(err)
	}
	if len(why.History) != 2 || !strings.Contains(why.History[1].Story, "came too late") {
		t.Errorf("history: %+v", why.History)
	}
}

// counting counts transactions.
type counting struct {
	store.Store
	mu             sync.Mutex
	views, updates int
}

func (c *counting) wrap(s store.Store) store.Store { c.Store = s; return c }
func (c *counting) Exclusive() bool                { return true }
func (c *counting) get() (int, int)                { c.mu.Lock(); defer c.mu.Unlock(); return c.views, c.updates }

func (c *counting) View(ctx context.Context, fn func(store.Tx) error) error {
	c.mu.Lock()
	c.views++
	c.mu.Unlock()
	return c.Store.View(ctx, fn)
}

func (c *counting) Update(ctx context.Context, fn func(store.Tx) error) error {
	c.mu.Lock()
	c.updates++
	c.mu.Unlock()
	return c.Store.Update(ctx, fn)
}
