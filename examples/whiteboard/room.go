package whiteboard

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// gather is how long a change waits for others that share its fsync.
	gather = 20 * time.Millisecond
	// atOnce and bytesAtOnce are the most changes of one fsync; as many wait.
	atOnce, bytesAtOnce = 512, 512 << 10
	// beat is how often cursors and unfinished strokes are told.
	beat = 40 * time.Millisecond
)

// change is an op on its way to disk.
type change struct {
	op   op
	size int // bytes
	from *visitor
}

// room is the drawing and who is there.
type room struct {
	hello    hello
	journal  *journal
	changes  chan change
	visitors sync.WaitGroup
	ended    chan struct{} // closed when all changes are on disk and no more are taken

	mu      sync.Mutex // guards the fields below
	board   *board     // what is on disk; written by commit alone
	here    map[int64]*visitor
	lastID  int64
	cursors map[int64]*point   // moved since the last beat; nil = left the sheet
	drawing map[string]*sketch // points since the last beat, by stroke
	moved   bool               // somebody came, went or has a new name
}

func newRoom(b *board, j *journal, h hello) *room {
	return &room{
		hello: h, journal: j, board: b,
		changes: make(chan change, atOnce), ended: make(chan struct{}),
		here: map[int64]*visitor{}, cursors: map[int64]*point{}, drawing: map[string]*sketch{},
	}
}

// run saves changes and tells everybody, until ctx is done or a change can't
// be saved. What was taken until then is saved.
func (r *room) run(ctx context.Context) error {
	defer r.end()
	beats, stop := context.WithCancel(ctx)
	var beating sync.WaitGroup
	defer beating.Wait()
	defer stop()
	beating.Go(func() { r.beats(beats) })
	for {
		select {
		case <-ctx.Done():
			return r.finish()
		case c := <-r.changes:
			late := time.NewTimer(gather)
			batch := r.batch([]change{c}, late.C)
			late.Stop()
			if err := r.commit(batch); err != nil {
				return err
			}
			if r.journal.grown() {
				if err := r.journal.fold(r.board); err != nil {
					return err
				}
			}
		}
	}
}

// finish saves what still waits.
func (r *room) finish() error {
	for {
		batch := r.batch(nil, nil)
		if len(batch) == 0 {
			return r.journal.fold(r.board)
		}
		if err := r.commit(batch); err != nil {
			return err
		}
	}
}

// end lets nobody enter any more.
func (r *room) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.ended)
}

// batch adds what comes until late; with a nil late what is there now.
func (r *room) batch(batch []change, late <-chan time.Time) []change {
	size := 0
	for _, c := range batch {
		size += c.size
	}
	for len(batch) < atOnce && size < bytesAtOnce {
		var c change
		select {
		case c = <-r.changes:
		default:
			if late == nil {
				return batch
			}
			select {
			case c = <-r.changes:
			case <-late:
				return batch
			}
		}
		batch = append(batch, c)
		size += c.size
	}
	return batch
}

// commit makes changes durable, then does them and tells everybody, and their
// authors that they are saved.
func (r *room) commit(batch []change) error {
	if len(batch) == 0 {
		return nil
	}
	ops := make([]op, len(batch))
	for i := range batch {
		batch[i].op.N = r.board.N + 1 + int64(i) // only commit writes the board
		ops[i] = batch[i].op
	}
	if err := r.journal.append(ops); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var done []op
	saved := map[*visitor][]string{}
	for _, c := range batch {
		changed, err := r.board.apply(c.op)
		if err != nil {
			c.from.send(encode(refused{Type: "refused", ID: c.op.ID, Why: err.Error()}))
			continue
		}
		saved[c.from] = append(saved[c.from], c.op.ID)
		if changed {
			done = append(done, c.op)
		}
	}
	if len(done) > 0 {
		r.tellLocked(encode(opsMessage{Type: "ops", Ops: done}))
	}
	for v, ids := range saved {
		v.send(encode(savedMessage{Type: "saved", IDs: ids}))
	}
	return nil
}

func (r *room) tellLocked(message []byte) {
	for _, v := range r.here {
		v.send(message)
	}
}

func (r *room) beats(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.beat()
		}
	}
}

// beat tells in one message what all visitors did since the last one.
func (r *room) beat() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moved {
		r.moved = false
		r.tellLocked(encode(r.peopleLocked()))
	}
	if len(r.cursors) == 0 && len(r.drawing) == 0 {
		return
	}
	r.tellLocked(encode(beatMessage{Type: "beat", Cursors: r.cursors, Drawing: r.drawing}))
	clear(r.cursors)
	clear(r.drawing)
}

func (r *room) peopleLocked() people {
	p := people{Type: "people", People: make([]person, 0, len(r.here))}
	for id, v := range r.here {
		p.People = append(p.People, person{ID: id, Name: v.name})
	}
	return p
}

var errCrowded = errors.New("the whiteboard has as many visitors as it takes; try again later")

// enter gives what a new visitor is told first; everything later is sent to it.
func (r *room) enter(v *visitor) (first [][]byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.ended:
		return nil, errors.New("the whiteboard ends")
	default:
	}
	if len(r.here) >= bounds.Visitors {
		return nil, errCrowded
	}
	r.visitors.Add(1)
	r.lastID++
	v.id = r.lastID
	r.here[v.id] = v
	r.moved = true
	h := r.hello
	h.You, h.Strokes = v.id, len(r.board.Strokes)
	return append([][]byte{encode(h), encode(r.peopleLocked())}, pages(r.board.Strokes)...), nil
}

func (r *room) leave(v *visitor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.here, v.id)
	delete(r.cursors, v.id)
	r.moved = true
	r.visitors.Done()
}
