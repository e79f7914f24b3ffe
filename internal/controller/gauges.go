package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"plane"
)

// watch registers what is read from a controller when somebody asks.
func (m *Metrics) watch(c *Controller) {
	if m != nil {
		m.reg.MustRegister(nodes{c})
	}
}

// nodes tells of the nodes that are connected to a controller.
type nodes struct{ c *Controller }

var (
	dronesDesc = prometheus.NewDesc("plane_controller_drones",
		"Drones connected to this controller, by whether they take starts.", []string{"state"}, nil)
	proxiesDesc = prometheus.NewDesc("plane_controller_proxies",
		"Proxies connected to this controller.", nil, nil)
	renewalAgeDesc = prometheus.NewDesc("plane_controller_renewal_age_seconds",
		"Time since the last renewal of the connected drone that was silent longest.", nil, nil)
	queueDesc = prometheus.NewDesc("plane_controller_queue_messages",
		"Messages in the longest queue towards a node.", []string{"peer"}, nil)
	limitDesc = prometheus.NewDesc("plane_controller_backends_limit",
		"Backends that a cluster may have at once; 0 is no limit.", nil, nil)
)

// Describe implements prometheus.Collector.
func (nodes) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dronesDesc, proxiesDesc, renewalAgeDesc, queueDesc, limitDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (n nodes) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	states := map[string]int{"ready": 0, "draining": 0, "silent": 0}
	var oldest time.Duration
	var queued int
	for _, s := range n.c.drones.all() {
		switch {
		case !s.heard(plane.Balanced):
			states["silent"]++
		case s.draining.Load():
			states["draining"]++
		default:
			states["ready"]++
		}
		oldest = max(oldest, time.Since(s.since)-time.Duration(s.renewed.Load()))
		queued = max(queued, s.conn.Queued())
	}
	for state, count := range states {
		gauge(dronesDesc, float64(count), state)
	}
	gauge(renewalAgeDesc, oldest.Seconds())
	gauge(queueDesc, float64(queued), "drone")
	count, queued := 0, 0
	for _, s := range n.c.proxies.all() {
		count++
		queued = max(queued, s.conn.Queued())
	}
	gauge(proxiesDesc, float64(count))
	gauge(queueDesc, float64(queued), "proxy")
	gauge(limitDesc, float64(n.c.cfg.MaxBackends))
}

// Alive gives an error unless what every verb needs can be had. It never waits
// for the store, nor for a node.
func (c *Controller) Alive(context.Context) error {
	_ = c.drones.all()
	_ = c.proxies.all()
	_ = c.live.find(place{})
	return nil
}

func isCancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (p *proxySet) all() []*proxySession {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.byName))
}
