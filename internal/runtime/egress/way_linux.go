package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"plane"
)

// Way gives namespaces their way out. What it made stands in the kernel: a Way
// that is made anew goes on with it. Safe for concurrent use; of one Hash there
// must be but one at a time.
type Way struct {
	o   Options
	log *slog.Logger

	mu      sync.Mutex // held while anything is changed; guards the fields below
	rules   *rules     // nil before the first use
	space   netip.Prefix
	cables  map[plane.BackendID]cable
	mtu     int
	next    int  // number to try first: an address isn't given again soon
	leaving int  // cables without rules that are being removed
	stands  bool // what all cables share was made by this Way
	warned  bool // of something that can't be mended here
}

// New makes a Way; it changes nothing yet.
func New(o Options) *Way {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Way{o: o, log: o.Log}
}

var errNotRoot = errors.New("containers get a way out only from a drone that runs as root; run it as root, or give egress none")

// Check says what is missing here, and how to mend it.
func (w *Way) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.checkLocked()
}

func (w *Way) checkLocked() error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	r, err := openRules(w.table())
	if err == nil {
		_, err = r.there()
	}
	if err != nil {
		return fmt.Errorf("containers get no way out, as this kernel refuses rules of nftables: %w; load its module nf_tables", err)
	}
	_, err = w.choose()
	return err
}

// prefix begins the names of our interfaces.
func (w *Way) prefix() string { return "pl" + w.o.Hash[:6] }

func (w *Way) table() string { return "plane_" + w.o.Hash }

// asked are the resolvers that cables may reach.
func (w *Way) asked() []netip.Addr {
	if w.o.Resolvers != nil {
		return reachable(w.o.Resolvers)
	}
	return machinesResolvers()
}

// Resolvers are what belongs in /etc/resolv.conf of a namespace with a way out.
// There may be none: where the machine has but a resolver on its loopback.
func (w *Way) Resolvers() []netip.Addr { return w.asked() }

// openLocked takes over what is there.
func (w *Way) openLocked() error {
	if w.rules != nil {
		return nil
	}
	r, err := openRules(w.table())
	if err != nil {
		return fmt.Errorf("talk to the kernel's rules: %w", err)
	}
	numbers, err := r.taken()
	if err != nil {
		return err
	}
	if w.space, err = w.choose(); err != nil {
		return err
	}
	w.cables = map[plane.BackendID]cable{}
	for id, n := range numbers {
		w.cables[id] = w.cable(n, id)
		w.next = max(w.next, n)
	}
	w.rules = r
	return nil
}

// standLocked makes what all cables share, if it isn't there.
func (w *Way) standLocked(ctx context.Context) error {
	there, err := w.rules.there()
	if err != nil {
		return fmt.Errorf("look for the rules of egress: %w", err)
	}
	if there && w.stands {
		return nil
	}
	if err := w.checkLocked(); err != nil {
		return err
	}
	if err := forwardPackets(w.log); err != nil {
		return err
	}
	if w.mtu, err = machinesMTU(); err != nil {
		return err
	}
	if err := w.base(w.rules); err != nil {
		return fmt.Errorf("make the rules of egress: %w", err)
	}
	for _, c := range w.cables {
		if there && c.found {
			continue // its rules are, and only they know what it may
		}
		if err := w.rules.limit(c, c.may); err != nil {
			return fmt.Errorf("make the rules of egress again: %w", err)
		}
	}
	w.stands = true
	return w.openForward(ctx)
}

// Attach gives the network namespace of a process a way out, limited to what
// both e and the operator allow. It may be called twice for a backend; the
// second time changes but what it may reach.
func (w *Way) Attach(ctx context.Context, pid int, id plane.BackendID, e plane.Egress) error {
	e = e.Within(w.o.Allowed)
	if e.None() {
		return nil
	}
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	ns, err := another(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.openLocked(); err != nil {
		return err
	}
	if err := w.standLocked(ctx); err != nil {
		return err
	}
	if old, ok := w.cables[id]; ok {
		if old.connects(ns) {
			old.may, old.found = e, false
			w.cables[id] = old
			return w.rules.limit(old, e)
		}
		if err := w.removeLocked(old); err != nil {
			return err
		}
	}
	return w.connectLocked(ns, id, e)
}

// another is the network namespace of a process, which must not be this one: a
// process that has ended in the meantime may have left its pid to anybody.
func another(pid int) (netns.NsHandle, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return ns, fmt.Errorf("open a container's network: %w", err)
	}
	own, err := netns.Get()
	if err != nil {
		_ = ns.Close()
		return ns, fmt.Errorf("open this machine's network: %w", err)
	}
	defer own.Close()
	if ns.Equal(own) {
		_ = ns.Close()
		return ns, fmt.Errorf("process %d shares this machine's network, so it needs and gets no way out", pid)
	}
	return ns, nil
}

func (w *Way) connectLocked(ns netns.NsHandle, id plane.BackendID, e plane.Egress) error {
	for range 1 + w.size() {
		n, ok := w.freeLocked()
		if !ok {
			break
		}
		c := w.cable(n, id)
		c.may = e
		w.cables[id] = c
		// The rules are there before the first packet can be.
		err := w.rules.limit(c, e)
		if err == nil {
			err = c.connect(ns, w.gateway(), w.mtu)
		}
		if err == nil {
			return nil
		}
		if undone := w.removeLocked(c); undone != nil || !errors.Is(err, errTaken) {
			return errors.Join(fmt.Errorf("give a container a way out: %w", err), undone)
		}
	}
	return fmt.Errorf("no address in %s is left for another container", w.space)
}

// freeLocked is a number that no cable has, the longest unused first.
func (w *Way) freeLocked() (int, bool) {
	used := make(map[int]bool, len(w.cables))
	for _, c := range w.cables {
		used[c.n] = true
	}
	for range w.size() {
		w.next = w.next%w.size() + 1
		if !used[w.next] {
			return w.next, true
		}
	}
	return 0, false
}

// Detach removes what Attach made for a backend, if anything, and with the last
// one what all shared.
func (w *Way) Detach(ctx context.Context, id plane.BackendID) error {
	if os.Geteuid() != 0 {
		return nil // nothing was made
	}
	c, ok, err := w.shut(id)
	if !ok || err != nil {
		return err
	}
	err = unplug(c.name) // takes the kernel tens of milliseconds, in which others go on
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaving--
	if w.stands && len(w.cables) == 0 && w.leaving == 0 {
		err = errors.Join(err, w.tidyLocked(ctx))
	}
	return err
}

// shut removes the rules of a cable; without them nothing passes it.
func (w *Way) shut(id plane.BackendID) (cable, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.openLocked(); err != nil {
		return cable{}, false, err
	}
	c, ok := w.cables[id]
	if !ok {
		return c, false, nil
	}
	if err := w.forgetLocked(c); err != nil {
		return c, false, err
	}
	w.stands = true // so that it is tidied
	w.leaving++
	return c, true, nil
}

// Sweep removes what former Ways of this drone left of backends that aren't
// live, with their rules, also where a cable went with its namespace. What this
// Way made is for Detach.
func (w *Way) Sweep(ctx context.Context, live []plane.BackendID) error {
	if os.Geteuid() != 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.openLocked(); err != nil {
		return err
	}
	var errs []error
	for id, c := range w.cables {
		if c.found && !slices.Contains(live, id) {
			errs = append(errs, w.removeLocked(c))
		}
	}
	// A cable whose rules somebody has removed.
	links, err := netlink.LinkList()
	errs = append(errs, err)
	for _, l := range links {
		mine := func(c cable) bool { return c.name == l.Attrs().Name }
		if strings.HasPrefix(l.Attrs().Name, w.prefix()) && !slices.ContainsFunc(w.listLocked(), mine) {
			errs = append(errs, unplug(l.Attrs().Name))
		}
	}
	if len(w.cables) == 0 && w.leaving == 0 {
		errs = append(errs, w.tidyLocked(ctx))
	}
	return errors.Join(errs...)
}

func (w *Way) listLocked() []cable {
	var out []cable
	for _, c := range w.cables {
		out = append(out, c)
	}
	return out
}

// tidyLocked removes what all cables shared.
func (w *Way) tidyLocked(ctx context.Context) error {
	w.stands = false
	w.closeForward(ctx)
	there, err := w.rules.there()
	if err == nil && there {
		err = w.rules.drop()
	}
	if err != nil {
		return fmt.Errorf("remove the rules of egress: %w", err)
	}
	return nil
}

func (w *Way) removeLocked(c cable) error {
	return errors.Join(w.forgetLocked(c), unplug(c.name))
}

func (w *Way) forgetLocked(c cable) error {
	there, err := w.rules.there()
	if err == nil && there {
		err = w.rules.forget(c)
	}
	if err != nil {
		return fmt.Errorf("take a container's way out: %w", err)
	}
	delete(w.cables, c.id)
	return nil
}

// unplug removes an interface, which may go with its namespace in this moment.
func unplug(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil //nolint:nilerr // it isn't there
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the interface %s: %w", name, err)
	}
	return nil
}
