package apitest

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/wire"
)

// Drone is a scripted drone: everything it is told to run is ready at once and
// ends when it is told to; what a key's name that begins with "slow" is for waits
// for Finish or Fail.
type Drone struct {
	Name plane.NodeName
	conn *wire.Conn

	renewed chan struct{} // closed by the first renewal that is granted

	mu      sync.Mutex // guards the fields below
	seq     int64
	running map[plane.BackendID]wire.Spawn
	epochs  plane.Epochs
	store   plane.StoreEpoch
	number  int64
	holds   bool // a renewal was granted
	execs   map[int64]*exec
}

// StartDrone connects a drone with these headers until the test ends.
func (s *Site) StartDrone(t testing.TB, header http.Header) *Drone {
	t.Helper()
	d := &Drone{Name: "dr-scripted", running: map[plane.BackendID]wire.Spawn{}, execs: map[int64]*exec{}, renewed: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := wire.Dial(ctx, "ws"+strings.TrimPrefix(s.URL, "http")+"/ctrl/c/"+string(Cluster)+"/drone-socket", http.DefaultClient, header)
	if err != nil {
		t.Fatal(err)
	}
	d.conn = conn
	hello := wire.DroneHello{
		Node:   wire.Node{Protocol: wire.Version, Version: "0.0.0", Hash: "test", Name: d.Name, Cluster: Cluster},
		BootID: "boot", Warden: "warden", Agent: "agent", Runtimes: []string{"process"}, Commands: true, Joins: true,
	}
	if err := conn.Write(ctx, hello); err != nil {
		t.Fatal(err)
	}
	m, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	welcome, ok := m.(wire.DroneWelcome)
	if !ok {
		t.Fatalf("not welcome: %+v", m)
	}
	d.epochs, d.store, d.number = welcome.Epochs, welcome.Store, welcome.Attempt
	run, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.Run(run, d.handle)
	}()
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		for tick := time.NewTicker(time.Second); ; {
			d.renew()
			select {
			case <-run.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
		<-renewing
	})
	select {
	case <-d.renewed:
	case <-ctx.Done():
		t.Fatal("the drone's lease isn't renewed")
	}
	return d
}

func (d *Drone) renew() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number++
	_ = d.conn.Send(wire.Renew{Number: d.number, Epochs: d.epochs, Store: d.store})
}

func (d *Drone) handle(m wire.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := m.(type) {
	case wire.Renewed:
		if m.Outcome == wire.RenewalOK && !d.holds {
			d.holds = true
			close(d.renewed)
		}
	case wire.Spawn:
		d.running[m.Backend] = m
		_ = d.conn.Send(wire.Acted{Action: m.Action, Backend: m.Backend})
		d.tellLocked(m.Backend, plane.State{Status: plane.Loading})
		if !strings.HasPrefix(m.Key.Name, "slow") {
			d.finishLocked(m.Backend)
		}
	case wire.Terminate:
		_ = d.conn.Send(wire.Acted{Action: m.Action, Backend: m.Backend})
		if _, ok := d.running[m.Backend]; !ok {
			return nil
		}
		state, _ := plane.State{Status: plane.Ready}.Next(plane.Event{Kind: plane.EventStop, Stop: m.Kind, Reason: m.Reason})
		d.tellLocked(m.Backend, state)
		code := 143
		state, _ = state.Next(plane.Event{Kind: plane.EventExited, Exit: plane.Exit{Code: &code, Signal: "SIGTERM", Output: "bye\n"}})
		d.tellLocked(m.Backend, state)
		delete(d.running, m.Backend)
	case wire.IdleAsk:
		_ = d.conn.Send(wire.IdleAnswer{ID: m.ID, Backend: m.Backend, Why: "scripted"})
	case wire.ExecAsk:
		d.execLocked(m)
	case wire.ExecPart:
		d.execPartLocked(m)
	case wire.LogsAsk:
		text := "first\nsecond\n\nfourth \xff\rfifth\n"
		if m.Tail == 1 {
			text = "fourth \xff\rfifth\n"
		}
		_ = d.conn.Send(wire.LogsPart{ID: m.ID, Data: []byte(text)})
		_ = d.conn.Send(wire.LogsPart{ID: m.ID, EOF: true})
	}
	return nil
}

// Finish makes a backend ready whose key's name begins with "slow".
func (d *Drone) Finish(id plane.BackendID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finishLocked(id)
}

func (d *Drone) finishLocked(id plane.BackendID) {
	d.tellLocked(id, plane.State{Status: plane.Starting})
	d.tellLocked(id, plane.State{Status: plane.Waiting, Address: "127.0.0.1:9"})
	d.tellLocked(id, plane.State{Status: plane.Ready, Address: "127.0.0.1:9"})
}

// Progress tells how far the preparation of a backend has come.
func (d *Drone) Progress(id plane.BackendID, text string, done, total int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.conn.Send(wire.Progress{Backend: id, Text: text, Done: done, Total: total})
}

// Fail ends a backend that isn't ready with that sentence.
func (d *Drone) Fail(id plane.BackendID, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tellLocked(id, plane.State{Status: plane.Terminated, LastStatus: plane.Loading, Exit: &plane.Exit{Message: why}})
	delete(d.running, id)
}

func (d *Drone) tellLocked(id plane.BackendID, s plane.State) {
	d.seq++
	report := wire.Status{Seq: d.seq, Backend: id, Generation: d.running[id].Generation, State: s, AtMS: time.Now().UnixMilli()}
	_ = d.conn.Send(wire.Statuses{Reports: []wire.Status{report}})
}
