package controller

import (
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func (p *plant) why(namespace, name string) Explanation {
	p.t.Helper()
	e, err := p.Explain(p.t.Context(), operatorActor, namespace, name)
	if err != nil {
		p.t.Fatal(err)
	}
	return e
}

func says(t *testing.T, what, text string, all ...string) {
	t.Helper()
	for _, s := range all {
		if !strings.Contains(text, s) {
			t.Errorf("%s: %q, want it to say %q", what, text, s)
		}
	}
}

func TestWhyTellsWhoAskedForAnEnd(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	p.apply("board", command("./board"))
	b := p.connectTo(ofApp("board", "doc"))
	p.until(b.BackendID, plane.Ready)
	who := Actor{Kind: "api-key", Name: "ap-1"}
	if err := p.Terminate(t.Context(), who, b.BackendID, plane.Soft); err != nil {
		t.Fatal(err)
	}
	p.until(b.BackendID, plane.Terminated)
	why := p.why("board", "doc")
	if why.Now != nil || why.Next != "" || len(why.History) != 1 {
		t.Fatalf("explained: %+v", why)
	}
	says(t, "story", why.History[0].Story, "Started as release 1 of app board on dr-1 by the operator", "ready after", "Ended with exit code 143, because API key ap-1 asked for it.")
	texts := map[string]string{}
	for _, e := range why.Events {
		texts[e.Kind] = e.Text
	}
	says(t, "start", texts["connect"], "Started release 1 of app board: dr-1 is the only drone.")
	says(t, "stopping", texts["stopping"], "Asked to end, because API key ap-1 asked for it.")
	says(t, "end", texts["ended"], "Ended with exit code 143, because API key ap-1 asked for it.")

	p.apply("board", command("./board", "2"))
	next := p.connectTo(ofApp("board", "doc"))
	p.until(next.BackendID, plane.Ready)
	p.apply("board", command("./board", "3"))
	if _, err := p.ReplaceOld(t.Context(), operatorActor, "board"); err != nil {
		t.Fatal(err)
	}
	p.until(next.BackendID, plane.Terminated)
	why = p.why("board", "doc")
	says(t, "replaced", why.History[0].Story, "as release 2", "because app board changed (now release 3).")
	says(t, "the one before", why.History[1].Story, "because API key ap-1 asked for it.")
}

func TestWhyNamesAllThatHoldsABackendAwake(t *testing.T) {
	limit := int32(60)
	hold := wire.Hold{Name: "render", Reason: "exporting", SecondsTo: 30}
	ready := store.Backend{State: plane.State{Status: plane.Ready}}
	for _, c := range []struct {
		name string
		b    store.Backend
		v    NowView
		want string
	}{
		{
			"everything", ready,
			NowView{Upgraded: 2, Plain: 1, Holds: []wire.Hold{hold}, IdleAfter: ptr(int64(60))},
			`It is held awake by 2 open WebSockets, 1 open request and its program's hold "render" for at most 30 s (exporting).`,
		},
		{"without limit", ready, NowView{Plain: 1}, "It is used by 1 open request; it has no idle limit and would run on without."},
		{"nothing, without limit", ready, NowView{}, "Nobody uses it; it has no idle limit and runs on."},
		{"nothing", ready, NowView{IdleAfter: ptr(int64(60)), IdleIn: ptr(int64(42))}, "Nobody uses it; it is stopped in 42 s unless someone comes."},
		{
			"lifetime", ready,
			NowView{Plain: 1, IdleAfter: ptr(int64(60)), EndsIn: ptr(int64(9))},
			"It is held awake by 1 open request. Its lifetime limit ends it in 9 s.",
		},
		{
			"what doesn't count",
			store.Backend{State: plane.State{Status: plane.Ready}, Spec: plane.Spec{Idle: []plane.Use{plane.UseHolds}, MaxIdle: &limit}},
			NowView{Upgraded: 1, IdleAfter: ptr(int64(60)), IdleIn: ptr(int64(42))},
			"Nobody uses it; it is stopped in 42 s unless someone comes. (1 open WebSocket: its app doesn't count that as use.)",
		},
	} {
		if got := awakeSentence(c.b, c.v, idleView{}, nil); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestEndsAreToldExactly(t *testing.T) {
	idle, life, start := int32(300), int32(3600), int32(5)
	b := store.Backend{CreatedAt: time.Unix(0, 0), Spec: plane.Spec{MaxIdle: &idle, LifetimeLimit: &life, StartTimeout: &start}}
	for _, c := range []struct {
		reason plane.Reason
		after  time.Duration
		want   string
	}{
		{plane.Swept, time.Hour, "it reached its lifetime limit of 1h0m0s"},
		{plane.Swept, 59 * time.Minute, "nobody used it for 5m0s"},
		{plane.StartupTimeout, time.Minute, "it wasn't ready within 5s"},
		{plane.External, time.Minute, "someone asked for it"},
	} {
		if got := because(b, plane.State{Reason: c.reason}, b.CreatedAt.Add(c.after), nil); got != c.want {
			t.Errorf("%s after %s: %q, want %q", c.reason, c.after, got, c.want)
		}
	}
}

func TestWhyTellsThatDataHoldsAStartUp(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.Controller.started = time.Now().Add(-time.Minute)
	d := p.drone("dr-1")
	p.apply("board", keeping("./board"))
	b := p.connectTo(ofApp("board", "doc"))
	p.until(b.BackendID, plane.Ready)
	if why := p.why("board", "doc"); why.Data == nil || !why.Data.InUse || why.Next != "" {
		t.Errorf("while it runs: %+v", why)
	}
	p.ends(b.BackendID)
	if why := p.why("board", "doc"); why.Next != "" {
		t.Errorf("while its drone is there: %q", why.Next)
	}
	p.leaves(d)
	says(t, "while its drone is away", p.why("board", "doc").Next, "dr-1", "can't be reached", "plane data abandon board/doc")
}

func TestWhyTellsOfALostDrone(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc", fast))
	p.until(b.BackendID, plane.Ready)
	p.leaves(d)
	p.lived()
	p.clock.step(10500 * time.Millisecond)
	p.lived()
	if err := p.sweepLapsed(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.until(b.BackendID, plane.Terminated)
	says(t, "story", p.why("", "doc").History[0].Story, "Lost: its drone's lease lapsed.")
}

func TestOfAStartThatTookTooLongPagesAreToldWhatAProgramMustDo(t *testing.T) {
	c := &Controller{replaced: &replacements{}}
	late := plane.State{Status: plane.Terminated, LastStatus: plane.Waiting, Reason: plane.StartupTimeout, Exit: &plane.Exit{Signal: "SIGKILL"}}
	want := "Ended by SIGKILL, because it wasn't ready in time. A program must listen on 127.0.0.1:$PORT."
	if end := c.routeEnd(store.Backend{ID: "b1", State: late}); end.Message != want || !end.Early {
		t.Errorf("%+v", end)
	}
	b := store.Backend{ID: "b1", State: plane.State{Status: plane.Waiting, Address: "127.0.0.1:4711"}}
	if r := c.routeOf(b, nil); r.Address != "127.0.0.1:4711" {
		t.Errorf("it isn't said where a waiting one is waited for: %+v", r)
	}
}
