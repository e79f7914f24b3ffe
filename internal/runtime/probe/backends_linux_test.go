package probe_test

import (
	"bytes"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"plane"
	"plane/internal/dockertest"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
	"plane/internal/runtime/oci"
	"plane/internal/runtime/probe"
)

var update = flag.Bool("update", false, "write the golden files")

// What a golden file leaves out, so that it is the same on every machine:
//
//   - numbers of processes, of namespaces and of whatever is counted;
//   - capabilities of commands, which are those of the drone;
//   - how a mount of the engine's restricts what the machine's file system below
//     already does or doesn't (see inherits);
//   - paths that this kernel hasn't: they are hidden, and not written.
func TestWhatBackendsCan(t *testing.T) {
	machine(t)
	for name, make := range map[string]func(*testing.T) *drone{
		"process":      newProcess,
		"oci-crun":     func(t *testing.T) *drone { return newOCI(t) },
		"oci-runc":     func(t *testing.T) *drone { return newOCI(t, func(o *oci.Options) { o.Runtime = "runc" }) },
		"oci-prepared": func(t *testing.T) *drone { return newOCI(t, func(o *oci.Options) { o.Prepared.Count = 1 }) },
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, make(t).report("")) })
	}
}

func TestWhatContainersOfAnEngineCan(t *testing.T) {
	machine(t)
	engine := dockertest.Start(t, dockertest.Options{})
	engine.Load(t, picture(t), "probe:latest")
	t.Run("docker", func(t *testing.T) { golden(t, "docker", newDocker(t, engine).report("")) })
	t.Run("docker-public", func(t *testing.T) {
		golden(t, "docker-public", newDocker(t, engine, func(o *docker.Options) { o.Way = way(o.Home) }).report("public"))
	})
	t.Run("ceilings", func(t *testing.T) { newDocker(t, engine).ceilings() })
	t.Run("mounts", func(t *testing.T) {
		base := t.TempDir()
		newDocker(t, engine, func(o *docker.Options) { o.MountBase = base }).exchanges(base, 6)
	})
}

func TestWhatBackendsWithEgressReach(t *testing.T) {
	machine(t)
	golden(t, "oci-public", newOCI(t, func(o *oci.Options) { o.Way = way(o.Home) }).report("public"))
}

func TestCeilingsHold(t *testing.T) {
	machine(t)
	for name, make := range map[string]func(*testing.T) *drone{
		"process":  newProcess,
		"oci-crun": func(t *testing.T) *drone { return newOCI(t) },
		"oci-runc": func(t *testing.T) *drone { return newOCI(t, func(o *oci.Options) { o.Runtime = "runc" }) },
	} {
		t.Run(name, func(t *testing.T) { make(t).ceilings() })
	}
}

// report is that of a backend that runs as root, and what differs for one that
// doesn't. With egress it tells of the network alone.
func (d *drone) report(out string) probe.Report {
	d.t.Helper()
	e, err := plane.ParseEgress(out)
	if err != nil {
		d.t.Fatal(err)
	}
	a := d.surroundings()
	other := d.unit("listen")
	other.Egress = e
	p := d.start(other)
	d.Eventually("it listens", func() bool { return d.output(other.Backend) == "listening" })
	at := p.Address()
	if _, ok := plane.ParseGateAddress(at); ok {
		at = net.JoinHostPort("127.0.0.1", port) // all that it has
	}
	if !e.None() {
		at = net.JoinHostPort(addressOf(d.t, p.Pid()), port)
		to := a.Dial["public"]
		to.Patience = expected
		a.Dial["public"] = to
	}
	d.beside(&a, p, other, at)
	u, r := d.reported(a, func(u *runtime.Unit) { u.Egress = e })
	if !e.None() {
		return probe.Report{"reaches": r["reaches"], "network": r["network"], "sockets": r["sockets"], "capabilities": r["capabilities"]}
	}
	d.inherits(r, u.Executable)
	if u.Executable.Kind() == plane.KindImage {
		u, as := d.reported(probe.Ask{}, func(u *runtime.Unit) { u.Executable.User = "1000:1000" })
		d.inherits(as, u.Executable)
		differs(r, as)
	}
	return r
}

// reported is what a backend tells; of a drone that prepares sandboxes, one that
// took such a one.
func (d *drone) reported(a probe.Ask, change func(*runtime.Unit)) (u runtime.Unit, r probe.Report) {
	d.t.Helper()
	d.Eventually("a prepared sandbox is taken", func() bool {
		u = d.unit("look")
		change(&u)
		r = d.look(u, a)
		return !d.prepared || d.took(u.Backend)
	})
	return u, r
}

// addressOf is what a way out has given to the network of a process.
func addressOf(t *testing.T, pid int) string {
	t.Helper()
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	there, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	all, err := there.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip, _ := netip.AddrFromSlice(a.IP); !ip.IsLoopback() {
			return ip.String()
		}
	}
	t.Fatal("it has no address")
	return ""
}

// inherits takes out what comes from the machine and not from Plane.
func (d *drone) inherits(r probe.Report, x plane.Executable) {
	if x.Kind() == plane.KindProcess {
		for set := range r["capabilities"] {
			r.Set("capabilities", set, probe.Drones)
		}
		for what := range r["files of the machine"] {
			if strings.Contains(what, "process 1") {
				delete(r["files of the machine"], what) // which may be in another place than the drone
			}
		}
	}
	for at, words := range r["mounts"] {
		switch {
		case strings.HasPrefix(at, "/dev/") && at != "/dev/shm" && at != "/dev/pts" && at != "/dev/mqueue":
			delete(r["mounts"], at) // a device of the machine, bound
		case d.engine && (at == "/" || strings.HasPrefix(at, "/etc/") || at == runtime.DataDir || at == runtime.DoorsDir):
			// An engine restricts its own mounts only.
			r.Set("mounts", at, strings.NewReplacer(" nosuid", "", " nodev", "", " noexec", "").Replace(words))
		}
	}
}

// differs notes in r what another user may.
func differs(r, as probe.Report) {
	for section, items := range as {
		for item, word := range items {
			if section == "reaches" || section == "processes" || section == "files of the machine" {
				continue // it was told of none
			}
			if r[section][item] != word {
				r.Set("as user 1000", section+": "+item, word)
			}
		}
	}
}

func golden(t *testing.T, name string, r probe.Report) {
	t.Helper()
	file := filepath.Join("testdata", name+".json")
	got := r.JSON()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("not as %s says, but\n%s", file, got)
	}
}
