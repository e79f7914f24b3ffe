package controller

import (
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// Metrics are what a controller counts. No label is ever a key, a user or the
// name of a node: their values are the constants of this program. A nil Metrics
// counts nothing.
type Metrics struct {
	reg prometheus.Registerer

	connects       *prometheus.CounterVec   // result
	connectSeconds *prometheus.HistogramVec // result, wait
	live, liveWait prometheus.Observer      // of connects to what runs
	liveCount      prometheus.Counter

	asks      *prometheus.CounterVec // result
	begun     prometheus.Counter
	starts    *prometheus.CounterVec // result
	phases    *prometheus.HistogramVec
	startTime prometheus.Histogram
	ends      *prometheus.CounterVec // reason, early
	renewals  *prometheus.CounterVec // outcome
	lapses    *prometheus.CounterVec // policy
	cpu       prometheus.Counter
	traffic   *prometheus.CounterVec // direction
	received  prometheus.Counter
	sent      prometheus.Counter
}

// startBuckets are in seconds: from a prepared sandbox to an image that is pulled.
var startBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

// connectBuckets are in seconds: from what memory answers to the longest wait.
var connectBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}

// Values of the label result of connects, beside the kinds of errors.
const (
	resultLive    = "live"
	resultStarted = "started"
)

// NewMetrics registers the series of one controller; without a registry it gives nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	if reg == nil {
		return nil
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		reg.MustRegister(v)
		return v
	}
	m := &Metrics{
		reg:            reg,
		connects:       counter("plane_connects_total", "Connects by result: live, started, or the kind of error.", "result"),
		connectSeconds: histogram("plane_connect_seconds", "Time of a connect, by result and by what it waits for.", connectBuckets, "result", "wait"),
		asks:           counter("plane_key_asks_total", "Questions of proxies about key URLs, by result: ok, or the kind of error.", "result"),
		starts:         counter("plane_starts_total", "Starts that came to a result.", "result"),
		phases:         histogram("plane_start_phase_seconds", "Time that starts spend in each status before ready.", startBuckets, "phase"),
		ends:           counter("plane_ends_total", "Backends that ended, by reason, and whether before they were ready.", "reason", "early"),
		renewals:       counter("plane_renewals_total", "Renewals of drones' leases by outcome.", "outcome"),
		lapses:         counter("plane_lapses_total", "Leases of drones that ran out and were recorded as such.", "policy"),
		cpu:            prometheus.NewCounter(prometheus.CounterOpts{Name: "plane_usage_cpu_seconds_total", Help: "Processor time of backends, as drones report it."}),
		traffic:        counter("plane_usage_network_bytes_total", "Bytes that went into and out of the networks of backends.", "direction"),
		begun:          prometheus.NewCounter(prometheus.CounterOpts{Name: "plane_starts_begun_total", Help: "Backends that were given to a drone to start."}),
		startTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "plane_start_seconds", Help: "Time from the claim of a key to a backend that is ready.", Buckets: startBuckets,
		}),
	}
	reg.MustRegister(m.begun, m.startTime, m.cpu)
	m.received, m.sent = m.traffic.WithLabelValues("received"), m.traffic.WithLabelValues("sent")
	m.liveCount = m.connects.WithLabelValues(resultLive)
	m.live, m.liveWait = m.connectSeconds.WithLabelValues(resultLive, "none"), m.connectSeconds.WithLabelValues(resultLive, "ready")
	m.beginAtZero()
	return m
}

// beginAtZero makes what matters most visible before it happens first: a rate
// over a series that isn't there yet shows nothing.
func (m *Metrics) beginAtZero() {
	m.connects.WithLabelValues(resultStarted)
	m.asks.WithLabelValues("ok")
	for _, r := range startResults {
		m.starts.WithLabelValues(r)
	}
	for _, s := range plane.Statuses {
		if s.Order() < plane.Ready.Order() {
			m.phases.WithLabelValues(string(s))
		}
	}
	for _, r := range endReasons {
		m.ends.WithLabelValues(r, "true")
		m.ends.WithLabelValues(r, "false")
	}
	for _, o := range renewalOutcomes {
		m.renewals.WithLabelValues(o)
	}
	for _, p := range plane.Policies {
		m.lapses.WithLabelValues(string(p))
	}
}

// connected notes a connect, when it is over.
func (m *Metrics) connected(began time.Time, r *ConnectRequest, out *ConnectResponse, err *error) {
	if m == nil {
		return
	}
	took := time.Since(began).Seconds()
	wait := "none"
	if r.WaitReady {
		wait = "ready"
	}
	switch {
	case *err != nil:
		kind := errorKind(*err)
		m.connects.WithLabelValues(kind).Inc()
		m.connectSeconds.WithLabelValues("error", wait).Observe(took)
	case out.Spawned:
		m.connects.WithLabelValues(resultStarted).Inc()
		m.connectSeconds.WithLabelValues(resultStarted, wait).Observe(took)
	case r.WaitReady:
		m.liveCount.Inc()
		m.liveWait.Observe(took)
	default:
		m.liveCount.Inc()
		m.live.Observe(took)
	}
}

// asked notes a proxy's question about a key URL.
func (m *Metrics) asked(err error) {
	switch {
	case m == nil:
	case err != nil:
		m.asks.WithLabelValues(errorKind(err)).Inc()
	default:
		m.asks.WithLabelValues("ok").Inc()
	}
}

// errorKind is the kind that a caller is told; one that left is none of ours.
func errorKind(err error) string {
	var e *plane.Error
	switch {
	case errors.As(err, &e):
		return string(e.Kind)
	case isCancelled(err):
		return "cancelled"
	}
	return string(plane.Other)
}

// startBegun notes a claim that was committed.
func (m *Metrics) startBegun() {
	if m != nil {
		m.begun.Inc()
	}
}

// spent notes what backends have used.
func (m *Metrics) spent(s spent) {
	if m == nil {
		return
	}
	m.cpu.Add(float64(s.cpuMS) / 1000)
	m.received.Add(float64(s.in))
	m.sent.Add(float64(s.out))
}

// passage is a status that a backend has left, and for what.
type passage struct {
	backend store.Backend // as it was
	to      plane.State
	at      time.Time
}

// passed notes the passages of a commit.
func (m *Metrics) passed(all []passage) {
	if m == nil {
		return
	}
	for _, p := range all {
		from := p.backend.State.Status
		if from.Order() < plane.Ready.Order() && !p.to.Status.Ending() {
			m.phases.WithLabelValues(string(from)).Observe(max(0, p.at.Sub(p.backend.StateAt).Seconds()))
		}
		if p.to.Status == plane.Ready {
			m.starts.WithLabelValues("ready").Inc()
			m.startTime.Observe(max(0, p.at.Sub(p.backend.CreatedAt).Seconds()))
		}
	}
}

// startResults are the values of the label result of starts.
var startResults = []string{"ready", "refused", "failed", "stopped", "lost"}

// ended notes a backend's end; its state is that in the store, or what it was
// before it was found lost.
func (m *Metrics) ended(b store.Backend) {
	if m == nil {
		return
	}
	s := b.State
	if s.Status != plane.Terminated {
		s = lostState(s, "")
	}
	early := "false"
	if b.ReadyAt.IsZero() {
		early = "true"
		m.starts.WithLabelValues(earlyResult(s)).Inc()
	}
	m.ends.WithLabelValues(endReason(s), early).Inc()
}

// earlyResult says how a start came to nothing.
func earlyResult(s plane.State) string {
	switch {
	case refused(s):
		return "refused"
	case s.Reason == plane.Lost, s.Reason == plane.KeyExpired:
		return "lost"
	case s.Reason == plane.External, s.Reason == plane.Swept:
		return "stopped"
	}
	return "failed"
}

// endReasons are the values of the label reason of ends.
var endReasons = []string{
	string(plane.Swept), string(plane.External), string(plane.KeyExpired), string(plane.Lost),
	string(plane.StartupTimeout), string(plane.InternalError), "refused", "oom", "failed", "exited",
}

// endReason is plane's reason, or how the program ended by itself.
func endReason(s plane.State) string {
	switch {
	case s.Reason != "" && slices.Contains(endReasons, string(s.Reason)):
		return string(s.Reason)
	case refused(s):
		return "refused"
	case s.Exit != nil && s.Exit.OOM:
		return "oom"
	case s.ExitError(), s.Exit != nil && (s.Exit.Signal != "" || s.Exit.Fault || s.Exit.Code == nil && s.Exit.Message != ""):
		return "failed"
	}
	return "exited"
}

// renewalOutcomes are the values of that label. "older" is one that a later one
// stood for; "failed" wasn't answered, because the store didn't.
var renewalOutcomes = []string{string(wire.RenewalOK), string(wire.RenewalRefused), string(wire.RenewalSuperseded), "stale", "older", "failed"}

// renewed notes what became of a renewal.
func (m *Metrics) renewed(r renewal, err error) {
	if m == nil {
		return
	}
	outcome := string(r.outcome)
	switch {
	case err != nil:
		outcome = "failed"
	case r.stale:
		outcome = "stale"
	case outcome == "":
		outcome = "older"
	}
	m.renewals.WithLabelValues(outcome).Inc()
	for _, p := range r.lapsed {
		m.lapsed(p)
	}
}

// lapsed notes a lapse that was recorded.
func (m *Metrics) lapsed(p plane.Policy) {
	if m != nil {
		m.lapses.WithLabelValues(string(p)).Inc()
	}
}
