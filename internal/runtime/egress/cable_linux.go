package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"plane"
)

// cable is a veth pair from a namespace to the machine.
type cable struct {
	n      int
	id     plane.BackendID
	name   string     // of the machine's end
	inside netip.Addr // of the namespace
	may    plane.Egress
	found  bool // it was there before this Way, which doesn't know what it may
}

// insideName is the namespace's end.
const insideName = "out0"

// Every cable has the same two hardware addresses; no two cables meet.
var (
	outsideMAC = net.HardwareAddr{0x02, 0x70, 0x6c, 0, 0, 1}
	insideMAC  = net.HardwareAddr{0x02, 0x70, 0x6c, 0, 0, 2}
)

func (w *Way) cable(n int, id plane.BackendID) cable {
	return cable{n: n, id: id, name: fmt.Sprintf("%s%x", w.prefix(), n), inside: w.at(1 + n), found: true}
}

func (c cable) chain() string { return fmt.Sprintf("%s%x_%s", chainCable, c.n, c.id) }

// connects reports whether the cable is there and ends in that namespace.
func (c cable) connects(ns netns.NsHandle) bool {
	if _, err := netlink.LinkByName(c.name); err != nil {
		return false
	}
	there, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return false
	}
	defer there.Close()
	addresses, err := there.AddrList(nil, netlink.FAMILY_V4)
	routes, err2 := there.RouteList(nil, netlink.FAMILY_V4)
	if err != nil || err2 != nil || len(routes) == 0 {
		return false
	}
	for _, a := range addresses {
		if a.IP.Equal(c.inside.AsSlice()) {
			return true
		}
	}
	return false
}

// errTaken: another drone of this machine has given that address.
var errTaken = errors.New("the address is taken")

// connect makes the cable. Both ends know each other's address ahead: asking
// for it would lose the first packet of a new cable, and with it a second.
func (c cable) connect(ns netns.NsHandle, gateway netip.Addr, mtu int) error {
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer there.Close()
	if old, err := there.LinkByName(insideName); err == nil { // of an attempt that was cut short
		_ = there.LinkDel(old)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = c.name, outsideMAC, mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: insideName, PeerHardwareAddr: insideMAC, PeerMTU: uint32(attrs.MTU), PeerNamespace: netlink.NsFd(ns)}
	if err := here.LinkAdd(veth); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make its interface: %w", err)
	} else if err != nil {
		return fmt.Errorf("make its interface %s, which is there already", c.name)
	}
	outer, err := here.LinkByName(c.name)
	if err != nil {
		return err
	}
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+c.name+"/disable_ipv6", []byte("1"), 0)
	if err := errors.Join(here.LinkSetAlias(outer, string(c.id)), here.LinkSetUp(outer), here.NeighSet(neighbour(outer, c.inside, insideMAC))); err != nil {
		return err
	}
	if err := here.RouteAdd(&netlink.Route{LinkIndex: outer.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: host(c.inside)}); errors.Is(err, unix.EEXIST) {
		return errTaken
	} else if err != nil {
		return fmt.Errorf("make its route: %w", err)
	}
	inner, err := there.LinkByName(insideName)
	if err != nil {
		return err
	}
	if err := errors.Join(there.AddrAdd(inner, &netlink.Addr{IPNet: host(c.inside)}), there.LinkSetUp(inner), there.NeighSet(neighbour(inner, gateway, outsideMAC))); err != nil {
		return err
	}
	if err := there.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return err
	}
	return errors.Join(carries(here, c.name), carries(there, insideName))
}

// carries waits until an interface does: the first packets would be lost.
func carries(h *netlink.Handle, name string) error {
	for end := time.Now().Add(time.Second); ; time.Sleep(200 * time.Microsecond) {
		link, err := h.LinkByName(name)
		if err != nil || link.Attrs().OperState == netlink.OperUp || time.Now().After(end) {
			return err
		}
	}
}

// machinesMTU is that of the machine's own way out, so that no packet is too
// big for it; 0 if there is none.
func machinesMTU() (int, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("look at the routes of this machine: %w", err)
	}
	for _, r := range routes {
		if _, ok := destination(r); ok {
			continue
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			return link.Attrs().MTU, nil
		}
	}
	return 0, nil
}

func host(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)} }

func neighbour(l netlink.Link, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}
