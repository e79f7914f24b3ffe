package egress_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"plane"
	"plane/internal/clustertest"
	"plane/internal/runtime/egress"
)

const role = "PLANE_EGRESS_TEST"

// TestMain runs the tests in a network namespace of their own, which stands for
// the machine: nothing of the real one is touched. It is also the programs there.
func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "serve":
		serve()
	case "dial":
		dial(os.Args[1:])
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

// serve takes connections on a few ports until it is killed.
func serve() {
	for _, port := range []string{"53", "80", "443"} {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
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
	}
	fmt.Println("serving")
	select {}
}

// dial waits for lines with an address and says whether it is reached.
func dial([]string) {
	fmt.Println("serving")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		c, err := net.DialTimeout("tcp", s.Text(), 300*time.Millisecond)
		if err != nil {
			fmt.Println("no", err)
			continue
		}
		b := make([]byte, 5)
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err = c.Read(b)
		_ = c.Close()
		fmt.Println("yes", err)
	}
	os.Exit(0)
}

// inside is a program in a network namespace of its own.
type inside struct {
	pid int
	in  *bufio.Writer
	out *bufio.Reader
}

func start(t *testing.T, what string) *inside {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"="+what)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
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

func (i *inside) reaches(t *testing.T, address string) bool {
	t.Helper()
	_, _ = i.in.WriteString(address + "\n")
	_ = i.in.Flush()
	line, err := i.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.HasPrefix(line, "yes")
}

// reachesSoon is for what must be reached: a busy machine may be slow.
func (i *inside) reachesSoon(t *testing.T, address string) bool {
	t.Helper()
	for range 30 {
		if i.reaches(t, address) {
			return true
		}
	}
	return false
}

// machine makes the outside: a world that has public, private and metadata
// addresses, and services of the machine itself.
func machine(t *testing.T) {
	t.Helper()
	if os.Getenv(role) != "machine" {
		clustertest.Missing(t, "root, for network namespaces")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		clustertest.Missing(t, "nft")
	}
	world := start(t, "serve")
	ns, err := netns.GetFromPid(world.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up0"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "world0", PeerNamespace: netlink.NsFd(ns)}))
	up, err := netlink.LinkByName("up0")
	must(t, err)
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.AddrAdd(up, cidr(t, "198.51.100.1/24")), netlink.AddrAdd(up, cidr(t, "192.168.7.1/24")), netlink.AddrAdd(up, cidr(t, "2001:db8::1/64")),
		netlink.LinkSetUp(up), netlink.LinkSetUp(lo))
	there, err := netlink.NewHandleAt(ns)
	must(t, err)
	defer there.Close()
	w, err := there.LinkByName("world0")
	must(t, err)
	wlo, err := there.LinkByName("lo")
	must(t, err)
	for _, a := range []string{"198.51.100.2/24", "192.168.7.2/24", "2001:db8::2/64", "203.0.113.9/32", "10.9.9.9/32", "169.254.169.254/32", "100.64.0.9/32"} {
		must(t, there.AddrAdd(w, cidr(t, a)))
	}
	must(t, there.LinkSetUp(w), there.LinkSetUp(wlo), there.RouteAdd(&netlink.Route{Gw: net.ParseIP("198.51.100.1"), LinkIndex: w.Attrs().Index}),
		netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("198.51.100.2"), LinkIndex: up.Attrs().Index}))
	l, err := net.Listen("tcp", ":8080") // a service of the machine
	must(t, err)
	t.Cleanup(func() { _ = l.Close(); _ = netlink.LinkDel(up) })
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", "203.0.113.9:80", time.Second); err == nil {
			_ = c.Close()
			return
		} else if time.Now().After(end) {
			t.Fatal("the world isn't reached from the machine: ", err)
		}
	}
}

func cidr(t *testing.T, s string) *netlink.Addr {
	a, err := netlink.ParseAddr(s)
	must(t, err)
	a.Flags = 0x02 // no duplicate address detection
	return a
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWhatContainersReach(t *testing.T) {
	machine(t)
	ctx := context.Background()
	public, _ := plane.ParseEgress("public")
	list, _ := plane.ParseEgress("203.0.113.0/24:443, 10.9.9.9")
	w := egress.New(egress.Options{Hash: "0123456789ab", Allowed: public})
	must(t, w.Check())
	all, one, none := start(t, "dial"), start(t, "dial"), start(t, "dial")
	must(t, w.Attach(ctx, all.pid, "all", public), w.Attach(ctx, one.pid, "one", list), w.Attach(ctx, none.pid, "none", plane.Egress{}))
	// Another Way goes on with what is there, and attaching again changes nothing.
	w = egress.New(egress.Options{Hash: "0123456789ab", Allowed: public})
	must(t, w.Attach(ctx, all.pid, "all", public))
	own := []string{"10.213.0.2", "10.213.0.3", "10.213.0.4", "10.213.0.5", "198.51.100.1", "192.168.7.1"}
	for _, c := range []struct {
		who  *inside
		name string
		yes  []string
		no   []string
	}{
		{all, "public", []string{"203.0.113.9:80", "203.0.113.9:443", "198.51.100.2:80"}, nil},
		{one, "list", []string{"203.0.113.9:443"}, []string{"203.0.113.9:80", "198.51.100.2:80"}},
		{none, "none", nil, []string{"203.0.113.9:80", "198.51.100.2:80"}},
	} {
		for _, a := range c.yes {
			if !c.who.reachesSoon(t, a) {
				t.Errorf("%s doesn't reach %s", c.name, a)
			}
		}
		for _, a := range append(c.no, "10.9.9.9:80", "192.168.7.2:80", "169.254.169.254:80", "100.64.0.9:80", "[2001:db8::2]:80", "[::ffff:10.9.9.9]:80", "[2001:db8::1]:8080") {
			if c.who.reaches(t, a) {
				t.Errorf("%s reaches %s", c.name, a)
			}
		}
		for _, a := range own {
			if c.who.reaches(t, a+":8080") {
				t.Errorf("%s reaches the machine at %s", c.name, a)
			}
		}
	}
	must(t, w.Detach(ctx, "one"), w.Detach(ctx, "one"))
	if one.reaches(t, "203.0.113.9:443") {
		t.Error("a way out that was taken is still there")
	}
	must(t, w.Sweep(ctx, nil))
	if left := ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestTheOperatorsWordIsTheLast(t *testing.T) {
	machine(t)
	public, _ := plane.ParseEgress("public")
	allowed, _ := plane.ParseEgress("203.0.113.9:443")
	w := egress.New(egress.Options{Hash: "0123456789ab", Allowed: allowed})
	c := start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", public))
	if !c.reachesSoon(t, "203.0.113.9:443") || c.reaches(t, "203.0.113.9:80") {
		t.Error("not what the operator allows")
	}
	must(t, w.Sweep(context.Background(), nil))
}

func TestAFirewallThatDropsStillLetsContainersOut(t *testing.T) {
	machine(t)
	if _, err := exec.LookPath("iptables"); err != nil {
		clustertest.Missing(t, "iptables")
	}
	must(t, exec.Command("iptables", "-P", "FORWARD", "DROP").Run())
	t.Cleanup(func() { _ = exec.Command("iptables", "-P", "FORWARD", "ACCEPT").Run() })
	public, _ := plane.ParseEgress("public")
	w := egress.New(egress.Options{Hash: "0123456789ab", Allowed: public})
	c := start(t, "dial")
	must(t, w.Attach(context.Background(), c.pid, "one", public))
	if !c.reachesSoon(t, "203.0.113.9:80") || c.reaches(t, "10.9.9.9:80") {
		t.Error("not as without a firewall")
	}
	must(t, w.Sweep(context.Background(), nil))
	if out, _ := exec.Command("iptables", "-S", "FORWARD").Output(); strings.Contains(string(out), "pl0123") {
		t.Errorf("left: %s", out)
	}
}

// ours is what there is of ours in the machine's rules and interfaces.
func ours(t *testing.T) string {
	rules, _ := exec.Command("nft", "list", "ruleset").Output()
	links, err := netlink.LinkList()
	must(t, err)
	var left []string
	if strings.Contains(string(rules), "plane_") {
		left = append(left, string(rules))
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "pl0") {
			left = append(left, l.Attrs().Name)
		}
	}
	return strings.Join(left, "\n")
}

func TestNothingIsLeftOfANamespaceThatHasEnded(t *testing.T) {
	machine(t)
	ctx := context.Background()
	public, _ := plane.ParseEgress("public")
	w := egress.New(egress.Options{Hash: "0123456789ab", Allowed: public})
	one, two := start(t, "dial"), start(t, "dial")
	must(t, w.Attach(ctx, one.pid, "one", public), w.Attach(ctx, two.pid, "two", public))
	_ = syscall.Kill(one.pid, syscall.SIGKILL)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := netlink.LinkByName("pl0123451"); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("its interface outlives it")
		}
	}
	must(t, w.Detach(ctx, "one"))
	if !two.reachesSoon(t, "203.0.113.9:80") {
		t.Error("another's way out went with it")
	}
	must(t, w.Detach(ctx, "two"))
	if left := ours(t); left != "" {
		t.Errorf("left: %s", left)
	}
}
