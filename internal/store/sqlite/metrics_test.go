package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"plane"
	"plane/internal/store"
)

func TestTheStoreCountsWhatItDoes(t *testing.T) {
	reg := prometheus.NewRegistry()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "plane.db"), Options{Metrics: NewMetrics(reg)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := store.Backend{
		ID: "b1", Key: plane.Key{Namespace: "secret-team", Name: "secret-doc"}, Generation: 1, Policy: plane.Balanced,
		State: plane.State{Status: plane.Scheduled},
	}
	if err := db.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.InsertBackend(b), tx.InsertEvent(store.Event{Kind: "connect"}))
	}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("a rule says no")
	if err := db.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.InsertEvent(store.Event{Kind: "never"}), refused)
	}); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if err := db.View(t.Context(), func(store.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	const want = `
# HELP plane_backends Backends that the store holds as not terminated.
# TYPE plane_backends gauge
plane_backends{status="hard-terminating"} 0
plane_backends{status="loading"} 0
plane_backends{status="ready"} 0
plane_backends{status="scheduled"} 1
plane_backends{status="starting"} 0
plane_backends{status="terminating"} 0
plane_backends{status="waiting"} 0
# HELP plane_events_total Events that were recorded in the cluster's log.
# TYPE plane_events_total counter
plane_events_total{kind="connect"} 1
# HELP plane_store_failures_total Transactions that the database itself failed, not the rules of its caller.
# TYPE plane_store_failures_total counter
plane_store_failures_total{operation="update"} 0
plane_store_failures_total{operation="urgent"} 0
plane_store_failures_total{operation="view"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "plane_backends", "plane_events_total", "plane_store_failures_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(err, problems)
	}
}

func TestAClosedStoreGivesNoNumbersInsteadOfWrongOnes(t *testing.T) {
	reg := prometheus.NewRegistry()
	db, err := Open(context.Background(), filepath.Join(t.TempDir(), "plane.db"), Options{Metrics: NewMetrics(reg)})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(reg, "plane_backends"); err != nil || n != 0 {
		t.Error(n, err)
	}
}
