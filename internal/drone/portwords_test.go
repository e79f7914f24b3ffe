package drone

import (
	"net"
	"slices"
	"strings"
	"testing"

	"plane"
)

func TestFurtherPortsAreToldAndReported(t *testing.T) {
	c, d := begunReal(t)
	ports := spec(func(s *plane.Spec) { s.Ports = map[string]int{"metrics": 9100, "debug_1": 9101} })
	c.spawn("one", "doc", runs("-p={port}", "{port:metrics}/{port:debug_1}", "{porty}"), ports)
	ready := c.reach("one")
	_, main, _ := net.SplitHostPort(ready.Address)
	_, metrics, _ := net.SplitHostPort(ready.Ports["metrics"])
	_, debug, _ := net.SplitHostPort(ready.Ports["debug_1"])
	if len(ready.Ports) != 2 || main == metrics || main == debug || metrics == debug {
		t.Fatalf("ready at %q, %q", ready.Address, ready.Ports)
	}
	env := call(t, "GET", ready.Address, "/env", "") + "\n"
	for _, want := range []string{"PORT=" + main, "PORT_METRICS=" + metrics, "PORT_DEBUG_1=" + debug} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("no %s in the environment\n%s", want, env)
		}
	}
	if args := call(t, "GET", ready.Address, "/args", ""); !strings.Contains(args, `"-p=`+main+`","`+metrics+`/`+debug+`","{porty}"`) {
		t.Errorf("its words are %s", args)
	}
	if got := call(t, "GET", ready.Ports["metrics"], "/args", ""); got == "" {
		t.Error("nothing answers at the further port")
	}
	// An agent that takes over knows them, and gives them to nobody else.
	d.restart()
	held := d.agent.crew.Load().roster.get("one")
	if got := held.now.Load().state.Ports; got["metrics"] != ready.Ports["metrics"] {
		t.Errorf("after a restart: %q", got)
	}
	free := d.agent.crew.Load().ports
	free.mu.Lock()
	defer free.mu.Unlock()
	for _, p := range held.given.all() {
		if slices.Contains(free.free, p) {
			t.Errorf("port %d is taken for free", p)
		}
	}
	if len(held.given.all()) != 3 {
		t.Errorf("it holds %v", held.given.all())
	}
}

func TestCommandThatNamesAnUnknownPortFailsWithASentence(t *testing.T) {
	c, _ := begun(t)
	c.spawn("one", "a", words(plane.Executable{Command: []string{"prog", "--m={port:metrics}"}}),
		spec(func(s *plane.Spec) { s.Ports = map[string]int{"admin": 1} }))
	if end := c.await("one", plane.Terminated); !strings.Contains(end.Exit.Message, "{port:metrics}") || !strings.Contains(end.Exit.Message, "it has admin") {
		t.Errorf("ended as %+v", end.Exit)
	}
	c.spawn("two", "b", words(plane.Executable{Command: []string{"prog", "{port:}"}}))
	if end := c.await("two", plane.Terminated); !strings.Contains(end.Exit.Message, "{port:}") || !strings.Contains(end.Exit.Message, "it has none") {
		t.Errorf("ended as %+v", end.Exit)
	}
}

// All ports of a backend rest until its end is acknowledged.
func TestFurtherPortsRestUntilTheEndIsAcknowledged(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	d.cfg.Ports.Last = d.cfg.Ports.First + 2
	d.begin()
	c.awaitLease(d)
	c.locked(func() { c.noAck = true })
	two := spec(func(s *plane.Spec) { s.Ports = map[string]int{"x": 1} })
	c.spawn("a", "a", two)
	c.await("a", plane.Ready)
	c.terminate("a", plane.Hard)
	c.await("a", plane.Terminated)
	for _, id := range []plane.BackendID{"b", "c"} { // one port is left, two are needed
		c.spawn(id, string(id), two)
		if end := c.await(id, plane.Terminated); !strings.Contains(end.Exit.Message, d.cfg.Ports.String()) {
			t.Fatalf("%s ended as %+v", id, end.Exit)
		}
		d.stop() // also over a restart of the agent
		d.begin()
		c.awaitLease(d)
	}
	c.locked(func() { c.noAck = false })
	c.drop()
	eventually(t, "ports come back", func() bool {
		p := d.agent.crew.Load().ports
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.free) == 3
	})
	c.awaitLease(d)
	c.spawn("e", "e", two)
	c.await("e", plane.Ready)
}

// An app says what counts as use; holds that don't count keep nothing awake.
func TestHoldsThatDoNotCountKeepNothingAwake(t *testing.T) {
	c, d := begun(t)
	for id, list := range map[plane.BackendID][]plane.Use{"requests": {plane.UseRequests}, "all": nil, "holds": {plane.UseHolds}} {
		c.spawn(id, string(id), spec(func(s *plane.Spec) { s.Idle = list }))
		c.await(id, plane.Ready)
		ask(t, backendClient(t, d.cfg.Home.BackendSocket(id)), "PUT", "/v1/holds/x", `{"seconds":60}`)
	}
	for i, id := range []plane.BackendID{"requests", "all", "holds"} {
		if a := c.askIdle(t, int64(i+1), id); a.Yes != (id == "requests") {
			t.Errorf("%s: %+v", id, a)
		}
	}
	if end := c.await("requests", plane.Terminated); end.Reason != plane.Swept {
		t.Errorf("ended as %+v", end)
	}
}
