package egresstest_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/dockertest"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/warden"
	"plane/internal/image"
	"plane/internal/image/imagetest"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
	"plane/internal/runtime/egress"
	. "plane/internal/runtime/egress/egresstest"
	"plane/internal/runtime/oci"
)

// TestMain runs the tests on a machine of their own; this program is also the
// reaper and the warden there.
func TestMain(m *testing.M) {
	dronetest.Parts(50 * time.Millisecond)
	Main(m)
}

// site is a drone without an agent: the test is the agent.
type site struct {
	t        *testing.T
	home     home.Home
	open     func() // makes runtimes and closers
	runtimes map[string]runtime.Runtime
	closers  []func()

	engine *dockertest.Engine
	way    *egress.Way
}

func bareSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "plane")
	Must(t, err)
	t.Cleanup(func() { Must(t, os.RemoveAll(dir)) })
	h, err := home.New(dir)
	Must(t, err)
	return &site{t: t, home: h, runtimes: map[string]runtime.Runtime{}}
}

// resolver is a private one, which the machine has.
const resolver = "192.168.7.2"

// newSite has both runtimes of images, on one machine.
func newSite(t *testing.T) *site {
	t.Helper()
	Machine(t)
	s := bareSite(t)
	s.engine = dockertest.Start(t, dockertest.Options{Flags: []string{"--live-restore"}})
	guest := guestImage(t)
	s.engine.Load(t, guest, "guest:latest")
	images, err := image.Open(s.home.Images(), image.Options{Shift: image.UserNamespace})
	Must(t, err)
	_, err = images.Import(t.Context(), imagetest.Archive(t, map[string]v1.Image{"guest:latest": guest}), func(image.Progress) {})
	Must(t, err)
	s.open = func() {
		s.way = egress.New(egress.Options{Hash: s.home.Hash(), Allowed: plane.Egress{Public: true}, Resolvers: []netip.Addr{netip.MustParseAddr(resolver)}})
		d, err := docker.New(docker.Options{Home: s.home, Host: s.engine.Host, Dial: s.dial, Way: s.way})
		Must(t, err)
		o := oci.New(oci.Options{Home: s.home, Images: images, Dial: s.dial, Way: s.way})
		Must(t, d.Check(s.ctx()), o.Check(s.ctx()), s.way.Check())
		s.runtimes[plane.RuntimeDocker], s.runtimes[plane.RuntimeOCI] = d, o
		s.closers = append(s.closers, d.Close, o.Close)
	}
	t.Cleanup(func() {
		s.end()
		Must(t, s.way.Sweep(s.ctx(), nil))
		if left := Ours(t); left != "" {
			t.Errorf("left: %s", left)
		}
	})
	s.agent()
	return s
}

func (s *site) dial(ctx context.Context) (*warden.Client, error) { return dronetest.Dial(ctx, s.home) }

func guestImage(t *testing.T) v1.Image {
	t.Helper()
	return imagetest.Image(t, v1.Config{Entrypoint: []string{"/guest"}}, imagetest.Layer(t,
		imagetest.File{Name: "guest", Body: imagetest.Program(t, "plane/internal/runtime/egress/egresstest/guest"), Mode: 0o755}))
}

// agent begins anew with what is there.
func (s *site) agent() {
	s.t.Helper()
	s.leave()
	s.open()
}

// leave is the end of the agent as by a kill: nothing is tidied.
func (s *site) leave() {
	for _, f := range s.closers {
		f()
	}
	s.closers = nil
}

// found lists what runs, as an agent does when it begins.
func (s *site) found() []plane.BackendID {
	s.t.Helper()
	var all []plane.BackendID
	for _, r := range s.runtimes {
		found, err := r.Found(s.ctx())
		Must(s.t, err)
		for _, f := range found {
			if f.Exit == nil {
				all = append(all, f.Backend)
			}
		}
	}
	return all
}

// end ends what runs, and everything else.
func (s *site) end() {
	for _, r := range s.runtimes {
		found, err := r.Found(s.ctx())
		Must(s.t, err)
		for _, f := range found {
			if p, err := r.Attach(s.ctx(), f.Backend); err == nil {
				_ = p.Stop(s.ctx(), plane.Hard) // it may have ended
				_, err := p.Wait(s.ctx())
				Must(s.t, err, p.Forget(s.ctx()))
			}
		}
	}
	s.leave()
	s.eventually("warden and reaper leave", func() bool {
		_, w := s.home.Holder("warden")
		_, r := s.home.Holder("reaper")
		return !w && !r
	})
	if s.t.Failed() {
		b, _ := os.ReadFile(s.home.Log("warden"))
		s.t.Logf("warden.log:\n%s", b)
	}
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("never: " + what)
		}
	}
}

func (s *site) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

// box is a backend of an image.
type box struct {
	s       *site
	id      plane.BackendID
	runtime string
	p       runtime.Process
}

// units counts those of all sites: engines are shared, and names of containers.
var units atomic.Int32

// unit is a backend that has that egress.
func (s *site) unit(may string) runtime.Unit {
	s.t.Helper()
	e, err := plane.ParseEgress(may)
	Must(s.t, err)
	name := fmt.Sprintf("b%d", units.Add(1))
	u := runtime.Unit{
		Backend: plane.BackendID(name), Key: plane.Key{Name: name}, Generation: 1, Policy: plane.Fast, Epoch: 1,
		Deadline: leaseclock.Lease().Now().Add(10 * time.Minute), Grace: time.Second,
		Executable: plane.Executable{Image: "guest"}, Port: 8080, Egress: e, Doors: s.home.DoorDir(plane.BackendID(name)),
	}
	Must(s.t, os.MkdirAll(u.Doors, 0o755))
	return u
}

func (s *site) start(with, may string) *box { return s.startUnit(with, s.unit(may)) }

func (s *site) startUnit(with string, u runtime.Unit) *box {
	s.t.Helper()
	r := s.runtimes[with]
	_, err := r.Prepare(s.ctx(), u, func(runtime.Progress) {})
	Must(s.t, err)
	p, err := r.Start(s.ctx(), u)
	Must(s.t, err)
	return &box{s, u.Backend, with, p}
}

// again is what a new agent finds of a box.
func (b *box) again() {
	b.s.t.Helper()
	p, err := b.s.runtimes[b.runtime].Attach(b.s.ctx(), b.id)
	Must(b.s.t, err)
	b.p = p
}

// says runs the guest's program inside.
func (b *box) says(args ...string) string {
	b.s.t.Helper()
	var out, errors bytes.Buffer
	exit, err := b.p.(runtime.Execer).Exec(b.s.ctx(), runtime.Command{Argv: append([]string{"/guest"}, args...), Stdout: &out, Stderr: &errors})
	if err != nil || exit != 0 {
		b.s.t.Fatalf("%s: in %s: %v: exit %d, %v, %s", b.runtime, b.id, args, exit, err, errors.String())
	}
	return strings.TrimSpace(out.String())
}

// reaches fails the test unless all of them answer; a busy machine may be slow.
func (b *box) reaches(targets ...string) {
	b.s.t.Helper()
	want, got := strings.Join(targets, " "), ""
	for range 30 {
		if got = b.says(append([]string{"dial"}, targets...)...); got == want {
			return
		}
	}
	b.s.t.Errorf("%s: of %s %s reaches but %q", b.runtime, want, b.id, got)
}

// others are those targets that aren't at its own address.
func (b *box) others(targets []string) []string {
	b.s.t.Helper()
	own := b.says("address")
	return slices.DeleteFunc(slices.Clone(targets), func(t string) bool { return own != "" && strings.Contains(t, own+":") })
}

func (b *box) reachesNot(targets ...string) {
	b.s.t.Helper()
	if got := b.says(append([]string{"dial"}, targets...)...); got != "" {
		b.s.t.Errorf("%s: %s reaches %s", b.runtime, b.id, got)
	}
}

// alive reports whether its first process runs.
func (b *box) alive() bool {
	_, err := os.Stat(filepath.Join("/proc", fmt.Sprint(b.p.Pid())))
	return err == nil
}
