package gate_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/clustertest"
	"plane/internal/drone/gate"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

const inside = "PLANE_GATE_TEST"

// TestMain is also the program in the namespace: it listens on loopback and says
// where it is.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", os.Getenv(inside))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

// sandboxed starts a program in a network namespace of its own.
func sandboxed(t *testing.T, address string) (pid int, start uint64) {
	t.Helper()
	if os.Getuid() != 0 {
		clustertest.Missing(t, "root, for a network namespace")
	}
	c := exec.Command("sh", "-c", `ip link set lo up && exec "$0"`, os.Args[0])
	c.Env = append(os.Environ(), inside+"="+address)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "listening\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	start, _ = means.StartOf(c.Process.Pid)
	return c.Process.Pid, start
}

func opened(t *testing.T) (*table.Table, string) {
	t.Helper()
	tab, err := table.Create(filepath.Join(t.TempDir(), "table"), leaseclock.KindLease)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "gate-*")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &gate.Gate{Socket: filepath.Join(dir, "gate.sock"), Deadlines: tab, Log: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = tab.Close()
		_ = os.RemoveAll(dir)
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if st, err := os.Stat(g.Socket); err == nil && st.Mode().Perm() == 0o600 {
			break
		}
	}
	return tab, g.Socket
}

func claim(t *testing.T, tab *table.Table, id plane.BackendID, pid int, start uint64, in time.Duration) table.Entry {
	t.Helper()
	e, err := tab.Claim(table.Entry{Backend: id, Policy: plane.Balanced, Epoch: 1, Deadline: tab.Clock().Now().Add(in)})
	if err != nil {
		t.Fatal(err)
	}
	return tab.Bind(e, pid, start)
}

func TestConnectionsAreMadeInside(t *testing.T) {
	for _, address := range []string{"127.0.0.1:8080", "0.0.0.0:8080", "[::1]:8080"} {
		t.Run(address, func(t *testing.T) {
			pid, start := sandboxed(t, address)
			tab, socket := opened(t)
			claim(t, tab, "one", pid, start, time.Minute)
			before := descriptors(t)
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() {
					c, err := gate.DialAddress(context.Background(), &net.Dialer{Timeout: 30 * time.Second}, plane.GateAddress{Socket: socket, Backend: "one", Port: 8080}.String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					_, _ = io.WriteString(c, "hello")
					b := make([]byte, 5)
					if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
						t.Errorf("%q, %v", b, err)
					}
				})
			}
			all.Wait()
			for end := time.Now().Add(10 * time.Second); descriptors(t) > before+8 && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			if after := descriptors(t); after > before+8 {
				t.Errorf("%d descriptors, before %d", after, before)
			}
			// The threads that went inside have come back.
			if l, err := net.Listen("tcp", "127.0.0.1:0"); err != nil {
				t.Error(err)
			} else if c, err := net.Dial("tcp", l.Addr().String()); err != nil {
				t.Errorf("this process isn't at home any more: %v", err)
			} else {
				_, _ = c.Close(), l.Close()
			}
		})
	}
}

func TestWhoIsNotTheBackendAnyMoreIsRefused(t *testing.T) {
	pid, start := sandboxed(t, "127.0.0.1:8080")
	tab, socket := opened(t)
	claim(t, tab, "other-start", pid, start+1, time.Minute)
	claim(t, tab, "late", pid, start, 0)
	claim(t, tab, "unbound", 0, 0, time.Minute)
	claim(t, tab, "right", pid, start, time.Minute)
	for id, want := range map[plane.BackendID]error{"other-start": gate.ErrGone, "late": gate.ErrGone, "unbound": gate.ErrGone, "nobody": gate.ErrGone} {
		if _, err := gate.Dial(context.Background(), plane.GateAddress{Socket: socket, Backend: id, Port: 8080}); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	_, err := gate.Dial(context.Background(), plane.GateAddress{Socket: socket, Backend: "right", Port: 8081})
	if !errors.Is(err, gate.ErrRefused) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port that nobody listens on: %v", err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range all {
		if link, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(link, "socket:") {
			n++
		}
	}
	return n
}
