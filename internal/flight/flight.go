// Package flight does once what many ask for at once.
package flight

import (
	"context"
	"sync"
)

// Group is work under way, by what is asked for. V is what comes of it, P how far
// it is. The zero value is ready.
type Group[K comparable, V, P any] struct {
	mu      sync.Mutex // guards flights and their waiters
	flights map[K]*flight[V, P]
}

// flight is one piece of work and those who wait for it.
type flight[V, P any] struct {
	done    chan struct{}
	value   V // once done is closed
	err     error
	cancel  context.CancelFunc
	waiters int

	mu   sync.Mutex // guards the fields below; held while they are told
	told map[*listener[P]]bool
	last *P // nil = nothing yet
}

type listener[P any] struct{ tell func(P) }

// Do gives what comes of work, which begins unless somebody waits for the same
// already. Its context ends when the last who waited is gone, and that one
// returns after it. tell hears how far it is, possibly since before it asked, one
// call at a time and none after Do has returned.
func (g *Group[K, V, P]) Do(ctx context.Context, key K, tell func(P), work func(context.Context, func(P)) (V, error)) (V, error) {
	f := g.join(ctx, key, work)
	l := &listener[P]{tell}
	f.listen(l)
	defer f.deafen(l)
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	g.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
	var none V
	return none, ctx.Err()
}

func (g *Group[K, V, P]) join(ctx context.Context, key K, work func(context.Context, func(P)) (V, error)) *flight[V, P] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[key]; f != nil && f.waiters > 0 {
		f.waiters++
		return f
	}
	f := &flight[V, P]{done: make(chan struct{}), told: map[*listener[P]]bool{}, waiters: 1}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if g.flights == nil {
		g.flights = map[K]*flight[V, P]{}
	}
	g.flights[key] = f
	go func() { // its waiters wait for done, the last of them also when it leaves
		f.value, f.err = work(ctx, f.tell)
		g.mu.Lock()
		if g.flights[key] == f {
			delete(g.flights, key)
		}
		g.mu.Unlock()
		close(f.done)
		f.cancel()
	}()
	return f
}

// Waiting counts those who wait for any of what is asked for.
func (g *Group[K, V, P]) Waiting(of func(K) bool) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, f := range g.flights {
		if of(key) {
			n += f.waiters
		}
	}
	return n
}

func (f *flight[V, P]) listen(l *listener[P]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told[l] = true
	if f.last != nil {
		l.tell(*f.last)
	}
}

func (f *flight[V, P]) deafen(l *listener[P]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.told, l)
}

func (f *flight[V, P]) tell(p P) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = &p
	for l := range f.told {
		l.tell(p)
	}
}
