package history

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// do runs one operation at once.
func (r *Recorder) do(key, backend string, generation int64, spawned bool) {
	r.Begin(key).Connected(backend, generation, spawned)
}

func TestHistories(t *testing.T) {
	for name, c := range map[string]struct {
		good bool
		play func(*Recorder)
	}{
		"nothing": {true, func(*Recorder) {}},
		"start, attach, end, start": {true, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.do("k", "a", 1, false)
			r.Ended("k", "a")
			r.do("k", "b", 2, true)
			r.Begin("k").Served("b", 2)
		}},
		"an end that nobody saw": {true, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.do("k", "b", 5, true)
			r.do("k", "b", 5, false)
		}},
		"keys don't meet": {true, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.do("l", "b", 1, true)
			r.do("k", "a", 1, false)
		}},
		"two at once, one starts": {true, func(r *Recorder) {
			x, y := r.Begin("k"), r.Begin("k")
			x.Connected("a", 1, false)
			y.Connected("a", 1, true)
		}},
		"attach overlaps the end": {true, func(r *Recorder) {
			r.do("k", "a", 1, true)
			late := r.Begin("k")
			r.Ended("k", "a")
			r.do("k", "b", 2, true)
			late.Connected("a", 1, false)
		}},
		"a connect without an answer had started it": {true, func(r *Recorder) {
			r.Begin("k").Failed()
			r.do("k", "a", 1, false)
		}},
		"a connect without an answer starts it later": {true, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.Begin("k").Failed()
			r.Ended("k", "a")
			r.do("k", "b", 2, false)
		}},
		"a connect without an answer starts nothing": {true, func(r *Recorder) {
			r.Begin("k").Failed()
			r.do("k", "a", 1, true)
		}},

		"two starts at once": {false, func(r *Recorder) {
			x, y := r.Begin("k"), r.Begin("k")
			x.Connected("a", 1, true)
			y.Connected("b", 2, true)
			r.do("k", "a", 1, false)
			r.do("k", "b", 2, false)
			r.Begin("k").Served("a", 1)
		}},
		"back to an older generation": {false, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.do("k", "b", 2, true)
			r.do("k", "a", 1, false)
		}},
		"served by an older generation": {false, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.do("k", "b", 2, true)
			r.Begin("k").Served("a", 1)
		}},
		"attach after the known end": {false, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.Ended("k", "a")
			r.do("k", "a", 1, false)
		}},
		"a generation goes back": {false, func(r *Recorder) {
			r.do("k", "a", 2, true)
			r.Ended("k", "a")
			r.do("k", "b", 1, true)
		}},
		"a generation is used twice": {false, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.Ended("k", "a")
			r.do("k", "b", 1, true)
		}},
		"attach to what nobody started": {false, func(r *Recorder) {
			r.do("k", "a", 1, false)
		}},
		"one unanswered connect starts one": {false, func(r *Recorder) {
			r.Begin("k").Failed()
			r.do("k", "a", 1, false)
			r.Ended("k", "a")
			r.do("k", "b", 2, false)
		}},
		"another backend under the same generation": {false, func(r *Recorder) {
			r.do("k", "a", 1, true)
			r.do("k", "b", 1, false)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var r Recorder
			c.play(&r)
			if err := r.Check(10 * time.Second); (err == nil) != c.good {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A register that keeps its word gives good histories, however many ask; one
// that starts a second backend is found out.
func TestLongHistories(t *testing.T) {
	for seed := range uint64(20) {
		var good, bad Recorder
		play(rand.New(rand.NewPCG(seed, 0)), &good, false)
		play(rand.New(rand.NewPCG(seed, 0)), &bad, true)
		if err := good.Check(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		if bad.Check(10*time.Second) == nil {
			t.Fatalf("seed %d: two backends went unseen", seed)
		}
	}
}

func play(r *rand.Rand, rec *Recorder, twice bool) {
	type answer struct {
		call Call
		out  output
		fail bool
	}
	var waiting []answer
	var current, last int64
	for i := range 1500 {
		switch r.IntN(5) {
		case 0, 1:
			a := answer{call: rec.Begin("k"), fail: r.IntN(20) == 0}
			if current == 0 {
				last++
				current = last
				a.out.spawned = true
			}
			a.out.backend, a.out.generation = "b"+strconv.FormatInt(current, 10), current
			waiting = append(waiting, a)
		case 2, 3:
			if len(waiting) > 0 {
				j := r.IntN(len(waiting))
				a := waiting[j]
				waiting = append(waiting[:j], waiting[j+1:]...)
				if a.fail {
					a.call.Failed()
				} else {
					a.call.Connected(a.out.backend, a.out.generation, a.out.spawned)
				}
			}
		case 4:
			if current != 0 && r.IntN(6) == 0 {
				ended := "b" + strconv.FormatInt(current, 10)
				current = 0
				if r.IntN(2) == 0 {
					rec.Ended("k", ended)
				}
			}
		}
		if twice && i == 700 && current != 0 { // a second backend, while the first serves on
			first := current
			last++
			rec.do("k", "b"+strconv.FormatInt(last, 10), last, true)
			rec.do("k", "b"+strconv.FormatInt(first, 10), first, false)
			rec.do("k", "b"+strconv.FormatInt(last, 10), last, false)
			current = last
			twice = false
		}
		if twice && i > 700 && i < 1490 && current != 0 {
			first := current
			last++
			rec.do("k", "b"+strconv.FormatInt(last, 10), last, true)
			rec.do("k", "b"+strconv.FormatInt(first, 10), first, false)
			current, twice = last, false
		}
	}
}
