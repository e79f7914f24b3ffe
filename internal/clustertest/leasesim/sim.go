package leasesim

import (
	"container/heap"
	"fmt"
	"time"

	"plane"
)

const (
	drones      = 3
	controllers = 2
)

// Config says what to simulate.
type Config struct {
	Without   Rule          // rules that are left out
	Length    time.Duration // virtual time; 0 = 20 minutes
	Calm      bool          // no database failovers
	Policy    plane.Policy  // fast or balanced; "" = by the seed
	KeepNotes bool          // fill Result.Notes
}

// Result of one run.
type Result struct {
	Overlaps  int // starts while another backend of the key ran
	Starts    int
	Takeovers int // keys taken from a drone whose lease lapsed
	Refused   int // spawns refused by a drone
	Joins     int
	Failovers int
	Adopted   int // backends that a failover had lost and an inventory brought back
	Events    int
	Notes     []string // what led to the first overlap
}

// sim is one run. Everything happens on one goroutine, in virtual time.
type sim struct {
	rand   chance
	config Config
	temper temper
	policy plane.Policy
	now    instant
	end    instant
	events queue
	seq    int
	ids    int

	db          database
	drones      [drones]*drone
	controllers [controllers]*controller
	cut         [2][drones][controllers]bool
	slow        [2][drones][controllers]bool
	alive       []*process
	result      Result
}

// Run simulates one seed. The same seed and Config give the same Result.
func Run(seed uint64, config Config) Result {
	if config.Length == 0 {
		config.Length = 20 * time.Minute
	}
	s := &sim{rand: newChance(seed), config: config, policy: config.Policy, end: instant(config.Length)}
	s.temper = drawTemper(s.rand)
	if config.Without != 0 {
		s.temper.provoke(config.Without)
	} else if r := seed / 2 % uint64(2*len(ruleNames)); r < uint64(len(ruleNames)) {
		s.temper.provoke(1 << r)
	}
	if s.policy == "" {
		s.policy = plane.Balanced
		if seed%3 == 0 {
			s.policy = plane.Fast
		}
	}
	s.db.clock = clock{offset: int64(1000 * time.Hour), rate: s.rand.rate()}
	s.db.state.store = plane.StoreEpoch{StoreID: s.db.id(), Number: 1}
	s.db.past = []snapshot{{0, s.db.state}}
	for i := range s.controllers {
		// Within 0.5 % of the database's, as the watch on its clock demands.
		c := &controller{sim: s, name: i, clock: clock{int64(s.rand.around(time.Hour)), s.db.clock.rate * (1 + (s.rand.Float64()*2-1)*0.0045)}}
		s.controllers[i] = c
		s.after(s.rand.between(0, time.Second), c.tick)
	}
	for i := range s.drones {
		d := &drone{sim: s, name: i, boot: 1, clock: clock{int64(s.rand.around(time.Hour)), s.rand.rate()}}
		s.drones[i] = d
		s.after(s.rand.between(0, time.Second), d.start)
	}
	s.trouble()
	for len(s.events) > 0 && s.events[0].at <= s.end {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		s.result.Events++
		e.do()
	}
	return s.result
}

func (s *sim) has(r Rule) bool { return s.config.Without&r == 0 }

func (s *sim) at(t instant, fn func()) {
	s.seq++
	heap.Push(&s.events, event{max(t, s.now), s.seq, fn})
}

func (s *sim) after(d time.Duration, fn func()) { s.at(s.now.add(d), fn) }

func (s *sim) note(format string, args ...any) {
	if s.config.KeepNotes && s.result.Overlaps == 0 {
		s.result.Notes = append(s.result.Notes, fmt.Sprintf("%10.3f ", time.Duration(s.now).Seconds())+fmt.Sprintf(format, args...))
	}
}

// began and finished watch the truth.
func (s *sim) began(p *process) {
	s.result.Starts++
	s.note("drone %d runs backend %d, generation %d, epoch %d", p.drone.name, p.id, p.generation, p.epoch)
	if len(s.alive) > 0 {
		s.note("OVERLAP with backend %d on drone %d", s.alive[0].id, s.alive[0].drone.name)
		s.result.Overlaps++
	}
	s.alive = append(s.alive, p)
}

func (s *sim) finished(p *process) {
	s.note("backend %d is gone from drone %d", p.id, p.drone.name)
	for i, q := range s.alive {
		if q == p {
			s.alive = append(s.alive[:i], s.alive[i+1:]...)
			return
		}
	}
}

const (
	toDrone = iota
	toController
)

func (s *sim) send(d *drone, c *controller, fn func())    { s.carry(toDrone, d, c, fn) }
func (s *sim) receive(d *drone, c *controller, fn func()) { s.carry(toController, d, c, fn) }

// carry loses, doubles and delays: most messages take milliseconds, some
// seconds, a few minutes.
func (s *sim) carry(way int, d *drone, c *controller, fn func()) {
	copies := 1
	if s.rand.of(s.temper.twice) {
		copies = 2
	}
	for range copies {
		if s.cut[way][d.name][c.name] || s.rand.of(s.temper.loss) {
			continue
		}
		delay := s.rand.between(time.Millisecond, 60*time.Millisecond)
		switch x := s.rand.Float64(); {
		case s.slow[way][d.name][c.name]:
			delay = s.rand.between(100*time.Millisecond, 60*time.Second)
		case x < s.temper.late:
			delay = s.rand.between(5*time.Second, 150*time.Second)
		case x < s.temper.late+s.temper.slow:
			delay = s.rand.between(100*time.Millisecond, 6*time.Second)
		}
		s.after(delay, fn)
	}
}

// now and then: every so often on average, for as long as the run lasts.
func (s *sim) nowAndThen(every time.Duration, fn func()) {
	var again func()
	again = func() {
		fn()
		s.after(s.rand.around(every), again)
	}
	s.after(s.rand.around(every), again)
}

func (s *sim) trouble() {
	for i, d := range s.drones {
		s.nowAndThen(s.temper.partition, func() { s.partition(i) })
		s.nowAndThen(s.temper.sigstop, func() { // SIGSTOP of the agent
			d.paused = s.now.add(s.rand.around(25 * time.Second))
		})
		s.nowAndThen(s.temper.crash, func() { // kill -9 of the agent
			d.alive = false
			s.after(s.rand.around(10*time.Second), func() {
				if !d.alive {
					d.start()
				}
			})
		})
		s.nowAndThen(s.temper.reboot, func() {
			s.note("drone %d reboots", d.name)
			d.reboot()
			s.after(s.rand.around(15*time.Second), func() {
				if !d.alive {
					d.start()
				}
			})
		})
		s.nowAndThen(s.temper.orphan, func() {
			s.note("drone %d loses warden and reaper", d.name)
			d.orphan()
		})
		s.nowAndThen(s.temper.wall, func() {
			d.wall += int64(s.rand.between(-time.Hour, time.Hour))
			if !s.has(LeaseClock) {
				for _, p := range d.running {
					d.enforce(p)
				}
			}
		})
	}
	s.nowAndThen(s.temper.down, func() { s.db.down = s.now.add(s.rand.around(3 * time.Second)) })
	s.nowAndThen(s.temper.dbstep, func() {
		s.note("the database's clock steps")
		s.db.clock.offset += int64(s.rand.between(-time.Hour, time.Hour))
	})
	if !s.config.Calm {
		s.nowAndThen(s.temper.failover, func() {
			s.result.Failovers++
			s.db.failover(s.now, s.rand.between(0, standbyLag), clock{s.db.clock.offset + int64(s.rand.between(-3*time.Second, 3*time.Second)), s.db.clock.rate})
			s.db.down = s.now.add(s.rand.between(0, 2*time.Second))
			s.note("failover to %s", s.db.id())
		})
	}
}

// partition cuts a drone off from one or both controllers, in one or both ways.
// Often buffers fill before the link breaks.
func (s *sim) partition(drone int) {
	ways, slow, whom := 1+s.rand.IntN(3), 1+s.rand.IntN(3), 1+s.rand.IntN(3)
	if s.rand.of(0.5) {
		whom = 3
	}
	length := s.rand.around(60 * time.Second)
	set := func(what *[2][drones][controllers]bool, ways int, on bool) {
		for w := range 2 {
			for c := range controllers {
				if ways&(1<<w) != 0 && whom&(1<<c) != 0 {
					what[w][drone][c] = on
				}
			}
		}
	}
	var before time.Duration
	if s.rand.of(0.5) {
		before = s.rand.around(15 * time.Second)
		set(&s.slow, slow, true)
	}
	s.after(before, func() {
		s.note("drone %d is cut off (ways %b, controllers %b) for %s", drone, ways, whom, length)
		set(&s.cut, ways, true)
		s.after(length, func() {
			set(&s.cut, ways, false)
			set(&s.slow, slow, false)
		})
	})
}
