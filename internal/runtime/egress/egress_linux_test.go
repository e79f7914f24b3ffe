package egress_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"plane"
	"plane/internal/clustertest"
	"plane/internal/runtime/egress"
	"plane/internal/runtime/egress/egresstest"
	"plane/internal/runtime/egress/egresstest/reach"
)

// TestMain runs the tests on a machine of their own.
func TestMain(m *testing.M) { egresstest.Main(m) }

const hash = "0123456789ab"

func allowed(t testing.TB, s string) plane.Egress {
	t.Helper()
	e, err := plane.ParseEgress(s)
	egresstest.Must(t, err)
	return e
}

// way is one that may give everything, and is swept at the end.
func way(t testing.TB, o egress.Options) *egress.Way {
	t.Helper()
	if o.Hash == "" {
		o.Hash = hash
	}
	if o.Allowed.None() {
		o.Allowed = plane.Egress{Public: true}
	}
	if o.Resolvers == nil {
		o.Resolvers = []netip.Addr{}
	}
	t.Cleanup(func() { egresstest.Must(t, egress.New(o).Sweep(context.Background(), nil)) })
	return egress.New(o)
}

func TestWhatContainersReach(t *testing.T) {
	egresstest.Machine(t)
	ctx := context.Background()
	public, list := allowed(t, "public"), allowed(t, "203.0.113.0/24:443, 10.9.9.9, 192.168.7.1, 0.0.0.0/0:8080")
	w := way(t, egress.Options{})
	egresstest.Must(t, w.Check())
	all, one, none := egresstest.Start(t, "dial"), egresstest.Start(t, "dial"), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(ctx, all.Pid, "all", public), w.Attach(ctx, one.Pid, "one", list), w.Attach(ctx, none.Pid, "none", plane.Egress{}))
	// Another Way goes on with what is there, and attaching again changes nothing.
	w = way(t, egress.Options{})
	egresstest.Must(t, w.Attach(ctx, all.Pid, "all", public))
	all.Reaches(t, "203.0.113.9:80", "203.0.113.9:443", "198.51.100.2:80", "udp/203.0.113.9:53")
	one.Reaches(t, "203.0.113.9:443", "udp/203.0.113.9:443")
	one.ReachesNot(t, "203.0.113.9:80", "198.51.100.2:80", "udp/203.0.113.9:53")
	none.ReachesNot(t, "203.0.113.9:80", "198.51.100.2:80")
	for _, c := range []*egresstest.Inside{all, one, none} {
		c.ReachesNot(t, egresstest.Never()...)
	}
	egresstest.Must(t, w.Detach(ctx, "one"), w.Detach(ctx, "one"))
	one.ReachesNot(t, "203.0.113.9:443")
	egresstest.Must(t, w.Sweep(ctx, nil)) // what it made itself stays
	all.Reaches(t, "203.0.113.9:80")
	egresstest.Must(t, way(t, egress.Options{}).Sweep(ctx, nil))
	if left := egresstest.Ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestWhatIsAskedLaterHoldsAtOnce(t *testing.T) {
	egresstest.Machine(t)
	w, c := way(t, egress.Options{}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	c.Reaches(t, "203.0.113.9:80")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "203.0.113.9:443")))
	c.Reaches(t, "203.0.113.9:443")
	c.ReachesNot(t, "203.0.113.9:80")
}

func TestTheOperatorsWordIsTheLast(t *testing.T) {
	egresstest.Machine(t)
	w := way(t, egress.Options{Allowed: allowed(t, "203.0.113.9:443, 198.51.100.2"), Closed: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	c := egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	c.Reaches(t, "203.0.113.9:443")
	c.ReachesNot(t, "203.0.113.9:80", "198.51.100.2:80")
}

func TestNobodyReachesInOverACable(t *testing.T) {
	egresstest.Machine(t)
	w, server, sibling := way(t, egress.Options{}), egresstest.Start(t, "serve"), egresstest.Start(t, "dial")
	for i, c := range []*egresstest.Inside{server, sibling} {
		egresstest.Must(t, w.Attach(context.Background(), c.Pid, plane.BackendID(fmt.Sprint("id", i)), allowed(t, "public")))
	}
	sibling.Reaches(t, "203.0.113.9:80") // so cables work
	came := server.Received(t)
	for _, target := range []string{"10.213.0.2:80", "udp/10.213.0.2:53"} {
		if reach.Says(target) {
			t.Errorf("the machine reaches a container at %s, around the proxy", target)
		}
	}
	if now := server.Received(t); now != came {
		t.Errorf("%d packets came in from the machine", now-came)
	}
	sibling.ReachesNot(t, "10.213.0.2:80", "udp/10.213.0.2:53")
}

func TestASourceThatWasNotGivenIsDropped(t *testing.T) {
	egresstest.Machine(t)
	w, c := way(t, egress.Options{}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	h := c.NS(t)
	out, err := h.LinkByName("out0")
	egresstest.Must(t, err)
	egresstest.Must(t, h.AddrAdd(out, egresstest.CIDR(t, "10.213.0.9/32")), h.AddrAdd(out, egresstest.CIDR(t, "198.51.100.77/32")))
	c.Reaches(t, "203.0.113.9:80")
	// The machine would send answers back if it forwarded such packets.
	link, err := netlink.LinkByName("pl0123451")
	egresstest.Must(t, err)
	egresstest.Must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: egresstest.CIDR(t, "10.213.0.9/32").IPNet, Scope: netlink.SCOPE_LINK}))
	c.ReachesNot(t, "10.213.0.9>203.0.113.9:80", "198.51.100.77>203.0.113.9:80")
}

func TestIPv6HasNoWayOutEvenIfOneIsMade(t *testing.T) {
	egresstest.Machine(t)
	w, c := way(t, egress.Options{}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	h := c.NS(t)
	out, err := h.LinkByName("out0")
	egresstest.Must(t, err)
	egresstest.Must(t, h.AddrAdd(out, egresstest.CIDR(t, "2001:db8:1::2/64")))
	egresstest.Must(t, h.RouteAdd(&netlink.Route{LinkIndex: out.Attrs().Index, Gw: net.ParseIP("2001:db8:1::1"), Dst: egresstest.CIDR(t, "2001:db8::/32").IPNet}))
	// As if the machine had an address there.
	link, err := netlink.LinkByName("pl0123451")
	egresstest.Must(t, err)
	egresstest.Must(t, os.WriteFile("/proc/sys/net/ipv6/conf/pl0123451/disable_ipv6", []byte("0"), 0))
	egresstest.Must(t, netlink.AddrAdd(link, egresstest.CIDR(t, "2001:db8:1::1/64")))
	c.ReachesNot(t, "[2001:db8::2]:80", "[2001:db8::1]:8080", "[2001:db8:1::1]:8080")
}

func TestAPublishedPortOfTheMachineStaysClosed(t *testing.T) {
	egresstest.Machine(t)
	// As Docker does it, but to an address that is open otherwise.
	egresstest.Run(t, "nft add table ip published")
	t.Cleanup(func() { egresstest.Run(t, "nft delete table ip published") })
	egresstest.Run(t, "nft add chain ip published pre { type nat hook prerouting priority -100 ; }")
	egresstest.Run(t, "nft add rule ip published pre ip daddr 198.51.100.1 tcp dport 9000 dnat to 203.0.113.9:80")
	w, c := way(t, egress.Options{}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	c.Reaches(t, "203.0.113.9:80")
	c.ReachesNot(t, "198.51.100.1:9000")
}

func TestResolversAreAskedAndNothingElseOfTheirs(t *testing.T) {
	egresstest.Machine(t)
	private, own := netip.MustParseAddr("192.168.7.2"), netip.MustParseAddr("192.168.7.1")
	w := way(t, egress.Options{Resolvers: []netip.Addr{private, own, netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("2001:db8::2")}})
	if got := w.Resolvers(); len(got) != 2 || got[0] != private || got[1] != own {
		t.Errorf("a container is told to ask %v", got)
	}
	c := egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "203.0.113.9:443")))
	c.Reaches(t, "udp/192.168.7.2:53", "192.168.7.2:53", "udp/192.168.7.1:53", "192.168.7.1:53")
	c.ReachesNot(t, "192.168.7.2:80", "192.168.7.1:8080", "udp/198.51.100.1:53", "udp/203.0.113.9:53")
}

func TestAFirewallThatDropsStillLetsContainersOut(t *testing.T) {
	egresstest.Machine(t)
	if _, err := exec.LookPath("iptables"); err != nil {
		clustertest.Missing(t, "iptables")
	}
	egresstest.Run(t, "iptables -P FORWARD DROP")
	t.Cleanup(func() { egresstest.Run(t, "iptables -P FORWARD ACCEPT") })
	w, c := way(t, egress.Options{}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	c.Reaches(t, "203.0.113.9:80")
	c.ReachesNot(t, egresstest.Never()...)
	egresstest.Must(t, w.Detach(context.Background(), "one"))
	if out := egresstest.Run(t, "iptables -S FORWARD"); strings.Contains(out, "pl0123") {
		t.Errorf("left: %s", out)
	}
}

func TestAFirewallOfSomebodysOwnIsNamed(t *testing.T) {
	egresstest.Machine(t)
	egresstest.Run(t, "nft add table inet site")
	t.Cleanup(func() { egresstest.Run(t, "nft delete table inet site") })
	egresstest.Run(t, "nft add chain inet site strict { type filter hook forward priority 0 ; policy drop ; }")
	var log bytes.Buffer
	w, c := way(t, egress.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	if s := log.String(); !strings.Contains(s, "table=site chain=strict interfaces=pl012345*") {
		t.Errorf("it says %s", s)
	}
}

func TestRulesThatAreRemovedAreBackAndOpenNothing(t *testing.T) {
	egresstest.Machine(t)
	ctx, cancel := context.WithCancel(context.Background())
	former, c := egresstest.Start(t, "dial"), egresstest.Start(t, "dial")
	w := way(t, egress.Options{})
	egresstest.Must(t, w.Attach(ctx, former.Pid, "former", allowed(t, "public")))
	w = way(t, egress.Options{}) // it doesn't know what the former may
	egresstest.Must(t, w.Attach(ctx, c.Pid, "one", allowed(t, "203.0.113.9:443")))
	former.Reaches(t, "203.0.113.9:80")
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); egresstest.Must(t, <-done) }()
	egresstest.Run(t, "nft flush ruleset")
	for end := time.Now().Add(30 * time.Second); !strings.Contains(egresstest.Run(t, "nft list ruleset"), "cable_2_one"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the rules are not put back")
		}
	}
	c.Reaches(t, "203.0.113.9:443")
	c.ReachesNot(t, append(egresstest.Never(), "203.0.113.9:80")...)
	former.ReachesNot(t, append(egresstest.Never(), "203.0.113.9:80")...)
}

func TestNothingIsLeftOfANamespaceThatHasEnded(t *testing.T) {
	egresstest.Machine(t)
	ctx, public := context.Background(), allowed(t, "public")
	w, one, two := way(t, egress.Options{}), egresstest.Start(t, "dial"), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(ctx, one.Pid, "one", public), w.Attach(ctx, two.Pid, "two", public))
	one.Gone(t, "pl0123451")
	egresstest.Must(t, w.Detach(ctx, "one"))
	if rules := egresstest.Run(t, "nft list ruleset"); strings.Contains(rules, "cable_1") || strings.Contains(rules, "10.213.0.2") {
		t.Errorf("left: %s", rules)
	}
	two.Reaches(t, "203.0.113.9:80")
	egresstest.Must(t, w.Detach(ctx, "two"))
	if left := egresstest.Ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestASweepAfterAKillRemovesTheDeadAndKeepsTheLiving(t *testing.T) {
	egresstest.Machine(t)
	ctx, public := context.Background(), allowed(t, "public")
	dead, stray, live := egresstest.Start(t, "dial"), egresstest.Start(t, "dial"), egresstest.Start(t, "dial")
	w := way(t, egress.Options{})
	egresstest.Must(t, w.Attach(ctx, dead.Pid, "dead", public), w.Attach(ctx, stray.Pid, "stray", public), w.Attach(ctx, live.Pid, "live", public))
	dead.Gone(t, "pl0123451")
	w = way(t, egress.Options{})
	egresstest.Must(t, w.Sweep(ctx, []plane.BackendID{"live"}))
	rules := egresstest.Run(t, "nft list ruleset")
	if strings.Contains(rules, "dead") || strings.Contains(rules, "stray") || !strings.Contains(rules, "cable_3_live") {
		t.Errorf("not what must be: %s", rules)
	}
	if _, err := netlink.LinkByName("pl0123452"); err == nil {
		t.Error("an interface is left")
	}
	live.Reaches(t, "203.0.113.9:80")
	stray.ReachesNot(t, "203.0.113.9:80")
}

func TestTwoDronesOfAMachineShareARangeAndNothingElse(t *testing.T) {
	egresstest.Machine(t)
	ctx, public := context.Background(), allowed(t, "public")
	a, b := way(t, egress.Options{}), way(t, egress.Options{Hash: "ba9876543210"})
	one, two := egresstest.Start(t, "dial"), egresstest.Start(t, "serve")
	egresstest.Must(t, a.Attach(ctx, one.Pid, "one", public), b.Attach(ctx, two.Pid, "two", public))
	one.Reaches(t, "203.0.113.9:80")
	one.ReachesNot(t, "10.213.0.3:80")
	egresstest.Must(t, b.Detach(ctx, "two"))
	one.Reaches(t, "203.0.113.9:80")
}

func TestARangeThatTheMachineUsesIsNotTaken(t *testing.T) {
	egresstest.Machine(t)
	link, err := netlink.LinkByName("up0")
	egresstest.Must(t, err)
	egresstest.Must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: egresstest.CIDR(t, "10.208.0.0/12").IPNet, Scope: netlink.SCOPE_LINK}))
	w, c := way(t, egress.Options{}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	c.Reaches(t, "203.0.113.9:80")
	if rules := egresstest.Run(t, "nft list ruleset"); !strings.Contains(rules, "172.29.208.") {
		t.Errorf("not the next range: %s", rules)
	}
	err = egress.New(egress.Options{Hash: hash, Range: netip.MustParsePrefix("10.213.0.0/16")}).Check()
	if err == nil || !strings.Contains(err.Error(), "10.208.0.0/12, which overlaps with 10.213.0.0/16") {
		t.Errorf("a range in use: %v", err)
	}
}

func TestTheMachinesOwnNetworkIsRefused(t *testing.T) {
	egresstest.Machine(t)
	w := way(t, egress.Options{})
	if err := w.Attach(context.Background(), os.Getpid(), "one", allowed(t, "public")); err == nil || !strings.Contains(err.Error(), "shares this machine's network") {
		t.Errorf("a process of this machine's network: %v", err)
	}
	if left := egresstest.Ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestPacketsAreAsBigAsTheMachinesWayOutTakes(t *testing.T) {
	egresstest.Machine(t)
	w, c := way(t, egress.Options{}), egresstest.Start(t, "dial")
	egresstest.Must(t, w.Attach(context.Background(), c.Pid, "one", allowed(t, "public")))
	out, err := c.NS(t).LinkByName("out0")
	egresstest.Must(t, err)
	if out.Attrs().MTU != 1400 {
		t.Errorf("its MTU is %d", out.Attrs().MTU)
	}
}

// BenchmarkAttach is what a way out adds to a start, and a first connection to
// that: one that loses its first packet takes a second.
func BenchmarkAttach(b *testing.B) {
	egresstest.Machine(b)
	ctx, public := context.Background(), allowed(b, "public")
	w := way(b, egress.Options{})
	keep := egresstest.Start(b, "dial")
	egresstest.Must(b, w.Attach(ctx, keep.Pid, "keep", public))
	var attached, dialled, detached time.Duration
	for i := range b.N {
		id := plane.BackendID(fmt.Sprint("id", i))
		c := egresstest.Start(b, "dial")
		begin := time.Now()
		egresstest.Must(b, w.Attach(ctx, c.Pid, id, public))
		attached += time.Since(begin)
		begin = time.Now()
		if c.Reached(b, "203.0.113.9:80") == "" {
			b.Fatal("the first connection fails")
		}
		dialled += time.Since(begin)
		begin = time.Now()
		egresstest.Must(b, w.Detach(ctx, id))
		detached += time.Since(begin)
	}
	b.ReportMetric(float64(attached.Microseconds())/float64(b.N), "µs/attach")
	b.ReportMetric(float64(dialled.Microseconds())/float64(b.N), "µs/first")
	b.ReportMetric(float64(detached.Microseconds())/float64(b.N), "µs/detach")
}
