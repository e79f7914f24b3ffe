package egress_test

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
	"golang.org/x/net/ipv4"

	"plane/internal/clustertest"
)

const role = "PLANE_EGRESS_TEST"

// TestMain runs the tests in a network namespace of their own, which stands for
// the machine: nothing of the real one is touched. It is also the programs there.
func TestMain(m *testing.M) {
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
		if err := answer(":" + port); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("serving")
	select {}
}

// answer says hello to whoever comes, by TCP and UDP, until the process ends.
func answer(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp4", address)
	if err != nil {
		return err
	}
	p := ipv4.NewPacketConn(u)
	if err := p.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	go func() {
		b := make([]byte, 64)
		for {
			_, asked, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			// Answers come from the address that was asked, not from the first.
			_, _ = p.WriteTo([]byte("hello"), &ipv4.ControlMessage{Src: asked.Dst}, from)
		}
	}()
	return nil
}

// dial waits for lines with targets and says which are reached. A target is
// [udp/][SOURCE>]HOST:PORT.
func dial() {
	fmt.Println("serving")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		targets := strings.Fields(s.Text())
		reached := make([]string, len(targets))
		var wg sync.WaitGroup
		for i, target := range targets {
			wg.Go(func() {
				if says(target) {
					reached[i] = target
				}
			})
		}
		wg.Wait()
		fmt.Println(strings.Join(strings.Fields(strings.Join(reached, " ")), " "))
	}
	os.Exit(0)
}

// tries is how long one target is tried: within a machine packets take less.
const tries = 300 * time.Millisecond

func says(target string) bool {
	network := "tcp"
	if rest, ok := strings.CutPrefix(target, "udp/"); ok {
		network, target = "udp", rest
	}
	d := net.Dialer{Timeout: tries}
	if source, rest, ok := strings.Cut(target, ">"); ok {
		target, d.LocalAddr = rest, &net.TCPAddr{IP: net.ParseIP(source)}
	}
	c, err := d.Dial(network, target)
	if err != nil {
		return false
	}
	defer c.Close()
	if network == "udp" {
		_, _ = c.Write([]byte("?"))
	}
	b := make([]byte, 5)
	_ = c.SetReadDeadline(time.Now().Add(tries))
	_, err = c.Read(b)
	return err == nil
}

// inside is a program in a network namespace of its own.
type inside struct {
	pid int
	in  *bufio.Writer
	out *bufio.Reader
}

func start(t testing.TB, what string) *inside {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"="+what)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := c.StdinPipe()
	must(t, err)
	stdout, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	i := &inside{c.Process.Pid, bufio.NewWriter(stdin), bufio.NewReader(stdout)}
	if line, _ := i.out.ReadString('\n'); line != "serving\n" {
		t.Fatalf("%s says %q", what, line)
	}
	return i
}

// ns is its namespace, to change things there.
func (i *inside) ns(t testing.TB) *netlink.Handle {
	t.Helper()
	n, err := netns.GetFromPid(i.pid)
	must(t, err)
	defer n.Close()
	h, err := netlink.NewHandleAt(n)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func (i *inside) reached(t testing.TB, targets ...string) string {
	t.Helper()
	_, _ = i.in.WriteString(strings.Join(targets, " ") + "\n")
	_ = i.in.Flush()
	line, err := i.out.ReadString('\n')
	must(t, err)
	return strings.TrimSpace(line)
}

// reaches fails the test unless all of them answer; a busy machine may be slow.
func (i *inside) reaches(t testing.TB, targets ...string) {
	t.Helper()
	want, got := strings.Join(targets, " "), ""
	for range 30 {
		if got = i.reached(t, targets...); got == want {
			return
		}
	}
	t.Errorf("of %s it reaches but %q", want, got)
}

// reachesNot fails the test if any answers.
func (i *inside) reachesNot(t testing.TB, targets ...string) {
	t.Helper()
	if got := i.reached(t, targets...); got != "" {
		t.Errorf("it reaches %s", got)
	}
}

// machine makes the outside: a world that has public, private and metadata
// addresses, and services of the machine itself.
func machine(t testing.TB) {
	t.Helper()
	if os.Getenv(role) != "machine" {
		clustertest.Missing(t, "root, for network namespaces")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		clustertest.Missing(t, "nft")
	}
	world := start(t, "serve")
	ns, err := netns.GetFromPid(world.pid)
	must(t, err)
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "up0", 1400
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "world0", PeerMTU: 1400, PeerNamespace: netlink.NsFd(ns)}))
	up, err := netlink.LinkByName("up0")
	must(t, err)
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.AddrAdd(up, cidr(t, "198.51.100.1/24")), netlink.AddrAdd(up, cidr(t, "192.168.7.1/24")), netlink.AddrAdd(up, cidr(t, "2001:db8::1/64")),
		netlink.LinkSetUp(up), netlink.LinkSetUp(lo), os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	there := world.ns(t)
	w, err := there.LinkByName("world0")
	must(t, err)
	wlo, err := there.LinkByName("lo")
	must(t, err)
	for _, a := range []string{
		"198.51.100.2/24", "192.168.7.2/24", "2001:db8::2/64", "203.0.113.9/32", "10.9.9.9/32", "169.254.169.254/32", "100.64.0.9/32",
		"172.20.0.9/32", "168.63.129.16/32", "198.18.0.9/32", "240.0.0.9/32",
	} {
		must(t, there.AddrAdd(w, cidr(t, a)))
	}
	must(t, there.LinkSetUp(w), there.LinkSetUp(wlo), there.RouteAdd(&netlink.Route{Gw: net.ParseIP("198.51.100.1"), LinkIndex: w.Attrs().Index}),
		netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("198.51.100.2"), LinkIndex: up.Attrs().Index}))
	t.Cleanup(func() { _ = netlink.LinkDel(up) })
	services.Do(func() { must(t, errors.Join(answer(":8080"), answer(":53"))) })
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if says("203.0.113.9:80") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the world isn't reached from the machine")
		}
	}
}

// services of the machine, on all its addresses.
var services sync.Once

func cidr(t testing.TB, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	must(t, err)
	a.Flags = 0x02 // no duplicate address detection
	return a
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// run is a program of the machine's operator.
func run(t testing.TB, line string) string {
	t.Helper()
	f := strings.Fields(line)
	out, err := exec.Command(f[0], f[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// ours is what there is of ours in the machine's rules, routes and interfaces.
func ours(t testing.TB) string {
	t.Helper()
	var left []string
	if rules := run(t, "nft list ruleset"); strings.Contains(rules, "plane_") || strings.Contains(rules, "pl01") {
		left = append(left, rules)
	}
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "pl") {
			left = append(left, l.Attrs().Name)
		}
	}
	return strings.Join(left, "\n")
}

// gone waits for the end of a process and of its interface.
func (i *inside) gone(t testing.TB, link string) {
	t.Helper()
	must(t, syscall.Kill(i.pid, syscall.SIGKILL))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := netlink.LinkByName(link); err != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("its interface outlives it")
		}
	}
}
