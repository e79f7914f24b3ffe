package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plane/internal/clustertest"
)

// benchProxy compares small GETs through the proxy with those sent to the
// backend itself, in alternating rounds over kept connections.
func benchProxy(s *session) (string, error) {
	d := s.dev()
	echo := clustertest.Build(s).Echo
	c, err := s.connect(d.API, "proxied", echo)
	if err != nil {
		return "", err
	}
	if err := s.get(d.Proxy, c.URL); err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(c.URL, "://")
	host, path, _ := strings.Cut(rest, "/")
	direct, err := s.backendAddress(d, c)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("## Proxy: small GET over kept connections\n\n| clients | direct/s | through Plane/s | of direct | added p50 ms |\n|---|---|---|---|---|\n")
	for _, clients := range []int{1, 16, 64} {
		var dRate, pRate float64
		var dP50, pP50 time.Duration
		const rounds = 3
		for range rounds {
			r, t, err := load(s.client, clients, time.Second, direct, "", "/")
			if err != nil {
				return "", err
			}
			dRate, dP50 = dRate+r/rounds, dP50+t.at(.5)/rounds
			r, t, err = load(s.client, clients, time.Second, d.Proxy, host, "/"+path)
			if err != nil {
				return "", err
			}
			pRate, pP50 = pRate+r/rounds, pP50+t.at(.5)/rounds
		}
		fmt.Fprintf(&b, "| %d | %.0f | %.0f | %.2f | %s |\n", clients, dRate, pRate, pRate/dRate, ms(pP50-dP50))
	}
	return b.String(), nil
}

// backendAddress learns the port from the backend itself.
func (s *session) backendAddress(d *clustertest.Dev, c connected) (string, error) {
	text, err := s.text(d.Proxy, c.URL+"env")
	if err != nil {
		return "", err
	}
	var env map[string]string
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		return "", fmt.Errorf("read the backend's environment: %w", err)
	}
	return "127.0.0.1:" + env["PORT"], nil
}

// load sends GETs from clients for d and gives the rate and the times.
func load(client *http.Client, clients int, d time.Duration, addr, host, path string) (float64, times, error) {
	var n atomic.Int64
	var mu sync.Mutex
	var all times
	var failed error
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range clients {
		wg.Go(func() {
			var mine times
			for time.Now().Before(end) {
				at := time.Now()
				req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
				if err == nil {
					req.Host = host
					err = drain(client, req)
				}
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				mine = append(mine, time.Since(at))
				n.Add(1)
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return float64(n.Load()) / d.Seconds(), all, failed
}
