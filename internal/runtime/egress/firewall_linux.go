package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/nftables"
)

// forwarding is the machine's switch.
const forwarding = "/proc/sys/net/ipv4/ip_forward"

// forwardPackets lets the machine forward packets. It stays so: what else has
// come to need it in the meantime can't be known.
func forwardPackets(log *slog.Logger) error {
	if b, _ := os.ReadFile(forwarding); strings.TrimSpace(string(b)) == "1" {
		return nil
	}
	if err := os.WriteFile(forwarding, []byte("1"), 0); err != nil {
		return fmt.Errorf("let this machine forward packets, for containers with egress: %w", err)
	}
	log.Info("this machine forwards packets from now on, for containers with egress", "setting", "net.ipv4.ip_forward")
	return nil
}

// iptables are the programs that may have a firewall of their own.
var iptables = []string{"iptables", "iptables-legacy"}

// openForward lets our packets through where the machine drops what it isn't
// told to forward, as it does under Docker: a packet must pass every chain.
func (w *Way) openForward(ctx context.Context) error {
	var errs []error
	for _, program := range iptables {
		out, err := exec.CommandContext(ctx, program, "-w", "-S", "FORWARD").Output()
		if err != nil || !strings.Contains(string(out), "-P FORWARD DROP") {
			continue // without that program nothing is dropped by it
		}
		for _, way := range []string{"-i", "-o"} {
			if !strings.Contains(string(out), way+" "+w.prefix()+"+ -j ACCEPT") {
				errs = append(errs, exec.CommandContext(ctx, program, "-w", "-I", "FORWARD", way, w.prefix()+"+", "-j", "ACCEPT").Run())
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("let containers' packets through this machine's firewall: %w", err)
	}
	w.warnOfOthers()
	return nil
}

// warnOfOthers names what drops forwarded packets in tables that aren't
// iptables': those are somebody's own, and not for us to change.
func (w *Way) warnOfOthers() {
	all, err := w.rules.conn.ListChains()
	if err != nil || w.warned {
		return
	}
	for _, c := range all {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if f := c.Table.Family; f == nftables.TableFamilyINet || f == nftables.TableFamilyIPv4 && c.Table.Name != "filter" {
			w.warned = true
			w.log.Warn("this machine's firewall drops what containers send out; let interfaces of that name through",
				"table", c.Table.Name, "chain", c.Name, "interfaces", w.prefix()+"*")
		}
	}
}

func (w *Way) closeForward(ctx context.Context) {
	for _, program := range iptables {
		out, err := exec.CommandContext(ctx, program, "-w", "-S", "FORWARD").Output()
		if err != nil {
			continue
		}
		for _, way := range []string{"-i", "-o"} {
			if strings.Contains(string(out), way+" "+w.prefix()+"+ -j ACCEPT") {
				_ = exec.CommandContext(ctx, program, "-w", "-D", "FORWARD", way, w.prefix()+"+", "-j", "ACCEPT").Run()
			}
		}
	}
}

// How often Run looks.
const (
	rulesEvery    = time.Second
	firewallEvery = 10 // times that
)

// Run puts the rules back when somebody has removed them, as a firewall that is
// loaded anew does, until ctx ends. What it gave stays.
func (w *Way) Run(ctx context.Context) error {
	t := time.NewTicker(rulesEvery)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		err := w.putBack(ctx)
		if err == nil && n%firewallEvery == 0 {
			err = w.reopen(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Error("the rules of containers' egress can't be put back", "error", err)
		}
	}
}

// putBack makes the rules again if they aren't there. A cable that was there
// before this Way then leads nowhere: what it may reach isn't known.
func (w *Way) putBack(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rules == nil || len(w.cables) == 0 {
		return nil
	}
	there, err := w.rules.there()
	if err != nil || there {
		return err
	}
	w.log.Warn("somebody removed the rules of containers' egress; they are put back")
	return w.standLocked(ctx)
}

// reopen looks whether a firewall that has been started since, such as Docker's,
// drops what cables send.
func (w *Way) reopen(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stands || len(w.cables) == 0 {
		return nil
	}
	return w.openForward(ctx)
}
