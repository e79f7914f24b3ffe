package drone

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/table"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
	"plane/internal/wire"
)

// TestMain makes this test's own program serve as reaper, warden and backend.
func TestMain(m *testing.M) {
	dronetest.Parts(300 * time.Millisecond)
	if len(os.Args) > 1 && os.Args[1] == "backend" {
		backend()
	}
	// The reaper has let go of its lock before its process ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("plane/internal/drone/reaper.Ensure.func1"))
}

// eventually polls until ok, and fails the test if that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(8 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// jumpClock is a monotonic clock that tests may advance.
type jumpClock struct {
	began time.Time
	extra atomic.Int64
}

func (c *jumpClock) Now() plane.Instant {
	return plane.Instant(time.Hour) + plane.Instant(time.Since(c.began)) + plane.Instant(c.extra.Load())
}
func (c *jumpClock) jump(d time.Duration) { c.extra.Add(int64(d)) }

// fakeTable shows the fake runtime's backends as a table of deadlines, and
// keeps what it was told.
type fakeTable struct {
	*fake.Runtime
	extra []table.Entry

	mu     sync.Mutex
	extend []extension
	short  map[plane.BackendID]plane.Instant
}

type extension struct {
	policy plane.Policy
	epoch  int64
	until  plane.Instant
}

func (f *fakeTable) Extend(p plane.Policy, epoch int64, until plane.Instant) int {
	f.mu.Lock()
	f.extend = append(f.extend, extension{p, epoch, until})
	f.mu.Unlock()
	return f.Runtime.Extend(p, epoch, until)
}

func (f *fakeTable) Shorten(id plane.BackendID, until plane.Instant) bool {
	f.mu.Lock()
	f.short[id] = until
	f.mu.Unlock()
	return f.Runtime.Shorten(id, until)
}

func (f *fakeTable) Entries() []table.Entry {
	out := append([]table.Entry(nil), f.extra...)
	for _, id := range f.Running() {
		u, ok := f.Unit(id)
		if ok {
			out = append(out, table.Entry{Backend: id, Key: u.Key.Hash(), Generation: u.Generation, Policy: u.Policy, Epoch: u.Epoch})
		}
	}
	return out
}

// controller is a scripted one.
type controller struct {
	t      testing.TB
	server *httptest.Server

	mu        sync.Mutex
	store     plane.StoreEpoch
	epochs    plane.Epochs
	committed int64
	kill      []plane.BackendID
	lease     bool // welcome.LeaseClock
	mute      bool // renewals are not answered
	noAck     bool // reports are not acknowledged
	renewed   func(wire.Renew) wire.Message
	conn      *wire.Conn
	hellos    []wire.DroneHello
	renewals  []wire.Renew
	seen      map[int64]bool
	reports   []wire.Status // without copies
	copies    int
	acted     map[string]wire.Acted
	idle      map[int64]wire.IdleAnswer
	logs      map[int64]*logs
	usage     []wire.Usage
	host      *wire.Host
	progress  []wire.Progress
	execs     map[int64][]wire.ExecPart
	actions   int
}

type logs struct {
	text string
	end  *wire.LogsPart
}

func newController(t testing.TB) *controller {
	c := &controller{
		t: t, store: plane.StoreEpoch{StoreID: "store-a", Number: 3}, epochs: plane.Epochs{1, 1, 1},
		seen: map[int64]bool{}, acted: map[string]wire.Acted{}, idle: map[int64]wire.IdleAnswer{}, logs: map[int64]*logs{}, execs: map[int64][]wire.ExecPart{},
	}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.server.CloseClientConnections)
	t.Cleanup(c.server.Close)
	return c
}

func (c *controller) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/ctrl/c/localhost:9090/drone-socket" {
		http.NotFound(w, r)
		return
	}
	conn, err := wire.Accept(w, r)
	if err != nil {
		return
	}
	m, err := conn.Read(r.Context())
	hello, ok := m.(wire.DroneHello)
	if err != nil || !ok {
		return
	}
	c.mu.Lock()
	c.hellos = append(c.hellos, hello)
	if hello.Joins {
		for i := range c.epochs {
			c.epochs[i]++
		}
	}
	welcome := wire.DroneWelcome{Controller: "co-test", Store: c.store, Epochs: c.epochs, Attempt: c.committed, Kill: c.kill, LeaseClock: c.lease}
	c.mu.Unlock()
	if conn.Write(r.Context(), welcome) != nil {
		return
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	_ = conn.Run(r.Context(), func(m wire.Message) error { return c.handle(conn, m) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.conn = nil
	}
}

func (c *controller) handle(conn *wire.Conn, m wire.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m := m.(type) {
	case wire.Renew:
		c.renewals = append(c.renewals, m)
		if c.renewed != nil {
			if answer := c.renewed(m); answer != nil {
				return conn.Send(answer)
			}
			return nil
		}
		if c.mute {
			return nil
		}
		if m.Epochs != c.epochs {
			return conn.Send(wire.Renewed{Number: m.Number, Outcome: wire.RenewalRefused, Epochs: c.epochs, Store: c.store})
		}
		c.committed = max(c.committed, m.Number)
		return conn.Send(wire.Renewed{Number: m.Number, Outcome: wire.RenewalOK, Epochs: c.epochs, Store: c.store})
	case wire.Statuses:
		var done wire.StatusDone
		for _, s := range m.Reports {
			if c.seen[s.Seq] {
				c.copies++
			} else {
				c.seen[s.Seq] = true
				c.reports = append(c.reports, s)
			}
			done.Seqs = append(done.Seqs, s.Seq)
		}
		if c.noAck {
			return nil
		}
		return conn.Send(done)
	case wire.Acted:
		c.acted[m.Action] = m
	case wire.IdleAnswer:
		c.idle[m.ID] = m
	case wire.LogsPart:
		l := c.logs[m.ID]
		if l == nil {
			l = &logs{}
			c.logs[m.ID] = l
		}
		l.text += string(m.Data)
		if m.EOF {
			l.end = &m
		}
	case wire.Telemetry:
		c.usage = m.Backends
		if m.Host != nil {
			c.host = m.Host
		}
	case wire.Progress:
		c.progress = append(c.progress, m)
	case wire.ExecPart:
		c.execs[m.ID] = append(c.execs[m.ID], m)
	}
	return nil
}

func (c *controller) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *controller) send(m wire.Message) {
	c.t.Helper()
	var conn *wire.Conn
	eventually(c.t, "drone is connected", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		conn = c.conn
		return conn != nil
	})
	if err := conn.Send(m); err != nil {
		c.t.Errorf("send %T: %v", m, err)
	}
}

func (c *controller) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil
}

// drop cuts the connection.
func (c *controller) drop() {
	c.mu.Lock()
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	if conn != nil {
		conn.Close("test")
	}
}

func (c *controller) action() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.actions++
	return fmt.Sprintf("ak-%d", c.actions)
}

// grant is what a controller would write now.
func (c *controller) grant(p plane.Policy) plane.Grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return plane.Grant{Policy: p, Epoch: c.epochs.Of(p), Renewal: c.committed, Store: c.store}
}

type order func(*wire.Spawn)

func spec(f func(*plane.Spec)) order { return func(s *wire.Spawn) { f(&s.Spec) } }

// order makes a spawn of key for id.
func (c *controller) order(id plane.BackendID, key string, more ...order) wire.Spawn {
	m := wire.Spawn{
		Action: c.action(), Backend: id, Key: plane.Key{Name: key}, Generation: plane.NewGeneration(3, uint32(c.actions)),
		Cluster: "localhost:9090", Grant: c.grant(plane.Balanced),
		Spec: plane.Spec{Executable: json.RawMessage(`{"command":["prog"]}`)},
	}
	for _, f := range more {
		f(&m)
	}
	return m
}

// spawn sends an order and waits for its acknowledgement.
func (c *controller) spawn(id plane.BackendID, key string, more ...order) wire.Acted {
	c.t.Helper()
	m := c.order(id, key, more...)
	c.send(m)
	return c.answer(m.Action)
}

func (c *controller) answer(action string) (a wire.Acted) {
	c.t.Helper()
	eventually(c.t, "action is acknowledged", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		var ok bool
		a, ok = c.acted[action]
		return ok
	})
	return a
}

func (c *controller) terminate(id plane.BackendID, kind plane.StopKind) {
	c.t.Helper()
	m := wire.Terminate{Action: c.action(), Backend: id, Policy: plane.Balanced, Kind: kind, Reason: plane.External}
	c.send(m)
	c.answer(m.Action)
}

func (c *controller) states(id plane.BackendID) []plane.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []plane.State
	for _, r := range c.reports {
		if r.Backend == id {
			out = append(out, r.State)
		}
	}
	return out
}

func (c *controller) state(id plane.BackendID) plane.State {
	if s := c.states(id); len(s) > 0 {
		return s[len(s)-1]
	}
	return plane.State{}
}

func (c *controller) await(id plane.BackendID, status plane.Status) plane.State {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%s is %s", id, status), func() bool { return c.state(id).Status == status })
	return c.state(id)
}

// awaitLease waits for a renewal that was answered after the call.
func (c *controller) awaitLease(d *testDrone) {
	c.t.Helper()
	eventually(c.t, "lease is renewed", func() bool {
		crew := d.agent.crew.Load()
		return c.connected() && crew != nil && crew.keeper.get().Granted && c.grant(plane.Balanced).Renewal == crew.keeper.get().Committed
	})
}

// testDrone is an agent with a fake runtime. The runtime, the clock and the
// data directory outlive the agent, as on a real machine.
type testDrone struct {
	t          testing.TB
	controller *controller
	cfg        Config
	clock      *jumpClock
	runtime    *fake.Runtime
	table      *fakeTable
	agent      *Agent
	cancel     context.CancelFunc
	ended      chan error
	logged     *logText
}

type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logText) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

var portBlocks atomic.Int64

// testPorts is the first of a block of 50 ports of which the first two are
// vacant; runs of this test beside each other begin at different ones.
func testPorts() int {
	for {
		block := (os.Getpid() + int(portBlocks.Add(1))) % 180
		if first := 23000 + 50*block; vacant(first) && vacant(first+1) {
			return first
		}
	}
}

func newDrone(t testing.TB, c *controller) *testDrone {
	t.Helper()
	dir, err := os.MkdirTemp("", "drone")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h, err := home.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	clock := &jumpClock{began: time.Now()}
	d := &testDrone{t: t, controller: c, clock: clock, runtime: &fake.Runtime{Clock: clock.Now}, logged: &logText{}}
	d.table = &fakeTable{Runtime: d.runtime, short: map[plane.BackendID]plane.Instant{}}
	first := testPorts()
	d.cfg = Config{
		Name: "dr-test", Cluster: "localhost:9090", ControllerURLs: []string{c.server.URL},
		Home: h, Table: d.table, Clock: clock, BootID: "boot-1",
		Runtimes: map[string]runtime.Runtime{"process": d.runtime}, Commands: true, SingleHost: true,
		Ports:     PortRange{first, first + 49},
		keepEnded: time.Nanosecond,
		Log:       slog.New(slog.NewTextHandler(d.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() {
		d.stop()
		d.runtime.Close()
		if t.Failed() {
			d.logged.mu.Lock()
			t.Log(d.logged.b.String())
			d.logged.mu.Unlock()
		}
	})
	return d
}

func (d *testDrone) begin() {
	d.t.Helper()
	agent, err := New(d.cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.agent, d.cancel, d.ended = agent, cancel, make(chan error, 1)
	go func() { d.ended <- agent.Run(ctx) }()
}

// stop detaches the agent, as SIGTERM would. What runs runs on.
func (d *testDrone) stop() {
	if d.cancel == nil {
		return
	}
	d.cancel()
	d.cancel = nil
	select {
	case <-d.ended:
	case <-time.After(10 * time.Second):
		d.t.Error("agent does not leave")
	}
	eventually(d.t, "the controller notices", func() bool { return !d.controller.connected() })
}

// begun is a connected drone with a lease.
func begun(t testing.TB) (*controller, *testDrone) {
	t.Helper()
	c := newController(t)
	d := newDrone(t, c)
	d.begin()
	c.awaitLease(d)
	return c, d
}

func (d *testDrone) running(id plane.BackendID) bool {
	for _, x := range d.runtime.Running() {
		if x == id {
			return true
		}
	}
	return false
}

// tear cuts the journal within its last line, as a power cut would.
func tear(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-7); err != nil {
		t.Fatal(err)
	}
}
