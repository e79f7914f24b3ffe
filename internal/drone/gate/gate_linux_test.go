package gate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/clustertest"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

// asBackend makes this binary a backend: "NETWORK ADDRESS ANSWER", or "none".
const asBackend = "PLANE_GATE_TEST_BACKEND"

func TestMain(m *testing.M) {
	if what := os.Getenv(asBackend); what != "" {
		serveAs(strings.Fields(what))
		return
	}
	os.Exit(m.Run())
}

func serveAs(words []string) {
	if err := raiseLoopback(); err != nil {
		fmt.Println("lo:", err)
		return
	}
	if words[0] == "none" {
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	l, err := net.Listen(words[0], words[1])
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, words[2]+"\n")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

type rig struct {
	*Gate
	t     *testing.T
	table *table.Table
	n     int
}

func newRig(t *testing.T) *rig {
	if os.Geteuid() != 0 {
		clustertest.Missing(t, "root, for network namespaces")
	}
	tab, err := table.Create(filepath.Join(t.TempDir(), "table"), leaseclock.KindLease)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tab.Close() })
	dir, err := os.MkdirTemp("", "gate-*") // short: it is a socket's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &rig{Gate: &Gate{Socket: filepath.Join(dir, "gate.sock"), Deadlines: tab}, t: t, table: tab}
}

// namespace says whether a process gets one of its own.
type namespace bool

const (
	own    namespace = true
	shared namespace = false
)

// run starts a process and gives it an entry of that lifetime.
func (r *rig) run(what string, ns namespace, life time.Duration) (table.Entry, *exec.Cmd) {
	r.t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), asBackend+"="+what)
	if ns == own {
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		r.t.Fatalf("backend says %q", line)
	}
	e := r.claim(life)
	start, ok := means.StartOf(c.Process.Pid)
	if !ok {
		r.t.Fatal("the backend has no start time")
	}
	return r.table.Bind(e, c.Process.Pid, start), c
}

func (r *rig) claim(life time.Duration) table.Entry {
	r.n++
	e, err := r.table.Claim(table.Entry{
		Backend: plane.BackendID("b" + strconv.Itoa(r.n)), Key: strings.Repeat("a", 32), Generation: 1,
		Policy: plane.Balanced, Epoch: 1, Deadline: r.table.Clock().Now().Add(life), Port: 8080,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r *rig) address(id plane.BackendID, port int) plane.GateAddress {
	return plane.GateAddress{Socket: r.Socket, Backend: id, Port: port}
}

// serve runs the gate until the test ends.
func (r *rig) serve() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				r.t.Errorf("Run gives %v", err)
			}
		})
	}
	r.t.Cleanup(stop)
	return stop
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// says reads what the backend greets with, and that it echoes.
func says(t *testing.T, c net.Conn, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(c)
	if got, err := in.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("the connection says %q, %v; want %q", got, err, want)
	}
	if _, err := io.WriteString(c, "ping\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := in.ReadString('\n'); err != nil || got != "ping\n" {
		t.Fatalf("the echo is %q, %v", got, err)
	}
}

func TestBackendsOnTheSamePortAreToldApart(t *testing.T) {
	r := newRig(t)
	r.serve()
	one, _ := r.run("tcp 127.0.0.1:8080 one", own, time.Hour)
	two, _ := r.run("tcp 127.0.0.1:8080 two", own, time.Hour)
	for range 3 {
		c, err := Dial(within(t), r.address(one.Backend, 8080))
		says(t, c, err, "one")
		c, err = r.DialAddress(within(t), &net.Dialer{Timeout: time.Minute}, r.address(one.Backend, 8080).String())
		says(t, c, err, "one")
		c, err = r.Connect(within(t), two.Backend, 8080)
		says(t, c, err, "two")
	}
}

func TestABackendThatListensOnIPv6OnlyIsReached(t *testing.T) {
	r := newRig(t)
	e, _ := r.run("tcp6 [::1]:9000 six", own, time.Hour)
	c, err := r.Connect(within(t), e.Backend, 9000)
	says(t, c, err, "six")
}

func TestRefusalsAreToldApart(t *testing.T) {
	r := newRig(t)
	stop := r.serve()
	quiet, _ := r.run("none", own, time.Hour)
	late, _ := r.run("tcp 127.0.0.1:8080 late", own, -time.Second)
	outside, _ := r.run("tcp 127.0.0.1:0 outside", shared, time.Hour)
	ended, c := r.run("none", own, time.Hour)
	_ = c.Process.Kill()
	_ = c.Wait()
	reused, _ := r.run("tcp 127.0.0.1:8080 reused", own, time.Hour)
	r.table.Bind(reused, reused.Pid, reused.Start+1)
	unstarted := r.claim(time.Hour)
	for _, x := range []struct {
		what string
		id   plane.BackendID
		want error
	}{
		{"one that doesn't listen", quiet.Backend, ErrRefused},
		{"one that has no process yet", unstarted.Backend, ErrRefused},
		{"one whose deadline has passed", late.Backend, ErrGone},
		{"one in the drone's own namespace", outside.Backend, ErrShared},
		{"one that has ended", ended.Backend, ErrGone},
		{"one whose process number somebody else has", reused.Backend, ErrGone},
		{"one that nobody knows", "nobody", ErrGone},
	} {
		if _, err := r.Connect(within(t), x.id, 8080); !errors.Is(err, x.want) {
			t.Errorf("in process: %s gives %v, want %v", x.what, err, x.want)
		}
		if _, err := Dial(within(t), r.address(x.id, 8080)); !errors.Is(err, x.want) {
			t.Errorf("by the socket: %s gives %v, want %v", x.what, err, x.want)
		}
	}
	if !errors.Is(ErrRefused, syscall.ECONNREFUSED) {
		t.Error("a refusal isn't the system's to those who look for that")
	}
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, r.address(quiet.Backend, 8080)); !errors.Is(err, ErrClosed) {
		t.Errorf("without a gate: %v, want %v", err, ErrClosed)
	}
}

func TestConnectionsGoOnWithoutTheGateAndWaitForTheNext(t *testing.T) {
	r := newRig(t)
	stop := r.serve()
	e, _ := r.run("tcp 127.0.0.1:8080 on", own, time.Hour)
	open, err := Dial(within(t), r.address(e.Backend, 8080))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	says(t, open, nil, "on")
	dialled := make(chan error, 1)
	go func() {
		c, err := Dial(within(t), r.address(e.Backend, 8080))
		if err == nil {
			_ = c.Close()
		}
		dialled <- err
	}()
	select {
	case err := <-dialled:
		t.Fatalf("without a gate Dial gives %v; it must wait for the next", err)
	case <-time.After(20 * time.Millisecond):
	}
	r.serve()
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}

// A backlog that is full makes the kernel try again, on its own terms.
func TestAFullBacklogIsWaitedFor(t *testing.T) {
	r := newRig(t)
	e, _ := r.run("none", own, time.Hour)
	var listener int
	accept := func(f func()) { // in the backend's namespace
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // ends with the goroutine
			ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", e.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				err = unix.Setns(ns, unix.CLONE_NEWNET)
				_ = unix.Close(ns)
			}
			if err != nil {
				t.Error(err)
				return
			}
			f()
		}()
		<-done
	}
	accept(func() {
		var err error
		if listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(listener, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err == nil {
			err = unix.Listen(listener, 0)
		}
		if err != nil {
			t.Error(err)
		}
	})
	defer unix.Close(listener)
	first, err := r.Connect(within(t), e.Backend, 8080) // fills it
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Connect(ctx, e.Backend, 8080); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with a full backlog: %v, want to have waited", err)
	}
	later := make(chan error, 1)
	go func() {
		c, err := r.Connect(within(t), e.Backend, 8080)
		if err == nil {
			_ = c.Close()
		}
		later <- err
	}()
	fd, _, err := unix.Accept(listener)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := <-later; err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

func TestThousandsOfConnectionsLeaveNothing(t *testing.T) {
	r := newRig(t)
	r.serve()
	e, _ := r.run("tcp 127.0.0.1:8080 many", own, time.Hour)
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	storm := func(n int) {
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				for range n / 16 {
					var c net.Conn
					var err error
					if i%2 == 0 {
						c, err = Dial(within(t), r.address(e.Backend, 8080))
					} else {
						c, err = r.Connect(within(t), e.Backend, 8080)
					}
					if err != nil {
						t.Error(err)
						return
					}
					_ = c.Close()
				}
			})
		}
		all.Wait()
	}
	storm(320)
	fds, threads := count(t, "/proc/self/fd"), count(t, "/proc/self/task")
	storm(3200)
	for until := time.Now().Add(30 * time.Second); count(t, "/proc/self/fd") > fds+4; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d descriptors are open, before it were %d", count(t, "/proc/self/fd"), fds)
		}
	}
	if now := count(t, "/proc/self/task"); now > threads+16 {
		t.Errorf("there are %d threads, before it were %d", now, threads)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if at, err := os.Readlink(task); err == nil && at != here {
			t.Errorf("the thread %s is left in %s; the drone's own is %s", task, at, here)
		}
	}
}

func count(t *testing.T, dir string) int {
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
