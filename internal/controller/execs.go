package controller

import (
	"fmt"
	"sync"

	"plane"
	"plane/internal/wire"
)

// execsMost is how many commands run at a time in the backends of one drone.
const execsMost = 100

// execs are the commands that run in the backends of one drone.
type execs struct {
	mu   sync.Mutex // guards the fields below
	last int64
	byID map[int64]*Execution
	left bool // the drone has gone
}

// open numbers a command.
func (e *execs) open(x *Execution) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.left:
		return errDroneLeft
	case len(e.byID) >= execsMost:
		bad := plane.NewError(plane.LimitExceeded, fmt.Sprintf(
			"%d commands run in backends of drone %s already, which is the limit. End one.", execsMost, x.backend.Drone))
		bad.Status, bad.Retry = 429, limitRetry
		return bad
	}
	if e.byID == nil {
		e.byID = map[int64]*Execution{}
	}
	e.last++
	x.id = e.last
	e.byID[x.id] = x
	return nil
}

// part takes a piece for whoever asked; those of a command that was closed mean
// nothing any more.
func (e *execs) part(m wire.ExecPart) {
	e.mu.Lock()
	x := e.byID[m.ID]
	e.mu.Unlock()
	if x != nil && !x.part(m) {
		e.drop(m.ID)
	}
}

func (e *execs) drop(id int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byID, id)
}

// in counts those of one backend.
func (e *execs) in(id plane.BackendID) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.byID {
		if x.backend.ID == id {
			n++
		}
	}
	return n
}

func (e *execs) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.byID)
}

// fail ends all commands: the drone has gone.
func (e *execs) fail() {
	e.mu.Lock()
	all := e.byID
	e.byID, e.left = nil, true
	e.mu.Unlock()
	for _, x := range all {
		x.end(nil, "", errDroneLeft)
	}
}
