package controller

import "sync"

// asks are the questions to one node that wait for its answers.
type asks[A any] struct {
	mu      sync.Mutex // guards the fields below
	last    int64
	waiting map[int64]chan A
	failed  bool
}

// open numbers a question. Its channel gives the answer, or is closed when the
// node has gone.
func (q *asks[A]) open() (int64, <-chan A) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ch := make(chan A, 1)
	q.last++
	if q.failed {
		close(ch)
		return q.last, ch
	}
	if q.waiting == nil {
		q.waiting = map[int64]chan A{}
	}
	q.waiting[q.last] = ch
	return q.last, ch
}

func (q *asks[A]) answer(id int64, a A) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ch := q.waiting[id]; ch != nil {
		delete(q.waiting, id)
		ch <- a
	}
}

// forget drops a question that nobody waits for any more.
func (q *asks[A]) forget(id int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, id)
}

// fail ends all questions, now and later.
func (q *asks[A]) fail() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = true
	for id, ch := range q.waiting {
		delete(q.waiting, id)
		close(ch)
	}
}
