package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

const (
	answerTimeout = 30 * time.Second // until a registry begins an answer
	stallLimit    = 30 * time.Second // without a byte of it
)

// newLine makes connections to registries. Callers name registries, so that
// this decides what the agent may be sent to.
func newLine() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, Control: notLinkLocal}).DialContext
	t.ResponseHeaderTimeout = answerTimeout
	return t
}

var errLinkLocal = errors.New("a link-local address has no registry; those are for the machine's own services")

// notLinkLocal refuses the addresses of metadata services, also those that a
// name leads to.
func notLinkLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if a := at.Addr().Unmap(); a.IsLinkLocalUnicast() || a == netip.MustParseAddr("fd00:ec2::254") {
		return errLinkLocal
	}
	return nil
}

// patient gives an answer up of which nothing comes for a while.
type patient struct {
	http.RoundTripper
	stall time.Duration
}

var errStalled = errors.New("its registry stopped sending")

func (p patient) RoundTrip(q *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(q.Context())
	answer, err := p.RoundTripper.RoundTrip(q.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	t := time.AfterFunc(p.stall, func() { cancel(errStalled) })
	answer.Body = &awaited{answer.Body, ctx, cancel, t, p.stall}
	return answer, nil
}

type awaited struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of one answer
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func (a *awaited) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if n > 0 {
		a.timer.Reset(a.stall)
	}
	if err != nil && errors.Is(context.Cause(a.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

func (a *awaited) Close() error {
	a.timer.Stop()
	a.cancel(nil)
	return a.ReadCloser.Close()
}

// encrypted lets plain HTTP through to this machine only, as Docker does: a
// registry's credentials travel with each request.
type encrypted struct{ http.RoundTripper }

var errPlain = errors.New("it speaks plain HTTP, which Plane speaks only to registries of this machine; give it a certificate")

func (e encrypted) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.URL.Scheme == "http" && !local(q.URL.Hostname()) {
		return nil, errPlain
	}
	return e.RoundTripper.RoundTrip(q)
}

func local(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// redirected follows a registry to where it keeps its blobs, but not from
// outside to this machine's or a private network's addresses.
func redirected(q *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("the registry redirects in a circle")
	}
	from, to := via[0].URL.Hostname(), q.URL.Hostname()
	if from != to && inside(to) && !inside(from) {
		return fmt.Errorf("the registry redirects to %s, which is inside", to)
	}
	return nil
}

func inside(host string) bool {
	a, err := netip.ParseAddr(host)
	return local(host) || err == nil && a.Unmap().IsPrivate()
}
