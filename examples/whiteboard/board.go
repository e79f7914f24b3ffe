package whiteboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// op changes the drawing. The drawing is the fold of all ops in their order,
// so whoever has those has the drawing.
type op struct {
	N      int64    `json:"n,omitempty"` // its place in the order, from 1
	ID     string   `json:"id"`          // the visitor's: sent again after a lost connection, it counts once
	Add    *Stroke  `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"` // ids of strokes
	Clear  bool     `json:"clear,omitempty"`
}

// check reports what is wrong with an op that came from a visitor.
func (o op) check() error {
	if !idFormat.MatchString(o.ID) {
		return errors.New("a change's id is 8 to 40 letters")
	}
	switch {
	case o.Add != nil && o.Remove == nil && !o.Clear:
		return o.Add.check()
	case o.Add == nil && len(o.Remove) > 0 && !o.Clear:
		if i := slices.IndexFunc(o.Remove, func(id string) bool { return !idFormat.MatchString(id) }); i >= 0 {
			return fmt.Errorf("there is no stroke %.20q", o.Remove[i])
		}
		return nil
	case o.Add == nil && o.Remove == nil && o.Clear:
		return nil
	}
	return errors.New("a change adds a stroke, removes some or clears the sheet")
}

// remembered is how many ids of ops a board knows, so that a repeated one
// counts once.
const remembered = 4096

// board is the drawing. Apply is deterministic: it is replayed from the log.
type board struct {
	N       int64     `json:"n"`       // of the last op
	Strokes []*Stroke `json:"strokes"` // from the lowest to the topmost
	Recent  []string  `json:"recent"`  // ids of the last ops

	numbers int
	known   map[string]bool // Recent
}

func newBoard() *board { return &board{known: map[string]bool{}} }

// index makes what isn't in the JSON.
func (b *board) index() {
	b.known, b.numbers = map[string]bool{}, 0
	for _, id := range b.Recent {
		b.known[id] = true
	}
	for _, s := range b.Strokes {
		b.numbers += len(s.Points)
		s.encode()
	}
}

func (s *Stroke) encode() {
	s.encoded = nil
	b, err := json.Marshal(s)
	if err != nil {
		panic("whiteboard: a stroke that is no JSON: " + err.Error()) // texts and numbers only
	}
	s.encoded = b
}

// errFull refuses a stroke; whoever drew it is told.
var errFull = errors.New("the sheet is full: erase something, or clear it")

// apply does o and reports whether that changed anything. Repeated ops and
// removals of what isn't there change nothing and are no errors.
func (b *board) apply(o op) (changed bool, err error) {
	b.N = o.N
	if b.known[o.ID] {
		return false, nil
	}
	if o.Add != nil && (len(b.Strokes) >= bounds.Strokes || b.numbers+len(o.Add.Points) > bounds.Numbers) {
		return false, errFull
	}
	b.remember(o.ID)
	switch {
	case o.Add != nil:
		o.Add.encode()
		b.Strokes = append(b.Strokes, o.Add)
		b.numbers += len(o.Add.Points)
		return true, nil
	case o.Clear:
		changed = len(b.Strokes) > 0
		b.Strokes, b.numbers = nil, 0
		return changed, nil
	}
	return b.remove(o.Remove), nil
}

func (b *board) remove(ids []string) bool {
	gone := make(map[string]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	before := len(b.Strokes)
	// A new array: visitors may be reading the old one.
	left := make([]*Stroke, 0, before)
	for _, s := range b.Strokes {
		if gone[s.ID] {
			b.numbers -= len(s.Points)
			continue
		}
		left = append(left, s)
	}
	b.Strokes = left
	return len(left) < before
}

func (b *board) remember(id string) {
	b.known[id] = true
	b.Recent = append(b.Recent, id)
	if len(b.Recent) > remembered {
		delete(b.known, b.Recent[0])
		b.Recent = b.Recent[1:]
	}
}
