package table_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/table"
)

func open(t *testing.T) *table.Table {
	t.Helper()
	tb, err := table.Create(filepath.Join(t.TempDir(), "table"), leaseclock.KindLease)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tb.Close() })
	return tb
}

func claim(t *testing.T, tb *table.Table, id string, until plane.Instant) table.Entry {
	t.Helper()
	e, err := tb.Claim(table.Entry{
		Backend: plane.BackendID(id), Key: plane.Key{Name: id}.Hash(), Generation: 7, Policy: plane.Fast,
		Epoch: 3, Deadline: until, Grace: time.Second, Port: 4000, Group: 1, Engine: true, Runtime: plane.RuntimeDocker,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestTableIsSharedAndKeepsItsClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	if _, err := table.Open(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("no table: %v", err)
	}
	a, err := table.Create(path, leaseclock.KindAwake)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := table.Create(path, leaseclock.KindLease)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Kind() != leaseclock.KindAwake {
		t.Errorf("second opener changed the clock to %v", b.Kind())
	}
	e := claim(t, a, "x", a.Clock().Now().Add(time.Minute))
	a.Bind(e, 1234, 99)
	got, ok := b.Find("x")
	if !ok || got.Pid != 1234 || got.Start != 99 || got.Policy != plane.Fast || got.Epoch != 3 || got.Port != 4000 || got.Group != 1 || !got.Engine || got.Runtime != plane.RuntimeDocker || got.Generation != 7 || got.Grace != time.Second {
		t.Fatalf("seen through the other mapping: %+v", got)
	}
	if b.Used() != 1 || len(b.Entries()) != 1 {
		t.Errorf("used %d", b.Used())
	}
	a.Clear(e)
	a.Clear(e)
	if b.Used() != 0 || len(b.Entries()) != 0 {
		t.Errorf("used %d after clearing", b.Used())
	}
}

func TestTableOfAnotherBootIsStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	tb, err := table.Create(path, leaseclock.KindLease)
	if err != nil {
		t.Fatal(err)
	}
	claim(t, tb, "x", plane.Never)
	_ = tb.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("0000"), 64); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := table.Open(path); !errors.Is(err, table.ErrStale) {
		t.Fatalf("got %v", err)
	}
	if tb, err = table.Create(path, leaseclock.KindLease); err != nil || tb.Used() != 0 {
		t.Fatalf("%v", err)
	}
	_ = tb.Close()
}

func TestExtendMovesOnlyLiveDeadlinesOfItsEpoch(t *testing.T) {
	tb := open(t)
	now := tb.Clock().Now()
	live := claim(t, tb, "live", now.Add(time.Minute))
	passed := claim(t, tb, "passed", now.Add(-time.Millisecond))
	final := claim(t, tb, "final", now.Add(time.Minute))
	if !tb.Shorten("final", now.Add(30*time.Second)) {
		t.Fatal("not shortened")
	}
	if tb.Shorten("nobody", now) {
		t.Error("shortened what isn't there")
	}
	other, err := tb.Claim(table.Entry{Backend: "other", Policy: plane.Balanced, Epoch: 3, Deadline: now.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if n := tb.Extend(plane.Fast, 2, now.Add(time.Hour)); n != 0 {
		t.Errorf("an ended epoch extended %d", n)
	}
	if n := tb.Extend(plane.Fast, 3, now.Add(time.Hour)); n != 1 {
		t.Errorf("extended %d", n)
	}
	if n := tb.Extend(plane.Fast, 3, now.Add(time.Minute)); n != 0 {
		t.Errorf("an earlier answer moved %d", n)
	}
	for _, c := range []struct {
		e    table.Entry
		want plane.Instant
		kill bool
	}{
		{live, now.Add(time.Hour), false},
		{passed, now.Add(-time.Millisecond), true},
		{final, now.Add(30 * time.Second), false},
		{other, now.Add(time.Minute), false},
	} {
		got, ok := tb.Live(c.e)
		if d := c.want.Sub(got.Deadline); !ok || d < 0 || d > 5*time.Microsecond {
			t.Errorf("%s: deadline %d, want %d", c.e.Backend, got.Deadline, c.want)
		}
		if tb.Condemn(c.e) != c.kill {
			t.Errorf("%s: condemned = %v", c.e.Backend, !c.kill)
		}
	}
	if n := tb.Extend(plane.Fast, 3, now.Add(2*time.Hour)); n != 1 {
		t.Errorf("after condemning extended %d", n)
	}
	if got, _ := tb.Live(passed); !got.Dead {
		t.Error("condemned isn't dead")
	}
}

func TestNeverStaysNever(t *testing.T) {
	tb := open(t)
	e := claim(t, tb, "sticky", plane.Never)
	if e.Deadline != plane.Never || e.SoftAt() != plane.Never || tb.Condemn(e) {
		t.Fatalf("%+v", e)
	}
	tb.Shorten("sticky", 0)
	if !tb.Condemn(e) {
		t.Error("a shortened one isn't condemned")
	}
}

func TestLateStepsDoNotHitTheNextBackendOfASlot(t *testing.T) {
	tb := open(t)
	now := tb.Clock().Now()
	var first table.Entry
	for i := range table.Slots { // once around, so that slot 0 comes again
		e := claim(t, tb, fmt.Sprint("a", i), now)
		if i == 0 {
			first = e
		}
		tb.Clear(e)
	}
	second := claim(t, tb, "b", now.Add(time.Hour))
	if tb.Condemn(first) || tb.Soften(first) {
		t.Error("a late executioner took the next backend for the former")
	}
	tb.Clear(first)
	if got, ok := tb.Live(second); !ok || got.Dead || got.Softened {
		t.Errorf("%+v %v", got, ok)
	}
}

func TestSigtermGoesOutOnce(t *testing.T) {
	tb := open(t)
	e := claim(t, tb, "x", tb.Clock().Now())
	if !tb.Soften(e) || tb.Soften(e) {
		t.Error("not exactly once")
	}
}

func TestFullTableSaysSo(t *testing.T) {
	tb := open(t)
	for i := range table.Slots {
		claim(t, tb, fmt.Sprint(i), plane.Never)
	}
	if _, err := tb.Claim(table.Entry{Backend: "more", Policy: plane.Fast}); !errors.Is(err, table.ErrFull) {
		t.Errorf("got %v", err)
	}
}

// Of extending and condemning, one wins: what was condemned is never live again.
func TestTrap49_CondemnedIsNeverExtended(t *testing.T) {
	tb := open(t)
	for i := range 200 {
		e := claim(t, tb, fmt.Sprint("r", i), tb.Clock().Now().Add(50*time.Microsecond))
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 20 {
				tb.Extend(plane.Fast, 3, tb.Clock().Now().Add(50*time.Microsecond))
			}
		})
		for !tb.Condemn(e) {
		}
		wg.Wait()
		if n := tb.Extend(plane.Fast, 3, tb.Clock().Now().Add(time.Hour)); n != 0 {
			t.Fatal("revived")
		}
		if got, _ := tb.Live(e); !got.Dead {
			t.Fatal("not dead")
		}
		tb.Clear(e)
	}
}
