package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/wire"
)

// plainBackend answers everything with answer, as cheaply as can be. With hold
// it does so once and keeps the connections.
func plainBackend(t testing.TB, answer string, hold bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if hold {
				t.Cleanup(func() { nc.Close() })
				_, _ = nc.Read(make([]byte, 4096))
				_, _ = nc.Write([]byte(answer))
				continue
			}
			go func() {
				defer nc.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := nc.Read(buf); err != nil {
						return
					}
					_, _ = nc.Write([]byte(answer))
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func processCPU() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkGet is a small GET over kept connections, directly and through the
// proxy. The difference of the CPU times is the proxy's own.
func BenchmarkGet(b *testing.B) {
	c := start(b)
	address := plainBackend(b, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello", false)
	c.route("b1", 1, address)
	path := "/" + c.token("b1") + "/"
	eventually(b, "the route", func() bool { return c.get(path).status == 200 })
	run := func(addr, path string) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			began := processCPU()
			b.RunParallel(func(pb *testing.PB) {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer nc.Close()
				buf := make([]byte, 4096)
				head := []byte(httpHead("GET", string(testCluster), path, "Accept: */*", "User-Agent: bench"))
				for pb.Next() {
					_, _ = nc.Write(head)
					n, err := nc.Read(buf)
					if err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
						b.Errorf("%q %v", buf[:n], err)
						return
					}
				}
			})
			b.ReportMetric(float64((processCPU()-began).Nanoseconds())/float64(b.N)/1000, "cpu-us/op")
		}
	}
	b.Run("direct", run(address, "/"))
	b.Run("proxy", run(c.addr, path))
}

// BenchmarkIdleSocket tells what an upgraded connection costs in user memory
// while nothing happens, client's and backend's ends included.
func BenchmarkIdleSocket(b *testing.B) {
	c := start(b)
	address := plainBackend(b, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", true)
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const sockets = 1000
	for g := plane.Generation(1); b.Loop(); g++ {
		id := plane.BackendID(fmt.Sprint("b", g))
		route := c.route(id, g, address)
		head := httpHead("GET", string(testCluster), "/"+c.token(id)+"/", "Connection: Upgrade", "Upgrade: x")
		before := memory()
		var conns []net.Conn
		for range sockets {
			nc := c.dial()
			conns = append(conns, nc)
			_, _ = nc.Write([]byte(head))
			if _, err := http.ReadResponse(bufio.NewReaderSize(nc, 256), nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(memory()-before)/sockets, "B/socket")
		for _, nc := range conns {
			nc.Close()
		}
		route.Status, route.Revision = plane.Terminated, 0
		c.push(route)
		await(c.controller, func(g wire.RouteGone) bool { return g.Backend == id })
	}
}
