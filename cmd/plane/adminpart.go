package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/pflag"

	"plane/internal/admin"
	"plane/internal/drone"
	"plane/internal/proxy"
	"plane/internal/run"
	"plane/internal/store"
)

// adminPart is the listener of --admin; the zero value has none, and counts nothing.
type adminPart struct {
	*admin.Admin
	l   net.Listener
	log *slog.Logger
}

// bindAdmin adds the flag of a process; otherwise is what stands for it where
// it isn't given.
func bindAdmin(flags *pflag.FlagSet, otherwise string) {
	flags.String("admin", otherwise, "address for metrics, health, profiles and the log level, 127.0.0.1:PORT (PLANE_ADMIN; default: none)")
}

// openAdmin listens where --admin says, for a process that logs to log with level.
func openAdmin(flags *pflag.FlagSet, log *slog.Logger, level *slog.LevelVar) (adminPart, error) {
	addr, err := flags.GetString("admin")
	if err != nil || addr == "" {
		return adminPart{}, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return adminPart{}, misusef("--admin %q must be 127.0.0.1:PORT", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return adminPart{}, misusef("--admin %s isn't a loopback address; profiles and metrics are for this machine: give 127.0.0.1:PORT, and let a scraper on another one come through a tunnel", addr)
	}
	l, err := listen("--admin", addr)
	if err != nil {
		return adminPart{}, err
	}
	log.Info("admin listener serves", "address", l.Addr().String())
	return adminPart{
		Admin: admin.New(admin.Options{Level: level, Log: log, Version: version, Hash: buildHash()}),
		l:     l, log: log,
	}, nil
}

// parts are what runs beside the process's own.
func (a adminPart) parts() []run.Part {
	if a.l == nil {
		return nil
	}
	return []run.Part{serve("admin", a.l, a.Handler(), a.log)}
}

func (a adminPart) close() {
	if a.l != nil {
		_ = a.l.Close()
	}
}

// adminTwin is what the environment says in place of --admin, for the one
// process that has no settings file.
func adminTwin() string { return os.Getenv("PLANE_ADMIN") }

// checkWait is how long a check may take before it counts as failed.
const checkWait = 2 * time.Second

// storeReady asks the store for a reading and for a commit of nothing.
func storeReady(s store.Store) admin.Check {
	return func(ctx context.Context) error {
		if err := s.View(ctx, func(tx store.Tx) error { _, err := tx.StoreEpoch(); return err }); err != nil {
			return fmt.Errorf("can't read: %w", err)
		}
		if err := s.Update(ctx, func(store.Tx) error { return nil }); err != nil {
			return fmt.Errorf("can't write: %w", err)
		}
		return nil
	}
}

func proxyReady(p *proxy.Proxy) admin.Check {
	return func(context.Context) error {
		if !p.Ready() {
			return errors.New("not connected to a controller; requests for backends that this proxy knows are still served")
		}
		return nil
	}
}

func agentReady(a *drone.Agent) admin.Check {
	return func(context.Context) error {
		if !a.Ready() {
			return errors.New("no lease: this drone isn't connected to a controller, or still takes over what ran before; its backends run on until their deadlines")
		}
		return nil
	}
}
