package api_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plane/internal/api"
	"plane/internal/api/apitest"
)

func benchSite(b *testing.B) *apitest.Site {
	s := apitest.New(b, api.Options{Insecure: true, Log: slog.New(slog.DiscardHandler)})
	s.StartDrone(b, nil)
	if resp, answer := s.Do(b, "POST", "/ctrl/connect", `{"key":{"name":"live"},"spawn_config":{`+spawnEcho+`},"wait":"ready"}`); resp.StatusCode != 200 {
		b.Fatal(answer)
	}
	return s
}

const liveBody = `{"key":{"name":"live"},"user":"alice","auth":{"role":"editor"}}`

// BenchmarkConnectLiveHandler is the server's own share, without the network.
func BenchmarkConnectLiveHandler(b *testing.B) {
	s := benchSite(b)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "http://localhost/ctrl/connect", strings.NewReader(liveBody))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		s.API.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body.String())
		}
	}
}

// BenchmarkConnectHTTP is connects over keep-alive connections, client included.
func BenchmarkConnectHTTP(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("live-%d", clients), func(b *testing.B) {
			s := benchSite(b)
			connects(b, s, clients, func(int64) string { return liveBody })
		})
		b.Run(fmt.Sprintf("new-%d", clients), func(b *testing.B) {
			s := benchSite(b)
			connects(b, s, clients, func(n int64) string {
				return fmt.Sprintf(`{"key":{"name":"k%d"},"spawn_config":{%s}}`, n, spawnEcho)
			})
		})
	}
}

func connects(b *testing.B, s *apitest.Site, clients int, body func(int64) string) {
	var n atomic.Int64
	done := make(chan error, clients)
	b.ResetTimer()
	before := cpuTime()
	for range clients {
		go func() { done <- connector(s.Listener.Addr().String(), &n, int64(b.N), body) }()
	}
	for range clients {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
}

// cpuTime is what this process has used of all processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// connector is a client that costs little: one connection, one request at a time.
func connector(addr string, n *atomic.Int64, most int64, body func(int64) string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for {
		i := n.Add(1)
		if i > most {
			return nil
		}
		text := body(i)
		if _, err := fmt.Fprintf(conn, "POST /ctrl/connect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			return fmt.Errorf("%d %s %w", resp.StatusCode, answer, err)
		}
	}
}
