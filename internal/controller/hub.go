package controller

import (
	"sync"

	"plane"
)

// topic is what a hint is about: a backend's id, or one of the words below.
type topic string

const (
	topicEvents topic = "\x00events" // the log grew
	topicDrones topic = "\x00drones" // a drone became ready
)

// topicProgress is about a backend's preparation.
func topicProgress(id plane.BackendID) topic { return topic("\x00progress " + id) }

// hub wakes those who wait for a change. A hint carries no data and may come
// for nothing: whoever is woken looks at the store.
type hub struct {
	mu      sync.Mutex // guards the fields below
	waiting map[topic]map[chan struct{}]struct{}
}

// subscribe gives a channel of capacity 1 that receives after every notify of
// t, and the function that ends it.
func (h *hub) subscribe(t topic) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting = map[topic]map[chan struct{}]struct{}{}
	}
	if h.waiting[t] == nil {
		h.waiting[t] = map[chan struct{}]struct{}{}
	}
	h.waiting[t][ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting[t], ch)
		if len(h.waiting[t]) == 0 {
			delete(h.waiting, t)
		}
	}
}

func (h *hub) notify(t topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.waiting[t] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
