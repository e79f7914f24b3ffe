package oci

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"plane"
	"plane/internal/runtime"
)

// errNoWay: a backend can't have what its app asks for, and must not run without.
var errNoWay = errors.New("the backend can't have its egress")

// letOut gives a sandbox's network its way out.
func (r *Runtime) letOut(ctx context.Context, u runtime.Unit, pid int) error {
	if u.Egress.None() || r.opts.Way == nil || pid == 0 {
		return nil
	}
	if err := r.opts.Way.Attach(ctx, pid, u.Backend, u.Egress); err != nil {
		return fmt.Errorf("%w: %w", errNoWay, err)
	}
	return nil
}

// closeWay removes it.
func (r *Runtime) closeWay(ctx context.Context, id plane.BackendID) {
	if r.opts.Way == nil {
		return
	}
	if err := r.opts.Way.Detach(ctx, id); err != nil {
		r.log.Warn("the way out of an ended backend is left", "backend", id, "error", err)
	}
}

// resolver is a sandbox's /etc/resolv.conf: this machine's servers, unless they
// are its own.
func (r *Runtime) resolver(e plane.Egress) string {
	if e.None() || r.opts.Way == nil {
		return ""
	}
	// Where the usual file names a server of this machine, systemd has the real ones.
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		b, _ := os.ReadFile(file)
		if text := servers(string(b)); text != "" {
			return text
		}
	}
	return ""
}

// servers keeps what a sandbox can use of a resolv.conf.
func servers(text string) string {
	var out strings.Builder
	found := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err != nil || a.IsLoopback() || a.Is6() {
				continue // a way out has no IPv6
			}
			found = true
		case "search", "options":
		default:
			continue
		}
		out.WriteString(strings.Join(f, " ") + "\n")
	}
	if !found {
		return ""
	}
	return out.String()
}
