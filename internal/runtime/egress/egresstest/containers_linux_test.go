package egresstest_test

import (
	"strings"
	"syscall"
	"testing"

	"plane"
	. "plane/internal/runtime/egress/egresstest"
)

// TestContainers is about containers of both runtimes side by side on a machine.
func TestContainers(t *testing.T) {
	s := newSite(t)
	for _, r := range []string{plane.RuntimeDocker, plane.RuntimeOCI} {
		public, none := s.start(r, "public"), s.start(r, "none")
		list := s.start(r, "203.0.113.0/24:443, 10.9.9.9, 192.168.7.1, 0.0.0.0/0:8080")
		t.Run(r+"_what_app_and_operator_allow_is_reached", func(t *testing.T) {
			public.reaches("203.0.113.9:80", "203.0.113.9:443", "198.51.100.2:80", "udp/203.0.113.9:53")
			list.reaches("203.0.113.9:443", "udp/203.0.113.9:443")
			list.reachesNot("203.0.113.9:80", "198.51.100.2:80", "udp/203.0.113.9:53")
			none.reachesNot("203.0.113.9:80", "203.0.113.9:443", "198.51.100.2:80")
		})
		t.Run(r+"_names_are_asked_of_the_machine's_resolver", func(t *testing.T) {
			for _, b := range []*box{public, list} {
				if got := b.says("lookup", "plane.test"); got != "[203.0.113.9] <nil>" {
					t.Errorf("%s: %s", b.id, got)
				}
				b.reaches(resolver+":53", "udp/"+resolver+":53")
			}
			if got := none.says("lookup", "plane.test"); !strings.HasPrefix(got, "[] ") {
				t.Errorf("without egress: %s", got)
			}
			if got := none.says("cat", "/etc/resolv.conf"); strings.Contains(got, resolver) || strings.Contains(got, "8.8.8.8") {
				t.Errorf("without egress: %s", got)
			}
		})
	}
	// The others of both runtimes answer at their addresses all the time.
	never := Never()
	for _, id := range s.found() {
		b := &box{s: s, id: id}
		for b.runtime = range s.runtimes {
			if p, err := s.runtimes[b.runtime].Attach(s.ctx(), id); err == nil {
				b.p = p
				break
			}
		}
		b.reachesNot(b.others(never)...)
	}
}

// An engine and an agent come and go; what holds is in the kernel.
func TestRulesOutliveEngineAndAgent(t *testing.T) {
	s := newSite(t)
	d, o := s.start(plane.RuntimeDocker, "203.0.113.9:443"), s.start(plane.RuntimeOCI, "203.0.113.9:443")
	both := func(what string) {
		t.Helper()
		for _, b := range []*box{d, o} {
			b.again()
			b.reaches("203.0.113.9:443")
			b.reachesNot("203.0.113.9:80", "198.51.100.1:8080", "169.254.169.254:80")
		}
		if t.Failed() {
			t.Fatal(what)
		}
	}
	both("at first")
	s.engine.Restart(t)
	both("after the engine")
	s.agent()
	Must(t, s.way.Sweep(s.ctx(), s.found()))
	both("after the agent")
	// An agent is killed, and a backend of each ends before the next one is there.
	s.leave()
	for _, b := range []*box{d, o} {
		Must(t, syscall.Kill(b.p.Pid(), syscall.SIGKILL))
		s.eventually("it ends", func() bool { return !b.alive() })
	}
	s.agent()
	for _, b := range []*box{d, o} {
		b.again()
		_, err := b.p.Wait(s.ctx())
		Must(t, err, b.p.Forget(s.ctx()))
	}
	Must(t, s.way.Sweep(s.ctx(), s.found()))
	if left := Ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}
