// Package dockertest gives a test a Docker engine of its own: private
// directories, private socket, no bridge and no firewall rules. It can be
// killed, stopped and started again while its containers run, and leaves
// nothing.
package dockertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TB is what this package needs of a testing.TB, so that benchmarks, which are
// programs, can have an engine too.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
	Skip(args ...any)
	Failed() bool
	Cleanup(func())
}

// Options of an Engine. The zero value is the usual one.
type Options struct {
	Flags   []string // further ones of dockerd
	Bridged bool     // it has a bridge, and publishes ports, in a network namespace of its own
	// Bridge is that in this process's network namespace, which must be one of the test's own.
	Bridge bool
}

// Engine is a dockerd and a containerd, which are apart as on a server: the one
// dies without the other.
type Engine struct {
	Host       string // as in DOCKER_HOST
	dir        string
	args       []string
	bridged    bool
	containerd *part
	dockerd    *part
}

// patience is for a busy machine.
const patience = 30 * time.Second

// Start starts an engine that ends with the test, and with this process.
func Start(t TB, o Options) *Engine {
	t.Helper()
	Need(t)
	// Not t.TempDir: the paths of its sockets would be too long.
	dir, err := os.MkdirTemp("", "dockerd")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{Host: "unix://" + filepath.Join(dir, "d.sock"), dir: dir}
	e.args = append([]string{
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--host", e.Host, "--pidfile", filepath.Join(dir, "pid"),
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", e.group(),
		"--shutdown-timeout", "1", "--log-level", "warn", "--containerd", e.containerdSocket(),
	}, o.Flags...)
	if e.bridged = o.Bridged; !e.bridged && !o.Bridge {
		e.args = append(e.args, "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false")
	}
	t.Cleanup(func() { e.end(t) })
	e.startContainerd(t)
	e.startDockerd(t)
	return e
}

// Dir is the directory of all that it has.
func (e *Engine) Dir() string { return e.dir }

// Pid is that of dockerd.
func (e *Engine) Pid() int { return e.dockerd.process.Pid }

// group is the cgroup below which its containers stand.
func (e *Engine) group() string { return "/" + filepath.Base(e.dir) }

func (e *Engine) startContainerd(t TB) {
	t.Helper()
	// What isn't listed is of no use to dockerd.
	const config = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = %q
[debug]
  level = "warn"
`
	at := filepath.Join(e.dir, "containerd.toml")
	text := fmt.Sprintf(config, filepath.Join(e.dir, "containerd"), filepath.Join(e.dir, "exec", "containerd"), e.containerdSocket())
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.containerd = e.startPart(t, "containerd", "--config", at)
	e.eventually(t, e.containerd, func() bool {
		c, err := net.Dial("unix", e.containerdSocket())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (e *Engine) startDockerd(t TB) {
	t.Helper()
	argv := append([]string{"dockerd"}, e.args...)
	if e.bridged { // they become dockerd
		argv = append([]string{"unshare", "--net", "--", "sh", "-c", `ip link set lo up && exec "$@"`, "sh"}, argv...)
	}
	e.dockerd = e.startPart(t, argv[0], argv[1:]...)
	e.eventually(t, e.dockerd, e.Answers)
}

func (e *Engine) eventually(t TB, p *part, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		select {
		case <-p.ended:
			t.Fatalf("%s has ended:\n%s", p.name, e.said())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("%s doesn't answer:\n%s", p.name, e.said())
		}
	}
}

// Answers reports whether it answers within a second.
func (e *Engine) Answers() bool {
	c := e.client()
	defer c.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return false
	}
	res, err := c.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Signal sends a signal to dockerd. Its containers don't notice.
func (e *Engine) Signal(t TB, sig syscall.Signal) {
	t.Helper()
	if err := e.dockerd.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// Kill9 kills dockerd and waits until it is gone. Containers run on.
func (e *Engine) Kill9(t TB) {
	t.Helper()
	e.Signal(t, syscall.SIGKILL)
	e.dockerd.await(t)
}

// Restart starts dockerd again, after Kill9 if it still runs.
func (e *Engine) Restart(t TB) {
	t.Helper()
	e.Kill9(t)
	_ = os.Remove(filepath.Join(e.dir, "pid"))
	e.startDockerd(t)
}

// Freeze stops dockerd by SIGSTOP: it takes connections and answers nothing.
func (e *Engine) Freeze(t TB) {
	t.Helper()
	e.Signal(t, syscall.SIGSTOP)
	for end := time.Now().Add(patience); !stopped(e.Pid()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("dockerd doesn't stop")
		}
	}
}

// Thaw lets it go on.
func (e *Engine) Thaw(t TB) {
	t.Helper()
	e.Signal(t, syscall.SIGCONT)
}

// Load gives it an image under a tag such as "app:latest".
func (e *Engine) Load(t TB, img v1.Image, tag string) {
	t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(ref, img, &b); err != nil {
		t.Fatal(err)
	}
	c := e.client()
	defer c.CloseIdleConnections()
	res, err := c.Post("http://docker/images/load?quiet=1", "application/x-tar", &b)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || strings.Contains(string(said), `"error"`) {
		t.Fatalf("load %s: %s: %s %v", tag, res.Status, said, err)
	}
}

func (e *Engine) client() *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", strings.TrimPrefix(e.Host, "unix://"))
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

func (e *Engine) containerdSocket() string { return filepath.Join(e.dir, "c.sock") }

func (e *Engine) log() string { return filepath.Join(e.dir, "log") }

func (e *Engine) said() string {
	b, err := os.ReadFile(e.log())
	if err != nil {
		return err.Error()
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "level=info") && !strings.Contains(line, "cleaning up after shim") {
			all = append(all, line)
		}
	}
	return strings.Join(all[max(0, len(all)-40):], "")
}
