package leasesim

import (
	"slices"
	"time"

	"plane"
)

type phase int

const (
	greeting phase = iota
	rejoining
	holding
)

// drone is a machine: what its kernel, warden and journal keep, and its agent.
type drone struct {
	sim   *sim
	name  int
	clock clock
	wall  int64 // by how much the wall clock has been stepped

	boot       int
	running    []*process // the table; it outlives the agent
	mustJoin   bool       // warden and reaper were lost: nothing of the epoch runs
	epoch      int64      // from here on: the journal
	seen       plane.StoreEpoch
	unreported []int
	tombstones []tombstone

	agent    int  // instance, 0 = none yet
	alive    bool // the agent
	paused   instant
	inbox    []func()
	phase    phase
	number   int // of the latest hello or join
	joins    int64
	h        plane.Holding
	sentAt   int64 // latest renewal attempt
	answered bool
	takeNote plane.StoreEpoch // store epoch that wants an inventory
	to       int              // controller
}

type process struct {
	held
	drone    *drone
	deadline plane.Instant
	dead     bool // its end is decided
}

type tombstone struct {
	id    int
	until plane.Instant
	heard bool
}

func (d *drone) now() plane.Instant {
	t := d.clock.at(d.sim.now)
	if !d.sim.has(LeaseClock) {
		t += d.wall
	}
	return plane.Instant(t)
}

// receive is the agent's mailbox: a stopped agent reads it when it goes on.
func (d *drone) receive(fn func()) {
	switch {
	case !d.alive:
	case d.sim.now < d.paused:
		d.inbox = append(d.inbox, fn)
	default:
		fn()
	}
}

// start begins a new agent, which knows what the journal and the table say.
func (d *drone) start() {
	d.agent++
	d.alive, d.paused, d.inbox = true, 0, nil
	d.h = plane.Holding{Epochs: d.epochs(d.epoch), Store: d.seen}
	d.answered = true
	d.phase = greeting
	if d.mustJoin && d.epoch > 0 {
		d.phase = rejoining
		d.joins = d.epoch
	}
	d.loop(d.agent)
}

func (d *drone) epochs(e int64) plane.Epochs { return plane.Epochs{e, e, e} }

func (d *drone) loop(agent int) {
	if !d.alive || d.agent != agent {
		return
	}
	if d.sim.now < d.paused {
		d.sim.at(d.paused+1, func() { d.loop(agent) })
		return
	}
	for len(d.inbox) > 0 && d.alive && d.agent == agent {
		fn := d.inbox[0]
		d.inbox = d.inbox[1:]
		fn()
	}
	d.act()
	d.sim.after(plane.RetryRenewal, func() { d.loop(agent) })
}

// act sends what is due.
func (d *drone) act() {
	s, now := d.sim, d.now()
	c := s.controllers[d.to]
	if !d.answered && s.rand.of(0.2) {
		d.to = s.rand.IntN(controllers)
	}
	switch d.phase {
	case greeting:
		d.number++
		d.answered = false
		m := hello{drone: d.name, agent: d.agent, boot: d.boot, number: d.number, store: d.seen}
		s.receive(d, c, func() { c.hello(m) })
		return
	case rejoining:
		if int64(now)-d.sentAt < int64(time.Second) {
			return
		}
		d.sentAt = int64(now)
		d.number++
		d.answered = false
		m := joining{drone: d.name, agent: d.agent, boot: d.boot, number: d.number, epoch: d.joins}
		s.receive(d, c, func() { c.join(m) })
		return
	}
	if d.takeNote.Number != 0 {
		d.see(d.takeNote) // from here on spawns of older store epochs are refused
		m := inventory{drone: d.name, agent: d.agent, store: d.seen, epoch: d.epoch}
		for _, p := range d.running {
			m.held = append(m.held, p.held)
		}
		s.receive(d, c, func() { c.inventory(m) })
	}
	if !d.answered || int64(now)-d.sentAt >= int64(s.policy.Terms().Renew) {
		var n int64
		d.h, n = d.h.Send(now)
		d.sentAt, d.answered = int64(now), false
		m := renewal{drone: d.name, agent: d.agent, number: n, epoch: d.h.Epochs.Of(s.policy), store: d.seen}
		s.receive(d, c, func() { c.renew(m) })
	}
	for _, id := range d.unreported {
		d.report(c, id)
	}
	if s.has(Tombstones) {
		d.tombstones = slices.DeleteFunc(d.tombstones, func(t tombstone) bool {
			return now > t.until && (t.heard || !s.has(TombstoneUntilHeard))
		})
	}
}

func (d *drone) report(c *controller, id int) {
	m := ended{drone: d.name, agent: d.agent, backend: id}
	d.sim.receive(d, c, func() { c.ended(m) })
}

func (d *drone) see(e plane.StoreEpoch) {
	if e.Number > d.seen.Number {
		d.seen = e
	}
	d.h.Store = d.seen
}

func (d *drone) learn(e plane.StoreEpoch) {
	switch {
	case e.Number <= d.seen.Number:
	case d.sim.has(Inventory):
		d.takeNote = e
	default:
		d.see(e)
	}
}

func (d *drone) raised(e int64) {
	d.h, _ = d.h.Raised(d.epochs(e))
	if d.epoch >= e {
		return
	}
	d.epoch = e
	for _, p := range slices.Clone(d.running) {
		if p.epoch < e {
			d.kill(p, 100*time.Millisecond)
		}
	}
}

func (d *drone) welcomed(w welcome) {
	if d.phase != greeting || w.number != d.number {
		return
	}
	d.mustJoin = false
	d.phase, d.answered = holding, true
	d.h.Attempt = max(d.h.Attempt, w.attempt)
	d.raised(w.epoch)
	d.learn(w.store)
	d.sentAt = 0
}

func (d *drone) joined(a joined) {
	if d.phase != rejoining || d.sim.has(JoinLatest) && a.number != d.number {
		return
	}
	if !a.ok {
		d.joins = a.epoch
		return
	}
	d.mustJoin = false
	d.phase, d.answered = holding, true
	d.h.Attempt = max(d.h.Attempt, a.attempt)
	d.raised(a.epoch)
	d.learn(a.store)
	d.sentAt = 0
}

func (d *drone) renewed(a renewed) {
	if d.phase != holding {
		return
	}
	s, now := d.sim, d.now()
	d.raised(a.epoch)
	switch {
	case a.inventory:
		d.takeNote = a.store
	case a.refused:
		d.answered = true
		d.sentAt = 0
	case a.ok:
		d.learn(a.store)
		if a.store == d.seen {
			d.takeNote = plane.StoreEpoch{}
		}
		number := a.number
		if !s.has(OwnAttempt) {
			number = d.h.Attempt
		}
		h, moved := d.h.Renewed(number)
		if !moved {
			return
		}
		if !s.has(FromSend) {
			h.SentAt = now
		}
		d.h = h
		if number == h.Attempt {
			d.answered = true
		}
		until := h.Deadline(s.policy)
		for _, p := range d.running { // a deadline that has passed is never revived
			if !p.dead && p.epoch == d.epoch && p.deadline > now && until > p.deadline {
				p.deadline = until
			}
		}
	}
}

// spawn is the drone's decision on a grant.
func (d *drone) spawn(c *controller, a action, g plane.Grant) {
	if d.phase != holding {
		return
	}
	s := d.sim
	refused := false
	switch {
	case slices.ContainsFunc(d.running, func(p *process) bool { return p.id == a.backend }):
	case d.buried(a.backend):
		refused = true
	default:
		if why := d.refusal(g); why != "" {
			s.result.Refused++
			s.note("drone %d refuses backend %d: %s", d.name, a.backend, why)
			refused = true
			d.bury(a.backend)
			d.owe(a.backend)
			break
		}
		d.run(held{a.backend, a.generation, g.Epoch})
	}
	m := acted{drone: d.name, agent: d.agent, action: a.id, backend: a.backend, refused: refused}
	s.receive(d, c, func() { c.acted(m) })
}

func (d *drone) refusal(g plane.Grant) plane.Refusal {
	if len(d.running) > 0 {
		return plane.RefusedKeyInUse
	}
	s, now := d.sim, d.now()
	if !s.has(SpawnStoreEpoch) {
		g.Store = d.h.Store
	}
	why := d.h.Accepts(g, now)
	if why == plane.RefusedLate && !s.has(RefuseLate) && now < d.h.Deadline(s.policy) {
		return ""
	}
	return why
}

func (d *drone) run(h held) {
	s := d.sim
	p := &process{held: h, drone: d, deadline: d.h.Deadline(s.policy)}
	d.running = append(d.running, p)
	s.began(p)
	s.after(s.rand.around(s.temper.life), func() { d.gone(p) })
	d.enforce(p)
}

// enforce is warden and reaper: they look at the deadline when it comes.
func (d *drone) enforce(p *process) {
	left := p.deadline.Sub(d.now())
	if left <= 0 {
		d.kill(p, 500*time.Millisecond)
		return
	}
	d.sim.after(time.Duration(float64(left)/d.clock.rate)+1, func() {
		if !p.dead {
			d.enforce(p)
		}
	})
}

func (d *drone) kill(p *process, within time.Duration) {
	if p.dead {
		return
	}
	p.dead = true
	d.sim.after(d.sim.rand.between(0, within), func() { d.gone(p) })
}

// gone: by looking, nothing of the process is left.
func (d *drone) gone(p *process) {
	i := slices.Index(d.running, p)
	if i < 0 {
		return
	}
	p.dead = true
	d.running = slices.Delete(d.running, i, i+1)
	d.sim.finished(p)
	d.bury(p.id)
	d.owe(p.id)
}

// stop makes a backend absent; one that it doesn't know leaves a tombstone.
func (d *drone) stop(id int) {
	for _, p := range d.running {
		if p.id == id {
			d.kill(p, time.Second)
			return
		}
	}
	d.bury(id)
	d.owe(id)
}

func (d *drone) terminate(c *controller, a action) {
	d.stop(a.backend)
	m := acted{drone: d.name, agent: d.agent, action: a.id, backend: a.backend}
	d.sim.receive(d, c, func() { c.acted(m) })
}

func (d *drone) buried(id int) bool {
	return slices.ContainsFunc(d.tombstones, func(t tombstone) bool { return t.id == id })
}

func (d *drone) bury(id int) {
	if d.sim.has(Tombstones) && !d.buried(id) {
		d.tombstones = append(d.tombstones, tombstone{id: id, until: d.now().Add(d.sim.policy.TombstoneLife())})
	}
}

// owe notes that the store must hear of an end until it says that it has.
func (d *drone) owe(id int) {
	if !slices.Contains(d.unreported, id) {
		d.unreported = append(d.unreported, id)
	}
}

func (d *drone) reported(id int) {
	d.unreported = slices.DeleteFunc(d.unreported, func(x int) bool { return x == id })
	d.heard(id)
}

func (d *drone) heard(id int) {
	for i := range d.tombstones {
		if t := &d.tombstones[i]; t.id == id && d.sim.has(TombstoneUntilHeard) {
			t.heard = true
			t.until = max(t.until, d.now().Add(d.sim.policy.TombstoneLife()))
		}
	}
}

// reboot loses the table and every process, and proves nothing.
func (d *drone) reboot() {
	d.alive = false
	d.boot++
	d.mustJoin = false
	for _, p := range d.running {
		p.dead = true
		d.sim.finished(p)
		d.bury(p.id)
	}
	d.running = nil
	d.clock.offset = int64(d.sim.rand.around(time.Hour))
	for i := range d.tombstones { // a new lease clock: count anew
		d.tombstones[i].until = d.now().Add(d.sim.policy.TombstoneLife())
	}
}

// orphan loses warden and reaper in the same boot: the agent looks, kills and joins.
func (d *drone) orphan() {
	for _, p := range slices.Clone(d.running) {
		d.gone(p)
	}
	d.mustJoin = true
	if d.alive {
		d.start()
	}
}
