package controller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func keeping(words ...string) plane.Template {
	t := command(words...)
	t.Data = plane.DataKeep
	return t
}

func (p *plant) volume(namespace, name string) (v store.Volume, err error) {
	err = p.db.View(p.t.Context(), func(tx store.Tx) error { v, err = tx.Volume(namespace, name); return err })
	return v, err
}

// ends asks for a backend's end and waits for it.
func (p *plant) ends(id plane.BackendID) {
	p.t.Helper()
	if err := p.Terminate(p.t.Context(), operatorActor, id, plane.Soft); err != nil {
		p.t.Fatal(err)
	}
	p.until(id, plane.Terminated)
}

// leaves ends a drone's connection and waits until that is known.
func (p *plant) leaves(d *drone) {
	p.t.Helper()
	d.end()
	name := d.hello.Name
	eventually(p.t, "the drone is gone", func() bool { return p.drones.session(name) == nil })
}

func TestTheNextBackendOfAKeyFindsItsData(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	p.apply("board", keeping("./board"))
	first := p.connectTo(ofApp("board", "doc"))
	p.until(first.BackendID, plane.Ready)
	p.drone("dr-2")
	p.drone("dr-3")
	p.ends(first.BackendID)
	for range 4 { // any drone could be drawn, but for the data
		b := p.connectTo(ofApp("board", "doc"))
		if *b.Drone != "dr-1" {
			t.Fatalf("started on %s", *b.Drone)
		}
		p.until(b.BackendID, plane.Ready)
		p.ends(b.BackendID)
	}
	all := d.spawned()
	if len(all) != 5 || all[0].Volume == nil || !all[0].Volume.New {
		t.Fatalf("first spawn %+v", all[0].Volume)
	}
	for _, s := range all[1:] {
		if s.Volume == nil || s.Volume.New || s.Volume.ID != all[0].Volume.ID {
			t.Errorf("next spawn: %+v, want that of the first, made", s.Volume)
		}
	}
	v, err := p.volume("board", "doc")
	if err != nil || v.Generation != all[4].Generation || !v.Made || v.App != "board" || !strings.HasPrefix(v.ID, "vo-") {
		t.Errorf("volume %+v, %v", v, err)
	}
	for _, app := range []string{"plain", "scratch"} {
		template := command("./x")
		template.Data = map[string]plane.Data{"scratch": plane.DataScratch}[app]
		p.apply(app, template)
		b := p.connectTo(ofApp(app, "doc"))
		p.until(b.BackendID, plane.Ready)
		if _, err := p.volume(app, "doc"); !isNotFound(err) {
			t.Errorf("%s has a volume: %v", app, err)
		}
	}
}

// What may have been written to must exist the next time, and what was never
// made may be made.
func TestDataIsNewUntilItsBackendStarted(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	p.apply("board", keeping("./board"))
	for i, c := range []struct {
		last plane.Status
		made bool
	}{{plane.Scheduled, false}, {plane.Loading, false}, {plane.Starting, true}, {plane.Loading, true}} {
		b := p.connectTo(ofApp("board", "doc"))
		eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == i+1 })
		if c.last != plane.Scheduled {
			d.say(b.BackendID, plane.State{Status: c.last})
		}
		d.say(b.BackendID, plane.State{Status: plane.Terminated, LastStatus: c.last, Exit: &plane.Exit{Message: "no", Fault: true}})
		p.until(b.BackendID, plane.Terminated)
		if v, err := p.volume("board", "doc"); err != nil || v.Made != c.made {
			t.Errorf("%d: after an end at %s: made %v, want %v (%v)", i, c.last, v.Made, c.made, err)
		}
	}
	// A report of the end alone says enough: the program ran.
	q := p.connectTo(ofApp("board", "other"))
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 5 })
	d.say(q.BackendID, plane.State{Status: plane.Terminated, LastStatus: plane.Waiting, Exit: &plane.Exit{}})
	p.until(q.BackendID, plane.Terminated)
	if v, err := p.volume("board", "other"); err != nil || !v.Made {
		t.Errorf("after an end alone: %+v, %v", v, err)
	}
}

func TestNeverAnEmptyDocumentInPlaceOfALostOne(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	p.Controller.started = time.Now().Add(-time.Minute)
	p.apply("board", keeping("./board"))
	x := p.proxy("px-1")
	d := p.drone("dr-1")
	b := p.connectTo(ofApp("board", "doc"))
	p.until(b.BackendID, plane.Ready)
	other := p.drone("dr-2")
	p.ends(b.BackendID)

	connect := func() error { _, err := p.Connect(t.Context(), operatorActor, ofApp("board", "doc")); return err }
	unavailable := func(what, says string) {
		t.Helper()
		err := connect()
		wantError(t, what, err, plane.DataUnavailable, "", says)
		if e, _ := errorOf(err); e.Status != 503 || e.Retry == 0 || !strings.Contains(e.Message, "dr-1") || !strings.Contains(e.Message, "plane data abandon board/doc") {
			t.Errorf("%s: %+v", what, e)
		}
	}
	if _, err := p.Drain(t.Context(), operatorActor, testCluster, "dr-1", true); err != nil {
		t.Fatal(err)
	}
	unavailable("while its drone is drained", "plane node undrain dr-1")
	if _, err := p.Drain(t.Context(), operatorActor, testCluster, "dr-1", false); err != nil {
		t.Fatal(err)
	}
	p.leaves(d)
	unavailable("while its drone is away", "can't be reached")
	p.apply("open", plane.Template{Command: []string{"./x"}, Access: plane.AccessPublic, Data: plane.DataKeep})
	if a := x.ask(wire.KeyAsk{Cluster: testCluster, App: "open", Name: "doc"}); a.Route == nil {
		t.Fatalf("another key isn't held up: %+v", a)
	}
	if err := p.RemoveNode(t.Context(), operatorActor, testCluster, "dr-1", Removal{}); err != nil {
		t.Fatal(err)
	}
	unavailable("after its drone was removed", "can't be reached")
	if n := len(other.spawned()); n != 1 {
		t.Errorf("%d backends were started elsewhere", n-1)
	}
	d.hello.Runtimes = []string{"docker"}
	d.hello.Joins, d.hello.Epochs = false, nil
	d.connect()
	unavailable("when its drone can't run it any more", "no runtime")
	d.hello.Runtimes = []string{"process"}
	p.leaves(d)
	d.connect()
	if next := p.connectTo(ofApp("board", "doc")); *next.Drone != "dr-1" {
		t.Errorf("when it is back: %+v", next)
	}
}

func TestAKeyOfASilentDroneWaitsForItsData(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	p.Controller.started = time.Now().Add(-time.Minute)
	template := keeping("./board")
	template.Lease = plane.Fast
	p.apply("board", template)
	d := p.drone("dr-1")
	first := p.connectTo(ofApp("board", "doc"))
	p.until(first.BackendID, plane.Ready)
	p.leaves(d)
	other := p.drone("dr-2")
	p.lived()
	p.clock.step(10500 * time.Millisecond)
	p.lived()
	_, err := p.Connect(t.Context(), operatorActor, ofApp("board", "doc"))
	wantError(t, "after the lapse", err, plane.DataUnavailable, "", "dr-1")
	if err := p.sweepLapsed(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.until(first.BackendID, plane.Terminated)
	_, err = p.Connect(t.Context(), operatorActor, ofApp("board", "doc"))
	wantError(t, "after the lapse was swept", err, plane.DataUnavailable, "", "dr-1")
	if n := len(other.spawned()); n != 0 {
		t.Errorf("%d were started elsewhere", n)
	}
	if _, err := p.Abandon(t.Context(), operatorActor, "board", "doc"); err != nil {
		t.Fatal(err)
	}
	if next := p.connectTo(ofApp("board", "doc")); *next.Drone != "dr-2" {
		t.Errorf("after its data was given up: %+v", next)
	}
}

func TestOneOfManyConnectsMakesTheData(t *testing.T) {
	p := newPlant(t, plantOptions{})
	drones := []*drone{p.drone("dr-1", manual), p.drone("dr-2", manual), p.drone("dr-3", manual)}
	p.apply("board", keeping("./board"))
	for round := range 10 {
		name := fmt.Sprintf("doc-%d", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[plane.BackendID]int{}
		for range 8 {
			wg.Go(func() {
				b := p.connectTo(ofApp("board", name))
				mu.Lock()
				defer mu.Unlock()
				got[b.BackendID]++
			})
		}
		wg.Wait()
		v, err := p.volume("board", name)
		if len(got) != 1 || err != nil {
			t.Fatalf("backends %v, %v", got, err)
		}
		for id := range got {
			b, err := p.backend(t.Context(), id)
			if err != nil || b.Volume != v.ID || b.Drone != v.Drone || b.Generation != v.Generation {
				t.Errorf("backend %+v (%v) and volume %+v don't belong together", b, err, v)
			}
		}
	}
	p.view(func(tx store.Tx) error {
		all, err := tx.Volumes(nil, "", "", 0)
		if len(all) != 10 {
			t.Errorf("%d volumes of 10 keys", len(all))
		}
		return err
	})
	eventually(t, "each spawn arrives once", func() bool {
		return len(drones[0].spawned())+len(drones[1].spawned())+len(drones[2].spawned()) == 10
	})
}

// A claim that chose its drone before another one made the data must not make
// the key run elsewhere.
func TestTheClaimLooksAgainWhereTheDataIs(t *testing.T) {
	for what, prepare := range map[string]func(tx store.Tx) error{
		"elsewhere": func(tx store.Tx) error {
			return tx.InsertVolume(store.Volume{ID: "vo-1", Namespace: "board", Name: "doc", Drone: "dr-2", Generation: 1})
		},
		"attached by a later generation": func(tx store.Tx) error {
			return tx.InsertVolume(store.Volume{ID: "vo-1", Namespace: "board", Name: "doc", Drone: "dr-1", Generation: 1<<53 - 1})
		},
	} {
		p := newPlant(t, plantOptions{})
		p.drone("dr-1")
		p.apply("board", keeping("./board"))
		app, err := p.appOf(t.Context(), "board")
		if err != nil {
			t.Fatal(err)
		}
		w := want{key: plane.Key{Namespace: "board", Name: "doc"}, known: true, starts: true, app: app, spec: app.with(nil)}
		draft := draftOf(operatorActor, w, testCluster, "dr-1", "")
		var out claimed
		err = p.db.Update(t.Context(), func(tx store.Tx) error {
			if err := prepare(tx); err != nil {
				return err
			}
			return p.claimTx(tx, w, facts{}, draft, &out)
		})
		if err == nil {
			t.Errorf("%s: claimed %+v", what, out.backend)
		}
	}
}

func TestAbandonGivesDataUpForGood(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	p.apply("board", keeping("./board"))
	b := p.connectTo(ofApp("board", "doc"))
	p.until(b.BackendID, plane.Ready)
	neighbour := p.connectTo(ofApp("board", "dock"))
	p.until(neighbour.BackendID, plane.Ready)
	_, err := p.Abandon(t.Context(), operatorActor, "board", "doc")
	wantError(t, "in use", err, plane.KeyHeld, "", "stop it first")
	if e, _ := errorOf(err); e.Status != 409 {
		t.Errorf("status %d", e.Status)
	}
	p.ends(b.BackendID)
	old, err := p.volume("board", "doc")
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.Abandon(t.Context(), operatorActor, "board", "doc")
	if err != nil || v.Volume != old.ID || v.Drone != "dr-1" || v.InUse {
		t.Errorf("abandoned %+v, %v", v, err)
	}
	eventually(t, "the drone is told", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.discards) == 1 && d.discards[0].Volume == old.ID
	})
	eventually(t, "and not told again once it has acknowledged", func() bool {
		left := -1
		p.view(func(tx store.Tx) error {
			all, _, err := tx.Actions("dr-1", 0, 10)
			left = len(all)
			return err
		})
		return left == 0
	})
	_, err = p.Abandon(t.Context(), operatorActor, "board", "doc")
	wantError(t, "again", err, plane.NotFound, "", "no kept data")
	e := p.events("abandon")
	if len(e) != 1 || e[0].Actor != "operator" || e[0].Key == nil || e[0].Key.Name != "doc" || e[0].Node != "dr-1" || !strings.Contains(e[0].Text, old.ID) {
		t.Errorf("events %+v", e)
	}
	next := p.connectTo(ofApp("board", "doc"))
	p.until(next.BackendID, plane.Ready)
	if s := d.spawned()[2]; !s.Volume.New || s.Volume.ID == old.ID {
		t.Errorf("the next one's data %+v", s.Volume)
	}
	if _, err := p.volume("board", "dock"); err != nil {
		t.Errorf("the neighbour's data: %v", err)
	}
}

func TestADroneThatWasAwayHearsWhatWasGivenUp(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	p.apply("board", keeping("./board"))
	b := p.connectTo(ofApp("board", "doc"))
	p.until(b.BackendID, plane.Ready)
	p.ends(b.BackendID)
	p.leaves(d)
	v, err := p.Abandon(t.Context(), operatorActor, "board", "doc")
	if err != nil {
		t.Fatal(err)
	}
	d.connect()
	eventually(t, "the drone is told", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.discards) == 1 && d.discards[0].Volume == v.Volume
	})
}

func TestAnAppThatNoLongerKeepsLeavesTheDataAlone(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	p.apply("board", keeping("./board"))
	run := func() *wire.Volume {
		b := p.connectTo(ofApp("board", "doc"))
		p.until(b.BackendID, plane.Ready)
		p.ends(b.BackendID)
		all := d.spawned()
		return all[len(all)-1].Volume
	}
	first := run()
	before, err := p.volume("board", "doc")
	if err != nil {
		t.Fatal(err)
	}
	p.apply("board", command("./board"))
	if v := run(); v != nil {
		t.Errorf("without data: %+v", v)
	}
	if now, err := p.volume("board", "doc"); err != nil || now != before {
		t.Errorf("the volume became %+v (%v), was %+v", now, err, before)
	}
	p.apply("board", keeping("./board", "-again"))
	if v := run(); v == nil || v.ID != first.ID || v.New {
		t.Errorf("keeping again: %+v, want %+v", v, first)
	}
}

func TestASpawnThatIsSentAgainNamesItsData(t *testing.T) {
	dir := t.TempDir()
	p := newPlant(t, plantOptions{dir: dir})
	d := p.drone("dr-1", answers(func(_ *drone, m wire.Message) bool { _, spawn := m.(wire.Spawn); return spawn }))
	p.apply("board", keeping("./board"))
	p.connectTo(ofApp("board", "doc"))
	v, err := p.volume("board", "doc")
	if err != nil {
		t.Fatal(err)
	}
	p.leaves(d)
	p.end()
	q := newPlant(t, plantOptions{dir: dir})
	e := q.drone("dr-1", func(e *drone) { e.hello = d.hello })
	eventually(t, "the spawn arrives", func() bool { return len(e.spawned()) == 1 })
	if s := e.spawned()[0]; s.Volume == nil || s.Volume.ID != v.ID || !s.Volume.New || s.App != "board" || s.Release != 1 {
		t.Errorf("spawn %+v", s)
	}
}

func TestDataIsListed(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	p.apply("board", keeping("./board"))
	p.apply("chess", keeping("./chess"))
	for _, k := range []plane.Key{{Namespace: "board", Name: "a"}, {Namespace: "board", Name: "b"}, {Namespace: "board", Name: "c"}, {Namespace: "chess", Name: "a"}} {
		b := p.connectTo(ofApp(k.Namespace, k.Name))
		p.until(b.BackendID, plane.Ready)
		if k.Name == "a" {
			_ = d.conn.Send(wire.Telemetry{Backends: []wire.Usage{{Backend: b.BackendID, Data: 4711}}})
			eventually(t, "its size is known", func() bool { _, known := p.drones.session("dr-1").usage.data(b.BackendID); return known })
			continue
		}
		p.ends(b.BackendID)
	}
	pages := func(a Actor, f DataFilter) (all []DataView) {
		t.Helper()
		for {
			page, err := p.Data(t.Context(), a, f)
			if err != nil {
				t.Fatal(err)
			}
			if f.Limit > 0 && len(page.Data) > f.Limit {
				t.Errorf("a page of %d with limit %d", len(page.Data), f.Limit)
			}
			all = append(all, page.Data...)
			if page.Next == nil {
				return all
			}
			f.Cursor = *page.Next
		}
	}
	reader := Actor{Kind: "api-key", Grants: []string{"read:board/*"}}
	for what, c := range map[string]struct {
		actor Actor
		f     DataFilter
		want  int
	}{
		"all":                {operatorActor, DataFilter{}, 4},
		"in pages":           {operatorActor, DataFilter{Limit: 1}, 4},
		"of a namespace":     {operatorActor, DataFilter{Namespace: ptr("board"), Limit: 2}, 3},
		"by prefix":          {operatorActor, DataFilter{Prefix: "a"}, 2},
		"what may be seen":   {reader, DataFilter{}, 3},
		"that, in pages":     {reader, DataFilter{Limit: 1}, 3},
		"that, of one alone": {reader, DataFilter{Prefix: "a", Limit: 1}, 1},
	} {
		if got := pages(c.actor, c.f); len(got) != c.want {
			t.Errorf("%s: %d, want %d", what, len(got), c.want)
		}
	}
	for _, v := range pages(operatorActor, DataFilter{}) {
		inUse := v.Key.Name == "a"
		if v.InUse != inUse || (v.Bytes != nil) != inUse || inUse && *v.Bytes != 4711 || !v.Reachable || v.Drone != "dr-1" || v.App != v.Key.Namespace {
			t.Errorf("%s: %+v", v.Key, v)
		}
	}
	_, err := p.Data(t.Context(), reader, DataFilter{Namespace: ptr("chess")})
	wantError(t, "another namespace", err, plane.Forbidden, "", "read:chess/*")
}

func TestDataOfLostCommitsIsAdoptedWithItsBackend(t *testing.T) {
	key := plane.Key{Namespace: "board", Name: "doc"}
	for _, had := range []string{"", "vo-lost", "vo-given-up"} {
		p := newPlant(t, plantOptions{})
		d := p.drone("dr-1")
		p.apply("board", keeping("./board"))
		p.leaves(d)
		if had != "" {
			err := p.store.Update(t.Context(), func(tx store.Tx) error {
				return tx.InsertVolume(store.Volume{ID: had, Namespace: "board", Name: "doc", App: "board", Drone: "dr-1", Generation: plane.NewGeneration(1, 1)})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		d.hello.Store.Number = 2
		d.hello.Inventory = []wire.Held{{
			Backend: "newer", Key: key, Generation: plane.NewGeneration(2, 1), Policy: plane.Balanced, Epoch: 1, App: "board", Release: 1, Volume: "vo-lost",
			State: plane.State{Status: plane.Ready, Address: "127.0.0.1:2"}, Spec: keeping("./board").Spec(),
		}}
		d.connect()
		b := p.connectTo(ofApp("board", "doc"))
		if b.BackendID != "newer" {
			t.Fatalf("connect %+v", b)
		}
		v, err := p.volume("board", "doc")
		if err != nil || v.ID != "vo-lost" || !v.Made || v.Drone != "dr-1" || v.Generation != plane.NewGeneration(2, 1) {
			t.Errorf("the store had %q: volume %+v, %v", had, v, err)
		}
		if view, err := p.Backend(context.Background(), operatorActor, "newer"); err != nil || view.App != "board" || view.Release != 1 {
			t.Errorf("backend %+v, %v", view, err)
		}
	}
}
