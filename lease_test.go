package plane

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// skewed is a machine's clock: it starts anywhere and runs at its own rate.
type skewed struct {
	offset int64
	rate   float64
}

func (c skewed) at(t time.Duration) int64   { return c.offset + int64(float64(t)*c.rate) }
func (c skewed) when(v int64) time.Duration { return time.Duration(float64(v-c.offset) / c.rate) }

// leaseWorld is one drone and its store in true time, with everything that is
// under way between them. choose(n) decides, from 0 to n-1, what comes next.
type leaseWorld struct {
	choose func(n int) int
	credit func(h Holding, number int64, now Instant) (Holding, bool) // Holding.Renewed, or a broken one
	clock  func(w *leaseWorld) Instant                                // the drone's: its lease clock, or a wrong one

	now       time.Duration
	drone, db skewed
	wall      time.Duration // sum of the wall clock's steps

	h        Holding
	agent    int
	table    []running
	attempts []flying // renewals on their way to the store, from any agent there ever was
	answers  []flying
	grants   []Grant

	epochs    Epochs // from here on: the store
	current   int    // agent
	renewal   int64
	renewedAt time.Time
	lapsed    map[Policy]int64 // renewal after which it did

	starts, lapses, refused, extended int
}

type running struct {
	policy   Policy
	epoch    int64
	deadline Instant
}

type flying struct {
	agent  int
	number int64
	epochs Epochs
}

// killing is k + m of the figures: what is left between holder and store.
var killing = map[Policy]time.Duration{Fast: 2400 * time.Millisecond, Balanced: 4500 * time.Millisecond}

func newLeaseWorld(choose func(int) int) *leaseWorld {
	rate := func() float64 { return []float64{0.995, 0.9975, 1, 1.0025, 1.005}[choose(5)] }
	w := &leaseWorld{
		choose: choose,
		credit: func(h Holding, number int64, _ Instant) (Holding, bool) { return h.Renewed(number) },
		clock:  func(w *leaseWorld) Instant { return Instant(w.drone.at(w.now)) },
		drone:  skewed{int64(choose(1000)) * int64(time.Minute), rate()},
		db:     skewed{int64(choose(1000)) * int64(time.Hour), rate()},
		epochs: Epochs{1, 1, 1},
		lapsed: map[Policy]int64{},
	}
	w.renewedAt = w.dbNow()
	w.restart()
	return w
}

func (w *leaseWorld) dbNow() time.Time { return time.Unix(0, w.db.at(w.now)) }

// restart begins a new agent: it resumes the epochs of its journal.
func (w *leaseWorld) restart() {
	w.agent++
	w.current = w.agent
	w.h, _ = Holding{Epochs: w.h.Epochs, Attempt: w.renewal}.Raised(w.epochs)
}

// pass lets time pass. The executioners act at deadlines, whatever the agent does.
func (w *leaseWorld) pass(d time.Duration) { w.now += d }

// step does one thing that may happen, and reports an error if a promise broke.
func (w *leaseWorld) step() error {
	switch w.choose(14) {
	case 0, 1:
		w.pass(time.Duration(1+w.choose(1500)) * time.Millisecond)
	case 2:
		if w.choose(5) == 0 {
			w.pass(time.Duration(1+w.choose(60)) * time.Second) // SIGSTOP, a partition, a closed lid
		}
	case 3: // exactly when the store may take over, or just before
		if p := Policies[w.choose(2)]; w.choose(5) == 0 {
			at := w.db.when(w.renewedAt.Add(p.Terms().Store).UnixNano()) + time.Duration(w.choose(3)-1)*time.Millisecond
			w.pass(max(0, at-w.now))
		}
	case 4, 5:
		var f flying
		w.h, f.number = w.h.Send(w.clock(w))
		f.agent, f.epochs = w.agent, w.h.Epochs
		w.attempts = append(w.attempts, f)
	case 6, 7:
		w.arrive(&w.attempts, w.commit)
	case 8, 9:
		w.arrive(&w.answers, w.answered)
	case 10:
		if len(w.grants) > 8 { // lost
			w.grants = w.grants[1:]
		}
		p := Policies[w.choose(2)]
		w.grants = append(w.grants, Grant{Policy: p, Epoch: w.epochs.Of(p), Renewal: w.renewal})
	case 11:
		if len(w.grants) > 0 {
			w.spawn(w.grants[w.choose(len(w.grants))])
		}
	case 12:
		w.wall += time.Duration(w.choose(121)-60) * time.Minute
	case 13:
		if w.choose(4) == 0 {
			w.restart()
		}
	}
	return w.lapse()
}

// arrive takes any of the messages: in any order, once, twice or never.
func (w *leaseWorld) arrive(box *[]flying, take func(flying)) {
	if len(*box) == 0 {
		return
	}
	i := w.choose(len(*box))
	f := (*box)[i]
	if w.choose(3) > 0 {
		*box = append((*box)[:i:i], (*box)[i+1:]...)
	}
	if w.choose(6) > 0 {
		take(f)
	}
}

// commit is the store's conditional update.
func (w *leaseWorld) commit(f flying) {
	if f.agent != w.current || f.number <= w.renewal || f.epochs != w.epochs {
		return
	}
	w.renewal, w.renewedAt = f.number, w.dbNow()
	w.answers = append(w.answers, f)
}

func (w *leaseWorld) answered(f flying) {
	if f.agent != w.agent {
		return // it went over that agent's connection
	}
	now := w.clock(w)
	h, moved := w.credit(w.h, f.number, now)
	w.h = h
	if !moved {
		return
	}
	for i, r := range w.table {
		if until := h.Deadline(r.policy); r.epoch == h.Epochs.Of(r.policy) && r.deadline > now && until > r.deadline {
			w.table[i].deadline = until
			w.extended++
		}
	}
}

func (w *leaseWorld) spawn(g Grant) {
	if w.h.Accepts(g, w.clock(w)) != "" {
		w.refused++
		return
	}
	w.starts++
	w.table = append(w.table, running{g.Policy, g.Epoch, w.h.Deadline(g.Policy)})
}

// lapse lets the store take over whatever it may. Nothing of it may still run,
// nor have had less time to die than the figures say.
func (w *leaseWorld) lapse() error {
	for _, p := range Policies {
		if !Lapsed(p, w.renewedAt, w.dbNow()) {
			continue
		}
		for _, r := range w.table {
			if r.policy != p || r.epoch != w.epochs.Of(p) {
				continue
			}
			left := r.deadline.Sub(w.clock(w))
			if left > -time.Duration(float64(killing[p])*w.drone.rate) {
				return fmt.Errorf("at %s the store takes %s keys over, %s after the holder's deadline", w.now, p, -left)
			}
		}
		if w.lapsed[p] != w.renewal { // once is enough
			w.lapses++
			w.lapsed[p] = w.renewal
			w.epochs[p.Index()]++
		}
	}
	if w.h.Epochs != w.epochs && w.choose(3) == 0 { // the drone hears of it, sooner or later
		w.h, _ = w.h.Raised(w.epochs)
	}
	return nil
}

func TestAHoldersDeadlinePassesBeforeTheStoreMayLapse(t *testing.T) {
	var sum leaseWorld
	rapid.Check(t, func(t *rapid.T) {
		w := newLeaseWorld(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			if err := w.step(); err != nil {
				t.Fatal(err)
			}
		}
	})
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newLeaseWorld(r.IntN)
		for range 400 {
			if err := w.step(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		sum.starts += w.starts
		sum.lapses += w.lapses
		sum.refused += w.refused
		sum.extended += w.extended
	}
	t.Logf("%d starts, %d lapses, %d refused, %d extended", sum.starts, sum.lapses, sum.refused, sum.extended)
	if sum.starts < 3000 || sum.lapses < 3000 || sum.refused < 3000 || sum.extended < 3000 {
		t.Fatalf("the runs were too quiet to show anything: %d starts, %d lapses, %d refused, %d extended",
			sum.starts, sum.lapses, sum.refused, sum.extended)
	}
}

// The same world must catch a holder that breaks a rule, or it shows nothing.
func TestTheWorldCatchesBrokenHolders(t *testing.T) {
	for name, broken := range map[string]func(*leaseWorld){
		"answer credited to the latest attempt": func(w *leaseWorld) {
			w.credit = func(h Holding, _ int64, _ Instant) (Holding, bool) { return h.Renewed(h.Attempt) }
		},
		"deadline from receipt": func(w *leaseWorld) {
			w.credit = func(h Holding, number int64, now Instant) (Holding, bool) {
				h, moved := h.Renewed(number)
				if moved {
					h.SentAt = now
				}
				return h, moved
			}
		},
		"Trap09 wall clock": func(w *leaseWorld) {
			w.clock = func(w *leaseWorld) Instant { return Instant(w.drone.at(w.now) + int64(w.wall)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4000) {
				r := rand.New(rand.NewPCG(seed, 2))
				w := newLeaseWorld(r.IntN)
				broken(w)
				for range 400 {
					if w.step() != nil {
						return
					}
				}
			}
			t.Error("no run was caught")
		})
	}
}

func TestDeadlineIsThatOfTheLatestAnsweredSend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Holding
		sent := map[int64]Instant{}
		now := Instant(rapid.Int64Range(-1e15, 1e15).Draw(t, "now"))
		for range rapid.IntRange(1, 30).Draw(t, "attempts") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")))
			var n int64
			h, n = h.Send(now)
			sent[n] = now
		}
		var best int64
		for range rapid.IntRange(0, 40).Draw(t, "answers") {
			n := rapid.Int64Range(-1, 35).Draw(t, "answer") // also of numbers that were never sent
			next, moved := h.Renewed(n)
			_, known := sent[n]
			if want := known && n > best; moved != want {
				t.Fatalf("answer %d after %d: moved = %v", n, best, moved)
			}
			h = next
			if moved {
				best = n
			}
			for _, p := range []Policy{Fast, Balanced} {
				want := Instant(0)
				if best != 0 {
					want = sent[best].Add(p.Terms().Holder)
				}
				if got := h.Deadline(p); got != want {
					t.Fatalf("%s: deadline %d, want %d", p, got, want)
				}
			}
			if h.Deadline(Sticky) != Never {
				t.Fatal("sticky backends have no deadline")
			}
		}
	})
}

// An answer that comes after the deadline it could give brings none that lies ahead.
func TestAnAnswerOlderThanTheLeaseRevivesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, n := Holding{}.Send(0)
		later := Instant(0)
		for range rapid.IntRange(0, 300).Draw(t, "retries") {
			later = later.Add(RetryRenewal)
			h, _ = h.Send(later)
		}
		now := later.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "late")))
		h, _ = h.Renewed(n)
		for _, p := range []Policy{Fast, Balanced} {
			if h.Deadline(p) > now && now.Sub(0) >= p.Terms().Holder {
				t.Fatalf("%s: an answer %s after its send gives %s more", p, now.Sub(0), h.Deadline(p).Sub(now))
			}
		}
	})
}

func TestHoldingIsAValue(t *testing.T) {
	h, first := Holding{}.Send(1)
	a, na := h.Send(2)
	b, nb := h.Send(3)
	if na != nb || na == first {
		t.Fatalf("numbers %d, %d after %d", na, nb, first)
	}
	a, _ = a.Renewed(na)
	b, _ = b.Renewed(nb)
	if a.SentAt != 2 || b.SentAt != 3 || h.Granted {
		t.Fatalf("values share memory: %d, %d", a.SentAt, b.SentAt)
	}
}

func TestHoldingForgetsOldAttempts(t *testing.T) {
	var h Holding
	for i := range 100_000 {
		h, _ = h.Send(Instant(i) * Instant(RetryRenewal))
	}
	if most := int(46*time.Second/RetryRenewal) + 2; len(h.sent) > most {
		t.Fatalf("%d attempts are kept, at most %d can matter", len(h.sent), most)
	}
}

func TestGrants(t *testing.T) {
	const sec = Instant(time.Second)
	store := StoreEpoch{"s", 3}
	h, n := Holding{Epochs: Epochs{4, 5, 6}, Store: store}.Send(100 * sec)
	h, _ = h.Renewed(n)
	silent, unanswered := h.Send(106 * sec) // on its way; the store may have committed it
	fresh := Holding{Epochs: Epochs{4, 5, 6}, Store: store, Attempt: n}
	for name, c := range map[string]struct {
		h    Holding
		g    Grant
		now  Instant
		want Refusal
	}{
		"current":                               {h, Grant{Fast, 4, n, store}, 101 * sec, ""},
		"last instant":                          {h, Grant{Fast, 4, n, store}, 107*sec - 1, ""},
		"Trap08 past its deadline":              {h, Grant{Fast, 4, n, store}, 107 * sec, RefusedLate},
		"balanced, last instant":                {h, Grant{Balanced, 5, n, store}, 145*sec - 1, ""},
		"balanced, past":                        {h, Grant{Balanced, 5, n, store}, 145 * sec, RefusedLate},
		"sticky has balanced's horizon":         {h, Grant{Sticky, 6, n, store}, 145*sec - 1, ""},
		"sticky, past":                          {h, Grant{Sticky, 6, n, store}, 145 * sec, RefusedLate},
		"older epoch":                           {h, Grant{Fast, 3, n, store}, 101 * sec, RefusedEpoch},
		"newer epoch":                           {h, Grant{Fast, 5, n, store}, 101 * sec, RefusedEpoch},
		"another class's epoch":                 {h, Grant{Balanced, 4, n, store}, 101 * sec, RefusedEpoch},
		"no policy":                             {h, Grant{"", 4, n, store}, 101 * sec, RefusedEpoch},
		"unknown renewal":                       {h, Grant{Fast, 4, n + 9, store}, 101 * sec, RefusedLate},
		"renewal of an earlier agent":           {fresh, Grant{Fast, 4, n, store}, 101 * sec, RefusedLate},
		"sticky, renewal of an earlier agent":   {fresh, Grant{Sticky, 6, n, store}, 101 * sec, RefusedLate},
		"committed, answer lost":                {silent, Grant{Fast, 4, unanswered, store}, 107*sec - 1, ""},
		"committed, answer lost, deadline past": {silent, Grant{Fast, 4, unanswered, store}, 107 * sec, RefusedLate},
		"older store epoch":                     {h, Grant{Fast, 4, n, StoreEpoch{"s", 2}}, 101 * sec, RefusedStoreEpoch},
		"newer store epoch":                     {h, Grant{Fast, 4, n, StoreEpoch{"s", 4}}, 101 * sec, ""},
		"another store":                         {h, Grant{Fast, 4, n, StoreEpoch{"t", 9}}, 101 * sec, RefusedStoreEpoch},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.h.Accepts(c.g, c.now); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnAcceptedSpawnHasALiveDeadline(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := newLeaseWorld(r.IntN)
		for range 300 {
			if err := w.step(); err != nil {
				t.Fatal(err)
			}
			for _, g := range w.grants {
				now := w.clock(w)
				if w.h.Accepts(g, now) == "" && w.h.Deadline(g.Policy) <= now {
					t.Fatalf("seed %d: a spawn is accepted past its deadline", seed)
				}
			}
		}
	}
}

// A late spawn is refused either because a tombstone is there or because its
// renewal is too old: between the two there is no gap.
func TestTombstonesOutliveTheGrantsTheyGuardAgainst(t *testing.T) {
	for _, p := range Policies {
		if p.TombstoneLife() <= p.ProofHorizon() {
			t.Errorf("%s: a tombstone lives %s, a grant %s", p, p.TombstoneLife(), p.ProofHorizon())
		}
	}
}

func TestFiguresOfThePolicies(t *testing.T) {
	const rho = 0.005
	for _, p := range []Policy{Fast, Balanced} {
		terms := p.Terms()
		left := time.Duration(float64(terms.Store)*(1-rho) - float64(terms.Holder)*(1+rho))
		if left < killing[p]-20*time.Millisecond {
			t.Errorf("%s: %s are left for a kill and a margin, want %s", p, left, killing[p])
		}
		if terms.Renew+8*RetryRenewal > terms.Holder {
			t.Errorf("%s: no time to retry a lost renewal", p)
		}
	}
	if left := killing[Fast]; left < MaxDeadlineGrace {
		t.Errorf("fast: SIGTERM %s before the deadline doesn't fit into %s", MaxDeadlineGrace, left)
	}
}

func TestStickyNeverLapses(t *testing.T) {
	if Lapsed(Sticky, time.Unix(0, 0), time.Unix(1<<40, 0)) {
		t.Error("a sticky key moved without its drone's word")
	}
}

func TestLapseIsStrictlyAfterTheTerm(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, p := range []Policy{Fast, Balanced} {
		if Lapsed(p, at, at.Add(p.Terms().Store)) || !Lapsed(p, at, at.Add(p.Terms().Store+1)) {
			t.Errorf("%s: lapse isn't right after %s", p, p.Terms().Store)
		}
	}
}

func TestEpochsOnlyRise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Holding
		for range 20 {
			var e Epochs
			for i := range e {
				e[i] = rapid.Int64Range(0, 9).Draw(t, "epoch")
			}
			next, lapsed := h.Raised(e)
			for i, p := range Policies {
				if next.Epochs[i] != max(h.Epochs[i], e[i]) {
					t.Fatalf("%v raised by %v gives %v", h.Epochs, e, next.Epochs)
				}
				told := false
				for _, q := range lapsed {
					told = told || p == q
				}
				if told != (e[i] > h.Epochs[i]) {
					t.Fatalf("%v raised by %v: lapsed %v", h.Epochs, e, lapsed)
				}
			}
			h = next
		}
	})
}

func TestTrap10_GenerationsCarryTheirStoreEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64Range(1, MaxStoreEpoch).Draw(t, "a"), rapid.Int64Range(1, MaxStoreEpoch).Draw(t, "b")
		x, y := rapid.Uint32().Draw(t, "x"), rapid.Uint32().Draw(t, "y")
		g, k := NewGeneration(a, x), NewGeneration(b, y)
		if g >= 1<<53 || g <= 0 || g.Epoch() != a {
			t.Fatalf("generation %d of epoch %d", g, a)
		}
		if a < b && g >= k {
			t.Fatalf("a later store epoch's generation %d isn't above %d", k, g)
		}
	})
}
