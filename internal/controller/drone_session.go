package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/wire"
)

const helloTimeout = 10 * time.Second

// droneSession is one connection of a drone.
type droneSession struct {
	name       plane.NodeName
	cluster    plane.ClusterName
	pool       string
	runtimes   []string
	lacks      map[string]string // runtimes that it can't offer, and what they miss
	commands   bool
	agent      string
	boot       string
	connection int64
	conn       *wire.Conn
	since      time.Time

	draining atomic.Bool
	ended    atomic.Bool
	renewed  atomic.Int64 // when its last renewal was committed, after since; 0 = none on this connection

	courier  *courier
	recorder *recorder
	renewer  *renewer
	asks     asks[wire.IdleAnswer]
	logs     logStreams
	execs    execs
	usage    usage
	host     atomic.Pointer[wire.Host] // as last told
}

// heard reports whether it is connected and renewed shortly before.
func (s *droneSession) heard(p plane.Policy) bool { return s.renewedWithin(heardWithin(p)) }

// takes reports whether a backend with policy p may be placed on it: it is
// heard, and wouldn't refuse because of the age of its last renewal. So a key
// that has just been taken from a silent drone never goes back to it.
func (s *droneSession) takes(p plane.Policy) bool {
	return s.renewedWithin(min(heardWithin(plane.Balanced), p.ProofHorizon()))
}

func (s *droneSession) renewedWithin(d time.Duration) bool {
	at := s.renewed.Load()
	return at != 0 && !s.ended.Load() && time.Since(s.since)-time.Duration(at) <= d
}

// ServeDrone speaks with a drone until the connection or ctx ends. pool is the
// one of its address; that of its hello counts if it is "".
func (c *Controller) ServeDrone(ctx context.Context, conn *wire.Conn, cluster plane.ClusterName, pool string) error {
	hctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	hello, err := readHello[wire.DroneHello](hctx, conn, cluster, plane.PrefixDrone)
	if err != nil {
		return err
	}
	if pool != "" {
		hello.Pool = pool
	}
	if old := c.drones.session(hello.Name); old != nil && old.boot != hello.BootID && old.heard(plane.Fast) {
		return refuseNode(hctx, conn, fmt.Sprintf("another machine named %s is connected; give each drone a name of its own", hello.Name))
	}
	in, err := c.admit(hctx, hello)
	var no refusal
	if errors.As(err, &no) {
		return refuseNode(hctx, conn, string(no))
	}
	if err != nil {
		conn.Close("the controller's store does not answer")
		return fmt.Errorf("admit %s: %w", hello.Name, err)
	}
	s := &droneSession{
		name: hello.Name, cluster: cluster, pool: hello.Pool, runtimes: hello.Runtimes, lacks: hello.RuntimesMissing, commands: hello.Commands,
		agent: hello.Agent, boot: hello.BootID, connection: in.connection, conn: conn, since: time.Now(),
	}
	s.draining.Store(in.draining)
	s.courier = newCourier(c, s)
	s.recorder = newRecorder(c, s)
	s.renewer = newRenewer(c, s)
	if err := conn.Write(hctx, in.welcome); err != nil {
		conn.Close("welcome not taken")
		c.droneLeft(s)
		return fmt.Errorf("welcome %s: %w", s.name, err)
	}
	c.admitted(in)
	return c.runDrone(ctx, s, in)
}

func (c *Controller) runDrone(ctx context.Context, s *droneSession, in admission) error {
	if old := c.drones.add(s); old != nil {
		old.supersede(s.agent != old.agent)
	}
	if s.draining.Load() {
		_ = s.conn.Send(wire.Drain{On: true}) // queued until the connection runs
	}
	c.log.Info("drone connected", "drone", s.name, "connection", s.connection)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, work := range []func(context.Context){s.courier.run, s.recorder.run, s.renewer.run} {
		wg.Go(func() { work(ctx) })
	}
	if len(in.missing) > 0 {
		wg.Go(func() { c.endMissing(ctx, s, in.missing) })
	}
	err := s.conn.Run(ctx, func(m wire.Message) error { return c.fromDrone(s, m) })
	s.ended.Store(true)
	cancel()
	wg.Wait()
	c.drones.remove(s)
	s.asks.fail()
	s.logs.fail(errors.New("the drone disconnected"))
	s.execs.fail()
	c.droneLeft(s)
	c.log.Info("drone disconnected", "drone", s.name, "connection", s.connection, "cause", err)
	return err
}

// fromDrone takes a message; it waits for nobody.
func (c *Controller) fromDrone(s *droneSession, m wire.Message) error {
	switch m := m.(type) {
	case wire.Renew:
		s.renewer.ask(m)
	case wire.Statuses, wire.Acted:
		return s.recorder.take(m)
	case wire.IdleAnswer:
		s.asks.answer(m.ID, m)
	case wire.Telemetry:
		warnings, spent := s.usage.take(m.Backends, time.Since(s.since))
		c.cfg.Metrics.spent(spent)
		if m.Host != nil {
			s.host.Store(m.Host)
		}
		for _, x := range warnings {
			c.log.Warn("a drone warns", "drone", s.name, "backend", x.Backend, "warning", x.Warning)
		}
		c.use.held(m.Backends, time.Now())
	case wire.LogsPart:
		s.logs.part(m)
	case wire.ExecPart:
		s.execs.part(m)
	case wire.Progress:
		c.progressed(s, m)
	}
	return nil
}

// supersede ends an older connection of a drone. Another agent is told first
// that its time is over, so that it doesn't come back.
func (s *droneSession) supersede(byAnother bool) {
	if !byAnother {
		s.conn.Close("the same agent connected again")
		return
	}
	_ = s.conn.Send(wire.Renewed{Outcome: wire.RenewalSuperseded})
	_ = s.conn.Send(wire.Goodbye{Reason: "a newer agent of this drone is connected"})
}

// droneLeft clears the drone's liveness, unless a newer connection owns it.
func (c *Controller) droneLeft(s *droneSession) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	if err := c.disconnectDrone(ctx, s.name, s.connection); err != nil {
		c.log.Warn("could not record that a drone disconnected", "drone", s.name, "error", err)
	}
}

// hello is the first message of a node. Self is what every part says of itself.
type hello interface {
	wire.Message
	Self() wire.Node
}

// readHello reads a node's first message and checks that it is one of cluster.
func readHello[H hello](ctx context.Context, conn *wire.Conn, cluster plane.ClusterName, prefix plane.Prefix) (H, error) {
	var none H
	m, err := conn.Read(ctx)
	if err != nil {
		conn.Close("no hello")
		return none, fmt.Errorf("read hello: %w", err)
	}
	h, ok := m.(H)
	if !ok {
		return none, refuseNode(ctx, conn, fmt.Sprintf("the first message must be %s", wire.Kind(none)))
	}
	if why := checkNode(h.Self(), cluster, prefix); why != "" {
		return none, refuseNode(ctx, conn, why)
	}
	return h, nil
}

// refuseNode tells a node why it isn't let in.
func refuseNode(ctx context.Context, conn *wire.Conn, why string) error {
	_ = conn.Write(ctx, wire.Goodbye{Reason: why})
	conn.Close(why)
	return errors.New("node refused: " + why)
}

// checkNode says what is wrong with a hello, or "".
func checkNode(n wire.Node, cluster plane.ClusterName, prefix plane.Prefix) string {
	if n.Protocol != wire.Version {
		return fmt.Sprintf("protocol %d of your version %s differs from %d; releases one apart work together, update the older one",
			n.Protocol, n.Version, wire.Version)
	}
	if err := plane.CheckNode(n.Name, prefix); err != nil {
		return err.Error()
	}
	if n.Cluster != cluster {
		return fmt.Sprintf("you say cluster %q on the socket of cluster %q", n.Cluster, cluster)
	}
	return ""
}
