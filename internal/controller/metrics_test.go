package controller

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func TestWhatAControllerCountsIsWellNamed(t *testing.T) {
	if NewMetrics(nil) != nil {
		t.Error("without a registry nothing is counted")
	}
	reg := prometheus.NewRegistry()
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Metrics = NewMetrics(reg) }})
	p.drone("dr-1")
	p.until(p.connectTo(keyed("doc")).BackendID, plane.Ready)
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(err, problems)
	}
	if err := p.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	m := p.cfg.Metrics
	if v := testutil.ToFloat64(m.connects.WithLabelValues("started")); v != 1 {
		t.Errorf("%v connects started something", v)
	}
}

func TestEndsAreCountedByWhatBroughtThem(t *testing.T) {
	one, zero := 1, 0
	exit := func(s plane.State, ready bool) store.Backend {
		s.Status = plane.Terminated
		b := store.Backend{State: s}
		if ready {
			b.ReadyAt = time.Unix(1, 0)
		}
		return b
	}
	for name, c := range map[string]struct {
		b             store.Backend
		reason, start string
	}{
		"by itself":       {exit(plane.State{Exit: &plane.Exit{Code: &zero}}, true), "exited", ""},
		"with an error":   {exit(plane.State{Exit: &plane.Exit{Code: &one}}, true), "failed", ""},
		"by a signal":     {exit(plane.State{Exit: &plane.Exit{Signal: "SIGSEGV"}}, false), "failed", "failed"},
		"out of memory":   {exit(plane.State{Exit: &plane.Exit{OOM: true, Signal: "SIGKILL"}}, true), "oom", ""},
		"never ran":       {exit(plane.State{Exit: &plane.Exit{Message: "There is no such program."}}, false), "failed", "failed"},
		"refused":         {exit(plane.State{Exit: &plane.Exit{Message: refusedBecause(plane.RefusedLate)}}, false), "refused", "refused"},
		"asked for":       {exit(plane.State{Reason: plane.External, Exit: &plane.Exit{}}, true), "external", ""},
		"asked for early": {exit(plane.State{Reason: plane.External, Exit: &plane.Exit{}}, false), "external", "stopped"},
		"too slow":        {exit(plane.State{Reason: plane.StartupTimeout, Exit: &plane.Exit{}}, false), "startuptimeout", "failed"},
		"lost":            {store.Backend{State: plane.State{Status: plane.Waiting}}, "lost", "lost"},
		"of a newer word": {exit(plane.State{Reason: "doc-17", Exit: &plane.Exit{Code: &zero}}, true), "exited", ""},
	} {
		m := NewMetrics(prometheus.NewRegistry())
		m.ended(c.b)
		early := "false"
		if c.start != "" {
			early = "true"
			if v := testutil.ToFloat64(m.starts.WithLabelValues(c.start)); v != 1 {
				t.Errorf("%s: %v starts %s", name, v, c.start)
			}
		}
		if v := testutil.ToFloat64(m.ends.WithLabelValues(c.reason, early)); v != 1 {
			t.Errorf("%s: isn't counted as %s, early %s", name, c.reason, early)
		}
	}
}

func TestErrorsAreCountedByKindAlone(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	for _, err := range []error{
		plane.NewError(plane.CrashLoop, "Key doc-17 …"),
		fmt.Errorf("claim key doc-17: %w", plane.NewError(plane.CrashLoop, "…")),
		errors.New("disk of doc-17 is full"),
	} {
		m.connected(time.Now(), &ConnectRequest{}, &ConnectResponse{}, &err)
	}
	if v := testutil.ToFloat64(m.connects.WithLabelValues("CrashLoop")); v != 2 {
		t.Errorf("%v crash loops", v)
	}
	if v := testutil.ToFloat64(m.connects.WithLabelValues("Other")); v != 1 {
		t.Errorf("%v other faults", v)
	}
}

func TestCountingAConnectTakesNoMemory(t *testing.T) {
	r, out, err := &ConnectRequest{}, &ConnectResponse{}, error(nil)
	for name, m := range map[string]*Metrics{"counting": NewMetrics(prometheus.NewRegistry()), "not counting": nil} {
		if n := testing.AllocsPerRun(1000, func() { m.connected(time.Time{}, r, out, &err) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestRenewalsAreCountedByWhatBecameOfThem(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	m.renewed(renewal{outcome: wire.RenewalOK}, nil)
	m.renewed(renewal{outcome: wire.RenewalRefused, lapsed: []plane.Policy{plane.Fast}}, nil)
	m.renewed(renewal{stale: true}, nil)
	m.renewed(renewal{}, nil)
	m.renewed(renewal{outcome: wire.RenewalOK}, errors.New("the store is away"))
	for _, o := range []string{"ok", "refused", "stale", "older", "failed"} {
		if v := testutil.ToFloat64(m.renewals.WithLabelValues(o)); v != 1 {
			t.Errorf("%v %s", v, o)
		}
	}
	if v := testutil.ToFloat64(m.lapses.WithLabelValues("fast")); v != 1 {
		t.Errorf("%v lapses", v)
	}
}
