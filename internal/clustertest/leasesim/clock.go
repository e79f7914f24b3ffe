package leasesim

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// instant is true time, in nanoseconds from the start.
type instant int64

func (t instant) add(d time.Duration) instant { return t + instant(d) }

// clock is a machine's: it starts anywhere and runs at its own rate.
type clock struct {
	offset int64
	rate   float64
}

func (c clock) at(t instant) int64 { return c.offset + int64(float64(t)*c.rate) }

// chance makes the run's choices.
type chance struct{ *rand.Rand }

func newChance(seed uint64) chance { return chance{rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))} }

func (c chance) of(p float64) bool { return c.Float64() < p }

func (c chance) between(a, b time.Duration) time.Duration {
	return a + time.Duration(c.Float64()*float64(b-a))
}

// around is exponentially distributed.
func (c chance) around(mean time.Duration) time.Duration {
	return time.Duration(c.ExpFloat64() * float64(mean))
}

func (c chance) rate() float64 { return 1 + (c.Float64()*2-1)*0.005 }

// event is something that happens at an instant.
type event struct {
	at  instant
	seq int
	do  func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

var _ heap.Interface = (*queue)(nil)
