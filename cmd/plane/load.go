package main

import (
	"cmp"
	"slices"
	"time"

	"plane"
	"plane/client"
)

// What `plane top` may sort by.
const (
	sortCPU    = "cpu"
	sortMemory = "memory"
	sortKey    = "key"
)

// loads computes how busy backends are from what they have used so far.
type loads struct {
	last map[plane.BackendID]sample
}

// sample is CPU time and when it was first seen. Drones measure more rarely
// than people look, so that a figure stands until there is a new one.
type sample struct {
	cpuMS   int64
	at      time.Time
	percent float64
}

// stale is how long a figure stands: a drone measures more often than that.
const stale = 15 * time.Second

// topRow is a backend with its load.
type topRow struct {
	client.Backend
	CPUPercent float64 `json:"cpu_percent"` // of one CPU
}

// observe takes a list of backends and forgets those that aren't in it.
func (l *loads) observe(now time.Time, backends []client.Backend) []topRow {
	next := make(map[plane.BackendID]sample, len(backends))
	rows := make([]topRow, 0, len(backends))
	for _, b := range backends {
		s, known := l.last[b.BackendID]
		switch {
		case !known:
			s = sample{cpuMS: b.CPUMS, at: now, percent: meanPercent(now, b)}
		case b.CPUMS > s.cpuMS:
			s = sample{cpuMS: b.CPUMS, at: now, percent: percentOf(b.CPUMS-s.cpuMS, now.Sub(s.at))}
		case now.Sub(s.at) > stale:
			s.percent = 0
		}
		next[b.BackendID] = s
		rows = append(rows, topRow{b, s.percent})
	}
	l.last = next
	return rows
}

// meanPercent is the load since the backend is ready.
func meanPercent(now time.Time, b client.Backend) float64 {
	if b.Status != plane.Ready {
		return 0
	}
	return percentOf(b.CPUMS, max(now.Sub(time.UnixMilli(b.Since)), time.Second))
}

func percentOf(cpuMS int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(cpuMS) / float64(d.Milliseconds()+1) * 100
}

// sortRows puts the busiest first, or sorts by key.
func sortRows(rows []topRow, by string) {
	slices.SortFunc(rows, func(a, b topRow) int {
		byKey := cmp.Or(cmp.Compare(a.Key.String(), b.Key.String()), cmp.Compare(a.BackendID, b.BackendID))
		switch by {
		case sortCPU:
			return cmp.Or(cmp.Compare(b.CPUPercent, a.CPUPercent), byKey)
		case sortMemory:
			return cmp.Or(cmp.Compare(b.MemoryBytes, a.MemoryBytes), byKey)
		}
		return byKey
	})
}
