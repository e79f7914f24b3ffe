package means

import "sync"

// Orphans reaps children that this process inherited from others: descendants
// of backends whose own parents have ended. Its own children, which someone
// waits for, are left to them.
type Orphans struct {
	m    *Means
	kick chan struct{}

	mu       sync.Mutex // guards the fields below
	starting int
	own      map[int]bool
}

// NewOrphans makes this process the heir of its descendants where the system
// can do that.
func (m *Means) NewOrphans() *Orphans {
	if !m.portable {
		becomeSubreaper()
	}
	return &Orphans{m: m, kick: make(chan struct{}, 1), own: map[int]bool{}}
}

// Starting must be called before a child is forked; nothing is reaped until
// started is called with its pid, or 0.
func (o *Orphans) Starting() (started func(pid int)) {
	o.mu.Lock()
	o.starting++
	o.mu.Unlock()
	return func(pid int) {
		o.mu.Lock()
		o.starting--
		if pid != 0 {
			o.own[pid] = true
		}
		o.mu.Unlock()
		o.wake()
	}
}

// Own notes an inherited child that someone waits for.
func (o *Orphans) Own(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.own[pid] = true
}

// Reaped notes that a child of our own has been reaped.
func (o *Orphans) Reaped(pid int) {
	o.mu.Lock()
	delete(o.own, pid)
	o.mu.Unlock()
	o.wake()
}

func (o *Orphans) wake() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}
