package proxy

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what a proxy counts. Everything that a request passes is found
// without a map and without memory of its own. A nil Metrics counts nothing.
type Metrics struct {
	reg      prometheus.Registerer
	requests [kinds][classes]prometheus.Counter
	waits    [kinds]prometheus.Observer
	refusals [causes]prometheus.Counter
	cuts     map[error]prometheus.Counter
	up, down prometheus.Counter
	failures prometheus.Counter
}

// kind is what a request is for, as far as it is counted.
type kind int

const (
	kindNone  kind = iota // for nothing that there is
	kindToken             // a backend, by a token in the path
	kindKey               // a key URL
	kindOwn               // Plane's own pages and answers
	kinds
)

var kindNames = [kinds]string{"none", "token", "key", "own"}

func kindOf(m meaning) kind {
	switch m {
	case meansToken:
		return kindToken
	case meansKey:
		return kindKey
	case meansNothing:
		return kindNone
	}
	return kindOwn
}

// classes are those of statuses: 1xx to 5xx; 0 is for what can't be one.
const classes = 6

var classNames = [classes]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// cause is why a token or a cookie didn't lead anywhere.
type cause int

const (
	causeUnreadable cause = iota // no token of this cluster
	causeNewKey                  // sealed with a key that no controller could be asked about
	causeExpired
	causeUnknown // no such backend, or it ended long ago
	causeEnded   // its backend has ended, or a newer generation is known
	causeRevoked
	causeHost    // on a host that isn't its backend's
	causeVisitor // a key URL with access: token, and no cookie that is good for it
	causes
)

var causeNames = [causes]string{"unreadable", "new-key", "expired", "unknown", "ended", "revoked", "host", "visitor"}

// waitBuckets are in seconds: from a glance at the table to the longest start.
var waitBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// NewMetrics registers the series of one proxy; without a registry it gives nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	if reg == nil {
		return nil
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	requests := counter("plane_proxy_requests_total", "Requests by what they are for and the class of the answer's status.", "kind", "class")
	bytes := counter("plane_proxy_body_bytes_total", "Bytes of bodies, and of connections that changed protocols, by direction.", "direction")
	refusals := counter("plane_proxy_refusals_total", "Tokens and visitors that were refused, by cause.", "cause")
	cuts := counter("plane_proxy_cuts_total", "Requests and sockets that the proxy cut, by cause.", "cause")
	waits := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "plane_proxy_wait_seconds", Help: "Time that requests wait until their backend is known and ready; those that need not wait aren't counted.", Buckets: waitBuckets,
	}, []string{"kind"})
	reg.MustRegister(waits)
	m := &Metrics{
		reg: reg, up: bytes.WithLabelValues("request"), down: bytes.WithLabelValues("response"),
		failures: counter("plane_proxy_backend_failures_total", "Requests whose backend didn't answer although it hadn't ended.").WithLabelValues(),
		cuts: map[error]prometheus.Counter{
			errEnded: cuts.WithLabelValues("ended"), errSuperseded: cuts.WithLabelValues("superseded"),
			errRevoked: cuts.WithLabelValues("revoked"), errLeaving: cuts.WithLabelValues("leaving"),
		},
	}
	for k := range kinds {
		for c := range classes {
			m.requests[k][c] = requests.WithLabelValues(kindNames[k], classNames[c])
		}
		m.waits[k] = waits.WithLabelValues(kindNames[k])
	}
	for c := range causes {
		m.refusals[c] = refusals.WithLabelValues(causeNames[c])
	}
	return m
}

// begin begins the response that the client gets.
func (x *exchange) begin(r *response) error {
	x.p.metrics.answered(x.kind, r.status)
	return x.client.begin(r)
}

func (m *Metrics) answered(k kind, status int) {
	if m == nil {
		return
	}
	c := status / 100
	if c < 0 || c >= classes {
		c = 0
	}
	m.requests[k][c].Inc()
}

// waited notes a wait that began then.
func (m *Metrics) waited(k kind, began time.Time) {
	if m != nil {
		m.waits[k].Observe(time.Since(began).Seconds())
	}
}

// refuse notes why an answer refuses, and gives it.
func (x *exchange) refuse(c cause, a *answer) *answer {
	if m := x.p.metrics; m != nil {
		m.refusals[c].Inc()
	}
	return a
}

// whyGone tells a token that was revoked from one whose backend is no more.
func whyGone(b *backend, tk *ticket) cause {
	if route, over := b.look(); over == nil && tk.claims != nil && route != nil && !route.Status.Ending() && !allows(route, tk.claims) {
		return causeRevoked
	}
	return causeEnded
}

// cut notes that an exchange is aborted; that a client left is no cut of ours.
func (m *Metrics) cut(why error) {
	if m == nil {
		return
	}
	if c := m.cuts[why]; c != nil {
		c.Inc()
	}
}

func (m *Metrics) sent(bytes int) {
	if m != nil {
		m.up.Add(float64(bytes))
	}
}

func (m *Metrics) received(bytes int) {
	if m != nil {
		m.down.Add(float64(bytes))
	}
}

func (m *Metrics) failed() {
	if m != nil {
		m.failures.Inc()
	}
}

// watch registers what is read from a proxy when somebody asks.
func (m *Metrics) watch(p *Proxy) {
	if m != nil {
		m.reg.MustRegister(gauges{p})
	}
}

// gauges tell how a proxy stands.
type gauges struct{ p *Proxy }

var (
	connectedDesc = prometheus.NewDesc("plane_proxy_connected", "1 if the proxy is connected to a controller.", nil, nil)
	clientsDesc   = prometheus.NewDesc("plane_proxy_client_connections", "Connections of clients over HTTP/1, those that changed protocols included.", nil, nil)
	openDesc      = prometheus.NewDesc("plane_proxy_open_requests", "Requests under way to backends; upgraded ones are WebSockets and the like.", []string{"state"}, nil)
	routesDesc    = prometheus.NewDesc("plane_proxy_backends", "Backends that the proxy knows.", nil, nil)
	asksDesc      = prometheus.NewDesc("plane_proxy_asks_pending", "Questions to a controller that aren't answered yet.", nil, nil)
	queueDesc     = prometheus.NewDesc("plane_proxy_queue_messages", "Messages that wait to be sent to the controller.", nil, nil)
)

// Describe implements prometheus.Collector.
func (gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectedDesc, clientsDesc, openDesc, routesDesc, asksDesc, queueDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	connected, queued := 0, 0
	if c := g.p.session.conn.Load(); c != nil {
		connected, queued = 1, c.Queued()
	}
	gauge(connectedDesc, connected)
	gauge(queueDesc, queued)
	g.p.mu.Lock()
	clients := len(g.p.conns)
	g.p.mu.Unlock()
	gauge(clientsDesc, clients)
	known, plain, upgraded := 0, 0, 0
	g.p.table.each(func(b *backend) {
		b.mu.Lock()
		defer b.mu.Unlock()
		known, plain, upgraded = known+1, plain+b.plain, upgraded+b.upgraded
	})
	gauge(routesDesc, known)
	gauge(openDesc, plain, "plain")
	gauge(openDesc, upgraded, "upgraded")
	g.p.asks.mu.Lock()
	asks := len(g.p.asks.byID)
	g.p.asks.mu.Unlock()
	gauge(asksDesc, asks)
}

// Alive gives an error unless requests can be routed. It never waits for a
// controller, nor for a backend.
func (p *Proxy) Alive(context.Context) error {
	p.eachConn(func(*conn) {})
	p.table.each(func(b *backend) { b.known() })
	return nil
}
