package run_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"plane/internal/run"
)

// waits is a part that leaves when it is told to, after d.
func waits(name string, d time.Duration, err error) run.Part {
	return run.Part{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(d)
		return err
	}}
}

func fails(name string, d time.Duration, err error) run.Part {
	return run.Part{Name: name, Run: func(context.Context) error {
		time.Sleep(d)
		return err
	}}
}

func TestTheFirstToReturnStopsAll(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"failed": {boom, "proxy: boom"},
		"done":   {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := run.All(t.Context(), fails("proxy", time.Second, c.err), waits("agent", 3*time.Second, nil))
				if text(err) != c.want {
					t.Errorf("error %q, want %q", text(err), c.want)
				}
				if c.err != nil && !errors.Is(err, c.err) {
					t.Error("the part's error can't be found in it")
				}
				if took := time.Since(began); took != 4*time.Second {
					t.Errorf("returned after %v, want 4s: when the last part had left", took)
				}
			})
		})
	}
}

func TestErrorsAreJoinedAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := run.All(t.Context(),
			fails("store", time.Second, errors.New("disk full")),
			waits("agent", 0, errors.New("journal: disk full")))
		if want := "store: disk full\nagent: journal: disk full"; text(err) != want {
			t.Errorf("error %q, want %q", text(err), want)
		}
	})
}

func TestBeingCancelledAsAskedIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := run.All(ctx, waits("api", 0, context.Canceled), waits("proxy", 0, nil)); err != nil {
			t.Error(err)
		}
	})
}

func TestCancelledByItselfIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := run.All(t.Context(), fails("api", time.Second, context.Canceled))
		if want := "api: context canceled"; text(err) != want {
			t.Errorf("error %q, want %q", text(err), want)
		}
	})
}

func TestNoPartsIsNoError(t *testing.T) {
	if err := run.All(t.Context()); err != nil {
		t.Error(err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
