package main

import (
	"context"
	"syscall"
	"testing"
	"time"
)

func TestASignalOfBeforeTheStartIsHeardOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // main heard one, before plane dev listened
	signals, stop := endSignals(ctx)
	defer stop()
	select {
	case <-signals:
	case <-time.After(20 * time.Second):
		t.Fatal("it was lost")
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-signals:
		if s != syscall.SIGHUP {
			t.Errorf("then %v", s)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the second one was lost")
	}
}
