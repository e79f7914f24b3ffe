package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"plane"
)

// Way gives namespaces their way out. What it made stands in the kernel alone:
// a Way that is made anew goes on with it. Safe for concurrent use.
type Way struct {
	o   Options
	log *slog.Logger

	mu    sync.Mutex // held while anything is changed; guards the fields below
	ready bool
	made  map[plane.BackendID]pair // whose cables may have gone with their namespaces
}

// New makes a Way; it changes nothing yet.
func New(o Options) *Way {
	if o.Range == (netip.Prefix{}) {
		o.Range = DefaultRange
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Resolvers == nil {
		o.Resolvers = resolvers("/etc/resolv.conf")
	}
	return &Way{o: o, log: o.Log, made: map[plane.BackendID]pair{}}
}

// Check says what is missing here, and how to mend it.
func (w *Way) Check() error {
	if os.Geteuid() != 0 {
		return errors.New("containers get a way out only from a drone that runs as root; run it as root, or give egress none")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return errors.New("containers get no way out without nft; install the package nftables")
	}
	return w.clash()
}

// clash reports a network that uses our range.
func (w *Way) clash() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("look at the routes of this machine: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		to, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		bits, _ := r.Dst.Mask.Size()
		if !ok || bits == 0 || !netip.PrefixFrom(to, bits).Overlaps(w.o.Range) {
			continue
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && strings.HasPrefix(link.Attrs().Name, w.prefix()) {
			continue
		}
		return fmt.Errorf("a network of this machine uses %s, which overlaps with %s, from which containers get their addresses", r.Dst, w.o.Range)
	}
	return nil
}

// prefix begins the names of our interfaces.
func (w *Way) prefix() string { return "pl" + w.o.Hash[:6] }

func (w *Way) table() string { return "plane_" + w.o.Hash }

// Attach gives the network namespace of a process a way out, limited to what
// both e and the operator allow. It may be called twice for a backend.
func (w *Way) Attach(ctx context.Context, pid int, id plane.BackendID, e plane.Egress) error {
	e = e.Within(w.o.Allowed)
	if e.None() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.prepareLocked(ctx); err != nil {
		return err
	}
	taken, err := w.links()
	if err != nil {
		return err
	}
	if old, ok := taken[id]; ok {
		w.removeLocked(ctx, old)
		delete(taken, id)
	}
	n, err := w.free(taken)
	if err != nil {
		return err
	}
	p := w.pair(n)
	w.made[id] = p
	// The rules are there before the first packet can be.
	if err := nft(ctx, w.rulesOf(p, e)); err != nil {
		return fmt.Errorf("limit a container's way out: %w", err)
	}
	if err := w.cable(pid, id, p); err != nil {
		w.removeLocked(ctx, p)
		return fmt.Errorf("give a container a way out: %w", err)
	}
	return nil
}

// Detach removes what Attach made for a backend, if anything.
func (w *Way) Detach(ctx context.Context, id plane.BackendID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken, err := w.links()
	if err != nil {
		return err
	}
	for _, all := range []map[plane.BackendID]pair{taken, w.made} {
		if p, ok := all[id]; ok {
			w.removeLocked(ctx, p)
			delete(all, id)
			delete(w.made, id)
		}
	}
	if len(taken) == 0 && len(w.made) == 0 {
		w.tidyLocked(ctx)
	}
	return nil
}

// tidyLocked removes what all cables shared.
func (w *Way) tidyLocked(ctx context.Context) {
	if !w.ready {
		return
	}
	w.ready = false
	if err := nft(ctx, "delete table inet "+w.table()); err != nil {
		w.log.Debug("the rules of egress are left", "error", err)
	}
	w.closeForward(ctx)
}

// Sweep removes what is left of backends that aren't live, with their rules;
// those whose cables went with their namespaces included.
func (w *Way) Sweep(ctx context.Context, live []plane.BackendID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken, err := w.links()
	if err != nil {
		return err
	}
	keep := map[plane.BackendID]bool{}
	for _, id := range live {
		keep[id] = true
	}
	for id, p := range taken {
		if !keep[id] {
			w.removeLocked(ctx, p)
			delete(taken, id)
		}
	}
	if len(taken) == 0 {
		w.made, w.ready = map[plane.BackendID]pair{}, true
		w.tidyLocked(ctx)
	}
	return nil
}

// pair is the two ends of one cable.
type pair struct {
	n               int
	name            string // of our end
	outside, inside netip.Addr
	outMAC, inMAC   net.HardwareAddr
}

func (w *Way) pair(n int) pair {
	base := w.o.Range.Masked().Addr().As4()
	at := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	at += uint32(2 * n)
	v4 := func(a uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
	}
	return pair{
		n: n, name: fmt.Sprintf("%s%x", w.prefix(), n), outside: v4(at), inside: v4(at + 1),
		outMAC: net.HardwareAddr{0x02, 0x70, 0x6c, 0, byte(n >> 8), byte(n)}, inMAC: net.HardwareAddr{0x02, 0x70, 0x6c, 1, byte(n >> 8), byte(n)},
	}
}

// links are our ends, by the backend that each is of.
func (w *Way) links() (map[plane.BackendID]pair, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	taken := map[plane.BackendID]pair{}
	for _, l := range all {
		rest, ours := strings.CutPrefix(l.Attrs().Name, w.prefix())
		var n int
		if _, err := fmt.Sscanf(rest, "%x", &n); !ours || err != nil {
			continue
		}
		id := plane.BackendID(l.Attrs().Alias)
		if id == "" {
			id = plane.BackendID("unfinished-" + rest)
		}
		taken[id] = w.pair(n)
	}
	return taken, nil
}

func (w *Way) free(taken map[plane.BackendID]pair) (int, error) {
	used := map[int]bool{}
	for _, p := range taken {
		used[p.n] = true
	}
	most := 1<<(32-w.o.Range.Bits())/2 - 1
	for n := 1; n < min(most, 1<<16); n++ {
		if !used[n] {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no address in %s is left for another container", w.o.Range)
}

// cable connects the namespace. Both ends know each other's address ahead:
// asking for it would lose the first packet of a new cable, and with it a second.
func (w *Way) cable(pid int, id plane.BackendID, p pair) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open its network: %w", err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = p.name, p.outMAC
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "out0", PeerHardwareAddr: p.inMAC, PeerNamespace: netlink.NsFd(ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	link, err := netlink.LinkByName(p.name)
	if err != nil {
		return err
	}
	here := &netlink.Handle{}
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+p.name+"/disable_ipv6", []byte("1"), 0)
	if err := errors.Join(netlink.LinkSetAlias(link, string(id)), here.AddrAdd(link, address(p.outside)), here.NeighSet(neighbour(link, p.inside, p.inMAC)), netlink.LinkSetUp(link)); err != nil {
		return err
	}
	there, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer there.Close()
	inner, err := there.LinkByName("out0")
	if err != nil {
		return err
	}
	if err := errors.Join(there.AddrAdd(inner, address(p.inside)), there.NeighSet(neighbour(inner, p.outside, p.outMAC)), there.LinkSetUp(inner)); err != nil {
		return err
	}
	if err := there.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: p.outside.AsSlice()}); err != nil {
		return err
	}
	return errors.Join(up(here, p.name), up(there, "out0"))
}

// up waits until an interface carries packets: the first ones would be lost.
func up(h *netlink.Handle, name string) error {
	for end := time.Now().Add(time.Second); ; time.Sleep(200 * time.Microsecond) {
		link, err := h.LinkByName(name)
		if err != nil || link.Attrs().OperState == netlink.OperUp || time.Now().After(end) {
			return err
		}
	}
}

func address(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(31, 32)}}
}

func neighbour(l netlink.Link, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

func (w *Way) removeLocked(ctx context.Context, p pair) {
	if link, err := netlink.LinkByName(p.name); err == nil {
		if err := netlink.LinkDel(link); err != nil {
			w.log.Warn("a container's network interface can't be removed", "interface", p.name, "error", err)
		}
	}
	if err := nft(ctx, w.forget(p)); err != nil {
		w.log.Debug("rules of a container are left", "interface", p.name, "error", err)
	}
}
