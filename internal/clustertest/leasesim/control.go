package leasesim

import (
	"slices"
	"time"

	"plane"
)

// controller decides over the database, and may be paused between a read and
// the write that follows from it.
type controller struct {
	sim   *sim
	name  int
	clock clock
	pairs []pair // of the last T_store and one older
}

// pair is the database's clock beside the controller's own.
type pair struct{ own, db int64 }

// transact runs fn at once, or reports that the database can't be reached.
func (c *controller) transact(fn func(tx *state, now int64)) bool {
	db := &c.sim.db
	if c.sim.now < db.down {
		return false
	}
	tx, now := db.state.clone(), db.clock.at(c.sim.now)
	if tx.store.StoreID != db.id() {
		tx.raiseStore(db.id(), 0, now)
		if !c.sim.has(Inventory) {
			tx.frozenUntil = 0
		}
	}
	c.watch(&tx, now)
	fn(&tx, now)
	db.commit(c.sim.now, tx)
	return true
}

// read runs fn on what the database holds; fn changes nothing.
func (c *controller) read(fn func(tx *state, now int64)) bool {
	db := &c.sim.db
	now := db.clock.at(c.sim.now)
	if db.state.store.StoreID != db.id() || c.stepped(now) {
		return c.transact(fn)
	}
	if c.sim.now < db.down {
		return false
	}
	fn(&db.state, now)
	return true
}

// stepped reports whether the database's clock ran unlike the controller's own
// since the last look.
func (c *controller) stepped(now int64) bool {
	n := len(c.pairs)
	if n == 0 || !c.sim.has(DatabaseClock) {
		return false
	}
	passed := c.clock.at(c.sim.now) - c.pairs[n-1].own
	diff := now - c.pairs[n-1].db - passed
	return max(diff, -diff) > passed/200+int64(100*time.Millisecond)
}

// watch notes a pair of clocks and records a step of the database's as a freeze.
func (c *controller) watch(tx *state, now int64) {
	if c.stepped(now) {
		again := now + int64(plane.Balanced.Terms().Store)
		tx.noLapse = again
		if c.pairs[len(c.pairs)-1].db < tx.frozenUntil { // a freeze that a step would end early, or draw out, begins anew
			tx.frozenUntil = again
		}
		c.pairs = c.pairs[:0] // a history that begins anew lapses nothing for a while
	}
	own := c.clock.at(c.sim.now)
	c.pairs = append(c.pairs, pair{own, now})
	for len(c.pairs) > 1 && own-c.pairs[1].own > int64(plane.Balanced.Terms().Store) {
		c.pairs = c.pairs[1:]
	}
}

func (c *controller) mayLapse(tx *state, now int64) bool {
	if !c.sim.has(DatabaseClock) {
		return now >= tx.noLapse
	}
	whole := c.clock.at(c.sim.now)-c.pairs[0].own >= int64(plane.Balanced.Terms().Store)
	return whole && now >= tx.noLapse
}

// later runs fn now, or after a pause of the controller.
func (c *controller) later(fn func()) {
	if c.sim.rand.of(c.sim.temper.pause) {
		c.sim.after(c.sim.rand.around(20*time.Second), fn)
		return
	}
	c.sim.after(c.sim.rand.between(0, 20*time.Millisecond), fn)
}

// tick does what a controller does without being asked, and connects.
func (c *controller) tick() {
	c.connect()
	c.resend()
	c.sim.after(c.sim.rand.between(500*time.Millisecond, 2*time.Second), c.tick)
}

// connect gets or starts the backend of the key; now and then somebody ends it.
func (c *controller) connect() {
	s := c.sim
	stop := s.rand.of(s.temper.stop)
	drone := s.rand.IntN(drones)
	lapsed, read := false, 0
	if !c.read(func(tx *state, now int64) { // what a controller reads before it decides
		if b := tx.backend(tx.key); b != nil {
			read = b.id
			lapsed = plane.Lapsed(s.policy, time.Unix(0, tx.drones[b.drone].renewedAt), time.Unix(0, now)) && c.mayLapse(tx, now)
		}
	}) {
		return
	}
	c.later(func() {
		var send []action
		grants := map[int]plane.Grant{}
		c.transact(func(tx *state, now int64) {
			send = send[:0]
			if tx.key != 0 && !c.free(tx, now, read, lapsed) {
				if stop {
					send = append(send, c.terminate(tx)...)
				}
				return
			}
			if a, ok := c.grant(tx, now, drone); ok {
				send = append(send, a)
				grants[a.id] = tx.grant(s.policy, a.drone)
			}
		})
		for _, a := range send {
			c.sendAction(a, grants[a.id])
		}
	})
}

// free makes room for a new generation if the holder has lost the key.
func (c *controller) free(tx *state, now int64, read int, lapsed bool) bool {
	s := c.sim
	b := tx.backend(tx.key)
	d := &tx.drones[b.drone]
	if now < tx.frozenUntil {
		return false
	}
	if !s.has(DronesWord) && now-b.createdAt > int64(10*time.Second) && tx.undelivered(b.id) {
		tx.end(b.id)
		return true
	}
	gone := b.epoch != d.epoch
	switch {
	case gone:
	case s.has(LapseRecorded):
		gone = c.mayLapse(tx, now) && tx.raiseEpoch(b.drone, b.epoch, s.policy, true, now)
	default:
		gone = lapsed && b.id == read
	}
	if gone {
		s.result.Takeovers++
		s.note("store takes the key from backend %d of drone %d, epoch %d", b.id, b.drone, b.epoch)
		tx.end(b.id)
	}
	return gone
}

func (c *controller) grant(tx *state, now int64, drone int) (action, bool) {
	s := c.sim
	d := &tx.drones[drone]
	if now < tx.frozenUntil || tx.key != 0 || d.agent == 0 || s.has(Inventory) && d.confirmed != tx.store ||
		plane.Lapsed(s.policy, time.Unix(0, d.renewedAt), time.Unix(0, now)) {
		return action{}, false
	}
	s.ids++
	b := backendRow{id: s.ids, generation: tx.nextGeneration(), drone: drone, epoch: d.epoch, createdAt: now}
	tx.insertKey(b)
	s.ids++
	a := action{id: s.ids, backend: b.id, drone: drone, generation: b.generation, spawn: true}
	tx.actions = append(tx.actions, a)
	s.note("store grants backend %d to drone %d, epoch %d, renewal %d", b.id, drone, d.epoch, d.renewal)
	return a, true
}

// grant is what a spawn to the drone stands on, by this transaction.
func (s *state) grant(p plane.Policy, drone int) plane.Grant {
	d := &s.drones[drone]
	return plane.Grant{Policy: p, Epoch: d.epoch, Renewal: d.renewal, Store: s.store}
}

func (s *state) undelivered(id int) bool {
	return slices.ContainsFunc(s.actions, func(a action) bool { return a.spawn && a.backend == id })
}

func (c *controller) terminate(tx *state) []action {
	b := tx.backend(tx.key)
	if slices.ContainsFunc(tx.actions, func(a action) bool { return !a.spawn && a.backend == b.id }) {
		return nil
	}
	c.sim.ids++
	a := action{id: c.sim.ids, backend: b.id, drone: b.drone, generation: b.generation}
	tx.actions = append(tx.actions, a)
	return []action{a}
}

// resend sends again what no drone has acknowledged.
func (c *controller) resend() {
	s := c.sim
	var send []action
	grants := map[int]plane.Grant{}
	c.read(func(tx *state, _ int64) {
		for _, a := range tx.actions {
			if s.has(Inventory) && tx.drones[a.drone].confirmed != tx.store {
				continue
			}
			send = append(send, a)
			if b := tx.backend(a.backend); b != nil {
				g := tx.grant(s.policy, a.drone)
				g.Epoch = b.epoch // of the backend's row: it never moves to another epoch
				grants[a.id] = g
			}
		}
	})
	for _, a := range send {
		c.later(func() {
			g := grants[a.id]
			if !s.has(GrantWithAction) {
				c.read(func(tx *state, _ int64) {
					g.Renewal = tx.drones[a.drone].renewal
					g.Store = tx.store
				})
			}
			c.sendAction(a, g)
		})
	}
}

func (c *controller) sendAction(a action, g plane.Grant) {
	d := c.sim.drones[a.drone]
	c.sim.send(d, c, func() {
		d.receive(func() {
			if a.spawn {
				d.spawn(c, a, g)
			} else {
				d.terminate(c, a)
			}
		})
	})
}

// hello lets an agent resume or wait; a new boot has no proof, so it waits for the lapse.
func (c *controller) hello(m hello) {
	var w welcome
	if !c.transact(func(tx *state, now int64) {
		w = welcome{number: m.number}
		d := &tx.drones[m.drone]
		if m.agent < d.agent {
			return // late: a newer agent has come
		}
		c.remembered(tx, m.store, now)
		if d.boot != m.boot {
			if d.boot != 0 && !(c.mayLapse(tx, now) && tx.raiseEpoch(m.drone, d.epoch, c.sim.policy, true, now)) {
				return
			}
			d.boot = m.boot
			d.epoch = max(d.epoch, 1)
		}
		d.agent = m.agent
		w = welcome{number: m.number, ok: true, epoch: d.epoch, attempt: d.renewal, store: tx.store}
	}) || !w.ok {
		return
	}
	c.reply(m.drone, m.agent, func(d *drone) { d.welcomed(w) })
}

// remembered raises the store epoch above one that a node has seen and a failover lost.
func (c *controller) remembered(tx *state, e plane.StoreEpoch, now int64) {
	if e.Number > tx.store.Number || e.Number == tx.store.Number && e.StoreID != tx.store.StoreID {
		tx.raiseStore(c.sim.db.id(), e.Number, now)
		if !c.sim.has(Inventory) {
			tx.frozenUntil = 0
		}
	}
}

// join ends an epoch of which, says the drone, nothing runs.
func (c *controller) join(m joining) {
	var a joined
	if !c.transact(func(tx *state, now int64) {
		d := &tx.drones[m.drone]
		a = joined{number: m.number}
		if m.agent < d.agent || d.boot != m.boot {
			return
		}
		a.answered = true
		d.agent = m.agent
		epoch := m.epoch
		if !c.sim.has(JoinConditional) {
			epoch = d.epoch
		}
		a.ok = tx.raiseEpoch(m.drone, epoch, c.sim.policy, false, now)
		a.epoch, a.attempt, a.store = d.epoch, d.renewal, tx.store
		if a.ok {
			c.sim.result.Joins++
			for _, b := range slices.Clone(tx.backends) {
				if b.drone == m.drone && b.epoch < d.epoch {
					c.sim.note("drone %d joined epoch %d: backend %d is over", m.drone, d.epoch, b.id)
					tx.end(b.id)
				}
			}
		}
	}) || !a.answered {
		return
	}
	c.reply(m.drone, m.agent, func(d *drone) { d.joined(a) })
}

func (c *controller) renew(m renewal) {
	var a renewed
	if !c.transact(func(tx *state, now int64) {
		d := &tx.drones[m.drone]
		c.remembered(tx, m.store, now)
		a = renewed{number: m.number, store: tx.store}
		switch {
		case d.agent != m.agent:
		case c.sim.has(Inventory) && d.confirmed != tx.store:
			a.inventory = true
		case c.sim.has(LapseRecorded) && c.mayLapse(tx, now) && tx.raiseEpoch(m.drone, m.epoch, c.sim.policy, true, now):
			// The lease begins anew at once, or the next renewal would find it
			// lapsed too, and so for ever.
			tx.renew(m.drone, m.agent, m.number, d.epoch, now)
			a.refused = true
		case tx.renew(m.drone, m.agent, m.number, m.epoch, now):
			a.ok = true
		case d.epoch != m.epoch:
			a.refused = true
		}
		a.epoch = d.epoch
	}) || !a.ok && !a.refused && !a.inventory {
		return
	}
	c.reply(m.drone, m.agent, func(d *drone) { d.renewed(a) })
}

// inventory makes the store agree with what a drone runs, once per store epoch.
func (c *controller) inventory(m inventory) {
	var kill []int
	if !c.transact(func(tx *state, now int64) {
		d := &tx.drones[m.drone]
		kill = kill[:0]
		c.remembered(tx, m.store, now)
		if c.sim.has(InventoryOnce) && (m.store != tx.store || d.confirmed == tx.store) {
			return
		}
		d.epoch = max(d.epoch, m.epoch)
		for _, h := range m.held {
			holder := tx.backend(tx.key)
			known := tx.backend(h.id) != nil
			switch {
			case h.epoch != d.epoch || slices.Contains(tx.ended, h.id) || holder != nil && holder.generation > h.generation:
				kill = append(kill, h.id)
			case !known:
				if holder != nil {
					tx.end(holder.id)
				}
				tx.insertKey(backendRow{id: h.id, generation: h.generation, drone: m.drone, epoch: h.epoch, createdAt: now})
				c.sim.result.Adopted++
			}
		}
		for _, b := range slices.Clone(tx.backends) {
			if b.drone == m.drone && !slices.ContainsFunc(m.held, func(h held) bool { return h.id == b.id }) {
				c.sim.note("backend %d is not in drone %d's inventory: over", b.id, m.drone)
				tx.end(b.id)
			}
		}
		if m.store == tx.store {
			d.confirmed = tx.store
		}
	}) {
		return
	}
	c.reply(m.drone, m.agent, func(d *drone) {
		for _, id := range kill {
			d.stop(id)
		}
	})
}

// acted takes a drone's answer to an action; a refused spawn will never start there.
func (c *controller) acted(m acted) {
	if c.transact(func(tx *state, _ int64) {
		tx.actions = slices.DeleteFunc(tx.actions, func(a action) bool { return a.id == m.action })
		if m.refused {
			tx.end(m.backend)
		}
	}) && m.refused {
		c.reply(m.drone, m.agent, func(d *drone) { d.heard(m.backend) })
	}
}

// ended takes a drone's proof of death.
func (c *controller) ended(m ended) {
	if c.transact(func(tx *state, _ int64) { tx.end(m.backend) }) {
		c.reply(m.drone, m.agent, func(d *drone) { d.reported(m.backend) })
	}
}

// reply goes over the connection of that agent, or nowhere.
func (c *controller) reply(to, agent int, fn func(*drone)) {
	d := c.sim.drones[to]
	c.sim.send(d, c, func() {
		if d.agent != agent {
			return
		}
		d.receive(func() {
			if d.agent == agent {
				fn(d)
			}
		})
	})
}
