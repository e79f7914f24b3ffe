package controller

import (
	"fmt"
	"strings"
	"testing"

	"plane"
	"plane/internal/wire"
)

func (x *proxy) overview(id int64) wire.Overview {
	x.t.Helper()
	_ = x.conn.Send(wire.OverviewAsk{ID: id})
	var out wire.Overview
	eventually(x.t, "the overview is answered", func() bool {
		for _, m := range received[wire.Overview](x) {
			if m.ID == id {
				out = m
				return true
			}
		}
		return false
	})
	return out
}

func TestTheStartPageShowsWhatRunsAndWhatJustEnded(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Dev, c.DefaultApp = true, ptr("board") }})
	d := p.drone("dr-1")
	x := p.proxy("px-1")
	p.apply("board", command("./board", "-v"))
	p.apply("chess", command("./chess"))
	live := p.connectTo(ofApp("board", "live"))
	p.until(live.BackendID, plane.Ready)
	old := p.connectTo(ofApp("board", "twice"))
	p.until(old.BackendID, plane.Ready)
	p.ends(old.BackendID)
	twice := p.connectTo(ofApp("board", "twice"))
	p.until(twice.BackendID, plane.Ready)
	ended := p.connectTo(ofApp("chess", "ended"))
	p.until(ended.BackendID, plane.Ready)
	p.ends(ended.BackendID)
	_ = x.conn.Send(wire.Activity{Uses: []wire.Use{{Backend: live.BackendID, Upgraded: 2, Opened: 2}}})
	_ = d.conn.Send(wire.Telemetry{Backends: []wire.Usage{{Backend: live.BackendID, Memory: 4711}}})
	eventually(t, "use and memory are known", func() bool {
		v, err := p.Backend(t.Context(), operatorActor, live.BackendID)
		return err == nil && v.Connections == 2 && v.MemoryBytes == 4711
	})
	got := x.overview(1)
	if got.Error != nil || got.Total != 2 || len(got.Apps) != 2 || got.Apps[0] != (wire.OverviewApp{Name: "board", Default: true, Runs: "./board -v", Release: 1}) {
		t.Fatalf("overview %+v", got)
	}
	if len(got.Backends) != 3 {
		t.Fatalf("backends %+v", got.Backends)
	}
	for i, want := range []plane.BackendID{twice.BackendID, live.BackendID, ended.BackendID} {
		if got.Backends[i].Backend != want {
			t.Errorf("row %d is %+v, want %s: live ones first, a key once", i, got.Backends[i], want)
		}
	}
	if b := got.Backends[1]; b.Connections != 2 || b.Memory != 4711 || b.App != "board" || b.Status != plane.Ready || b.End != "" {
		t.Errorf("the live one: %+v", b)
	}
	if b := got.Backends[2]; !strings.HasPrefix(b.End, "Ended") || b.Status != plane.Terminated {
		t.Errorf("the ended one: %+v", b)
	}
}

func TestOnlyPlaneDevHasAStartPage(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.apply("board", command("./board"))
	if got := p.proxy("px-1").overview(1); got.Error == nil || got.Error.Kind != plane.NotFound || len(got.Apps) != 0 {
		t.Errorf("overview %+v", got)
	}
}

func TestTheStartPageIsBounded(t *testing.T) {
	p := newPlant(t, plantOptions{config: devConfig})
	p.drone("dr-1", manual)
	for i := range overviewMost + 5 {
		p.connectTo(keyed(fmt.Sprint("doc-", i)))
	}
	if got := p.proxy("px-1").overview(1); len(got.Backends) != overviewMost || got.Total != overviewMost+5 {
		t.Errorf("%d rows of %d", len(got.Backends), got.Total)
	}
}
