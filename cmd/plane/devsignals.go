package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const sameSignal = 50 * time.Millisecond // between two hearings of one signal

// endSignals gives the signals that end `plane dev`, also one that came so early
// that only ctx, which main ends by them, has heard of it. stop gives them back.
func endSignals(ctx context.Context) (signals <-chan os.Signal, stop func()) {
	raw := make(chan os.Signal, 4)
	signal.Notify(raw, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	out := make(chan os.Signal, 2)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for early := ctx.Done(); ; early = nil {
			var s os.Signal
			select {
			case <-done:
				return
			case s = <-raw: // ctx ends by it too
			case <-early:
				s = syscall.SIGTERM
				select {
				case s = <-raw:
				case <-time.After(sameSignal): // it came before us
				}
			}
			select {
			case out <- s:
			default: // two are enough
			}
		}
	}()
	return out, func() {
		signal.Stop(raw)
		close(done)
		<-ended
	}
}
