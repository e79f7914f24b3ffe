package drone

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"plane"
)

func TestWhatADroneCountsIsWellNamed(t *testing.T) {
	if NewMetrics(nil) != nil {
		t.Error("without a registry nothing is counted")
	}
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	m.watch(&Agent{}) // it doesn't run: what it would tell of its backends is missing
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(err, problems)
	}
	if n, err := testutil.GatherAndCount(reg, "plane_drone_backends"); err != nil || n != 0 {
		t.Error(n, err)
	}
	if err := (&Agent{}).Alive(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOnlyKnownWordsBecomeLabels(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	before, err := testutil.GatherAndCount(reg)
	if err != nil {
		t.Fatal(err)
	}
	m.renewal("a word of a newer controller")
	m.refused("doc-17")
	m.refused("")
	m.refused(plane.RefusedLate)
	m.lost(0)
	m.lost(2)
	if after, err := testutil.GatherAndCount(reg); err != nil || after != before {
		t.Errorf("%d series became %d: %v", before, after, err)
	}
	if testutil.ToFloat64(m.dropped) != 2 || testutil.ToFloat64(m.refusals.WithLabelValues("late")) != 1 {
		t.Error("what is known isn't counted")
	}
	var none *Metrics
	none.renewal("ok")
	none.refused(plane.RefusedLate)
	none.lost(1)
	none.watch(nil)
}
