package oci

import (
	"fmt"
	"io"
	"net"
	"os"
	goruntime "runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/means"
)

// dial connects to a port inside a backend's network, as the gate does.
func dial(pid, port int) (net.Conn, error) {
	var c net.Conn
	err := means.Aside(func() error {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "backend")
		defer f.Close()
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
		c, err = net.FileConn(f)
		return err
	})
	return c, err
}

// get asks a backend until it answers.
func get(t testing.TB, pid, port int) string {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Microsecond) {
		c, err := dial(pid, port)
		if err == nil {
			defer c.Close()
			_, err = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			var b []byte
			if err == nil {
				b, err = io.ReadAll(c)
			}
			if err == nil && len(b) > 0 {
				return string(b)
			}
		}
		if time.Now().After(end) {
			t.Fatalf("never answers: %v", err)
		}
	}
}

func BenchmarkPrepared(b *testing.B) {
	g := stocked(b, 4)
	g.warm(g.unit(), 4)
	for b.Loop() {
		u := g.unit()
		p := g.start(u)
		get(b, p.Pid(), plane.DefaultImagePort)
		b.StopTimer()
		if !p.prepared() {
			b.Error("none was prepared")
		}
		_ = p.Stop(g.Ctx(), plane.Hard)
		g.wait(p)
		_ = p.Forget(g.Ctx())
		g.Eventually("there are more", func() bool { return g.waits() == 4 })
		b.StartTimer()
	}
}

func benchmark(b *testing.B, launcher string) {
	g := newRig(b, func(o *Options) { o.Runtime = launcher })
	w := g.start(g.unit("/server", "exit", "0"))
	g.wait(w)
	_ = w.Forget(g.Ctx())
	goruntime.GC()
	for b.Loop() {
		u := g.unit()
		p := g.start(u)
		get(b, p.Pid(), plane.DefaultImagePort)
		b.StopTimer()
		_ = p.Stop(g.Ctx(), plane.Hard)
		g.wait(p)
		_ = p.Forget(g.Ctx())
		b.StartTimer()
	}
}

func BenchmarkCrun(b *testing.B) { benchmark(b, "crun") }
func BenchmarkRunc(b *testing.B) { benchmark(b, "runc") }
