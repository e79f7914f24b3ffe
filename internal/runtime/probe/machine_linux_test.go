package probe_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"plane/internal/drone/dronetest"
	"plane/internal/runtime"
	"plane/internal/runtime/egress/egresstest"
	"plane/internal/runtime/probe"
)

const machineAddress = "198.51.100.1"

// world are the addresses that somebody answers at, by what they stand for.
var world = map[string]string{
	"public":                "203.0.113.9",
	"public by IPv6":        "2001:db8:1::9",
	"private":               "10.9.9.9",
	"metadata":              "169.254.169.254",
	"metadata by IPv6":      "fd00:ec2::254",
	"neighbour of machine":  "198.51.100.2",
	"carrier-grade private": "100.64.0.9",
}

// machine makes sure of the world, and that the machine reaches all of it.
func machine(t *testing.T) {
	t.Helper()
	egresstest.Machine(t)
	for what, a := range world {
		dronetest.Eventually(t, 30*time.Second, "the machine reaches "+what, func() bool {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(a, "80"), time.Second)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
}

const (
	expected = 20_000 // milliseconds for what is to be reached, on a busy machine
	vain     = 1000
)

// surroundings are what backends of d may not reach or see.
func (d *drone) surroundings() probe.Ask {
	d.t.Helper()
	a := probe.Ask{Dial: map[string]probe.Target{}, Files: map[string]string{}}
	dial := func(what, network, address string) {
		a.Dial[what] = probe.Target{Network: network, Address: address, Patience: vain}
	}
	for what, at := range world {
		dial(what, "tcp", net.JoinHostPort(at, "80"))
	}
	_, service, _ := net.SplitHostPort(d.listen("tcp", ":0").String())
	dial("machine's loopback", "tcp", "127.0.0.1:"+service)
	dial("machine's loopback by IPv6", "tcp", "[::1]:"+service)
	dial("machine", "tcp", machineAddress+":"+service)
	dial("machine by IPv6", "tcp", "[2001:db8::1]:"+service)
	dial("gateway", "tcp", "GATEWAY:"+service)
	dial("controller", "tcp", d.listen("tcp", machineAddress+":0").String())
	dial("machine's abstract socket", "unix", d.listen("unix", "@plane-probe-"+d.home.Hash()).String())
	other := dronetest.New(d.t).Home()
	for what, path := range map[string]string{
		"own drone's gate": d.home.GateSocket(), "another drone's gate": other.GateSocket(),
		"an engine's socket": filepath.Join(d.home.Dir, "docker.sock"),
	} {
		dial(what, "unix", d.listen("unix", path).String())
	}
	dial("own drone's warden", "unix", d.home.WardenSocket())
	dial("own socket", "unix", runtime.Socket)
	for what, path := range map[string]string{
		"store": filepath.Join(d.home.Dir, "store.db"), "data directory of the drone": d.home.Dir,
		"images": d.home.Images(), "bundles": d.home.Bundles(), "volumes": filepath.Join(d.home.Dir, "volumes"),
	} {
		if err := os.MkdirAll(path, 0o711); err != nil {
			d.t.Fatal(err)
		}
		a.Files[what] = path
		a.Files[what+", by the root of process 1"] = filepath.Join("/proc/1/root", path)
	}
	return a
}

// beside adds another backend of d to what is asked about.
func (d *drone) beside(a *probe.Ask, p runtime.Process, u runtime.Unit, address string) {
	a.Sibling = p.Pid()
	a.Dial["another backend"] = probe.Target{Network: "tcp", Address: address, Patience: vain}
	a.Dial["another backend's socket"] = probe.Target{Network: "unix", Address: filepath.Join(u.Doors, "socket"), Patience: vain}
	a.Files["data of another backend"] = u.Data
}
