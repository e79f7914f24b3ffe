package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/egress/egresstest"
	"plane/internal/runtime/probe"
)

// TestMain runs the tests on a machine of their own; this program is also the
// reaper and the warden there.
func TestMain(m *testing.M) {
	dronetest.Parts(100 * time.Millisecond)
	egresstest.Main(m)
}

// port is where backends listen. Something of the machine's has the usual one.
const (
	port       = "18080"
	portNumber = 18080
)

// drone is one without an agent: the test is the agent.
type drone struct {
	*dronetest.Rig
	t    *testing.T
	home home.Home
	r    runtime.Runtime
	last atomic.Int32
	argv func(args ...string) plane.Executable // that runs the program inside

	engine   bool     // a Docker engine runs the backends
	prepared bool     // backends take prepared sandboxes
	logs     []string // directories with output, beside the drone's
}

func newDrone(t *testing.T) *drone {
	t.Helper()
	d := &drone{Rig: dronetest.New(t), t: t}
	d.home = d.Home()
	t.Cleanup(d.end)
	return d
}

func (d *drone) dial(ctx context.Context) (*warden.Client, error) {
	return dronetest.Dial(ctx, d.home)
}

// Ctx is for one question, which may take longer than what is waited for.
func (d *drone) Ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	d.t.Cleanup(cancel)
	return ctx
}

// unit is a backend that runs the program inside with args. It has data and a
// socket of its own.
func (d *drone) unit(args ...string) runtime.Unit {
	d.t.Helper()
	id := plane.BackendID(fmt.Sprintf("b%d-%s", d.last.Add(1), d.home.Hash()))
	u := runtime.Unit{
		Backend: id, Key: plane.Key{Name: string(id)}, Generation: 1,
		Policy: plane.Fast, Epoch: 1, Deadline: leaseclock.Lease().Now().Add(10 * time.Minute), Grace: 500 * time.Millisecond,
		Executable: d.argv(args...), Env: []string{"PORT=" + port}, Port: portNumber,
		Doors: d.home.DoorDir(id), Data: filepath.Join(d.home.Dir, "data-"+string(id)), DataNew: true,
	}
	for _, dir := range []string{u.Doors, u.Data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			d.t.Fatal(err)
		}
	}
	d.listen("unix", filepath.Join(u.Doors, filepath.Base(runtime.Socket)))
	return u
}

func (d *drone) start(u runtime.Unit) runtime.Process {
	d.t.Helper()
	if _, err := d.r.Prepare(d.Ctx(), u, func(runtime.Progress) {}); err != nil {
		d.t.Fatal(err)
	}
	p, err := d.r.Start(d.Ctx(), u)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// run runs a unit to its end.
func (d *drone) run(u runtime.Unit) (plane.Exit, string) {
	d.t.Helper()
	exit, err := d.start(u).Wait(d.Ctx())
	if err != nil {
		d.t.Fatal(err)
	}
	return exit, d.output(u.Backend)
}

// output is what a backend has written last.
func (d *drone) output(id plane.BackendID) string {
	d.t.Helper()
	out, err := d.r.(runtime.Logger).Output(d.Ctx(), id, 20, false)
	if err != nil {
		d.t.Fatal(err)
	}
	defer out.Close()
	b, err := io.ReadAll(out)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// look has a unit report on what a asks.
func (d *drone) look(u runtime.Unit, a probe.Ask) probe.Report {
	d.t.Helper()
	const file = "report.json"
	a.Report = filepath.Join(runtime.DataDir, file)
	if u.Executable.Kind() == plane.KindProcess {
		a.Report = filepath.Join(u.Data, file)
	}
	a.Namespaces = map[string]string{}
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		a.Namespaces[name], _ = os.Readlink("/proc/self/ns/" + name)
	}
	told, err := json.Marshal(a)
	if err != nil {
		d.t.Fatal(err)
	}
	u.Env = append(u.Env, probe.AskEnv+"="+string(told))
	exit, out := d.run(u)
	b, err := os.ReadFile(filepath.Join(u.Data, file))
	var r probe.Report
	if err != nil || json.Unmarshal(b, &r) != nil || exit.Code == nil || *exit.Code != 0 {
		d.t.Fatalf("no report: %v, %+v %s", err, exit, out)
	}
	return r
}

// listen has somebody answer there until the end of the test.
func (d *drone) listen(network, address string) net.Addr {
	d.t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = l.Close() })
	go answer(l)
	return l.Addr()
}

// answer takes connections until its listener is closed.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

// end makes absent what runs.
func (d *drone) end() {
	d.End(d.r)
	d.r.(interface{ Close() }).Close()
	d.Leave()
}
