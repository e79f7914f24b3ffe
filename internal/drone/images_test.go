package drone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
	"plane/internal/wire"
)

const digest = "sha256:0123"

// boxes is a runtime of images: what it runs listens nowhere on this machine.
type boxes struct {
	*fake.Runtime
	socket    string
	onPrepare func(tell func(runtime.Progress))
	onExec    func(context.Context, runtime.Command) (int, error)
	usage     runtime.Usage
}

func (b *boxes) Prepare(ctx context.Context, u runtime.Unit, tell func(runtime.Progress)) (runtime.Prepared, error) {
	if b.onPrepare != nil {
		b.onPrepare(tell)
	}
	_, err := b.Runtime.Prepare(ctx, u, tell)
	return runtime.Prepared{Digest: digest}, err
}

func (b *boxes) Start(ctx context.Context, u runtime.Unit) (runtime.Process, error) {
	p, err := b.Runtime.Start(ctx, u)
	if err != nil {
		return nil, err
	}
	return b.box(u.Backend, p), nil
}

func (b *boxes) Attach(ctx context.Context, id plane.BackendID) (runtime.Process, error) {
	p, err := b.Runtime.Attach(ctx, id)
	if err != nil {
		return nil, err
	}
	return b.box(id, p), nil
}

func (b *boxes) box(id plane.BackendID, p runtime.Process) *box {
	u, _ := b.Unit(id)
	return &box{p, b, plane.GateAddress{Socket: b.socket, Backend: id, Port: u.Port}.String()}
}

type box struct {
	runtime.Process
	boxes   *boxes
	address string
}

func (b *box) Address() string                              { return b.address }
func (b *box) Usage(context.Context) (runtime.Usage, error) { return b.boxes.usage, nil }
func (b *box) Exec(ctx context.Context, c runtime.Command) (int, error) {
	return b.boxes.onExec(ctx, c)
}

// withBoxes is a drone of images: every gate address leads to a web server.
func withBoxes(t *testing.T, names ...string) (*controller, *testDrone, map[string]*boxes) {
	t.Helper()
	c := newController(t)
	d := newDrone(t, c)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	all := map[string]*boxes{}
	d.cfg.Runtimes = map[string]runtime.Runtime{}
	for i, name := range names {
		// The first has the table's backends; others are of no table.
		f := d.runtime
		if i > 0 {
			f = &fake.Runtime{}
			t.Cleanup(f.Close)
		}
		f.Program = func(runtime.Unit) fake.Program { return fake.Program{Mute: true} }
		all[name] = &boxes{Runtime: f, socket: d.cfg.Home.GateSocket()}
		d.cfg.Runtimes[name] = all[name]
	}
	d.cfg.BaseEnv = []string{"SECRET_OF_THE_OPERATOR=x", "PATH=/drone"}
	d.cfg.Dial = func(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error) {
		if a, ok := plane.ParseGateAddress(address); !ok || a.Socket != d.cfg.Home.GateSocket() {
			return nil, errors.New("no address of the gate: " + address)
		}
		return dialer.DialContext(ctx, "tcp", web.Listener.Addr().String())
	}
	d.begin()
	c.awaitLease(d)
	return c, d, all
}

func executable(x plane.Executable) order {
	return spec(func(s *plane.Spec) {
		raw, err := json.Marshal(x)
		if err != nil {
			panic(err)
		}
		s.Executable = raw
	})
}

func TestAnImageHasAViewOfItsOwn(t *testing.T) {
	c, d, all := withBoxes(t, plane.RuntimeOCI)
	oci := all[plane.RuntimeOCI]
	free := d.agent.crew.Load().ports.left()
	opened := make(chan error, 1)
	oci.OnStart = func(_ context.Context, u runtime.Unit) error {
		_, err := os.Stat(filepath.Join(u.Doors, "socket")) // before anything of it runs
		opened <- err
		return nil
	}
	c.spawn("one", "k", executable(plane.Executable{Image: "app", Port: 3000, Env: map[string]string{"COLOUR": "red"}}),
		spec(func(s *plane.Spec) {
			s.Ports, s.Data, s.Egress = map[string]int{"metrics": 9100}, plane.DataScratch, "public"
		}))
	ready := c.await("one", plane.Ready)
	gate := plane.GateAddress{Socket: d.cfg.Home.GateSocket(), Backend: "one", Port: 3000}
	further := gate
	further.Port = 9100
	if ready.Address != gate.String() || ready.Ports["metrics"] != further.String() {
		t.Errorf("it is reached at %q and %q", ready.Address, ready.Ports)
	}
	if ready.Digest != digest {
		t.Errorf("its digest is %q", ready.Digest)
	}
	if err := <-opened; err != nil {
		t.Errorf("its socket before the start: %v", err)
	}
	u, _ := oci.Unit("one")
	if u.Port != 3000 || u.Ports["metrics"] != 9100 || u.Data != d.cfg.Home.Scratch("one") || !u.DataNew || !u.Egress.Public {
		t.Errorf("the unit is %+v", u)
	}
	for _, want := range []string{"COLOUR=red", "PORT=3000", "PORT_METRICS=9100", "SESSION_BACKEND_ID=one", "SESSION_BACKEND_SOCKET=/run/plane/socket", "SESSION_BACKEND_DATA_DIR=/plane-data"} {
		if !slices.Contains(u.Env, want) {
			t.Errorf("its environment lacks %s", want)
		}
	}
	for _, e := range u.Env {
		if name, _, _ := strings.Cut(e, "="); name == "HOST" || name == "PATH" || name == "SECRET_OF_THE_OPERATOR" {
			t.Errorf("its environment has the drone's %s", e)
		}
	}
	if left := d.agent.crew.Load().ports.left(); left != free {
		t.Errorf("%d ports of this machine are left, before it were %d", left, free)
	}
	st, err := os.Stat(u.Doors)
	if err != nil || st.Mode().Perm() != 0o711 {
		t.Errorf("whatever user it runs as must get to its socket, and nobody read the directory: %v, %v", st.Mode(), err)
	}
	if _, body := ask(t, backendClient(t, filepath.Join(u.Doors, "socket")), "GET", "/v1/self", ""); !strings.Contains(body, `"backend_id":"one"`) {
		t.Errorf("its socket says %s", body)
	}
	c.terminate("one", plane.Hard)
	c.await("one", plane.Terminated)
	eventually(t, "its doors are gone", func() bool {
		_, err := os.Stat(u.Doors)
		return errors.Is(err, os.ErrNotExist)
	})
}

func TestADoorIsntMadeAgainAfterTheDeadline(t *testing.T) {
	c, d, all := withBoxes(t, plane.RuntimeOCI)
	c.spawn("one", "k", executable(plane.Executable{Image: "app"}))
	c.await("one", plane.Ready)
	u, _ := all[plane.RuntimeOCI].Unit("one")
	ask(t, backendClient(t, filepath.Join(u.Doors, "socket")), "PUT", "/v1/holds/x", `{"seconds":3600}`) // it isn't to end when asked
	d.stop()
	all[plane.RuntimeOCI].Extend(plane.Balanced, 1, plane.Never) // an engine that sleeps: its container is still there
	if err := os.RemoveAll(u.Doors); err != nil {                // as the executioner does
		t.Fatal(err)
	}
	d.clock.jump(10 * time.Minute)
	c.locked(func() { c.mute = true })
	d.begin()
	// Answered by its owner: it has been taken over.
	if a := c.askIdle(t, 1, "one"); a.Yes {
		t.Fatalf("it isn't there any more: %+v", a)
	}
	if _, err := os.Stat(u.Doors); !errors.Is(err, os.ErrNotExist) {
		t.Error("its directory is there again: an engine that wakes late could start it")
	}
}

func TestTheRuntimeOfABackendStaysTheSame(t *testing.T) {
	c, d, all := withBoxes(t, plane.RuntimeDocker, plane.RuntimeOCI)
	c.spawn("quick", "a", executable(plane.Executable{Image: "app"}))
	c.spawn("asked", "b", executable(plane.Executable{Image: "app", RuntimeName: plane.RuntimeDocker}))
	c.await("quick", plane.Ready)
	c.await("asked", plane.Ready)
	if got := all[plane.RuntimeOCI].Running(); !slices.Equal(got, []plane.BackendID{"quick"}) {
		t.Errorf("oci runs %v; it is what is taken where nothing is asked", got)
	}
	if got := all[plane.RuntimeDocker].Running(); !slices.Equal(got, []plane.BackendID{"asked"}) {
		t.Errorf("docker runs %v", got)
	}
	d.stop()
	d.begin()
	c.awaitLease(d)
	for id, key := range map[plane.BackendID]string{"quick": "a", "asked": "b"} {
		if got := c.state(id).Status; got != plane.Ready {
			t.Errorf("%s of %s is %s after a restart", id, key, got)
		}
		if n := all[plane.RuntimeOCI].Starts(id) + all[plane.RuntimeDocker].Starts(id); n != 1 {
			t.Errorf("%s was started %d times", id, n)
		}
	}
}

func TestARuntimeThatIsOfferedLaterTakesNothingOver(t *testing.T) {
	c, d, all := withBoxes(t, plane.RuntimeDocker)
	c.spawn("one", "k", executable(plane.Executable{Image: "app"}))
	c.await("one", plane.Ready)
	d.stop()
	oci := &boxes{Runtime: &fake.Runtime{}, socket: d.cfg.Home.GateSocket()}
	t.Cleanup(oci.Close)
	d.cfg.Runtimes[plane.RuntimeOCI] = oci
	d.begin()
	c.awaitLease(d)
	if a := c.askIdle(t, 1, "one"); !a.Yes {
		t.Errorf("it is %s: %s", c.state("one").Status, a.Why)
	}
	end := c.await("one", plane.Terminated)
	if end.Reason != plane.Swept || all[plane.RuntimeDocker].Starts("one") != 1 || oci.Starts("one") != 0 {
		t.Errorf("docker's backend ended as %+v, after %d and %d starts", end, all[plane.RuntimeDocker].Starts("one"), oci.Starts("one"))
	}
	// And one that isn't offered any more leaves what it ran to nobody else.
	c.spawn("two", "k", executable(plane.Executable{Image: "app"}))
	eventually(t, "oci runs it", func() bool { return oci.Starts("two") == 1 })
	c.await("two", plane.Ready)
	d.stop()
	delete(d.cfg.Runtimes, plane.RuntimeOCI)
	d.begin()
	c.awaitLease(d)
	c.await("two", plane.Terminated)
	if all[plane.RuntimeDocker].Starts("two") != 0 {
		t.Error("docker started what was oci's")
	}
}

func TestWhatNoRuntimeRunsSaysWhatThereIs(t *testing.T) {
	c, _, _ := withBoxes(t, plane.RuntimeDocker)
	for i, x := range []struct {
		plane.Executable
		want string
	}{
		{plane.Executable{Image: "app", RuntimeName: plane.RuntimeOCI}, "This drone doesn't offer the runtime oci; it has docker."},
		{plane.Executable{Command: []string{"x"}}, "This drone has no runtime for commands; it has docker."},
	} {
		id := plane.BackendID(fmt.Sprintf("x%d", i))
		c.spawn(id, string(id), executable(x.Executable))
		if got := c.await(id, plane.Terminated).Exit.Message; got != x.want {
			t.Errorf("%q, want %q", got, x.want)
		}
	}
}

func TestAnImageThatDoesNotAnswerIsTold(t *testing.T) {
	c, d, _ := withBoxes(t, plane.RuntimeOCI)
	d.stop()
	d.cfg.Dial = func(context.Context, *net.Dialer, string) (net.Conn, error) { return nil, errors.New("refused") }
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "k", executable(plane.Executable{Image: "app", Port: 5000}))
	eventually(t, "people are told", func() bool { return d.logged.has("nothing in the container answers HTTP on port 5000 yet") })
	if d.logged.has("nothing of it answers at gate:") {
		t.Error("people are told an address that is of no use to them")
	}
}

func TestProgressIsToldSeldomAndNeverWaitedFor(t *testing.T) {
	c, _, all := withBoxes(t, plane.RuntimeOCI)
	var took time.Duration
	pulled := make(chan struct{})
	all[plane.RuntimeOCI].onPrepare = func(tell func(runtime.Progress)) {
		began := time.Now()
		for i := range int64(20_000) {
			tell(runtime.Progress{Text: "pulling", Done: i, Total: 20_000})
		}
		took = time.Since(began)
		close(pulled)
		tell(runtime.Progress{Text: "unpacking", Done: 1, Total: 2})
	}
	began := time.Now()
	c.spawn("one", "k", executable(plane.Executable{Image: "app"}))
	<-pulled
	if took > 5*time.Second {
		t.Errorf("telling held the pull up for %v", took)
	}
	last := wire.Progress{Backend: "one", Text: "unpacking", Done: 1, Total: 2}
	eventually(t, "the last is told", func() (ok bool) {
		c.locked(func() { ok = len(c.progress) > 0 && c.progress[len(c.progress)-1] == last })
		return ok
	})
	c.locked(func() {
		if most := 2 + int(time.Since(began)/pullEvery); len(c.progress) > most {
			t.Errorf("told %d times, at most %d were due", len(c.progress), most)
		}
	})
}

func TestUsageIsToldWhole(t *testing.T) {
	c, d, all := withBoxes(t, plane.RuntimeOCI)
	d.stop()
	d.cfg.telemetry = 10 * time.Millisecond
	all[plane.RuntimeOCI].usage = runtime.Usage{CPU: 3 * time.Millisecond, Memory: 4, Cache: 5, Pids: 6, Received: 7, Sent: 8, Disk: 9}
	d.begin()
	c.awaitLease(d)
	for i := range 20 {
		id := plane.BackendID(fmt.Sprintf("b%d", i))
		c.spawn(id, string(id), executable(plane.Executable{Image: "app"}))
	}
	want := wire.Usage{Backend: "b0", CPUMS: 3, Memory: 4, Cache: 5, Pids: 6, In: 7, Out: 8, Disk: 9}
	eventually(t, "all are told of", func() (ok bool) {
		c.locked(func() {
			ok = len(c.usage) == 20 && slices.ContainsFunc(c.usage, func(u wire.Usage) bool { return fmt.Sprint(u) == fmt.Sprint(want) })
		})
		return ok
	})
	c.locked(func() {
		if h := c.host; h == nil || h.CPUs == 0 || h.Memory <= h.MemoryUsed || h.MemoryUsed <= 0 || h.Disk <= 0 || h.DiskUsed <= 0 || h.CPUPercent < 0 || h.CPUPercent > 100 {
			t.Errorf("the machine is %+v", c.host)
		}
	})
}
