package oci

import (
	"encoding/json"
	"time"

	"plane"
)

// A kind is what one prepared sandbox may be taken for: all that can't be
// changed any more once it waits.
type kind struct {
	digest   string
	user     string
	readOnly bool
	limits   string // as JSON
}

func kindOf(digest, user string, x plane.Executable) kind {
	limits, _ := json.Marshal(x.Limits) // numbers only: it can't fail
	return kind{digest, user, x.ReadOnly, string(limits)}
}

// shelf has the sandboxes of one kind.
type shelf struct {
	ready  []waiting
	used   time.Time // when one was last asked for
	image  *picture
	like   plane.Executable // limits and so on, as the kind says
	failed time.Time        // when the last preparation failed
}

// waiting is a prepared sandbox that waits.
type waiting struct {
	id  string
	pid int
	who user
}

// stock is all that waits. It decides; others act.
type stock map[kind]*shelf

const (
	keepFor   = 10 * time.Minute // a kind that nobody asks for goes after that
	retryTime = 30 * time.Second // of a kind that can't be prepared
)

// ask takes one of a kind, and notes that the kind is in use.
func (s stock) ask(k kind, image *picture, x plane.Executable, now time.Time) (waiting, bool) {
	h := s[k]
	if h == nil {
		h = &shelf{like: plane.Executable{User: x.User, ReadOnly: x.ReadOnly, Limits: x.Limits}}
		s[k] = h
	}
	h.image, h.used = image, now
	if len(h.ready) == 0 {
		return waiting{}, false
	}
	w := h.ready[0]
	h.ready = h.ready[1:]
	return w, true
}

// next says what to do so that at most most wait, shared among the kinds in
// use: prepare one of a kind, or discard. Both zero: nothing.
func (s stock) next(most int, now time.Time) (prepare *shelf, discard []string) {
	for k, h := range s {
		if now.Sub(h.used) > keepFor {
			for _, w := range h.ready {
				discard = append(discard, w.id)
			}
			delete(s, k)
		}
	}
	share := max(1, most/max(1, len(s)))
	total := 0
	var least, oldest *shelf // least in stock; oldest of those with something
	for _, h := range s {
		for len(h.ready) > share {
			discard = append(discard, h.ready[len(h.ready)-1].id)
			h.ready = h.ready[:len(h.ready)-1]
		}
		total += len(h.ready)
		wants := len(h.ready) < share && now.Sub(h.failed) > retryTime
		if wants && (least == nil || len(h.ready) < len(least.ready) || len(h.ready) == len(least.ready) && h.used.After(least.used)) {
			least = h
		}
		if len(h.ready) > 0 && (oldest == nil || h.used.Before(oldest.used)) {
			oldest = h
		}
	}
	switch {
	case len(discard) > 0:
		return nil, discard
	case least == nil || most < 1:
		return nil, nil
	case total < most:
		return least, nil
	case oldest != nil && oldest.used.Before(least.used) && len(least.ready) == 0:
		w := oldest.ready[0]
		oldest.ready = oldest.ready[1:]
		return nil, []string{w.id}
	}
	return nil, nil
}

// all are the ids of what waits.
func (s stock) all() []string {
	var ids []string
	for _, h := range s {
		for _, w := range h.ready {
			ids = append(ids, w.id)
		}
	}
	return ids
}
