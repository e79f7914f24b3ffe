package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"plane"
)

// prepareLocked makes what all cables share.
func (w *Way) prepareLocked(ctx context.Context) error {
	if w.ready {
		return nil
	}
	if err := w.Check(); err != nil {
		return err
	}
	if b, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); strings.TrimSpace(string(b)) != "1" {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			return fmt.Errorf("let this machine forward packets, for containers with egress: %w", err)
		}
		w.log.Info("this machine forwards packets from now on, for containers with egress", "setting", "net.ipv4.ip_forward")
	}
	if err := nft(ctx, w.base()); err != nil {
		return fmt.Errorf("make the rules of egress: %w", err)
	}
	if err := w.openForward(ctx); err != nil {
		return err
	}
	w.ready = true
	return nil
}

// base are the rules that hold for every cable. Established connections pass,
// then what no list opens is dropped, then each cable's own chain decides.
func (w *Way) base() string {
	var asked []string
	for _, r := range w.o.Resolvers {
		if r.Is4() && !r.IsLoopback() {
			asked = append(asked, r.String())
		}
	}
	dns := ""
	if len(asked) > 0 {
		list := strings.Join(asked, ", ")
		dns = fmt.Sprintf("ip daddr { %s } meta l4proto { tcp, udp } th dport 53 accept\n", list)
	}
	return fmt.Sprintf(`
table inet %[1]s {
	map cables { type ifname : verdict; }
	set sources { type ifname . ipv4_addr; }
	chain out { }
	chain forward { type filter hook forward priority -5; policy accept; }
	chain input { type filter hook input priority -5; policy accept; }
	chain outward { type nat hook postrouting priority 100; policy accept; }
}
flush chain inet %[1]s out
flush chain inet %[1]s forward
flush chain inet %[1]s input
flush chain inet %[1]s outward
table inet %[1]s {
	chain out {
		meta nfproto ipv6 drop
		iifname . ip saddr != @sources drop
		oifname "%[2]s*" drop
		ct state established,related accept
		%[3]s
		ip daddr { %[4]s } drop
		iifname vmap @cables
		drop
	}
	chain forward {
		iifname "%[2]s*" jump out
		oifname "%[2]s*" ct state established,related accept
		oifname "%[2]s*" drop
	}
	chain input {
		iifname "%[2]s*" drop
	}
	chain outward {
		ip saddr %[5]s oifname != "%[2]s*" masquerade
	}
}
`, w.table(), w.prefix(), dns, strings.Join(refused, ", "), w.o.Range)
}

// rulesOf are those of one cable.
func (w *Way) rulesOf(p pair, e plane.Egress) string {
	var b strings.Builder
	chain := fmt.Sprintf("cable_%x", p.n)
	fmt.Fprintf(&b, "add chain inet %s %s\nflush chain inet %s %s\n", w.table(), chain, w.table(), chain)
	if e.Public {
		fmt.Fprintf(&b, "add rule inet %s %s accept\n", w.table(), chain)
	}
	for _, r := range e.Rules {
		if !r.Prefix.Addr().Is4() {
			continue // IPv6 has no way out
		}
		port := ""
		if r.Port != 0 {
			port = fmt.Sprintf("meta l4proto { tcp, udp } th dport %d ", r.Port)
		}
		fmt.Fprintf(&b, "add rule inet %s %s ip daddr %s %saccept\n", w.table(), chain, r.Prefix, port)
	}
	fmt.Fprintf(&b, "add rule inet %s %s drop\n", w.table(), chain)
	fmt.Fprintf(&b, "add element inet %s sources { %q . %s }\n", w.table(), p.name, p.inside)
	fmt.Fprintf(&b, "add element inet %s cables { %q : jump %s }\n", w.table(), p.name, chain)
	return b.String()
}

func (w *Way) forget(p pair) string {
	chain := fmt.Sprintf("cable_%x", p.n)
	return fmt.Sprintf("delete element inet %[1]s cables { %[2]q : jump %[3]s }\ndelete element inet %[1]s sources { %[2]q . %[4]s }\ndelete chain inet %[1]s %[3]s\n",
		w.table(), p.name, chain, p.inside)
}

// nft carries out a script, whole or not at all.
func nft(ctx context.Context, script string) error {
	c := exec.CommandContext(ctx, "nft", "-f", "-")
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("nft: %w: %s", err, first)
	}
	return nil
}

// openForward lets our packets through where the machine drops what it isn't
// told to forward, as it does under Docker: a packet must pass every chain.
func (w *Way) openForward(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "iptables", "-S", "FORWARD").Output()
	if err != nil || !strings.Contains(string(out), "-P FORWARD DROP") {
		return nil //nolint:nilerr // without iptables nothing is dropped by it
	}
	var errs []error
	for _, way := range []string{"-i", "-o"} {
		rule := []string{"FORWARD", way, w.prefix() + "+", "-j", "ACCEPT"}
		if exec.CommandContext(ctx, "iptables", append([]string{"-C"}, rule...)...).Run() != nil {
			errs = append(errs, exec.CommandContext(ctx, "iptables", append([]string{"-I"}, rule...)...).Run())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("let containers' packets through this machine's firewall: %w", err)
	}
	return nil
}

func (w *Way) closeForward(ctx context.Context) {
	for _, way := range []string{"-i", "-o"} {
		_ = exec.CommandContext(ctx, "iptables", "-D", "FORWARD", way, w.prefix()+"+", "-j", "ACCEPT").Run()
	}
}

// resolvers are those that a file names.
func resolvers(path string) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return []netip.Addr{}
	}
	defer f.Close()
	all := []netip.Addr{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}
