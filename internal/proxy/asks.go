package proxy

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"plane"
	"plane/internal/wire"
)

type refKind int

const (
	refBackend refKind = iota // name = backend id
	refStatic                 // name = hash of the static token
	refKey                    // app and name of a key URL
)

// ref is what a route is asked for by.
type ref struct {
	kind refKind
	app  string
	name string
}

// question is what is asked: about a ref and, of a key URL, for whom.
type question struct {
	ref     ref
	visitor visitor // of refKey
	noStart bool    // of refKey: only whether something runs
	glance  bool    // of refBackend: only how it fares; its end is told otherwise
}

// ask is a question to a controller and those who wait for its answer. It
// outlives connections: a new one asks again.
type ask struct {
	question
	request string // its id in logs
	id      int64
	seq     int64 // of the table, when it was sent
	waiters int
	done    chan struct{}

	// The answer, to be read once done is closed.
	backend *backend        // nil = there is none
	end     *plane.RouteEnd // of one that ended at once
	err     *wire.Error
}

// asks are the open questions.
type asks struct {
	mu     sync.Mutex // guards the fields below
	last   int64
	byID   map[int64]*ask
	byWhat map[question]*ask
}

func newAsks() *asks {
	return &asks{byID: map[int64]*ask{}, byWhat: map[question]*ask{}}
}

// join gives the open question for what; begun tells whether it is a new one,
// whose message the caller has to send.
func (q *asks) join(what question, seq int64, cluster plane.ClusterName) (a *ask, begun wire.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a = q.byWhat[what]
	if a == nil {
		q.last++
		a = &ask{question: what, id: q.last, seq: seq, done: make(chan struct{})}
		if what.ref.kind == refKey {
			a.request = plane.RandomName(rand.Reader, plane.NoPrefix)
		}
		q.byWhat[what], q.byID[a.id] = a, a
		begun = a.message(cluster)
	}
	a.waiters++
	return a, begun
}

// leave is called by everyone who joined. A question nobody waits for is dropped.
func (q *asks) leave(a *ask) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a.waiters--
	if a.waiters == 0 && q.byID[a.id] == a {
		q.removeLocked(a)
	}
}

func (q *asks) removeLocked(a *ask) {
	delete(q.byID, a.id)
	delete(q.byWhat, a.question)
}

// take gives the question that an answer is for, once, or nil.
func (q *asks) take(id int64) *ask {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.byID[id]
	if a != nil {
		q.removeLocked(a)
	}
	return a
}

// renew gives all open questions new numbers, for a new connection, and returns
// them: those about keys last, whose answers may take long.
func (q *asks) renew(seq int64, cluster plane.ClusterName) []wire.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.byID)
	routes, keys := make([]wire.Message, 0, len(q.byWhat)), []wire.Message(nil)
	for _, a := range q.byWhat {
		q.last++
		a.id, a.seq = q.last, seq
		q.byID[a.id] = a
		if m := a.message(cluster); a.ref.kind == refKey {
			keys = append(keys, m)
		} else {
			routes = append(routes, m)
		}
	}
	return append(routes, keys...)
}

func (q *asks) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.byWhat)
}

// message is the question as it is sent.
func (a *ask) message(cluster plane.ClusterName) wire.Message {
	switch a.ref.kind {
	case refBackend:
		return wire.RouteAsk{ID: a.id, Backend: plane.BackendID(a.ref.name)}
	case refStatic:
		return wire.RouteAsk{ID: a.id, StaticHash: a.ref.name}
	}
	return wire.KeyAsk{
		ID: a.id, Cluster: cluster, App: a.ref.app, Name: a.ref.name,
		Visitor: a.visitor.message(), NoStart: a.noStart, RequestID: a.request,
	}
}

// ask puts a question to a controller and waits for the answer, over
// reconnections, but no longer than limit. errNoAnswer is the answer's absence.
func (p *Proxy) ask(ctx context.Context, what question, limit time.Duration) (*backend, *wire.Error, error) {
	a, err := p.answerTo(ctx, what, limit)
	if err != nil {
		return nil, nil, err
	}
	return a.backend, a.err, nil
}

// answerTo is ask for who wants to know all of the answer.
func (p *Proxy) answerTo(ctx context.Context, what question, limit time.Duration) (*ask, error) {
	a, begun := p.asks.join(what, p.table.current(), p.cfg.Cluster)
	defer p.asks.leave(a)
	if begun != nil {
		p.session.send(begun)
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-a.done:
		return a, nil
	case <-t.C:
		return nil, errNoAnswer
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
