package reaper_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"plane/internal/drone/home"
	"plane/internal/drone/reaper"
)

func TestEnsureSaysWhatTheReaperComplainedOf(t *testing.T) {
	h, err := home.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = reaper.Ensure(ctx, h, []string{"/bin/sh", "-c", "echo no luck >&2; exit 1"})
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("got %v", err)
	}
}

func TestEnsureGivesUpWithItsContext(t *testing.T) {
	h, err := home.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = reaper.Ensure(ctx, h, []string{"/bin/sh", "-c", "exec sleep 0.2"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
