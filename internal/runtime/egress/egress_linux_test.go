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
)

const hash = "0123456789ab"

func allowed(t testing.TB, s string) plane.Egress {
	t.Helper()
	e, err := plane.ParseEgress(s)
	must(t, err)
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
	t.Cleanup(func() { must(t, egress.New(o).Sweep(context.Background(), nil)) })
	return egress.New(o)
}

// never is what nothing reaches: private, special and metadata addresses, and
// the machine by each of its own.
func never() []string {
	all := []string{
		"10.9.9.9:80", "172.20.0.9:80", "192.168.7.2:80", "100.64.0.9:80", "169.254.169.254:80", "168.63.129.16:80", "198.18.0.9:80", "240.0.0.9:80",
		"[::ffff:10.9.9.9]:80", "[2001:db8::2]:80", "[2001:db8::1]:8080", "udp/10.9.9.9:53", "udp/169.254.169.254:53", "127.0.0.1:8080",
	}
	for _, a := range []string{"10.213.0.1", "10.213.0.2", "10.213.0.3", "10.213.0.4", "198.51.100.1", "192.168.7.1"} {
		all = append(all, a+":8080", "udp/"+a+":53")
	}
	return all
}

func TestWhatContainersReach(t *testing.T) {
	machine(t)
	ctx := context.Background()
	public, list := allowed(t, "public"), allowed(t, "203.0.113.0/24:443, 10.9.9.9, 192.168.7.1, 0.0.0.0/0:8080")
	w := way(t, egress.Options{})
	must(t, w.Check())
	all, one, none := start(t, "dial"), start(t, "dial"), start(t, "dial")
	must(t, w.Attach(ctx, all.pid, "all", public), w.Attach(ctx, one.pid, "one", list), w.Attach(ctx, none.pid, "none", plane.Egress{}))
	// Another Way goes on with what is there, and attaching again changes nothing.
	w = way(t, egress.Options{})
	must(t, w.Attach(ctx, all.pid, "all", public))
	all.reaches(t, "203.0.113.9:80", "203.0.113.9:443", "198.51.100.2:80", "udp/203.0.113.9:53")
	one.reaches(t, "203.0.113.9:443", "udp/203.0.113.9:443")
	one.reachesNot(t, "203.0.113.9:80", "198.51.100.2:80", "udp/203.0.113.9:53")
	none.reachesNot(t, "203.0.113.9:80", "198.51.100.2:80")
	for _, c := range []*inside{all, one, none} {
		c.reachesNot(t, never()...)
	}
	must(t, w.Detach(ctx, "one"), w.Detach(ctx, "one"))
	one.reachesNot(t, "203.0.113.9:443")
	must(t, w.Sweep(ctx, nil)) // what it made itself stays
	all.reaches(t, "203.0.113.9:80")
	must(t, way(t, egress.Options{}).Sweep(ctx, nil))
	if left := ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestWhatIsAskedLaterHoldsAtOnce(t *testing.T) {
	machine(t)
	w, c := way(t, egress.Options{}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	c.reaches(t, "203.0.113.9:80")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "203.0.113.9:443")))
	c.reaches(t, "203.0.113.9:443")
	c.reachesNot(t, "203.0.113.9:80")
}

func TestTheOperatorsWordIsTheLast(t *testing.T) {
	machine(t)
	w := way(t, egress.Options{Allowed: allowed(t, "203.0.113.9:443, 198.51.100.2"), Closed: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	c := start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	c.reaches(t, "203.0.113.9:443")
	c.reachesNot(t, "203.0.113.9:80", "198.51.100.2:80")
}

func TestNobodyReachesInOverACable(t *testing.T) {
	machine(t)
	w, server, sibling := way(t, egress.Options{}), start(t, "serve"), start(t, "dial")
	for i, c := range []*inside{server, sibling} {
		must(t, w.Attach(context.Background(), c.pid, plane.BackendID(fmt.Sprint("id", i)), allowed(t, "public")))
	}
	sibling.reaches(t, "203.0.113.9:80") // so cables work
	came := server.received(t)
	for _, target := range []string{"10.213.0.2:80", "udp/10.213.0.2:53"} {
		if says(target) {
			t.Errorf("the machine reaches a container at %s, around the proxy", target)
		}
	}
	if now := server.received(t); now != came {
		t.Errorf("%d packets came in from the machine", now-came)
	}
	sibling.reachesNot(t, "10.213.0.2:80", "udp/10.213.0.2:53")
}

// received is how many packets came in over its cable.
func (i *inside) received(t testing.TB) uint64 {
	t.Helper()
	out, err := i.ns(t).LinkByName("out0")
	must(t, err)
	return out.Attrs().Statistics.RxPackets
}

func TestASourceThatWasNotGivenIsDropped(t *testing.T) {
	machine(t)
	w, c := way(t, egress.Options{}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	h := c.ns(t)
	out, err := h.LinkByName("out0")
	must(t, err)
	must(t, h.AddrAdd(out, cidr(t, "10.213.0.9/32")), h.AddrAdd(out, cidr(t, "198.51.100.77/32")))
	c.reaches(t, "203.0.113.9:80")
	// The machine would send answers back if it forwarded such packets.
	link, err := netlink.LinkByName("pl0123451")
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: cidr(t, "10.213.0.9/32").IPNet, Scope: netlink.SCOPE_LINK}))
	c.reachesNot(t, "10.213.0.9>203.0.113.9:80", "198.51.100.77>203.0.113.9:80")
}

func TestIPv6HasNoWayOutEvenIfOneIsMade(t *testing.T) {
	machine(t)
	w, c := way(t, egress.Options{}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	h := c.ns(t)
	out, err := h.LinkByName("out0")
	must(t, err)
	must(t, h.AddrAdd(out, cidr(t, "2001:db8:1::2/64")))
	must(t, h.RouteAdd(&netlink.Route{LinkIndex: out.Attrs().Index, Gw: net.ParseIP("2001:db8:1::1"), Dst: cidr(t, "2001:db8::/32").IPNet}))
	// As if the machine had an address there.
	link, err := netlink.LinkByName("pl0123451")
	must(t, err)
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/pl0123451/disable_ipv6", []byte("0"), 0))
	must(t, netlink.AddrAdd(link, cidr(t, "2001:db8:1::1/64")))
	c.reachesNot(t, "[2001:db8::2]:80", "[2001:db8::1]:8080", "[2001:db8:1::1]:8080")
}

func TestAPublishedPortOfTheMachineStaysClosed(t *testing.T) {
	machine(t)
	// As Docker does it, but to an address that is open otherwise.
	run(t, "nft add table ip published")
	t.Cleanup(func() { run(t, "nft delete table ip published") })
	run(t, "nft add chain ip published pre { type nat hook prerouting priority -100 ; }")
	run(t, "nft add rule ip published pre ip daddr 198.51.100.1 tcp dport 9000 dnat to 203.0.113.9:80")
	w, c := way(t, egress.Options{}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	c.reaches(t, "203.0.113.9:80")
	c.reachesNot(t, "198.51.100.1:9000")
}

func TestResolversAreAskedAndNothingElseOfTheirs(t *testing.T) {
	machine(t)
	private, own := netip.MustParseAddr("192.168.7.2"), netip.MustParseAddr("192.168.7.1")
	w := way(t, egress.Options{Resolvers: []netip.Addr{private, own, netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("2001:db8::2")}})
	if got := w.Resolvers(); len(got) != 2 || got[0] != private || got[1] != own {
		t.Errorf("a container is told to ask %v", got)
	}
	c := start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "203.0.113.9:443")))
	c.reaches(t, "udp/192.168.7.2:53", "192.168.7.2:53", "udp/192.168.7.1:53", "192.168.7.1:53")
	c.reachesNot(t, "192.168.7.2:80", "192.168.7.1:8080", "udp/198.51.100.1:53", "udp/203.0.113.9:53")
}

func TestAFirewallThatDropsStillLetsContainersOut(t *testing.T) {
	machine(t)
	if _, err := exec.LookPath("iptables"); err != nil {
		clustertest.Missing(t, "iptables")
	}
	run(t, "iptables -P FORWARD DROP")
	t.Cleanup(func() { run(t, "iptables -P FORWARD ACCEPT") })
	w, c := way(t, egress.Options{}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	c.reaches(t, "203.0.113.9:80")
	c.reachesNot(t, never()...)
	must(t, w.Detach(context.Background(), "one"))
	if out := run(t, "iptables -S FORWARD"); strings.Contains(out, "pl0123") {
		t.Errorf("left: %s", out)
	}
}

func TestAFirewallOfSomebodysOwnIsNamed(t *testing.T) {
	machine(t)
	run(t, "nft add table inet site")
	t.Cleanup(func() { run(t, "nft delete table inet site") })
	run(t, "nft add chain inet site strict { type filter hook forward priority 0 ; policy drop ; }")
	var log bytes.Buffer
	w, c := way(t, egress.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	if s := log.String(); !strings.Contains(s, "table=site chain=strict interfaces=pl012345*") {
		t.Errorf("it says %s", s)
	}
}

func TestRulesThatAreRemovedAreBackAndOpenNothing(t *testing.T) {
	machine(t)
	ctx, cancel := context.WithCancel(context.Background())
	former, c := start(t, "dial"), start(t, "dial")
	w := way(t, egress.Options{})
	must(t, w.Attach(ctx, former.pid, "former", allowed(t, "public")))
	w = way(t, egress.Options{}) // it doesn't know what the former may
	must(t, w.Attach(ctx, c.pid, "one", allowed(t, "203.0.113.9:443")))
	former.reaches(t, "203.0.113.9:80")
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); must(t, <-done) }()
	run(t, "nft flush ruleset")
	for end := time.Now().Add(30 * time.Second); !strings.Contains(run(t, "nft list ruleset"), "cable_2_one"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the rules are not put back")
		}
	}
	c.reaches(t, "203.0.113.9:443")
	c.reachesNot(t, append(never(), "203.0.113.9:80")...)
	former.reachesNot(t, append(never(), "203.0.113.9:80")...)
}

func TestNothingIsLeftOfANamespaceThatHasEnded(t *testing.T) {
	machine(t)
	ctx, public := context.Background(), allowed(t, "public")
	w, one, two := way(t, egress.Options{}), start(t, "dial"), start(t, "dial")
	must(t, w.Attach(ctx, one.pid, "one", public), w.Attach(ctx, two.pid, "two", public))
	one.gone(t, "pl0123451")
	must(t, w.Detach(ctx, "one"))
	if rules := run(t, "nft list ruleset"); strings.Contains(rules, "cable_1") || strings.Contains(rules, "10.213.0.2") {
		t.Errorf("left: %s", rules)
	}
	two.reaches(t, "203.0.113.9:80")
	must(t, w.Detach(ctx, "two"))
	if left := ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestASweepAfterAKillRemovesTheDeadAndKeepsTheLiving(t *testing.T) {
	machine(t)
	ctx, public := context.Background(), allowed(t, "public")
	dead, stray, live := start(t, "dial"), start(t, "dial"), start(t, "dial")
	w := way(t, egress.Options{})
	must(t, w.Attach(ctx, dead.pid, "dead", public), w.Attach(ctx, stray.pid, "stray", public), w.Attach(ctx, live.pid, "live", public))
	dead.gone(t, "pl0123451")
	w = way(t, egress.Options{})
	must(t, w.Sweep(ctx, []plane.BackendID{"live"}))
	rules := run(t, "nft list ruleset")
	if strings.Contains(rules, "dead") || strings.Contains(rules, "stray") || !strings.Contains(rules, "cable_3_live") {
		t.Errorf("not what must be: %s", rules)
	}
	if _, err := netlink.LinkByName("pl0123452"); err == nil {
		t.Error("an interface is left")
	}
	live.reaches(t, "203.0.113.9:80")
	stray.reachesNot(t, "203.0.113.9:80")
}

func TestTwoDronesOfAMachineShareARangeAndNothingElse(t *testing.T) {
	machine(t)
	ctx, public := context.Background(), allowed(t, "public")
	a, b := way(t, egress.Options{}), way(t, egress.Options{Hash: "ba9876543210"})
	one, two := start(t, "dial"), start(t, "serve")
	must(t, a.Attach(ctx, one.pid, "one", public), b.Attach(ctx, two.pid, "two", public))
	one.reaches(t, "203.0.113.9:80")
	one.reachesNot(t, "10.213.0.3:80")
	must(t, b.Detach(ctx, "two"))
	one.reaches(t, "203.0.113.9:80")
}

func TestARangeThatTheMachineUsesIsNotTaken(t *testing.T) {
	machine(t)
	link, err := netlink.LinkByName("up0")
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: cidr(t, "10.208.0.0/12").IPNet, Scope: netlink.SCOPE_LINK}))
	w, c := way(t, egress.Options{}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	c.reaches(t, "203.0.113.9:80")
	if rules := run(t, "nft list ruleset"); !strings.Contains(rules, "172.29.208.") {
		t.Errorf("not the next range: %s", rules)
	}
	err = egress.New(egress.Options{Hash: hash, Range: netip.MustParsePrefix("10.213.0.0/16")}).Check()
	if err == nil || !strings.Contains(err.Error(), "10.208.0.0/12, which overlaps with 10.213.0.0/16") {
		t.Errorf("a range in use: %v", err)
	}
}

func TestTheMachinesOwnNetworkIsRefused(t *testing.T) {
	machine(t)
	w := way(t, egress.Options{})
	if err := w.Attach(context.Background(), os.Getpid(), "one", allowed(t, "public")); err == nil || !strings.Contains(err.Error(), "shares this machine's network") {
		t.Errorf("a process of this machine's network: %v", err)
	}
	if left := ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestPacketsAreAsBigAsTheMachinesWayOutTakes(t *testing.T) {
	machine(t)
	w, c := way(t, egress.Options{}), start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", allowed(t, "public")))
	out, err := c.ns(t).LinkByName("out0")
	must(t, err)
	if out.Attrs().MTU != 1400 {
		t.Errorf("its MTU is %d", out.Attrs().MTU)
	}
}

// BenchmarkAttach is what a way out adds to a start, and a first connection to
// that: one that loses its first packet takes a second.
func BenchmarkAttach(b *testing.B) {
	machine(b)
	ctx, public := context.Background(), allowed(b, "public")
	w := way(b, egress.Options{})
	keep := start(b, "dial")
	must(b, w.Attach(ctx, keep.pid, "keep", public))
	var attached, dialled, detached time.Duration
	for i := range b.N {
		id := plane.BackendID(fmt.Sprint("id", i))
		c := start(b, "dial")
		begin := time.Now()
		must(b, w.Attach(ctx, c.pid, id, public))
		attached += time.Since(begin)
		begin = time.Now()
		if c.reached(b, "203.0.113.9:80") == "" {
			b.Fatal("the first connection fails")
		}
		dialled += time.Since(begin)
		begin = time.Now()
		must(b, w.Detach(ctx, id))
		detached += time.Since(begin)
	}
	b.ReportMetric(float64(attached.Microseconds())/float64(b.N), "µs/attach")
	b.ReportMetric(float64(dialled.Microseconds())/float64(b.N), "µs/first")
	b.ReportMetric(float64(detached.Microseconds())/float64(b.N), "µs/detach")
}
