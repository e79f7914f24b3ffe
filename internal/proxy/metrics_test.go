package proxy

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestWhatAProxyCountsIsWellNamed(t *testing.T) {
	reg := prometheus.NewRegistry()
	if m := NewMetrics(nil); m != nil {
		t.Error("without a registry nothing is counted")
	}
	m := NewMetrics(reg)
	p, err := New(Config{Name: "px-test", Cluster: testCluster, ControllerURLs: []string{"http://127.0.0.1:1"}, Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(err, problems)
	}
	if err := p.Alive(t.Context()); err != nil {
		t.Error(err)
	}
}

// passes does what the path of a request counts.
func passes(x *exchange) {
	m := x.p.metrics
	m.answered(kindKey, 200)
	m.sent(17)
	m.received(4711)
	m.waited(kindToken, time.Time{})
	m.cut(errEnded)
	m.cut(errClientGone)
	m.failed()
	x.refuse(causeExpired, &gone)
}

func TestCountingTakesNoMemory(t *testing.T) {
	for name, m := range map[string]*Metrics{"counting": NewMetrics(prometheus.NewRegistry()), "not counting": nil} {
		x := &exchange{p: &Proxy{metrics: m}}
		if n := testing.AllocsPerRun(1000, func() { passes(x) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkCounting is what a small request costs in counting: once the answer,
// once its body.
func BenchmarkCounting(b *testing.B) {
	m := NewMetrics(prometheus.NewRegistry())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.answered(kindKey, 200)
			m.received(4711)
		}
	})
}

func TestStatusesThatAreNoneAreCountedAside(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	for _, status := range []int{0, -7, 600, 99999} {
		m.answered(kindNone, status)
	}
	if v := testutil.ToFloat64(m.requests[kindNone][0]); v != 4 {
		t.Errorf("%v of 4", v)
	}
}
