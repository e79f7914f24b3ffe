package offer

import (
	"context"
	"time"

	"plane"
	"plane/internal/runtime/egress"
	"plane/internal/wait"
)

func (m *maker) openWay() *egress.Way {
	way := egress.New(egress.Options{Hash: m.Home.Hash(), Allowed: m.Egress, Range: m.EgressRange, Log: m.Log})
	if !m.Dev {
		return way
	}
	if err := way.Check(); err != nil { // better a container without a network than none
		m.Log.Warn("containers get no way out here", "missing", err)
		way = egress.New(egress.Options{Hash: m.Home.Hash(), Log: m.Log})
	}
	return way
}

// sweepEvery is how often ways out of ended backends are looked for, until once
// every runtime has told what it runs.
const sweepEvery = 10 * time.Second

// keepWays removes what a killed agent left of ways out, and then keeps their
// rules where they are.
func (m *maker) keepWays(ctx context.Context) error {
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		for err := m.sweepWays(ctx); err != nil; err = m.sweepWays(ctx) {
			m.Log.Debug("ways out of ended backends are looked for later", "error", err)
			if !wait.For(ctx, sweepEvery) {
				return
			}
		}
	}()
	err := m.way.Run(ctx)
	<-swept
	return err
}

func (m *maker) sweepWays(ctx context.Context) error {
	var live []plane.BackendID
	for _, r := range m.offer.Runtimes {
		found, err := r.Found(ctx)
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.Exit == nil {
				live = append(live, f.Backend)
			}
		}
	}
	return m.way.Sweep(ctx, live)
}
