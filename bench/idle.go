package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"plane/internal/clustertest"
)

const idleBackends = 500

// benchIdle measures what Plane's own processes need for idle backends.
func benchIdle(s *session) (string, error) {
	a := clustertest.StartApart(s)
	echo := clustertest.Build(s).Echo
	drone := filepath.Join(a.DataDir, "drone")
	parts := []struct {
		name string
		pid  int
		own  bool // of what the goal speaks of
	}{
		{"agent", a.Drone.Pid(), true},
		{"warden", clustertest.LockHolder(drone, "warden"), true},
		{"reaper", clustertest.LockHolder(drone, "reaper"), true},
		{"controller", a.Controller.Pid(), false},
		{"proxy", a.ProxyPart.Pid(), false},
	}
	type use struct{ pss, fds int }
	look := func() ([]use, error) {
		var out []use
		for _, p := range parts {
			pss, err := pssKB(p.pid)
			if err != nil {
				return nil, err
			}
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
			if err != nil {
				return nil, err
			}
			out = append(out, use{pss, len(fds)})
		}
		return out, nil
	}
	before, err := look()
	if err != nil {
		return "", err
	}
	var wg sync.WaitGroup
	errs := make(chan error, idleBackends)
	slots := make(chan struct{}, 8)
	for i := range idleBackends {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c, err := s.connect(a.API, fmt.Sprintf("idle-%d", i), echo)
			if err == nil {
				err = s.get(a.Proxy, c.URL)
			}
			if err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return "", err
	default:
	}
	s.client.CloseIdleConnections()
	after, err := look()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## Memory and descriptors of Plane with %d idle backends\n\n| | KB before | KB with | KB per backend | descriptors per backend |\n|---|---|---|---|---|\n", idleBackends)
	var total float64
	for i, p := range parts {
		per := float64(after[i].pss-before[i].pss) / idleBackends
		if p.own {
			total += float64(after[i].pss) / idleBackends
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %.1f | %.2f |\n", p.name, before[i].pss, after[i].pss, per, float64(after[i].fds-before[i].fds)/idleBackends)
	}
	fmt.Fprintf(&b, "\nAgent, warden and reaper together: %.0f KB per backend, base included (goal: ≤ 200).\n", total)
	return b.String(), nil
}

// pssKB is a process's proportional share of memory.
func pssKB(pid int) (int, error) {
	data, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		var kb int
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kb); n == 1 {
			return kb, nil
		}
	}
	return 0, fmt.Errorf("no Pss for %d", pid)
}
