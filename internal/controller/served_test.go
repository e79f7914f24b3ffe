package controller

import (
	"testing"

	"plane"
	"plane/internal/wire"
)

func onlyApplied(c *Config) { c.Dev, c.OnlyApplied = true, true }

// What an earlier plane dev had is in the store, and nothing but its data and
// releases is.
func TestAppsThatAreGoneArentServed(t *testing.T) {
	p := newPlant(t, plantOptions{config: onlyApplied})
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	p.apply("gone", command("./gone"))
	p.apply("here", command("./here"))
	for _, app := range []string{"gone", "here"} {
		p.until(p.connectTo(ofApp(app, "doc")).BackendID, plane.Ready)
	}
	p.Withdraw("gone") // as if another process had applied it
	keys, err := p.EndUnserved(t.Context(), operatorActor)
	if err != nil || len(keys) != 1 || keys[0] != (plane.Key{Namespace: "gone", Name: "doc"}) {
		t.Fatalf("ended %v, %v", keys, err)
	}
	eventually(t, "its drone is told", func() bool { return len(d.stopped()) == 1 })
	if e := p.events("replace"); len(e) != 1 || e[0].Text != "App gone isn't served any more." {
		t.Errorf("events %+v", e)
	}
	_, err = p.Connect(t.Context(), operatorActor, ofApp("gone", "doc"))
	wantError(t, "a connect", err, plane.BadRequest, "app", `There is no app "gone" any more: an earlier plane dev had it; there are here.`)
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "gone", Name: "doc"}); a.Error == nil || a.Error.Kind != plane.NotFound {
		t.Errorf("its address: %+v", a)
	}
	list, err := p.Apps(t.Context(), operatorActor)
	if err != nil || len(list.Apps) != 1 || list.Apps[0].Name != "here" {
		t.Errorf("listed: %+v, %v", list, err)
	}
	if o := x.overview(1); len(o.Apps) != 1 || o.Apps[0].Name != "here" {
		t.Errorf("start page: %+v", o.Apps)
	}
	if v, err := p.App(t.Context(), operatorActor, "gone"); err != nil || len(v.Releases) != 1 {
		t.Errorf("its releases: %+v, %v", v, err)
	}

	if again := p.apply("gone", command("./gone")); again.Changed {
		t.Error("a release without a change")
	}
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "gone", Name: "new"}); a.Route == nil {
		t.Errorf("applied again: %+v", a.Error)
	}
}

func TestTheDefaultIdleTimeIsOfTheBackendNotOfTheApp(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.DefaultMaxIdle = ptr(int32(300)) }})
	d := p.drone("dr-1")
	for name, own := range map[string]*int32{"plain": nil, "own": ptr(int32(7)), "never": ptr(int32(0))} {
		given := command("./a")
		given.MaxIdle = own
		p.apply(name, given)
		if got := p.apply(name, given); got.Changed {
			t.Errorf("%s: applied again, it has another release", name)
		}
		b := p.connectTo(ofApp(name, "doc"))
		p.until(b.BackendID, plane.Ready)
		v, err := p.App(t.Context(), operatorActor, name)
		if err != nil || (v.Spec.MaxIdle == nil) != (own == nil) {
			t.Errorf("%s: template %+v, %v", name, v.Spec, err)
		}
	}
	idle := map[string]int32{}
	for _, s := range d.spawned() {
		idle[s.App] = *s.Spec.MaxIdle
	}
	if idle["plain"] != 300 || idle["own"] != 7 || idle["never"] != 0 {
		t.Errorf("idle %v", idle)
	}
}

func TestWhoNamesNoAppIsToldWhatToDo(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Dev = true }})
	x := p.proxy("px-1")
	p.apply("priv", command("./a"))
	p.apply("pub", command("./a"))
	const remedy = "there are priv, pub. Open http://KEY--priv.localhost:9090/, or name one of them with default: in plane.yaml."
	_, err := p.Connect(t.Context(), operatorActor, ConnectRequest{Key: &plane.Key{Name: "doc"}})
	wantError(t, "a connect", err, plane.KeyUnheldNoSpawnConfig, "", remedy)
	a := x.ask(wire.KeyAsk{Cluster: testCluster, Name: "doc"})
	if a.Error == nil || a.Error.Message != "No app is named, and there is none without a name; "+remedy {
		t.Errorf("an address: %+v", a.Error)
	}
}
