package egresstest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"plane/internal/clustertest"
	"plane/internal/runtime/egress/egresstest/reach"
)

const role = "PLANE_EGRESS_TEST"

// Main is for TestMain. It runs the tests in a network namespace of their own,
// which stands for the machine: nothing of the real one is touched. It is also
// the programs there.
func Main(m *testing.M) {
	switch os.Getenv(role) {
	case "serve":
		serve()
	case "dial":
		dial()
	case "machine":
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // they say what they need
	}
	c := exec.Command(os.Args[0], os.Args[1:]...)
	c.Env = append(os.Environ(), role+"=machine")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := c.Run(); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// serve answers on a few ports until it is killed.
func serve() {
	for _, port := range []string{"53", "80", "443"} {
		if err := reach.Answer(":" + port); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("serving")
	select {}
}

// dial waits for lines with targets and says which are reached.
func dial() {
	fmt.Println("serving")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		fmt.Println(strings.Join(reach.Of(strings.Fields(s.Text())...), " "))
	}
	os.Exit(0)
}

// Inside is a program in a network namespace of its own.
type Inside struct {
	Pid int
	in  *bufio.Writer
	out *bufio.Reader
}

func Start(t testing.TB, what string) *Inside {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"="+what)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := c.StdinPipe()
	Must(t, err)
	stdout, err := c.StdoutPipe()
	Must(t, err)
	Must(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	i := &Inside{c.Process.Pid, bufio.NewWriter(stdin), bufio.NewReader(stdout)}
	if line, _ := i.out.ReadString('\n'); line != "serving\n" {
		t.Fatalf("%s says %q", what, line)
	}
	return i
}

// NS is its namespace, to change things there.
func (i *Inside) NS(t testing.TB) *netlink.Handle {
	t.Helper()
	n, err := netns.GetFromPid(i.Pid)
	Must(t, err)
	defer n.Close()
	h, err := netlink.NewHandleAt(n)
	Must(t, err)
	t.Cleanup(h.Close)
	return h
}

func (i *Inside) Reached(t testing.TB, targets ...string) string {
	t.Helper()
	_, _ = i.in.WriteString(strings.Join(targets, " ") + "\n")
	_ = i.in.Flush()
	line, err := i.out.ReadString('\n')
	Must(t, err)
	return strings.TrimSpace(line)
}

// Reaches fails the test unless all of them answer; a busy machine may be slow.
func (i *Inside) Reaches(t testing.TB, targets ...string) {
	t.Helper()
	want, got := strings.Join(targets, " "), ""
	for range 30 {
		if got = i.Reached(t, targets...); got == want {
			return
		}
	}
	t.Errorf("of %s it reaches but %q", want, got)
}

// ReachesNot fails the test if any answers.
func (i *Inside) ReachesNot(t testing.TB, targets ...string) {
	t.Helper()
	if got := i.Reached(t, targets...); got != "" {
		t.Errorf("it reaches %s", got)
	}
}

// Machine makes the outside: a world that has public, private and metadata
// addresses, and services of the machine itself.
func Machine(t testing.TB) {
	t.Helper()
	if os.Getenv(role) != "machine" {
		clustertest.Missing(t, "root, for network namespaces")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		clustertest.Missing(t, "nft")
	}
	world := Start(t, "serve")
	ns, err := netns.GetFromPid(world.Pid)
	Must(t, err)
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "up0", 1400
	Must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "world0", PeerMTU: 1400, PeerNamespace: netlink.NsFd(ns)}))
	up, err := netlink.LinkByName("up0")
	Must(t, err)
	lo, err := netlink.LinkByName("lo")
	Must(t, err)
	Must(t, netlink.AddrAdd(up, CIDR(t, "198.51.100.1/24")), netlink.AddrAdd(up, CIDR(t, "192.168.7.1/24")), netlink.AddrAdd(up, CIDR(t, "2001:db8::1/64")),
		netlink.LinkSetUp(up), netlink.LinkSetUp(lo), os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	there := world.NS(t)
	w, err := there.LinkByName("world0")
	Must(t, err)
	wlo, err := there.LinkByName("lo")
	Must(t, err)
	for _, a := range []string{
		"198.51.100.2/24", "192.168.7.2/24", "2001:db8::2/64", "203.0.113.9/32", "10.9.9.9/32", "169.254.169.254/32", "100.64.0.9/32",
		"172.20.0.9/32", "168.63.129.16/32", "198.18.0.9/32", "240.0.0.9/32",
		"2001:db8:1::9/128", "fd00:ec2::254/128",
	} {
		Must(t, there.AddrAdd(w, CIDR(t, a)))
	}
	Must(t, there.LinkSetUp(w), there.LinkSetUp(wlo), there.RouteAdd(&netlink.Route{Gw: net.ParseIP("198.51.100.1"), LinkIndex: w.Attrs().Index}),
		netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("198.51.100.2"), LinkIndex: up.Attrs().Index}),
		netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("2001:db8::2"), LinkIndex: up.Attrs().Index}))
	t.Cleanup(func() { _ = netlink.LinkDel(up) })
	services.Do(func() { Must(t, errors.Join(reach.Answer(":8080"), reach.Answer(":53"))) })
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if reach.Says("203.0.113.9:80") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the world isn't reached from the machine")
		}
	}
}

// Never is what nothing reaches: private, special and metadata addresses, and
// the machine and other containers by each of theirs.
func Never() []string {
	all := []string{
		"10.9.9.9:80", "172.20.0.9:80", "192.168.7.2:80", "100.64.0.9:80", "169.254.169.254:80", "168.63.129.16:80", "198.18.0.9:80", "240.0.0.9:80",
		"[::ffff:10.9.9.9]:80", "[2001:db8::2]:80", "[2001:db8::1]:8080", "[2001:db8:1::9]:80", "[fd00:ec2::254]:80", "udp/10.9.9.9:53", "udp/169.254.169.254:53", "udp/[2001:db8::2]:53",
	}
	for i := range 8 {
		all = append(all, fmt.Sprintf("10.213.0.%d:8080", 1+i), fmt.Sprintf("udp/10.213.0.%d:53", 1+i), fmt.Sprintf("udp/10.213.0.%d:8080", 1+i))
	}
	for _, a := range []string{"198.51.100.1", "192.168.7.1"} {
		all = append(all, a+":8080", "udp/"+a+":53", "udp/"+a+":8080")
	}
	return all
}

// Received is how many packets came in over its cable.
func (i *Inside) Received(t testing.TB) uint64 {
	t.Helper()
	out, err := i.NS(t).LinkByName("out0")
	Must(t, err)
	return out.Attrs().Statistics.RxPackets
}

// services of the machine, on all its addresses.
var services sync.Once

func CIDR(t testing.TB, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	Must(t, err)
	a.Flags = 0x02 // no duplicate address detection
	return a
}

func Must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Run is a program of the machine's operator.
func Run(t testing.TB, line string) string {
	t.Helper()
	f := strings.Fields(line)
	out, err := exec.Command(f[0], f[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// Ours is what there is of ours in the machine's rules, routes and interfaces.
func Ours(t testing.TB) string {
	t.Helper()
	var left []string
	if rules := Run(t, "nft list ruleset"); strings.Contains(rules, "plane_") || strings.Contains(rules, "pl01") {
		left = append(left, rules)
	}
	links, err := netlink.LinkList()
	Must(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "pl") {
			left = append(left, l.Attrs().Name)
		}
	}
	return strings.Join(left, "\n")
}

// Gone waits for the end of a process and of its interface.
func (i *Inside) Gone(t testing.TB, link string) {
	t.Helper()
	Must(t, syscall.Kill(i.Pid, syscall.SIGKILL))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := netlink.LinkByName(link); err != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("its interface outlives it")
		}
	}
}
