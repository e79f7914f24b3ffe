package egress

import (
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is what must be so, and what is done then.
type rule []expr.Any

func all(parts ...rule) rule { return slices.Concat(parts...) }

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) rule {
	return rule{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

// from and to are our interfaces, by the beginning of their names.
func (w *Way) from() rule { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, []byte(w.prefix())) }

func (w *Way) to() rule { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, []byte(w.prefix())) }

func (w *Way) notTo() rule { return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, []byte(w.prefix())) }

func notIPv4() rule { return meta(expr.MetaKeyNFPROTO, expr.CmpOpNeq, []byte{unix.NFPROTO_IPV4}) }

func isIPv4() rule { return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4}) }

// Where IPv4 has its addresses.
const (
	sourceAt      = 12
	destinationAt = 16
)

func load(at uint32, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: 4}
}

func within(at uint32, p netip.Prefix) rule {
	p = p.Masked()
	a := p.Addr().As4()
	r := rule{load(at, 1)}
	if p.Bits() < 32 {
		r = append(r, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)})
	}
	return append(r, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a[:]})
}

func port(protocol byte, n uint16) rule {
	return append(meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{protocol}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(n)})
}

// known is of packets that belong to a connection or tell of one.
func known() rule {
	mask := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return rule{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// here is of packets for an address of this machine.
func here() rule {
	return rule{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func drop() rule   { return rule{&expr.Verdict{Kind: expr.VerdictDrop}} }
func accept() rule { return rule{&expr.Verdict{Kind: expr.VerdictAccept}} }

func jump(chain string) rule { return rule{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }
