// Package reach tries addresses, and answers at some, in tests of what containers
// reach.
package reach

import (
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// Answer says hello to whoever comes, by TCP and UDP, until the process ends.
func Answer(address string) error {
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
		b := make([]byte, 512)
		for {
			n, asked, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			// Answers come from the address that was asked, not from the first.
			_, _ = p.WriteTo(reply(b[:n]), &ipv4.ControlMessage{Src: asked.Dst}, from)
		}
	}()
	return nil
}

// Named is the address of every name that is asked for.
var Named = [4]byte{203, 0, 113, 9}

// reply is hello, or an address if a name is asked for.
func reply(to []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(to) != nil || len(m.Questions) != 1 {
		return []byte("hello")
	}
	m.Response, m.Additionals = true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: Named}}}
	}
	b, err := m.Pack()
	if err != nil {
		return []byte("hello")
	}
	return b
}

// Of tells which targets answer. A target is [udp/][SOURCE>]HOST:PORT.
func Of(targets ...string) []string {
	answers := make([]bool, len(targets))
	var all sync.WaitGroup
	for i, target := range targets {
		all.Go(func() { answers[i] = Says(target) })
	}
	all.Wait()
	var reached []string
	for i, target := range targets {
		if answers[i] {
			reached = append(reached, target)
		}
	}
	return reached
}

// tries is how long one target is tried: within a machine packets take less.
const tries = 300 * time.Millisecond

// Says reports whether the target answers.
func Says(target string) bool {
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
