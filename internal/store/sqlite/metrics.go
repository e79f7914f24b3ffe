package sqlite

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sqlite "modernc.org/sqlite"

	"plane"
	"plane/internal/store"
)

// Metrics are what a database counts. A nil Metrics counts nothing.
type Metrics struct {
	reg                  prometheus.Registerer
	view, update, urgent prometheus.Observer
	failed               [3]prometheus.Counter // of these
	commit, closures     prometheus.Observer
	events               *prometheus.CounterVec
}

// operation is what a caller waits for.
type operation int

const (
	opView operation = iota
	opUpdate
	opUrgent
)

var opNames = [...]string{"view", "update", "urgent"}

// storeBuckets are in seconds: from what memory answers to what makes leases lapse.
var storeBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

// NewMetrics registers the series of one database; without a registry it gives nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	if reg == nil {
		return nil
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "plane_store_seconds", Help: "Time that callers wait for a transaction, queue included.", Buckets: storeBuckets,
	}, []string{"operation"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "plane_store_failures_total", Help: "Transactions that the database itself failed, not the rules of its caller.",
	}, []string{"operation"})
	commit := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "plane_store_commit_seconds", Help: "Time from the begin to the durable end of a commit.", Buckets: storeBuckets,
	})
	closures := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "plane_store_commit_closures", Help: "Callers that share a commit.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
	})
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "plane_events_total", Help: "Events that were recorded in the cluster's log.",
	}, []string{"kind"})
	reg.MustRegister(seconds, failures, commit, closures, events)
	m := &Metrics{reg: reg, commit: commit, closures: closures, events: events}
	m.view, m.update, m.urgent = seconds.WithLabelValues("view"), seconds.WithLabelValues("update"), seconds.WithLabelValues("urgent")
	for i, name := range opNames {
		m.failed[i] = failures.WithLabelValues(name)
	}
	return m
}

// done notes one transaction of a caller that began then.
func (m *Metrics) done(op operation, began time.Time, err *error) {
	if m == nil {
		return
	}
	o := m.view
	switch op {
	case opUpdate:
		o = m.update
	case opUrgent:
		o = m.urgent
	}
	o.Observe(time.Since(began).Seconds())
	if isFault(*err) {
		m.failed[op].Inc()
	}
}

// committed notes one commit.
func (m *Metrics) committed(began time.Time, closures int, kinds []string) {
	if m == nil {
		return
	}
	m.commit.Observe(time.Since(began).Seconds())
	m.closures.Observe(float64(closures))
	for _, k := range kinds {
		m.events.WithLabelValues(k).Inc()
	}
}

// watch registers what is read from the database when somebody asks.
func (m *Metrics) watch(db *DB) {
	if m == nil {
		return
	}
	gauge := func(name, help, label, value string, read func() float64) prometheus.Collector {
		o := prometheus.GaugeOpts{Name: name, Help: help}
		if label != "" {
			o.ConstLabels = prometheus.Labels{label: value}
		}
		return prometheus.NewGaugeFunc(o, read)
	}
	size := func(suffix string) func() float64 {
		return func() float64 {
			st, err := os.Stat(db.path + suffix)
			if err != nil {
				return 0
			}
			return float64(st.Size())
		}
	}
	const queue, queueHelp = "plane_store_queue_closures", "Callers that wait for the one writer."
	const bytes, bytesHelp = "plane_store_size_bytes", "Size of the store's files."
	m.reg.MustRegister(
		gauge(queue, queueHelp, "queue", "urgent", func() float64 { return float64(len(db.writer.urgent)) }),
		gauge(queue, queueHelp, "queue", "update", func() float64 { return float64(len(db.writer.queue)) }),
		gauge(bytes, bytesHelp, "file", "database", size("")),
		gauge(bytes, bytesHelp, "file", "log", size("-wal")),
		population{db},
	)
}

// population counts the backends by status when somebody asks.
type population struct{ db *DB }

var backendsDesc = prometheus.NewDesc("plane_backends", "Backends that the store holds as not terminated.", []string{"status"}, nil)

// Describe implements prometheus.Collector.
func (population) Describe(ch chan<- *prometheus.Desc) { ch <- backendsDesc }

// countWait is how long a scrape may wait for a connection to read with.
const countWait = 2 * time.Second

// Collect implements prometheus.Collector. A store that doesn't answer gives no
// numbers: none is better than a wrong one.
func (p population) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countWait)
	defer cancel()
	counts := map[int64]int64{}
	err := p.db.read.view(ctx, func(t store.Tx) error {
		return t.(*tx).c.query(`SELECT rank, count(*) FROM backend WHERE ended_at = 0 GROUP BY rank`, func(r *row) error {
			rank := r.number()
			counts[rank] = r.number()
			return nil
		})
	})
	if err != nil {
		return
	}
	for _, s := range plane.Statuses {
		if s != plane.Terminated {
			ch <- prometheus.MustNewConstMetric(backendsDesc, prometheus.GaugeValue, float64(counts[int64(s.Order())]), string(s))
		}
	}
}

// isFault tells a failure of the database from what a closure decided.
func isFault(err error) bool {
	var e *sqlite.Error
	return err != nil && errors.As(err, &e)
}
