package egresstest_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/dockertest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/runtime/docker"
	"plane/internal/runtime/egress"
	. "plane/internal/runtime/egress/egresstest"
	"plane/internal/runtime/egress/egresstest/reach"
)

// What this program, run by an ordinary user, is told: which engine it may use,
// and where the certificates for it are.
const (
	engineOfUser = "PLANE_EGRESS_TEST_HOST"
	pemOfUser    = "PLANE_EGRESS_TEST_PEM"
)

// tlsHost is where the same engine listens too.
const tlsHost = "tcp://127.0.0.1:2376"

// ordinary is a user that nobody knows, and its group.
const ordinary = 64242

// TestADroneOfAnOrdinaryUser runs itself as one, with an engine that has networks.
func TestADroneOfAnOrdinaryUser(t *testing.T) {
	if os.Getenv(engineOfUser) != "" {
		for name, test := range map[string]func(*testing.T){
			"backends are on a bridge that leads nowhere": leadsNowhere,
			"backends are held, and end":                  heldAndEnd,
			"an engine may ask for certificates":          asksForCertificates,
			"containers of others are left alone":         leavesOthers,
			"published ports are this machine's only":     publishesHere,
		} {
			t.Run(strings.ReplaceAll(name, " ", "_"), test)
		}
		return
	}
	Machine(t)
	dir, err := os.MkdirTemp("", "plane")
	Must(t, err)
	defer os.RemoveAll(dir)
	pem := func(name string) string { return filepath.Join(dir, "pem", name) }
	certificates(t, filepath.Join(dir, "pem"))
	e := dockertest.Start(t, dockertest.Options{Bridge: true, Flags: []string{
		"--group", fmt.Sprint(ordinary),
		"--host", tlsHost, "--tlsverify", "--tlscacert", pem("ca.pem"), "--tlscert", pem("cert.pem"), "--tlskey", pem("key.pem"),
	}})
	e.Load(t, guestImage(t), "guest:latest")
	Must(t, os.Chmod(filepath.Dir(strings.TrimPrefix(e.Host, "unix://")), 0o711))
	program, err := os.ReadFile("/proc/self/exe")
	Must(t, err, os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "tests"), program, 0o755))
	tmp := filepath.Join(dir, "tmp")
	Must(t, os.Mkdir(tmp, 0o700), os.Chown(tmp, ordinary, ordinary))
	c := exec.Command(filepath.Join(dir, "tests"), "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	c.Dir, c.Env = tmp, append(os.Environ(), engineOfUser+"="+e.Host, pemOfUser+"="+filepath.Join(dir, "pem"), "TMPDIR="+tmp, "XDG_RUNTIME_DIR=", "HOME="+tmp)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// ordinarySite is one of docker only, by an ordinary user.
func ordinarySite(t *testing.T, change func(*docker.Options)) *site {
	t.Helper()
	host := os.Getenv(engineOfUser)
	s := bareSite(t)
	s.open = func() {
		o := docker.Options{Home: s.home, Host: host, Dial: s.dial, Way: egress.New(egress.Options{Hash: s.home.Hash(), Allowed: plane.Egress{Public: true}})}
		change(&o)
		d, err := docker.New(o)
		Must(t, err, d.Check(s.ctx()))
		s.runtimes[plane.RuntimeDocker] = d
		s.closers = append(s.closers, d.Close)
	}
	t.Cleanup(s.end)
	s.agent()
	return s
}

// docker is what its client says.
func (s *site) docker(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("docker", append([]string{"--host", os.Getenv(engineOfUser)}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("docker %v: %s", args, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *site) runs(b *box) bool {
	return s.docker("ps", "-q", "--filter", "name=plane-"+string(b.id)+"$") != ""
}

func leadsNowhere(t *testing.T) {
	s := ordinarySite(t, func(*docker.Options) {})
	one, two := s.start(plane.RuntimeDocker, "none"), s.start(plane.RuntimeDocker, "none")
	for _, b := range []*box{one, two} {
		s.eventually("the drone reaches "+b.p.Address(), func() bool { return reach.Says(b.p.Address()) })
	}
	host, _, err := net.SplitHostPort(two.p.Address())
	Must(t, err)
	if got := s.docker("inspect", "--format", "{{.HostConfig.PortBindings}} {{.HostConfig.NetworkMode}}", "plane-"+string(one.id)); got != "map[] plane-"+s.home.Hash() {
		t.Errorf("it has %s", got)
	}
	// The machine itself has an address on every bridge, and closing its own takes root.
	closed := slices.DeleteFunc(Never(), func(t string) bool {
		return strings.Contains(t, "198.51.100.1:") || strings.Contains(t, "192.168.7.1:")
	})
	one.reachesNot(append(closed, "203.0.113.9:80", "198.51.100.2:80", "udp/203.0.113.9:53", two.p.Address(), "udp/"+host+":8080")...)
	if got := one.says("lookup", "plane.test"); !strings.HasPrefix(got, "[] ") {
		t.Errorf("names are asked: %s", got)
	}
	u := s.unit("public")
	_, err = s.runtimes[plane.RuntimeDocker].Start(s.ctx(), u)
	if err == nil || !strings.Contains(err.Error(), "only from a drone that runs as root") {
		t.Errorf("with egress: %v", err)
	}
}

func heldAndEnd(t *testing.T) {
	for name, change := range map[string]func(*docker.Options){
		"bridged":   func(*docker.Options) {},
		"published": func(o *docker.Options) { o.Dev, o.Afar = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ordinarySite(t, change)
			soft, hard := s.start(plane.RuntimeDocker, "none"), s.start(plane.RuntimeDocker, "none")
			s.agent() // the next one
			if all := s.found(); len(all) != 2 {
				t.Fatalf("found %v", all)
			}
			for _, b := range []*box{soft, hard} {
				was := b.p.Address()
				b.again()
				if a := b.p.Address(); a != was {
					t.Errorf("its address is %q, and was %q", a, was)
				}
				s.eventually("it answers", func() bool { return reach.Says(b.p.Address()) })
			}
			Must(t, soft.p.Stop(s.ctx(), plane.Soft), hard.p.Stop(s.ctx(), plane.Hard))
			exit, err := soft.p.Wait(s.ctx())
			Must(t, err)
			if exit.Code == nil || *exit.Code != 3 {
				t.Errorf("a soft stop: %+v", exit)
			}
			exit, err = hard.p.Wait(s.ctx())
			Must(t, err)
			if exit.Signal != "SIGKILL" {
				t.Errorf("a hard stop: %+v", exit)
			}
			Must(t, soft.p.Forget(s.ctx()), hard.p.Forget(s.ctx()))
			late := s.startBriefly()
			s.leave() // nobody but warden and reaper
			s.eventually("it dies at its deadline", func() bool { return !s.runs(late) })
			s.agent()
			late.again()
			exit, err = late.p.Wait(s.ctx())
			Must(t, err)
			if exit.Code == nil {
				t.Errorf("after its deadline: %+v", exit)
			}
			Must(t, late.p.Forget(s.ctx()))
			if left := s.docker("ps", "-aq", "--filter", "label=dev.plane.drone="+s.home.Hash()); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

func asksForCertificates(t *testing.T) {
	t.Setenv("DOCKER_HOST", tlsHost)
	open := func(pem string) *docker.Runtime {
		t.Setenv("DOCKER_CERT_PATH", pem)
		t.Setenv("DOCKER_TLS_VERIFY", map[bool]string{true: "1"}[pem != ""])
		r, err := docker.New(docker.Options{Home: home.Home{Dir: t.TempDir()}, Dev: true})
		Must(t, err)
		t.Cleanup(r.Close)
		return r
	}
	s := ordinarySite(t, func(o *docker.Options) {
		o.Host, o.Dev = "", true
		t.Setenv("DOCKER_CERT_PATH", os.Getenv(pemOfUser))
		t.Setenv("DOCKER_TLS_VERIFY", "1")
	})
	b := s.start(plane.RuntimeDocker, "none")
	s.eventually("it answers", func() bool { return reach.Says(b.p.Address()) })
	Must(t, b.p.Stop(s.ctx(), plane.Hard))
	exit, err := b.p.Wait(s.ctx())
	Must(t, err)
	if exit.Signal != "SIGKILL" {
		t.Errorf("a hard stop: %+v", exit)
	}
	other := t.TempDir()
	certificates(t, other)
	for _, pem := range []string{"", other} {
		if err := open(pem).Check(s.ctx()); err == nil || !strings.Contains(err.Error(), "wants other certificates") {
			t.Errorf("with certificates %q: %v", pem, err)
		}
	}
}

func leavesOthers(t *testing.T) {
	s := ordinarySite(t, func(*docker.Options) {})
	u := s.unit("none")
	name := "plane-" + string(u.Backend)
	s.docker("run", "-d", "--network", "none", "--name", name, "guest")
	t.Cleanup(func() { s.docker("rm", "-f", name) })
	if _, err := s.runtimes[plane.RuntimeDocker].Start(s.ctx(), u); err == nil || !strings.Contains(err.Error(), "not of this drone") {
		t.Errorf("got %v", err)
	}
	if !s.runs(&box{id: u.Backend}) {
		t.Error("it was ended")
	}
}

// startBriefly starts a backend whose deadline is near, but not before it runs.
func (s *site) startBriefly() *box {
	s.t.Helper()
	for life := 2 * time.Second; ; life *= 2 {
		u := s.unit("none")
		u.Deadline = leaseclock.Lease().Now().Add(life)
		p, err := s.runtimes[plane.RuntimeDocker].Start(s.ctx(), u)
		if err == nil {
			return &box{s, u.Backend, plane.RuntimeDocker, p}
		}
		if life > 20*time.Second {
			s.t.Fatal(err)
		}
	}
}

func publishesHere(t *testing.T) {
	var log bytes.Buffer
	s := ordinarySite(t, func(o *docker.Options) {
		o.Dev, o.Afar, o.Logger = true, true, slog.New(slog.NewTextHandler(&log, nil))
	})
	one, two := s.start(plane.RuntimeDocker, "none"), s.start(plane.RuntimeDocker, "none")
	for _, b := range []*box{one, two} {
		host, port, err := net.SplitHostPort(b.p.Address())
		Must(t, err)
		if host != "127.0.0.1" {
			t.Errorf("its address is %s", b.p.Address())
		}
		s.eventually("it answers", func() bool { return reach.Says(b.p.Address()) })
		if got := s.docker("port", "plane-"+string(b.id)); got != "8080/tcp -> "+b.p.Address() {
			t.Errorf("published: %s", got)
		}
		if reached := reach.Of("198.51.100.1:"+port, "192.168.7.1:"+port, "[::1]:"+port); len(reached) > 0 {
			t.Errorf("it is reached at %v", reached)
		}
	}
	if n := strings.Count(log.String(), "published on 127.0.0.1"); n != 1 {
		t.Errorf("%d warnings: %s", n, log.String())
	}
	d, err := docker.New(docker.Options{Home: s.home, Host: os.Getenv(engineOfUser), Dial: s.dial, Afar: true})
	Must(t, err)
	defer d.Close()
	if err := d.Check(s.ctx()); err == nil || !strings.Contains(err.Error(), "use plane dev") {
		t.Errorf("in production: %v", err)
	}
}
