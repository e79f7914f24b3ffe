// Package history records what callers saw of connects and says whether one
// key, one backend explains it: the history must be linearizable.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// What was done.
type verb int

const (
	connect verb = iota
	served       // a request that a generation answered
	started      // the effect of a connect that had no usable answer
	ended        // the key was freed of a generation
)

func (v verb) String() string { return [...]string{"connect", "served", "started", "ended"}[v] }

type input struct {
	verb verb
	key  string
}

type output struct {
	backend    string
	generation int64
	spawned    bool
}

// state of a key: what holds it, and the latest generation ever.
type state struct {
	backend    string
	generation int64 // 0 = free
	last       int64
}

// model is the register: key → backend and generation.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(st, in, out any) (bool, any) {
		s, o := st.(state), out.(output)
		switch v := in.(input).verb; {
		case v == started || v == connect && o.spawned:
			if s.generation != 0 || o.generation <= s.last {
				return false, s
			}
			return true, state{o.backend, o.generation, o.generation}
		case s.generation != o.generation || s.backend != o.backend:
			return false, s
		case v == ended:
			return true, state{last: s.last}
		}
		return true, s
	},
	DescribeOperation: func(in, out any) string {
		o := out.(output)
		return fmt.Sprintf("%s(%s) → %s generation %d spawned %v", in.(input).verb, in.(input).key, o.backend, o.generation, o.spawned)
	},
}

// Recorder collects a history. It is safe for concurrent use; the zero value
// is ready.
type Recorder struct {
	mu    sync.Mutex // guards the fields below
	clock int64
	keys  map[string]*keyHistory
}

type keyHistory struct {
	ops    []porcupine.Operation // connects with an answer, and requests
	failed []int64               // calls of connects without
	over   map[string]int64      // by backend: when somebody knew that it had ended
}

// Call is an operation that has begun.
type Call struct {
	r   *Recorder
	key string
	at  int64
}

func (r *Recorder) keyLocked(key string) *keyHistory {
	if r.keys == nil {
		r.keys = map[string]*keyHistory{}
	}
	k, ok := r.keys[key]
	if !ok {
		k = &keyHistory{over: map[string]int64{}}
		r.keys[key] = k
	}
	return k
}

// Begin notes that a connect, or a request to the backend, of key is about to be sent.
func (r *Recorder) Begin(key string) Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	return Call{r, key, r.clock}
}

// Connected is a connect's answer.
func (c Call) Connected(backend string, generation int64, spawned bool) {
	c.add(connect, output{backend, generation, spawned})
}

// Served is a request's answer, from the backend itself.
func (c Call) Served(backend string, generation int64) {
	c.add(served, output{backend, generation, false})
}

func (c Call) add(v verb, o output) {
	r := c.r
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	k := r.keyLocked(c.key)
	k.ops = append(k.ops, porcupine.Operation{Input: input{v, c.key}, Call: c.at, Output: o, Return: r.clock})
}

// Failed is a connect without a usable answer: it may have started a backend,
// or may still do so.
func (c Call) Failed() {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	k := c.r.keyLocked(c.key)
	k.failed = append(k.failed, c.at)
}

// Ended notes that a backend of key is known to have ended: at some unknown
// time before now.
func (r *Recorder) Ended(key, backend string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	if k := r.keyLocked(key); k.over[backend] == 0 {
		k.over[backend] = r.clock
	}
}

// Len is the number of answers so far.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, k := range r.keys {
		n += len(k.ops)
	}
	return n
}

// Check reports an error that names the key if no order of the operations
// explains what was seen, or if none was found within limit for a key.
func (r *Recorder) Check(limit time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, k := range r.keys {
		ops, err := k.complete(key)
		if err != nil {
			return fmt.Errorf("history of key %q: %w\n%s", key, err, describe(ops))
		}
		switch porcupine.CheckOperationsTimeout(model, ops, limit) {
		case porcupine.Illegal:
			return fmt.Errorf("history of key %q isn't linearizable:\n%s", key, describe(ops))
		case porcupine.Unknown:
			return fmt.Errorf("history of key %q: no verdict within %s on %d operations", key, limit, len(ops))
		}
	}
	return nil
}

var errUnasked = errors.New("a backend runs that no connect has started")

// life is what the answers say of one backend.
type life struct {
	output
	first, back int64 // earliest call and earliest return of an operation that saw it
	announced   bool  // by a connect that says it started it
}

// complete adds what nobody saw directly: starts by connects without an
// answer, and ends. Both took place at some unknown time between what must
// have been before and what was seen after.
func (k *keyHistory) complete(key string) ([]porcupine.Operation, error) {
	ops := k.telling()
	lives := k.lives()
	failed := slices.Sorted(slices.Values(k.failed))
	for i, l := range lives {
		if !l.announced {
			if len(failed) == 0 || failed[0] > l.back {
				return ops, fmt.Errorf("%w: %s", errUnasked, l.backend)
			}
			ops = append(ops, porcupine.Operation{Input: input{started, key}, Call: failed[0], Output: l.output, Return: l.back})
			failed = failed[1:]
		}
		over := k.over[l.backend]
		for _, next := range lives[i+1:] {
			if next.generation > l.generation && (over == 0 || next.back < over) {
				over = next.back
			}
		}
		if over != 0 {
			// The end may be seen by others while the last answers about the
			// backend are still on their way, but not before it was ever called for.
			ops = append(ops, porcupine.Operation{Input: input{ended, key}, Call: l.first, Output: l.output, Return: over})
		}
	}
	return ops, nil
}

// telling are the operations that decide. Of those that merely found a backend,
// one wants its start before the operation's return and its end after the
// call: the earliest return and the latest call say it for all. Without this
// the search would try every order of reads that don't matter.
func (k *keyHistory) telling() []porcupine.Operation {
	var ops []porcupine.Operation
	earliest, latest := map[output]int{}, map[output]int{}
	for i, op := range k.ops {
		o := op.Output.(output)
		if o.spawned {
			ops = append(ops, op)
			continue
		}
		if j, ok := earliest[o]; !ok || op.Return < k.ops[j].Return {
			earliest[o] = i
		}
		if j, ok := latest[o]; !ok || op.Call > k.ops[j].Call {
			latest[o] = i
		}
	}
	for o, i := range earliest {
		ops = append(ops, k.ops[i])
		if j := latest[o]; j != i {
			ops = append(ops, k.ops[j])
		}
	}
	return ops
}

// lives are the backends that were seen, by generation.
func (k *keyHistory) lives() []life {
	seen := map[output]*life{}
	for _, op := range k.ops {
		o := op.Output.(output)
		spawned := o.spawned
		o.spawned = false
		l, ok := seen[o]
		if !ok {
			l = &life{output: o, first: op.Call, back: op.Return}
			seen[o] = l
		}
		l.first, l.back = min(l.first, op.Call), min(l.back, op.Return)
		l.announced = l.announced || spawned
	}
	lives := make([]life, 0, len(seen))
	for _, l := range seen {
		lives = append(lives, *l)
	}
	slices.SortFunc(lives, func(a, b life) int {
		return cmp.Or(cmp.Compare(a.generation, b.generation), cmp.Compare(a.first, b.first))
	})
	return lives
}

func describe(ops []porcupine.Operation) string {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var text []byte
	for _, op := range ops {
		text = fmt.Appendf(text, "  %6d–%-6d %s\n", op.Call, op.Return, model.DescribeOperation(op.Input, op.Output))
	}
	return string(text)
}
