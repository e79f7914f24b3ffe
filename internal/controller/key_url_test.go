package controller

import (
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/wire"
)

// ask asks for a key and waits for the answer.
func (x *proxy) ask(m wire.KeyAsk) wire.KeyAnswer {
	x.t.Helper()
	x.mu.Lock()
	x.asked++
	m.ID = 1000 + x.asked
	x.mu.Unlock()
	_ = x.conn.Send(m)
	var a wire.KeyAnswer
	eventually(x.t, "the key is answered", func() bool {
		for _, got := range received[wire.KeyAnswer](x) {
			if got.ID == m.ID {
				a = got
				return true
			}
		}
		return false
	})
	return a
}

func TestKeyURLsOfEveryShape(t *testing.T) {
	public, dev := &Controller{cfg: Config{}}, &Controller{cfg: Config{Dev: true, DefaultApp: ptr("board")}}
	unnamed := &Controller{cfg: Config{Dev: true, DefaultApp: ptr("")}}
	long := strings.Repeat("x", 57)
	for _, c := range []struct {
		of        *Controller
		app, name string
		want      string
	}{
		{public, "board", "doc-1", "https://doc-1--board.plane.example/"},
		{public, "board", "Doc", "https://plane.example/~board/Doc/"},
		{public, "board", "a--b", "https://plane.example/~board/a--b/"},
		{public, "board", "xn--a", "https://plane.example/~board/xn--a/"},
		{public, "board", "a/b ü%", "https://plane.example/~board/a%2Fb%20%C3%BC%25/"},
		{public, "board", "a?b#c", "https://plane.example/~board/a%3Fb%23c/"},
		{public, "board", long[:56], "https://" + long[:56] + "--board.plane.example/"},
		{public, "board", long, "https://plane.example/~board/" + long + "/"},
		{public, "board-", "doc", "https://plane.example/~board-/doc/"},
		{public, "board", "", ""},
		{public, "board", "..", ""},
		{dev, "board", "doc", "https://doc.plane.example/"},
		{dev, "chess", "doc", "https://doc--chess.plane.example/"},
		{dev, "board", "a b", "https://plane.example/~board/a%20b/"},
		{unnamed, "", "doc", "https://doc.plane.example/"},
		{unnamed, "", "a b", "https://plane.example/~/a%20b/"},
		{unnamed, "board", "doc", "https://doc--board.plane.example/"},
	} {
		b := &liveKey{key: plane.Key{Namespace: c.app, Name: c.name}, app: c.app, release: 1, cluster: "plane.example", access: plane.AccessPublic}
		got := c.of.keyURL(b, "TOKEN")
		if got == nil && c.want != "" || got != nil && *got != c.want {
			t.Errorf("%s/%s: %v, want %q", c.app, c.name, show(got), c.want)
		}
		if got == nil {
			continue
		}
		closed := *b
		closed.access = plane.AccessToken
		if got := c.of.keyURL(&closed, "TOKEN"); got == nil || *got != c.want+"_plane/enter/TOKEN/" {
			t.Errorf("%s/%s by token: %v", c.app, c.name, show(got))
		}
		closed.static = true
		tagged, foreign, none := *b, *b, *b
		tagged.key.Tag, foreign.key.Namespace, none.release = "t", "other", 0
		for what, b := range map[string]*liveKey{"static": &closed, "tag": &tagged, "namespace": &foreign, "no app": &none} {
			if got := c.of.keyURL(b, "TOKEN"); got != nil {
				t.Errorf("%s/%s with another %s: %v", c.app, c.name, what, *got)
			}
		}
	}
}

func show(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

func TestKeyURLsByTokenLetInWhoHasOne(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	p.apply("board", command("./board")) // outside of plane dev access is by token unless the app says otherwise
	p.apply("open", plane.Template{Command: []string{"./open"}, Access: plane.AccessPublic})
	ask := func(app, name string, who *wire.Visitor) wire.KeyAnswer {
		return x.ask(wire.KeyAsk{Cluster: testCluster, App: app, Name: name, Visitor: who})
	}
	refused := func(what string, a wire.KeyAnswer) {
		t.Helper()
		if a.Error == nil || a.Error.Kind != plane.Unauthorized || a.Route != nil {
			t.Errorf("%s: %+v", what, a)
		}
	}
	refused("nobody, nothing runs", ask("board", "doc", nil))
	refused("who only looks", x.ask(wire.KeyAsk{Cluster: testCluster, App: "board", Name: "doc", NoStart: true}))
	if n := len(d.spawned()); n != 0 {
		t.Fatalf("%d backends were started for nobody", n)
	}
	if a := ask("open", "doc", nil); a.Route == nil || a.Route.Access != plane.AccessPublic || a.Route.App != "open" {
		t.Errorf("a public app: %+v", a)
	}

	r := ofApp("board", "doc")
	r.User = ptr("ann")
	first := p.connectTo(r)
	p.until(first.BackendID, plane.Ready)
	if first.URLs.Key == nil || *first.URLs.Key != "http://doc--board.localhost:9090/_plane/enter/"+first.Token+"/" {
		t.Errorf("key URL %v", show(first.URLs.Key))
	}
	ann := &wire.Visitor{Backend: first.BackendID, User: ptr("ann")}
	bob := &wire.Visitor{Backend: first.BackendID, User: ptr("bob")}
	refused("nobody, it runs", ask("board", "doc", nil))
	refused("a visitor of a backend that nobody knows", ask("board", "doc", &wire.Visitor{Backend: "unknown", User: ptr("ann")}))
	refused("a visitor of another key", ask("board", "other", ann))
	if a := ask("board", "doc", ann); a.Route == nil || a.Route.Backend != first.BackendID || a.Route.Access != plane.AccessToken {
		t.Errorf("a visitor: %+v", a)
	}
	if err := p.Terminate(t.Context(), operatorActor, first.BackendID, plane.Soft); err != nil {
		t.Fatal(err)
	}
	p.until(first.BackendID, plane.Terminated)
	later := ask("board", "doc", ann)
	if later.Route == nil || later.Route.Backend == first.BackendID {
		t.Fatalf("a later backend: %+v", later)
	}
	p.until(later.Route.Backend, plane.Ready)

	if err := p.Revoke(t.Context(), operatorActor, first.BackendID, "ann"); err != nil {
		t.Fatal(err)
	}
	refused("who was revoked on the backend of their token", ask("board", "doc", ann))
	// Proxies that let her in already hear of it by the route of the live one.
	eventually(t, "proxies hear of it", func() bool { return x.route(later.Route.Backend).Revoked["ann"] != 0 })
	zoe := &wire.Visitor{Backend: first.BackendID, User: ptr("zoe")}
	if a := ask("board", "doc", zoe); a.Route == nil {
		t.Errorf("a third user: %+v", a)
	}
	if err := p.Revoke(t.Context(), operatorActor, later.Route.Backend, "zoe"); err != nil {
		t.Fatal(err)
	}
	refused("who was revoked on a later backend than that of their token", ask("board", "doc", zoe))
	if a := ask("board", "doc", bob); a.Route == nil {
		t.Errorf("another user: %+v", a)
	}
	renewed := &wire.Visitor{Backend: later.Route.Backend, User: ptr("ann"), Revocation: 1}
	if a := ask("board", "doc", renewed); a.Route == nil {
		t.Errorf("with a token of after the revocation: %+v", a)
	}
}

func TestWhoMayNotComeInIsNotToldWhatTheMatterIs(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	p.Controller.started = time.Now().Add(-time.Minute)
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	template := command("./board")
	template.Lease = plane.Fast
	p.apply("board", template)
	r := ofApp("board", "doc")
	r.User = ptr("ann")
	b := p.connectTo(r)
	p.until(b.BackendID, plane.Ready)
	p.leaves(d)
	p.lived()
	p.clock.step(6500 * time.Millisecond) // its drone is silent, its lease still runs
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "board", Name: "doc"}); a.Error == nil || a.Error.Kind != plane.Unauthorized {
		t.Errorf("nobody: %+v", a.Error)
	}
	ann := &wire.Visitor{Backend: b.BackendID, User: ptr("ann")}
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "board", Name: "doc", Visitor: ann}); a.Error == nil || a.Error.Kind != plane.KeyHeldUnhealthy {
		t.Errorf("a visitor: %+v", a.Error)
	}
}

func TestKeyURLsOfUnknownAppsSaySo(t *testing.T) {
	dev := newPlant(t, plantOptions{config: func(c *Config) { c.Dev, c.DefaultApp = true, ptr("board") }})
	dev.apply("board", command("./board"))
	x := dev.proxy("px-1")
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "bord", Name: "doc"}); a.Error == nil || a.Error.Kind != plane.NotFound || !strings.Contains(a.Error.Message, `did you mean "board"?`) {
		t.Errorf("in plane dev: %+v", a.Error)
	}
	public := newPlant(t, plantOptions{})
	public.apply("board", command("./board"))
	y := public.proxy("px-1")
	for _, app := range []string{"bord", ""} {
		if a := y.ask(wire.KeyAsk{Cluster: testCluster, App: app, Name: "doc"}); a.Error == nil || a.Error.Kind != plane.NotFound || strings.Contains(a.Error.Message, "board") {
			t.Errorf("elsewhere: %+v", a.Error)
		}
	}
}

func TestPagesSeeAProgramsOutputInPlaneDevOnly(t *testing.T) {
	for _, dev := range []bool{true, false} {
		p := newPlant(t, plantOptions{config: func(c *Config) { c.Dev = dev }})
		d := p.drone("dr-1", manual)
		x := p.proxy("px-1")
		p.apply("board", plane.Template{Command: []string{"./board"}, Access: plane.AccessPublic})
		for i := range crashLimit {
			b := p.connectTo(ofApp("board", "doc"))
			eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == i+1 })
			d.say(b.BackendID, plane.State{Status: plane.Starting}, plane.State{
				Status: plane.Terminated, LastStatus: plane.Starting, Exit: &plane.Exit{Code: ptr(1), Output: "secret\n"},
			})
			p.until(b.BackendID, plane.Terminated)
			eventually(t, "pages hear of the end", func() bool { return x.route(b.BackendID).End != nil })
			if end := x.route(b.BackendID).End; (end.Output != "") != dev || !end.Early || !strings.Contains(end.Message, "exit code 1") {
				t.Errorf("dev %v: end %+v", dev, end)
			}
		}
		a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "board", Name: "doc"})
		if a.Error == nil || a.Error.Kind != plane.CrashLoop || (a.Error.Output != "") != dev || a.Error.RetryMS == 0 {
			t.Errorf("dev %v: crash loop %+v", dev, a.Error)
		}
		a = x.ask(wire.KeyAsk{Cluster: testCluster, App: "board", Name: "doc", NoStart: true})
		if a.Error == nil || a.Error.Kind != plane.KeyUnheldNoSpawnConfig || (a.Error.Output != "") != dev || !strings.Contains(a.Error.Message, "exit code 1") {
			t.Errorf("dev %v: nothing runs %+v", dev, a.Error)
		}
	}
}
