package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"plane"
	"plane/internal/wire"
)

const (
	idleTick    = 250 * time.Millisecond
	idleAtOnce  = 64              // questions at a time
	quiesceWait = 2 * time.Second // for the proxies' answers
	droneWait   = 5 * time.Second // for the drone's
	idleRetry   = time.Second     // after a question that nobody answered
	idleHeld    = 5 * time.Second // after the drone's no
)

// sweepIdle asks about backends that were unused for as long as they may be.
// Each question has a goroutine of its own: a node that doesn't answer delays
// no other.
func (c *Controller) sweepIdle(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, idleAtOnce)
	tick := time.NewTicker(idleTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, e := range c.use.due(time.Now(), cap(slots)-len(slots)) {
			slots <- struct{}{} // there is room: only this loop fills it
			wg.Go(func() {
				defer func() { <-slots }()
				c.askIdle(ctx, e)
			})
		}
	}
}

// askIdle asks the proxies to admit nothing more, and then the drone whether
// the backend may stop. Any no, and any silence, lets it go on.
func (c *Controller) askIdle(ctx context.Context, e *useEntry) {
	proxies, why, used := c.quiesce(ctx, e)
	if why == "" && !c.use.toDrone(e) {
		why, used = "It was used again.", true
	}
	pause := idleRetry
	if why == "" {
		why = c.askDrone(ctx, e)
		if why != "" {
			used, pause = true, idleHeld
		} else {
			// It has begun to stop: nobody is sent to it any more. The proxies
			// hold what comes until its route changes.
			c.live.doom(e.id)
			c.use.awaitEnd(ctx, e)
		}
	}
	now := time.Now()
	if why != "" {
		for _, s := range proxies {
			_ = s.conn.Send(wire.Resume{Backend: e.id})
		}
	} else {
		pause = time.Minute // its end will forget the entry before
	}
	c.use.settle(e, why, used, now.Add(pause), now)
}

// quiesce asks all proxies of the cluster, if requests count as use. It returns those that were asked,
// why the backend isn't idle ("" = it is), and whether that is because of use.
func (c *Controller) quiesce(ctx context.Context, e *useEntry) (proxies []*proxySession, why string, used bool) {
	if !plane.UseRequests.Counts(e.uses) {
		return nil, "", false // whoever is connected is none of what keeps it awake
	}
	if name, unknown := c.proxies.unknown(e.cluster, time.Now()); unknown {
		return nil, fmt.Sprintf("Proxy %s isn't connected and may be using it.", name), false
	}
	proxies = c.proxies.of(e.cluster)
	if n := c.proxies.uses(e.cluster, e.id).Open(); n > 0 {
		return nil, fmt.Sprintf("%d open requests.", n), true
	}
	type question struct {
		id     int64
		answer <-chan wire.Quiesced
	}
	asked := make([]question, len(proxies))
	for i, s := range proxies {
		asked[i].id, asked[i].answer = s.asks.open()
		_ = s.conn.Send(wire.Quiesce{ID: asked[i].id, Backend: e.id, Opened: s.used(e.id).Opened})
	}
	timeout := time.NewTimer(quiesceWait)
	defer timeout.Stop()
	for i, s := range proxies {
		select {
		case a, ok := <-asked[i].answer:
			switch {
			case !ok:
				why = fmt.Sprintf("Proxy %s disconnected while it was asked.", s.name)
			case !a.Idle:
				why, used = fmt.Sprintf("Proxy %s has used it since.", s.name), true
			}
		case <-timeout.C:
			timeout.Reset(0) // the others have had their time too
			s.asks.forget(asked[i].id)
			why = fmt.Sprintf("Proxy %s didn't say whether it is used.", s.name)
		case <-ctx.Done():
			why = "The controller is ending."
		}
	}
	return proxies, why, used
}

// askDrone returns why the backend goes on, or "": it has begun to stop.
func (c *Controller) askDrone(ctx context.Context, e *useEntry) string {
	s := c.drones.session(e.drone)
	if s == nil {
		return fmt.Sprintf("Drone %s isn't connected.", e.drone)
	}
	id, answer := s.asks.open()
	defer s.asks.forget(id)
	if err := s.conn.Send(wire.IdleAsk{ID: id, Backend: e.id}); err != nil {
		return fmt.Sprintf("Drone %s isn't connected.", e.drone)
	}
	select {
	case a, ok := <-answer:
		switch {
		case !ok:
			return fmt.Sprintf("Drone %s disconnected while it was asked.", e.drone)
		case !a.Yes && a.Why == "":
			return "The drone says that it is in use."
		case !a.Yes:
			return a.Why
		}
		return ""
	case <-time.After(droneWait):
		return fmt.Sprintf("Drone %s didn't say whether it may stop.", e.drone)
	case <-ctx.Done():
		return "The controller is ending."
	}
}
