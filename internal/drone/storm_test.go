package drone

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
	"plane/internal/wait"
	"plane/internal/wire"
)

// Orders in any order, twice, with deaths behind the agent's back, cut
// connections and restarts: never two of a key, statuses only rise, and in the
// end everything has ended or was refused, and nothing runs.
func TestTrap03_StormOfOrders(t *testing.T) {
	c, d := begun(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	d.runtime.OnStart = func(ctx context.Context, u runtime.Unit) error {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range d.runtime.Running() {
			if other, ok := d.runtime.Unit(id); ok && id != u.Backend && other.Key == u.Key && d.running(id) {
				t.Errorf("%s starts while %s runs", u.Backend, id)
			}
		}
		return nil
	}
	d.runtime.Program = func(u runtime.Unit) fake.Program {
		switch u.Generation % 5 {
		case 0:
			return fake.Program{ExitAfter: 5 * time.Millisecond}
		case 1:
			return fake.Program{IgnoreTerm: true}
		case 2:
			return fake.Program{ListenAfter: 3 * time.Millisecond}
		}
		return fake.Program{}
	}
	var ids []plane.BackendID
	var orders []wire.Spawn
	send := func(m wire.Message) {
		c.mu.Lock()
		conn := c.conn
		c.mu.Unlock()
		if conn != nil {
			_ = conn.Send(m) // a cut connection loses it, as it may
		}
	}
	pick := func() plane.BackendID { return ids[r.IntN(len(ids))] }
	for step := range 400 {
		switch n := r.IntN(20); {
		case n < 7 || len(ids) == 0:
			id := plane.BackendID(fmt.Sprintf("s%d", step))
			m := c.order(id, fmt.Sprintf("key%d", r.IntN(6)))
			ids, orders = append(ids, id), append(orders, m)
			send(m)
		case n < 9:
			send(orders[r.IntN(len(orders))])
		case n < 15:
			kind := plane.Soft
			if r.IntN(2) == 0 {
				kind = plane.Hard
			}
			send(wire.Terminate{Action: c.action(), Backend: pick(), Policy: plane.Balanced, Kind: kind, Reason: plane.External})
		case n < 17:
			d.runtime.Kill(pick(), plane.Exit{Signal: "SIGKILL"})
		case n < 18:
			send(wire.IdleAsk{ID: int64(step), Backend: pick()})
		case step%40 == 0:
			d.stop()
			d.begin()
			c.awaitLease(d)
		case step%20 == 0:
			c.drop()
		default:
			wait.For(t.Context(), time.Duration(r.IntN(3000))*time.Microsecond)
		}
	}
	c.awaitLease(d)
	for _, id := range ids {
		m := wire.Terminate{Action: c.action(), Backend: id, Policy: plane.Balanced, Kind: plane.Hard, Reason: plane.External}
		c.send(m)
	}
	eventually(t, "nothing runs", func() bool { return len(d.runtime.Running()) == 0 })
	for _, id := range ids {
		c.await(id, plane.Terminated)
		last := 0
		for _, s := range c.states(id) {
			if s.Status.Order() < last {
				t.Errorf("%s: statuses %v", id, statuses(c.states(id)))
			}
			last = s.Status.Order()
		}
		if n := d.runtime.Starts(id); n > 1 {
			t.Errorf("%s was started %d times", id, n)
		}
	}
	eventually(t, "everything is acknowledged and forgotten", func() bool {
		roster := d.agent.crew.Load().roster
		roster.mu.Lock()
		defer roster.mu.Unlock()
		return len(roster.runners)+len(roster.ended)+len(roster.keys) == 0
	})
}
