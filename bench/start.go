package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"plane/internal/clustertest"
)

// Raw starts take ports of their own in turn: the system's free port of the
// moment may be another's before the program listens.
const (
	rawFirstPort = 12000
	rawPortCount = 7000
)

var rawPorts atomic.Int64

const (
	startRuns = 200
	startWarm = 20 // rounds dropped
)

// benchStart compares connect → first byte of a new key with a raw fork and
// exec of the same program, alternating.
func benchStart(s *session) (string, error) {
	d := s.dev()
	echo := clustertest.Build(s).Echo
	var raw, plane, call times
	for i := range startRuns + startWarm {
		r, err := rawStart(s, echo)
		if err != nil {
			return "", fmt.Errorf("raw start: %w", err)
		}
		begin := time.Now()
		c, err := s.connect(d.API, fmt.Sprintf("start-%d", i), echo)
		if err != nil {
			return "", err
		}
		connected := time.Since(begin)
		if err := s.get(d.Proxy, c.URL); err != nil {
			return "", err
		}
		p := time.Since(begin)
		if err := s.terminate(d.API, c.BackendID); err != nil {
			return "", err
		}
		if err := s.drained(d, 0); err != nil {
			return "", err
		}
		if i >= startWarm {
			raw, plane, call = append(raw, r), append(plane, p), append(call, connected)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## Start: connect → first byte of a new key (%d runs)\n\n| | p50 ms | p90 ms | p99 ms | p50 of raw |\n|---|---|---|---|---|\n", startRuns)
	for _, v := range []struct {
		name string
		t    times
	}{{"raw fork/exec → first byte", raw}, {"Plane: connect, then GET", plane}, {"of it the connect call", call}} {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f |\n", v.name, ms(v.t.at(.5)), ms(v.t.at(.9)), ms(v.t.at(.99)), float64(v.t.at(.5))/float64(raw.at(.5)))
	}
	fmt.Fprintf(&b, "\nPlane's own share: %s ms p50 (goals: ≤ 6 ms p50, ≤ 20 ms p99, own share ≤ 2 ms).\n", ms(plane.at(.5)-raw.at(.5)))
	return b.String(), nil
}

// rawStart runs program on a free port and measures until the first byte of its answer.
func rawStart(s *session, program string) (time.Duration, error) {
	port := strconv.Itoa(rawFirstPort + int(rawPorts.Add(1))%rawPortCount)
	addr := net.JoinHostPort("127.0.0.1", port)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "PORT="+port, "HOST=127.0.0.1")
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for time.Since(begin) < 10*time.Second {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		_ = conn.Close()
		err = s.get(addr, "http://"+addr+"/")
		took := time.Since(begin)
		s.client.CloseIdleConnections()
		return took, err
	}
	return 0, fmt.Errorf("%s did not listen within 10 s", program)
}
