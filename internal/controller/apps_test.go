package controller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func command(words ...string) plane.Template { return plane.Template{Command: words} }

func ofApp(app, name string) ConnectRequest {
	return ConnectRequest{App: app, Key: &plane.Key{Name: name}}
}

// wantError checks kind, field and a word of the sentence.
func wantError(t *testing.T, what string, err error, kind plane.Kind, field, says string) {
	t.Helper()
	e, ok := errorOf(err)
	if !ok || e.Kind != kind || e.Field != field || !strings.Contains(e.Message, says) {
		t.Errorf("%s: %v (field %q), want %s about %q saying %q", what, err, e.Field, kind, field, says)
	}
}

func (p *plant) events(kind string) []EventView {
	p.t.Helper()
	var all []EventView
	err := p.Events(p.t.Context(), operatorActor, 0, false, func(e EventView) error {
		if e.Kind == kind {
			all = append(all, e)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

func TestApplyMakesAReleaseOnlyOfWhatIsDifferent(t *testing.T) {
	p := newPlant(t, plantOptions{})
	for i, c := range []struct {
		template plane.Template
		want     Applied
	}{
		{command("./a"), Applied{App: "board", Release: 1, Changed: true}},
		{command("./a"), Applied{App: "board", Release: 1}},
		{plane.Template{Command: []string{"./a"}, Env: map[string]string{"A": "1", "B": "2"}}, Applied{App: "board", Release: 2, Changed: true}},
		{plane.Template{Command: []string{"./a"}, Env: map[string]string{"B": "2", "A": "1"}}, Applied{App: "board", Release: 2}},
		{command("./a"), Applied{App: "board", Release: 3, Changed: true}}, // not the first again: releases are history
	} {
		if got := p.apply("board", c.template); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("apply %d: %+v, want %+v", i, got, c.want)
		}
	}
	events := p.events("apply")
	if len(events) != 3 || events[2].Actor != "operator" || events[2].Text != "Release 3 of app board: ./a." || events[2].Key != nil {
		t.Errorf("events %+v", events)
	}
	v, err := p.App(t.Context(), operatorActor, "board")
	if err != nil || v.Release != 3 || len(v.Releases) != 3 || v.Releases[0].Release != 3 || v.Releases[0].Actor != "operator" || v.Spec.Command[0] != "./a" {
		t.Errorf("app %+v, %v", v, err)
	}
	_, err = p.Apply(t.Context(), operatorActor, "board", plane.Template{})
	wantError(t, "neither command nor image", err, plane.BadRequest, "command", "neither")
	for _, name := range []string{"", "Board", "a--b", "1a"} {
		_, err := p.Apply(t.Context(), operatorActor, name, command("./a"))
		wantError(t, name, err, plane.BadRequest, "app", "use a-z")
	}
	_, err = p.App(t.Context(), operatorActor, "bord")
	wantError(t, "a misspelt app", err, plane.NotFound, "", `did you mean "board"?`)
}

func TestApplyWarnsOfWhatNothingEnforces(t *testing.T) {
	p := newPlant(t, plantOptions{})
	disk := int64(1 << 20)
	got := p.apply("board", plane.Template{
		Command: []string{"./a"}, Egress: "none", Ports: map[string]int{"metrics": 9100}, Limits: plane.ResourceLimits{DiskLimitBytes: &disk},
	})
	if w := strings.Join(got.Warnings, "\n"); len(got.Warnings) != 3 || !strings.Contains(w, "egress") || !strings.Contains(w, "PORT_METRICS") || !strings.Contains(w, "disk_limit") {
		t.Errorf("warnings %q", w)
	}
	if got := p.apply("plain", command("./a")); got.Warnings != nil {
		t.Errorf("warnings of a plain app: %q", got.Warnings)
	}
}

func TestConnectByApp(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	p.apply("board", plane.Template{Command: []string{"./board"}, MaxIdle: ptr(int32(300)), Lease: plane.Fast})
	b := p.connectTo(ofApp("board", "doc"))
	p.until(b.BackendID, plane.Ready)
	if b.Key != (plane.Key{Namespace: "board", Name: "doc"}) || !b.Spawned {
		t.Errorf("connect %+v", b)
	}
	if s := d.spawned()[0]; s.App != "board" || s.Release != 1 || !strings.Contains(string(s.Spec.Executable), "./board") || s.Spec.Lease != plane.Fast {
		t.Errorf("spawn %+v", s)
	}
	if v, err := p.Backend(t.Context(), operatorActor, b.BackendID); err != nil || v.App != "board" || v.Release != 1 {
		t.Errorf("view %+v, %v", v, err)
	}
	again := p.connectTo(ConnectRequest{App: "board", Key: &plane.Key{Namespace: "board", Name: "doc"}})
	if again.Spawned || again.BackendID != b.BackendID {
		t.Errorf("again: %+v", again)
	}
	limited := ofApp("board", "limited")
	limited.Spec = &plane.Spec{MaxIdle: ptr(int32(7))}
	p.connectTo(limited)
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 2 })
	if s := d.spawned()[1].Spec; *s.MaxIdle != 7 || s.Lease != plane.Fast || len(s.Executable) == 0 {
		t.Errorf("with a limit of the caller's: %+v", s)
	}
	if r := p.connectTo(ConnectRequest{App: "board"}); r.Key.Namespace != "board" || r.Key.Name == "" {
		t.Errorf("without a key: %+v", r.Key)
	}
	if v, err := p.App(t.Context(), operatorActor, "board"); err != nil || v.Live != 3 {
		t.Errorf("live %d, %v", v.Live, err)
	}

	try := func(r ConnectRequest) error { _, err := p.Connect(t.Context(), operatorActor, r); return err }
	wantError(t, "a misspelt app", try(ofApp("bord", "doc")), plane.BadRequest, "app", `did you mean "board"?`)
	wantError(t, "an app like none", try(ofApp("chessgame", "doc")), plane.BadRequest, "app", "there are board.")
	wantError(t, "another namespace", try(ConnectRequest{App: "board", Key: &plane.Key{Namespace: "x", Name: "doc"}}), plane.BadRequest, "key.namespace", "leave it out")
	twice := ofApp("board", "doc")
	twice.Spec = spec()
	wantError(t, "with an executable", try(twice), plane.BadRequest, "spawn_config.executable", "leave one")
	if err := try(ConnectRequest{Key: &plane.Key{Name: "doc"}}); !plane.IsKind(err, plane.KeyUnheldNoSpawnConfig) {
		t.Errorf("the key without its app: %v", err)
	}
}

func TestAppsNeedTheirGrants(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	p.apply("chess", command("./chess"))
	a := Actor{Kind: "api-key", Name: "k", Grants: []string{"app:board/*", "connect:board/*", "read:board/*"}}
	ctx := t.Context()
	if _, err := p.Apply(ctx, a, "board", command("./b")); err != nil {
		t.Error(err)
	}
	if _, err := p.Connect(ctx, a, ofApp("board", "doc")); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"apply":   third(p.Apply(ctx, a, "chess", command("./b"))),
		"point":   third(p.Point(ctx, a, "chess", 0)),
		"app":     third(p.App(ctx, a, "chess")),
		"connect": third(p.Connect(ctx, a, ofApp("chess", "doc"))),
		"replace": third(p.Replace(ctx, a, "chess")),
		"abandon": third(p.Abandon(ctx, a, "board", "doc")),
	} {
		if !plane.IsKind(err, plane.Forbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
	all, err := p.Apps(ctx, a)
	if err != nil || len(all.Apps) != 1 || all.Apps[0].Name != "board" || all.Default != nil {
		t.Errorf("apps %+v, %v", all, err)
	}
	if _, err := p.Connect(ctx, a, ofApp("boards", "doc")); plane.IsKind(err, plane.BadRequest) {
		t.Errorf("whether an app exists was told without a grant: %v", err)
	}
	seen := 0
	err = p.Events(ctx, a, 0, false, func(e EventView) error {
		if e.Kind == "apply" {
			seen++
		}
		return nil
	})
	if err != nil || seen != 1 {
		t.Errorf("%d apply events seen, %v", seen, err)
	}
}

func third[T any](_ T, err error) error { return err }

func errorOf(err error) (plane.Error, bool) {
	for ; err != nil; err = unwrap(err) {
		if e, ok := err.(*plane.Error); ok {
			return *e, true
		}
	}
	return plane.Error{}, false
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

func TestARollbackIsForNewBackends(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	for _, c := range []string{"./1", "./2", "./3"} {
		p.apply("board", command(c))
	}
	old := p.connectTo(ofApp("board", "old"))
	p.until(old.BackendID, plane.Ready)
	v, err := p.Point(t.Context(), operatorActor, "board", 0)
	if err != nil || v.Release != 2 || v.Spec.Command[0] != "./2" {
		t.Fatalf("the one before: %+v, %v", v, err)
	}
	if v, err := p.Point(t.Context(), operatorActor, "board", 1); err != nil || v.Release != 1 {
		t.Fatalf("the first: %+v, %v", v, err)
	}
	if _, err := p.Point(t.Context(), operatorActor, "board", 1); err != nil { // it is there already
		t.Error(err)
	}
	_, err = p.Point(t.Context(), operatorActor, "board", 0)
	wantError(t, "before the first", err, plane.BadRequest, "release", "no release before 1")
	_, err = p.Point(t.Context(), operatorActor, "board", 4)
	wantError(t, "one that isn't", err, plane.BadRequest, "release", "its latest are 3, 2, 1")
	_, err = p.Point(t.Context(), operatorActor, "bord", 1)
	wantError(t, "a misspelt app", err, plane.NotFound, "", `did you mean "board"?`)

	next := p.connectTo(ofApp("board", "new"))
	p.until(next.BackendID, plane.Ready)
	if s := d.spawned(); s[0].Release != 3 || s[1].Release != 1 || !strings.Contains(string(s[1].Spec.Executable), "./1") {
		t.Errorf("releases %d and %d", s[0].Release, s[1].Release)
	}
	if v, _ := p.Backend(t.Context(), operatorActor, old.BackendID); v.Release != 3 || v.Status != plane.Ready {
		t.Errorf("what ran before: %+v", v)
	}
	if e := p.events("rollback"); len(e) != 2 || e[1].Text != "App board went from release 2 to 1: ./1." || e[1].Actor != "operator" {
		t.Errorf("events %+v", e)
	}
}

func TestAKeyThatWasWaitedForStartsTheCurrentRelease(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	p.apply("board", command("./1"))
	first := p.connectTo(ofApp("board", "doc"))
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 1 })
	d.say(first.BackendID, plane.State{Status: plane.Terminating, Termination: plane.Soft, Reason: plane.External})
	p.until(first.BackendID, plane.Terminating)
	got := make(chan ConnectResponse, 1)
	go func() {
		out, err := p.Connect(context.Background(), operatorActor, ofApp("board", "doc"))
		if err != nil {
			t.Error(err)
		}
		got <- out
	}()
	eventually(t, "the connect waits for the end", func() bool {
		p.hub.mu.Lock()
		defer p.hub.mu.Unlock()
		return len(p.hub.waiting[topic(first.BackendID)]) > 0
	})
	p.apply("board", command("./2"))
	d.say(first.BackendID, plane.State{Status: plane.Terminated, Termination: plane.Soft, Reason: plane.External, Exit: &plane.Exit{}})
	if out := <-got; !out.Spawned {
		t.Fatalf("connect %+v", out)
	}
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 2 })
	if r := d.spawned()[1].Release; r != 2 {
		t.Errorf("release %d was started after release 2 was applied", r)
	}
}

// In the order of the log, no backend is started of a release that its app has
// left before.
func TestNothingOfAnOldReleaseStartsAfterTheAppMoved(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1", manual)
	p.apply("board", command("./0"))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 40 {
				p.connectTo(ofApp("board", fmt.Sprintf("doc-%d-%d", w, i)))
			}
		})
	}
	wg.Go(func() {
		for i := range 60 {
			p.apply("board", command(fmt.Sprint("./", i+1)))
		}
	})
	wg.Wait()
	release := map[plane.BackendID]int64{}
	p.view(func(tx store.Tx) error {
		all, err := tx.Backends(store.Filter{})
		for _, b := range all {
			release[b.ID] = b.Release
		}
		return err
	})
	now, started := int64(0), 0
	err := p.Events(t.Context(), operatorActor, 0, false, func(e EventView) error {
		switch e.Kind {
		case "apply":
			now++
		case "connect":
			started++
			if release[e.BackendID] != now {
				t.Errorf("release %d was started when the app was at %d", release[e.BackendID], now)
			}
		}
		return nil
	})
	if err != nil || started != 160 {
		t.Errorf("%d started, %v", started, err)
	}
}

func TestOldReleasesAreDeletedAndUsedOnesStay(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	p.apply("board", command("./0"))
	b := p.connectTo(ofApp("board", "doc"))
	p.until(b.BackendID, plane.Ready)
	for i := range releasesKept + 20 {
		p.apply("board", command(fmt.Sprint("./", i+1)))
	}
	if err := p.cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.view(func(tx store.Tx) error {
		all, err := tx.Releases("board", 0)
		if len(all) != releasesKept+1 || all[len(all)-1].Number != 1 || all[len(all)-2].Number != 22 {
			t.Errorf("%d releases are left, the oldest %d", len(all), all[len(all)-1].Number)
		}
		return err
	})
}

func TestDevConnectsGoToTheDefaultApp(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Dev, c.DefaultApp = true, ptr("board") }})
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	_, err := p.Connect(t.Context(), operatorActor, ConnectRequest{Key: &plane.Key{Name: "doc"}, Spec: &plane.Spec{}})
	wantError(t, "before it is applied", err, plane.BadRequest, "app", `no app "board"`)
	p.apply("board", command("./board"))
	p.apply("chess", command("./chess"))
	b := p.connectTo(ConnectRequest{Key: &plane.Key{Name: "doc"}, Spec: &plane.Spec{}})
	p.until(b.BackendID, plane.Ready)
	if b.Key.Namespace != "board" || *b.URLs.Key != "http://doc.localhost:9090/" {
		t.Errorf("connect %+v, key URL %q", b, *b.URLs.Key)
	}
	if got := p.connectTo(ConnectRequest{Key: &plane.Key{Name: "doc"}}); got.BackendID != b.BackendID {
		t.Errorf("only attaching: %+v", got)
	}
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, Name: "doc"}); a.Route == nil || a.Route.Backend != b.BackendID || a.Key.Namespace != "board" {
		t.Errorf("the key URL without app: %+v", a)
	}
	c := p.connectTo(ofApp("chess", "doc"))
	if c.BackendID == b.BackendID || *c.URLs.Key != "http://doc--chess.localhost:9090/" {
		t.Errorf("another app: %+v, key URL %q", c, *c.URLs.Key)
	}
	own := p.connectTo(keyed("doc"))
	if own.Key.Namespace != "" || own.URLs.Key != nil {
		t.Errorf("a caller's own command: %+v", own)
	}
	eventually(t, "all are told", func() bool { return len(d.spawned()) == 3 })
	if s := d.spawned()[2]; s.App != "" || s.Release != 0 {
		t.Errorf("a caller's own command has app %q, release %d", s.App, s.Release)
	}
	all, err := p.Apps(t.Context(), operatorActor)
	if err != nil || *all.Default != "board" || !all.Apps[0].Default || all.Apps[1].Default {
		t.Errorf("apps %+v, %v", all, err)
	}
}

func TestTokensForFurtherPorts(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	x := p.proxy("px-1")
	p.apply("board", plane.Template{Command: []string{"./board"}, Ports: map[string]int{"metrics": 1, "debug": 2}})
	p.apply("plain", command("./plain"))
	r := ofApp("board", "doc")
	r.Port = "metric"
	_, err := p.Connect(t.Context(), operatorActor, r)
	wantError(t, "a misspelt port", err, plane.BadRequest, "port", "the backend has debug, metrics")
	if len(d.spawned()) != 0 {
		t.Error("a backend was started for a port that it has not")
	}
	r.Port = "metrics"
	b := p.connectTo(r)
	claims, err := p.rings.of(testCluster).Open(b.Token)
	if b.URLs.Key != nil {
		t.Errorf("a token for another port enters the key's address: %s", *b.URLs.Key)
	}
	if err != nil || claims.Port != "metrics" {
		t.Errorf("claims %+v, %v", claims, err)
	}
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 1 })
	d.say(b.BackendID, plane.State{Status: plane.Ready, Address: "127.0.0.1:1", Ports: map[string]string{"metrics": "127.0.0.1:2"}})
	eventually(t, "the proxies know its address", func() bool { return x.route(b.BackendID).Ports["metrics"] == "127.0.0.1:2" })
	p.until(b.BackendID, plane.Ready)
	r.Port = "x"
	_, err = p.Connect(t.Context(), operatorActor, r)
	wantError(t, "of a live backend", err, plane.BadRequest, "port", "debug, metrics")
	plain := ofApp("plain", "doc")
	plain.Port = "metrics"
	_, err = p.Connect(t.Context(), operatorActor, plain)
	wantError(t, "of an app without", err, plane.BadRequest, "port", "only its main one")
}

// A mended program starts at once: the old one's crashes aren't its own.
func TestAChangeEndsCrashLoopsAndReachesProxies(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Dev, c.DefaultApp = true, ptr("board") }})
	p.drone("dr-1")
	x := p.proxy("px-1")
	p.apply("board", command("./1"))
	p.apply("chess", command("./1"))
	loop := func() {
		for _, app := range []string{"board", "chess"} {
			err := p.db.Update(t.Context(), func(tx store.Tx) error {
				return tx.SetCrash(app, "doc", store.Crash{Count: 9, Last: tx.Now()})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	const first = 2 // of the two apps
	eventually(t, "both are told", func() bool { return len(received[wire.AppChanged](x)) == first })
	told := first
	for what, change := range map[string]func() error{
		"replace":     func() error { return third(p.Replace(t.Context(), operatorActor, "board")) },
		"replace old": func() error { return third(p.ReplaceOld(t.Context(), operatorActor, "board")) },
		"apply":       func() error { return third(p.Apply(t.Context(), operatorActor, "board", command("./2"))) },
		"rollback":    func() error { return third(p.Point(t.Context(), operatorActor, "board", 0)) },
	} {
		loop()
		if what == "rollback" {
			p.apply("board", command("./3"))
			loop()
			told++
		}
		if err := change(); err != nil {
			t.Fatal(what, err)
		}
		told++
		eventually(t, what+" is told", func() bool { return len(received[wire.AppChanged](x)) == told })
		if m := received[wire.AppChanged](x)[told-1]; m != (wire.AppChanged{App: "board", Default: true}) {
			t.Errorf("%s: %+v", what, m)
		}
		b, err := p.Connect(t.Context(), operatorActor, ofApp("board", "doc"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_, err = p.Connect(t.Context(), operatorActor, ofApp("chess", "doc"))
		wantError(t, "the other app's", err, plane.CrashLoop, "", "ended 9 times")
		p.until(b.BackendID, plane.Ready)
		p.ends(b.BackendID)
	}
	p.apply("board", p.spec("board"))
	if n := len(received[wire.AppChanged](x)); n != told {
		t.Errorf("no change, and %d were told instead of %d", n, told)
	}
}

// spec is an app's current template.
func (p *plant) spec(app string) plane.Template {
	p.t.Helper()
	v, err := p.App(p.t.Context(), operatorActor, app)
	if err != nil {
		p.t.Fatal(err)
	}
	return v.Spec
}

func TestReplaceEndsWhatRunsAndTellsOpenPages(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Dev, c.DefaultApp = true, ptr("board") }})
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	p.apply("board", command("./1"))
	p.apply("chess", command("./1"))
	old := p.connectTo(ofApp("board", "old"))
	other := p.connectTo(ofApp("chess", "doc"))
	p.until(old.BackendID, plane.Ready)
	p.until(other.BackendID, plane.Ready)
	if keys, err := p.ReplaceOld(t.Context(), operatorActor, "board"); err != nil || len(keys) != 0 {
		t.Fatalf("of the current release: %v, %v", keys, err)
	}
	p.apply("board", command("./2"))
	now := p.connectTo(ofApp("board", "new"))
	p.until(now.BackendID, plane.Ready)
	keys, err := p.ReplaceOld(t.Context(), operatorActor, "board")
	if err != nil || len(keys) != 1 || keys[0] != (plane.Key{Namespace: "board", Name: "old"}) {
		t.Fatalf("old ones: %v, %v", keys, err)
	}
	p.until(old.BackendID, plane.Terminated)
	eventually(t, "pages are told that it was replaced", func() bool {
		end := x.route(old.BackendID).End
		return end != nil && end.Replaced
	})
	if n, err := p.Replace(t.Context(), operatorActor, "board"); err != nil || n != 1 {
		t.Fatalf("all: %d, %v", n, err)
	}
	p.until(now.BackendID, plane.Terminated)
	if s := p.statusOf(other.BackendID); s != plane.Ready {
		t.Errorf("the other app's is %s", s)
	}
	if stops := d.stopped(); len(stops) != 2 || stops[0].Kind != plane.Soft {
		t.Errorf("stops %+v", stops)
	}
	if e := p.events("replace"); len(e) != 2 || e[0].Text != "App board changed (now release 2)." {
		t.Errorf("events %+v", e)
	}
	eventually(t, "nothing is remembered of it", func() bool { return len(p.replaced.all()) == 0 })

	ended := p.connectTo(ofApp("board", "asked"))
	p.until(ended.BackendID, plane.Ready)
	if err := p.Terminate(t.Context(), operatorActor, ended.BackendID, plane.Soft); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one that was asked to end isn't replaced", func() bool {
		end := x.route(ended.BackendID).End
		return end != nil && !end.Replaced && strings.Contains(end.Message, "someone asked")
	})
}
