package drone

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"plane"
	"plane/internal/wire"
)

// Metrics are what an agent counts. A nil Metrics counts nothing.
type Metrics struct {
	reg      prometheus.Registerer
	renewals *prometheus.CounterVec // outcome
	refusals *prometheus.CounterVec // cause
	dropped  prometheus.Counter
}

var refusals = []plane.Refusal{
	plane.RefusedEpoch, plane.RefusedLate, plane.RefusedStoreEpoch, plane.RefusedTombstone, plane.RefusedKeyInUse, plane.RefusedClosing,
}

// renewalSilent is the outcome of an attempt that the next one had to follow.
const renewalSilent = "silent"

// NewMetrics registers the series of one agent; without a registry it gives nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	if reg == nil {
		return nil
	}
	m := &Metrics{
		reg: reg,
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "plane_drone_renewals_total", Help: "This drone's attempts to renew its lease, by what became of them.",
		}, []string{"outcome"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "plane_drone_refusals_total", Help: "Starts that this drone refused, by cause.",
		}, []string{"cause"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "plane_drone_telemetry_dropped_total", Help: "Messages about what backends use that were dropped, because newer ones came before they could be sent.",
		}),
	}
	for _, o := range []string{string(wire.RenewalOK), string(wire.RenewalRefused), string(wire.RenewalSuperseded), renewalSilent} {
		m.renewals.WithLabelValues(o)
	}
	for _, r := range refusals {
		m.refusals.WithLabelValues(string(r))
	}
	reg.MustRegister(m.renewals, m.refusals, m.dropped)
	return m
}

// renewal notes what became of an attempt.
func (m *Metrics) renewal(outcome string) {
	if m == nil {
		return
	}
	switch wire.Outcome(outcome) {
	case wire.RenewalOK, wire.RenewalRefused, wire.RenewalSuperseded, renewalSilent:
		m.renewals.WithLabelValues(outcome).Inc()
	}
}

// refused notes the answer to a spawn, if it is a refusal.
func (m *Metrics) refused(r plane.Refusal) {
	if m != nil && slices.Contains(refusals, r) {
		m.refusals.WithLabelValues(string(r)).Inc()
	}
}

// lost notes telemetry that was dropped.
func (m *Metrics) lost(messages int) {
	if m != nil && messages > 0 {
		m.dropped.Add(float64(messages))
	}
}

// watch registers what is read from an agent when somebody asks.
func (m *Metrics) watch(a *Agent) {
	if m != nil {
		m.reg.MustRegister(gauges{a})
	}
}

// gauges tell how an agent stands; those of its backends are missing while it
// doesn't run.
type gauges struct{ a *Agent }

var (
	readyDesc    = prometheus.NewDesc("plane_drone_ready", "1 if this drone has a lease and takes starts.", nil, nil)
	backendsDesc = prometheus.NewDesc("plane_drone_backends", "Backends on this drone that haven't ended.", []string{"status"}, nil)
	holdsDesc    = prometheus.NewDesc("plane_drone_holds", "Holds that keep backends awake.", nil, nil)
	portsDesc    = prometheus.NewDesc("plane_drone_ports_free", "Ports that are left for backends.", nil, nil)
	pendingDesc  = prometheus.NewDesc("plane_drone_reports_pending", "Reports that the controller hasn't acknowledged.", nil, nil)
	leaseDesc    = prometheus.NewDesc("plane_drone_lease_seconds_left",
		"Time until the first deadline of those backends that have one; negative when it has passed.", nil, nil)
	watcherDesc = prometheus.NewDesc("plane_drone_watcher_start_time_seconds",
		"When the process that watches backends started, in seconds since 1970; 0 if it doesn't run.", []string{"watcher"}, nil)
)

// Describe implements prometheus.Collector.
func (gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readyDesc, backendsDesc, holdsDesc, portsDesc, pendingDesc, leaseDesc, watcherDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ready := 0.0
	if g.a.Ready() {
		ready = 1
	}
	gauge(readyDesc, ready)
	for _, w := range []string{"warden", "reaper"} {
		gauge(watcherDesc, g.started(w), w)
	}
	c := g.a.crew.Load()
	if c == nil {
		return
	}
	counts, held := map[plane.Status]int{}, 0
	for _, r := range c.roster.all() {
		counts[r.now.Load().state.Status]++
		held += len(r.holds.list())
	}
	for _, s := range plane.Statuses {
		if s != plane.Terminated {
			gauge(backendsDesc, float64(counts[s]), string(s))
		}
	}
	gauge(holdsDesc, float64(held))
	gauge(portsDesc, float64(c.ports.left()))
	gauge(pendingDesc, float64(c.outbox.owed()))
	if left, any := c.leaseLeft(); any {
		gauge(leaseDesc, left.Seconds())
	}
}

// started is when a watcher took its lock; that it changes tells a restart.
func (g gauges) started(watcher string) float64 {
	if _, held := g.a.cfg.Home.Holder(watcher); !held {
		return 0
	}
	st, err := os.Stat(filepath.Join(g.a.cfg.Home.Dir, watcher+".lock"))
	if err != nil {
		return 0
	}
	return float64(st.ModTime().UnixMilli()) / 1000
}

// Alive gives an error unless orders can be taken. It never waits for the
// controller, nor for a backend.
func (a *Agent) Alive(context.Context) error {
	if c := a.crew.Load(); c != nil {
		c.roster.get("")
		c.keeper.get()
		c.outbox.owed()
	}
	return nil
}
