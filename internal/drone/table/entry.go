package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/drone/leaseclock"
)

// Entry is a copy of one slot.
type Entry struct {
	Backend    plane.BackendID
	Key        string // plane.Key.Hash
	Generation plane.Generation
	Policy     plane.Policy
	Epoch      int64
	Deadline   plane.Instant // SIGKILL comes at it; plane.Never = never
	Final      bool          // Deadline is never extended
	Dead       bool          // condemned: it is being killed
	Softened   bool          // SIGTERM has been sent
	Grace      time.Duration // SIGTERM goes out min(Grace, plane.MaxDeadlineGrace) before Deadline
	Pid        int           // 0 while it starts
	Start      uint64        // when the process with Pid began, in a unit of the system
	Group      uint64        // the cgroup it runs in, see means.Group; 0 = none of its own
	Engine     bool          // an engine starts it: the entry stays until the engine has nothing of it
	Runtime    string        // one of the Runtimes
	Port       int

	slot int
	seq  uint64
}

// SoftAt is when SIGTERM goes out ahead of the deadline.
func (e Entry) SoftAt() plane.Instant {
	if e.Deadline == plane.Never {
		return plane.Never
	}
	return e.Deadline.Add(-min(e.Grace, plane.MaxDeadlineGrace))
}

// slot is one slot's memory. Every word is read and written atomically. seq is
// odd while the slot is in use and rises with each claim and each clearing.
type slot [slotWords]uint64

const (
	wordSeq = iota
	wordDeadline
	wordGeneration
	wordEpoch
	wordPolicy
	wordPid
	wordStart
	wordGrace
	wordSoft
	wordGroup
	wordPort
	wordKind
	wordKey     = 12 // 4 words: 32 hex digits
	wordBackend = 16 // 6 words: up to 48 bytes
	keyWords    = 4
	idWords     = 6
)

// The word with the deadline also carries the low bits of seq, so that a
// compare-and-swap meant for an earlier backend of the slot can't hit the next
// one. Deadlines are rounded down to 4096 ns.
const (
	flagFinal = 1 << 0
	flagDead  = 1 << 1
	tagShift  = 2
	tagMask   = 1<<10 - 1
	timeShift = 12
)

func pack(until plane.Instant, seq uint64, flags uint64) uint64 {
	return uint64(max(until, 0))>>timeShift<<timeShift | seq&tagMask<<tagShift | flags
}

func unpack(w uint64) (until plane.Instant, final, dead bool) {
	until = plane.Instant(w >> timeShift << timeShift)
	if until >= plane.Never>>timeShift<<timeShift {
		until = plane.Never
	}
	return until, w&flagFinal != 0, w&flagDead != 0
}

func (s *slot) load(i int) uint64              { return atomic.LoadUint64(&s[i]) }
func (s *slot) store(i int, v uint64)          { atomic.StoreUint64(&s[i], v) }
func (s *slot) swap(i int, old, v uint64) bool { return atomic.CompareAndSwapUint64(&s[i], old, v) }
func (s *slot) used() bool                     { return s.load(wordSeq)&1 == 1 }

func (s *slot) text(at, words int) string {
	b := make([]byte, words*8)
	for i := range words {
		binary.LittleEndian.PutUint64(b[i*8:], s.load(at+i))
	}
	n := 0
	for n < len(b) && b[n] != 0 {
		n++
	}
	return string(b[:n])
}

func (s *slot) setText(at, words int, text string) {
	b := make([]byte, words*8)
	copy(b, text)
	for i := range words {
		s.store(at+i, binary.LittleEndian.Uint64(b[i*8:]))
	}
}

// entry copies the slot; ok is false if it is free or changed hands meanwhile.
func (s *slot) entry(i int) (e Entry, ok bool) {
	seq := s.load(wordSeq)
	if seq&1 == 0 {
		return Entry{}, false
	}
	e = Entry{
		Backend:    plane.BackendID(s.text(wordBackend, idWords)),
		Key:        s.text(wordKey, keyWords),
		Generation: plane.Generation(s.load(wordGeneration)),
		Epoch:      int64(s.load(wordEpoch)),
		Grace:      time.Duration(s.load(wordGrace)),
		Softened:   s.load(wordSoft) != 0,
		Pid:        int(s.load(wordPid)),
		Start:      s.load(wordStart),
		Group:      s.load(wordGroup),
		Port:       int(s.load(wordPort)),
		slot:       i, seq: seq,
	}
	if p := s.load(wordPolicy); p < uint64(len(plane.Policies)) {
		e.Policy = plane.Policies[p]
	}
	kind := s.load(wordKind)
	e.Engine = kind&kindEngine != 0
	if r := kind >> kindShift; r < uint64(len(Runtimes)) {
		e.Runtime = Runtimes[r]
	}
	e.Deadline, e.Final, e.Dead = unpack(s.load(wordDeadline))
	return e, s.load(wordSeq) == seq
}

func (s *slot) extend(until plane.Instant, clock leaseclock.Clock) bool {
	for {
		seq, w := s.load(wordSeq), s.load(wordDeadline)
		now, final, dead := unpack(w)
		if seq&1 == 0 || w>>tagShift&tagMask != seq&tagMask || final || dead || until <= now || now <= clock.Now() {
			return false
		}
		if s.swap(wordDeadline, w, pack(until, seq, 0)) {
			return true
		}
	}
}

func (s *slot) shorten(e Entry, until plane.Instant) bool {
	for {
		w := s.load(wordDeadline)
		now, final, dead := unpack(w)
		if s.load(wordSeq) != e.seq || w>>tagShift&tagMask != e.seq&tagMask {
			return false
		}
		if dead || final && now <= until {
			return true
		}
		if s.swap(wordDeadline, w, pack(min(until, now), e.seq, flagFinal)) {
			return true
		}
	}
}

// Runtimes are those that a backend's entry can name; the first is that of
// entries which name none.
var Runtimes = []string{plane.RuntimeProcess, plane.RuntimeOCI, plane.RuntimeDocker}

// The word wordKind.
const (
	kindEngine = 1 << 0
	kindShift  = 8
)

func (e Entry) kind() uint64 {
	kind := uint64(max(slices.Index(Runtimes, e.Runtime), 0)) << kindShift
	if e.Engine {
		kind |= kindEngine
	}
	return kind
}

// ErrFull: the drone runs as many backends as the table has slots.
var ErrFull = errors.New("table of deadlines is full")

// Claim makes an entry before anything of the backend runs and returns it
// completed. The fields Final, Dead, Softened, Pid and Start are not used.
func (t *Table) Claim(e Entry) (Entry, error) {
	if e.Policy.Index() < 0 || len(e.Backend) > idWords*8 || len(e.Key) > keyWords*8 {
		return Entry{}, fmt.Errorf("claim slot: %q has no valid identity", e.Backend)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for range Slots {
		i := t.next
		t.next = (t.next + 1) % Slots
		s := t.slot(i)
		seq := s.load(wordSeq)
		if seq&1 == 1 {
			continue
		}
		s.setText(wordBackend, idWords, string(e.Backend))
		s.setText(wordKey, keyWords, e.Key)
		s.store(wordGeneration, uint64(e.Generation))
		s.store(wordEpoch, uint64(e.Epoch))
		s.store(wordPolicy, uint64(e.Policy.Index()))
		s.store(wordGrace, uint64(e.Grace))
		s.store(wordPort, uint64(e.Port))
		for _, w := range []int{wordPid, wordStart, wordSoft} {
			s.store(w, 0)
		}
		s.store(wordGroup, e.Group)
		s.store(wordKind, e.kind())
		s.store(wordDeadline, pack(e.Deadline, seq+1, 0))
		t.mark(i)
		s.store(wordSeq, seq+1)
		atomic.AddUint64(&t.words[headUsed], 1)
		t.changed()
		e, _ = s.entry(i)
		return e, nil
	}
	return Entry{}, ErrFull
}

// Bind notes the process of a claimed entry. It returns the entry as it is now:
// if that is Dead the process must be killed by the caller, because whoever
// condemned it may not have seen it.
func (t *Table) Bind(e Entry, pid int, start uint64) Entry {
	s := t.slot(e.slot)
	s.store(wordStart, start)
	s.store(wordPid, uint64(pid))
	now, _ := s.entry(e.slot)
	return now
}

// Live reports whether the slot still belongs to the backend of e, and returns
// the entry as it is now.
func (t *Table) Live(e Entry) (Entry, bool) {
	now, ok := t.slot(e.slot).entry(e.slot)
	return now, ok && now.seq == e.seq
}

// Condemn reports whether the backend of e must be killed now, because its
// deadline has passed or it was condemned before. From then on nothing extends
// it. The answer is that of the instant of the atomic step: an extension that
// came before it counts.
func (t *Table) Condemn(e Entry) bool {
	s := t.slot(e.slot)
	for {
		w := s.load(wordDeadline)
		until, _, dead := unpack(w)
		switch {
		case s.load(wordSeq) != e.seq || w>>tagShift&tagMask != e.seq&tagMask:
			return false
		case dead:
			return true
		case until == plane.Never || t.clock.Now() < until:
			return false
		case s.swap(wordDeadline, w, w|flagDead):
			return s.load(wordSeq) == e.seq
		}
	}
}

// Soften reports whether the caller is the first that may send SIGTERM.
func (t *Table) Soften(e Entry) bool {
	s := t.slot(e.slot)
	return s.load(wordSeq) == e.seq && s.swap(wordSoft, 0, 1)
}

// Clear frees the slot of e: nothing of the backend is left and its pid, if it
// is our child, has not been reaped yet. It may be called twice.
func (t *Table) Clear(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slot(e.slot).swap(wordSeq, e.seq, e.seq+1) {
		t.unmark(e.slot)
		atomic.AddUint64(&t.words[headUsed], ^uint64(0))
	}
}
