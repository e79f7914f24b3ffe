package egress

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"plane"
)

// rules are the table of one drone. Each change is one transaction of the
// kernel's, so no packet meets half of one.
type rules struct {
	conn    *nftables.Conn
	table   *nftables.Table
	sources *nftables.Set // interface and address that it must send from
	cables  *nftables.Set // interface → chain of what it may reach
}

// The chains that all cables share.
const (
	chainEarly   = "early"   // prerouting: before published ports of the machine are translated
	chainAsk     = "ask"     // the resolvers
	chainClosed  = "closed"  // what nothing opens
	chainForward = "forward" // what passes through the machine
	chainInput   = "input"   // what is for the machine
	chainOutput  = "output"  // what the machine sends
	chainOutward = "outward" // gives packets an address that answers find
	chainCable   = "cable_"  // + number_backend: what one may reach
)

func openRules(table string) (*rules, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: table}
	return &rules{
		conn: conn, table: t,
		sources: &nftables.Set{Table: t, Name: "sources", KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr), Concatenation: true},
		cables:  &nftables.Set{Table: t, Name: "cables", IsMap: true, KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
	}, nil
}

// there reports whether the table is.
func (r *rules) there() (bool, error) {
	all, err := r.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	for _, t := range all {
		if t.Name == r.table.Name {
			return true, nil
		}
	}
	return false, err
}

func (r *rules) chain(name string, of nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority, body ...rule) {
	c := &nftables.Chain{Table: r.table, Name: name}
	if hook != nil {
		accepts := nftables.ChainPolicyAccept
		c.Type, c.Hooknum, c.Priority, c.Policy = of, hook, &priority, &accepts
	}
	r.conn.AddChain(c)
	r.conn.FlushChain(c)
	for _, one := range body {
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: one})
	}
}

// base makes, or makes again, what holds for every cable.
func (w *Way) base(r *rules) error {
	var ask, shut []rule
	for _, a := range w.asked() {
		for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			ask = append(ask, all(isIPv4(), within(destinationAt, netip.PrefixFrom(a, 32)), port(protocol, 53), accept()))
		}
	}
	for _, p := range append(closed, w.o.Closed...) {
		if p.Addr().Is4() {
			shut = append(shut, all(within(destinationAt, p), drop()))
		}
	}
	r.conn.AddTable(r.table)
	for _, s := range []*nftables.Set{r.sources, r.cables} {
		if err := r.conn.AddSet(s, nil); err != nil {
			return err
		}
	}
	spoofed := rule{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, load(sourceAt, 2),
		&expr.Lookup{SourceRegister: 1, SetName: r.sources.Name, Invert: true},
	}
	own := rule{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: r.cables.Name, IsDestRegSet: true},
	}
	const filter, early = nftables.ChainPriority(-5), nftables.ChainPriority(-150)
	r.chain(chainAsk, "", nil, 0, ask...)
	r.chain(chainClosed, "", nil, 0, shut...)
	r.chain(chainEarly, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, early,
		all(w.from(), notIPv4(), drop()),
		all(w.from(), spoofed, drop()),
		all(w.from(), jump(chainAsk)),
		all(w.from(), here(), drop()))
	r.chain(chainForward, nftables.ChainTypeFilter, nftables.ChainHookForward, filter,
		all(w.to(), w.from(), drop()),
		all(w.from(), jump(chainAsk)),
		all(w.from(), jump(chainClosed)),
		all(w.from(), own),
		all(w.from(), drop()),
		all(w.to(), known(), accept()),
		all(w.to(), drop()))
	r.chain(chainInput, nftables.ChainTypeFilter, nftables.ChainHookInput, filter,
		all(w.from(), jump(chainAsk)),
		all(w.from(), drop()))
	r.chain(chainOutput, nftables.ChainTypeFilter, nftables.ChainHookOutput, filter,
		all(w.to(), known(), accept()),
		all(w.to(), drop()))
	r.chain(chainOutward, nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100,
		all(isIPv4(), within(sourceAt, w.space), w.notTo(), rule{&expr.Masq{}}))
	return r.conn.Flush()
}

// limit makes, or makes again, the rules of one cable.
func (r *rules) limit(c cable, e plane.Egress) error {
	var may []rule
	if e.Public {
		may = append(may, accept())
	}
	for _, x := range e.Rules {
		switch {
		case !x.Prefix.Addr().Is4(): // IPv6 has no way out
		case x.Port == 0:
			may = append(may, all(within(destinationAt, x.Prefix), accept()))
		default:
			for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
				may = append(may, all(within(destinationAt, x.Prefix), port(protocol, x.Port), accept()))
			}
		}
	}
	r.chain(c.chain(), "", nil, 0, append(may, drop())...)
	if err := r.elements(c, (*nftables.Conn).SetAddElements); err != nil {
		return err
	}
	return r.conn.Flush()
}

func (r *rules) elements(c cable, change func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) error {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, c.name)
	address := c.inside.As4()
	if err := change(r.conn, r.sources, []nftables.SetElement{{Key: append(bytes.Clone(name), address[:]...)}}); err != nil {
		return err
	}
	return change(r.conn, r.cables, []nftables.SetElement{{Key: name, VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: c.chain()}}})
}

// forget removes the rules of one cable, which may be there in part.
func (r *rules) forget(c cable) error {
	chain := &nftables.Chain{Table: r.table, Name: c.chain()}
	r.conn.AddChain(chain)
	for _, change := range []func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error{
		(*nftables.Conn).SetAddElements, (*nftables.Conn).SetDeleteElements, // what isn't there can't be deleted
	} {
		if err := r.elements(c, change); err != nil {
			return err
		}
	}
	r.conn.FlushChain(chain)
	r.conn.DelChain(chain)
	return r.conn.Flush()
}

// drop removes everything.
func (r *rules) drop() error {
	r.conn.AddTable(r.table) // what isn't there can't be deleted
	r.conn.DelTable(r.table)
	return r.conn.Flush()
}

// taken are the backends that the table has chains of, with their numbers.
func (r *rules) taken() (map[plane.BackendID]int, error) {
	all, err := r.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list the rules of egress: %w", err)
	}
	found := map[plane.BackendID]int{}
	for _, c := range all {
		rest, ours := strings.CutPrefix(c.Name, chainCable)
		number, id, ok := strings.Cut(rest, "_")
		var n int
		if _, err := fmt.Sscanf(number, "%x", &n); c.Table.Name == r.table.Name && ours && ok && err == nil {
			found[plane.BackendID(id)] = n
		}
	}
	return found, nil
}
