// Package table is the table of deadlines: shared memory of agent, warden and
// reaper with one slot per running backend. The agent extends, the warden
// claims and clears, warden and reaper condemn. Nobody waits for anybody: every
// step is one atomic operation, so a part that is killed or stopped at any
// instruction leaves nothing that keeps the others from enforcing it.
package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/leaseclock"
)

// Slots is how many backends one drone may run.
const Slots = 8192

const (
	magic      = 0x706c616e_65746233 // "planetb3": a change of layout changes it
	slotWords  = 32
	headWords  = 512
	fileBytes  = (headWords + Slots*slotWords) * 8
	bootOffset = 8 // words
	bootWords  = 8
)

// Words of the header.
const (
	headMagic = iota
	headKind
	headChanges       // counts claims and shortened deadlines: what may make the next deadline earlier
	headUsed          // slots in use
	headBits    = 256 // from here on, a bit for each slot that may be in use
)

// ErrStale is a table of an earlier boot or of another version.
var ErrStale = errors.New("table of deadlines is of another boot or version")

// Table is a mapped table. Its methods are safe for concurrent use, within a
// process and between processes; Claim, Bind and Clear are for one process only.
type Table struct {
	mem   []byte
	words []uint64
	clock leaseclock.Clock
	kind  leaseclock.Kind

	mu   sync.Mutex // held while slots are claimed and cleared
	next int
}

// Create opens the table at path, making an empty one if there is none or only
// one of an earlier boot. The kind of clock of a table that exists stays.
func Create(path string, kind leaseclock.Kind) (*Table, error) {
	if _, err := leaseclock.Of(kind); err != nil {
		return nil, err
	}
	t, err := Open(path)
	if err == nil {
		return t, nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrStale) {
		return nil, err
	}
	stale := errors.Is(err, ErrStale)
	temp, err := blank(path, kind)
	if err != nil {
		return nil, fmt.Errorf("make table of deadlines: %w", err)
	}
	defer os.Remove(temp)
	if stale {
		err = os.Rename(temp, path)
	} else if err = os.Link(temp, path); errors.Is(err, os.ErrExist) {
		err = nil // another part was quicker: its table is the one
	}
	if err != nil {
		return nil, fmt.Errorf("make table of deadlines: %w", err)
	}
	return Open(path)
}

func blank(path string, kind leaseclock.Kind) (string, error) {
	boot, err := leaseclock.BootID()
	if err != nil {
		return "", err
	}
	head := make([]byte, headWords*8)
	binary.NativeEndian.PutUint64(head[headMagic*8:], magic)
	binary.NativeEndian.PutUint64(head[headKind*8:], uint64(kind))
	copy(head[bootOffset*8:(bootOffset+bootWords)*8], boot)
	f, err := os.CreateTemp(filepath.Dir(path), ".table-*")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err = f.Write(head); err == nil {
		err = f.Truncate(fileBytes)
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// Open maps the table at path. ErrStale if it is of another boot;
// os.ErrNotExist if there is none: no reaper has run yet.
func Open(path string) (*Table, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open table of deadlines: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != fileBytes {
		return nil, fmt.Errorf("%w: %s", ErrStale, path)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, fileBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map table of deadlines: %w", err)
	}
	t := &Table{mem: mem, words: unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), fileBytes/8)}
	if err := t.check(); err != nil {
		_ = t.Close()
		return nil, err
	}
	// Where the limit is too low for this the table still works; only its pages
	// may then be slow to reach on a machine that swaps.
	_ = unix.Mlock(mem)
	return t, nil
}

func (t *Table) check() error {
	boot, err := leaseclock.BootID()
	if err != nil {
		return err
	}
	want := make([]byte, bootWords*8)
	copy(want, boot)
	if t.words[headMagic] != magic || string(t.mem[bootOffset*8:(bootOffset+bootWords)*8]) != string(want) {
		return ErrStale
	}
	t.kind = leaseclock.Kind(t.words[headKind])
	t.clock, err = leaseclock.Of(t.kind)
	return err
}

// Close unmaps the table; nothing of it may be used afterwards.
func (t *Table) Close() error { return unix.Munmap(t.mem) }

// Clock is the clock of all instants in the table.
func (t *Table) Clock() leaseclock.Clock { return t.clock }

// Kind is the kind of Clock.
func (t *Table) Kind() leaseclock.Kind { return t.kind }

// Changes counts everything that may have made the earliest deadline earlier.
// While it stays the same, no deadline passes before the earliest one seen.
func (t *Table) Changes() uint64 { return atomic.LoadUint64(&t.words[headChanges]) }

// Used is the number of slots in use.
func (t *Table) Used() int { return int(atomic.LoadUint64(&t.words[headUsed])) }

// mark notes that slot i may be in use. Set before the slot is and cleared
// after, under mu, so that no reader overlooks one.
func (t *Table) mark(i int) { atomic.OrUint64(&t.words[headBits+i/64], 1<<(i%64)) }

func (t *Table) unmark(i int) { atomic.AndUint64(&t.words[headBits+i/64], ^(uint64(1) << (i % 64))) }

// marked are the slots that may be in use. Looking at all of them would read
// the whole table, which is larger than a processor's nearest caches.
func (t *Table) marked(yield func(i int, s *slot) bool) {
	for w := range Slots / 64 {
		for set := atomic.LoadUint64(&t.words[headBits+w]); set != 0; set &= set - 1 {
			i := w*64 + bits.TrailingZeros64(set)
			if !yield(i, t.slot(i)) {
				return
			}
		}
	}
}

func (t *Table) changed() { atomic.AddUint64(&t.words[headChanges], 1) }

func (t *Table) slot(i int) *slot {
	return (*slot)(t.words[headWords+i*slotWords : headWords+(i+1)*slotWords])
}

// Extend moves the deadlines of all live backends of policy p and epoch to
// until, a later instant, and reports how many it moved. A deadline that has
// passed, was made final or is later stays as it is.
func (t *Table) Extend(p plane.Policy, epoch int64, until plane.Instant) int {
	n := 0
	for _, s := range t.marked {
		if !s.used() || s.load(wordPolicy) != uint64(p.Index()) || s.load(wordEpoch) != uint64(epoch) {
			continue
		}
		if s.extend(until, t.clock) {
			n++
		}
	}
	return n
}

// Shorten makes until the deadline of a backend, unless it has an earlier one,
// and makes it final: nothing extends it any more. It reports whether there is
// such a backend. The executioners notice within 50 ms.
func (t *Table) Shorten(id plane.BackendID, until plane.Instant) bool {
	for i, s := range t.marked {
		e, ok := s.entry(i)
		if ok && e.Backend == id {
			done := s.shorten(e, until)
			t.changed()
			return done
		}
	}
	return false
}

// Entries lists the slots in use. Each is consistent in itself.
func (t *Table) Entries() []Entry {
	var all []Entry
	for i, s := range t.marked {
		if e, ok := s.entry(i); ok {
			all = append(all, e)
		}
	}
	return all
}

// Find gives the entry of a backend.
func (t *Table) Find(id plane.BackendID) (Entry, bool) {
	for i, s := range t.marked {
		if e, ok := s.entry(i); ok && e.Backend == id {
			return e, true
		}
	}
	return Entry{}, false
}
