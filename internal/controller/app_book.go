package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"plane"
	"plane/internal/store"
)

// appNow is an app at its current release. It never changes.
type appNow struct {
	name     string
	release  int64
	template plane.Template
	spec     plane.Spec
}

// appBook remembers the apps that were read from an exclusive store, so that a
// connect to a live key reads nothing. Every transaction that moves an app's
// pointer empties it from before its start until after its end.
type appBook struct {
	off bool // the store isn't exclusive: remember nothing

	mu      sync.Mutex // guards the fields below
	byName  map[string]*appNow
	version uint64 // rises with every begin and end of a change
	writers int
}

func newAppBook(exclusive bool) *appBook {
	return &appBook{off: !exclusive, byName: map[string]*appNow{}}
}

// find gives nil for one that isn't remembered; the version goes with fill.
func (b *appBook) find(name string) (*appNow, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byName[name], b.version
}

// fill remembers a unless something was changed since version was read.
func (b *appBook) fill(a *appNow, version uint64) {
	if b.off {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writers == 0 && b.version == version {
		b.byName[a.name] = a
	}
}

// changing empties the book and gives the function that ends the change.
func (b *appBook) changing() func() {
	b.mark(1)
	return func() { b.mark(-1) }
}

func (b *appBook) mark(writers int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.version++
	b.writers += writers
	clear(b.byName)
}

// appOf gives the app at its current release; store.ErrNotFound.
func (c *Controller) appOf(ctx context.Context, name string) (*appNow, error) {
	a, version := c.apps.find(name)
	if a != nil {
		return a, nil
	}
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		a, err = readApp(tx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.apps.fill(a, version)
	return a, nil
}

func readApp(tx store.Tx, name string) (*appNow, error) {
	row, err := tx.App(name)
	if err != nil {
		return nil, err
	}
	r, err := tx.Release(name, row.Release)
	if err != nil {
		return nil, fmt.Errorf("release %d of app %q: %w", row.Release, name, err)
	}
	return &appNow{name: name, release: r.Number, template: r.Template, spec: r.Template.Spec()}, nil
}

// isDefault reports whether it is the app that plane dev uses where none is named.
func (c *Controller) isDefault(name string) bool {
	return c.cfg.DefaultApp != nil && *c.cfg.DefaultApp == name
}

// with is the app's spec with what a caller says of cluster and limits.
func (a *appNow) with(s *plane.Spec) *plane.Spec {
	out := a.spec
	if s == nil {
		return &out
	}
	out.ID, out.Subdomain, out.UseStaticToken = s.ID, s.Subdomain, s.UseStaticToken
	if s.Cluster != nil {
		out.Cluster = s.Cluster
	}
	if s.Pool != "" {
		out.Pool = s.Pool
	}
	if s.LifetimeLimit != nil {
		out.LifetimeLimit = s.LifetimeLimit
	}
	if s.MaxIdle != nil {
		out.MaxIdle = s.MaxIdle
	}
	if s.StartTimeout != nil {
		out.StartTimeout = s.StartTimeout
	}
	if s.StopGrace != nil {
		out.StopGrace = s.StopGrace
	}
	if s.Lease != "" {
		out.Lease = s.Lease
	}
	return &out
}

// unknownApp says that there is no such app, and which was probably meant: only
// apps that a may connect to are named.
func (c *Controller) unknownApp(ctx context.Context, a Actor, name string) string {
	var names []string
	former := false // it is there, and not served
	err := c.store.View(ctx, func(tx store.Tx) error {
		names = nil
		apps, err := tx.Apps()
		for _, x := range apps {
			if !c.serves(x.Name) {
				former = former || x.Name == name
				continue
			}
			if x.Name != "" && (a.allows(VerbConnect, x.Name) || a.allows(VerbRead, x.Name)) {
				names = append(names, x.Name)
			}
		}
		return err
	})
	none := fmt.Sprintf("There is no app %q", name)
	switch {
	case err != nil:
		return none + "."
	case name == "" && len(names) > 0:
		return fmt.Sprintf("No app is named, and there is none without a name; there are %s. Open %s/, or name one of them with default: in plane.yaml.",
			strings.Join(names, ", "), c.origin(c.cfg.DefaultCluster, "KEY--"+names[0]))
	case name == "":
		none = "No app is named, and there is none without a name"
	case former:
		none = fmt.Sprintf("There is no app %q any more: an earlier plane dev had it", name)
	case plane.Nearest(name, names) != "":
		return fmt.Sprintf("%s; did you mean %q?", none, plane.Nearest(name, names))
	}
	if len(names) == 0 {
		return none + "; define it with plane apply."
	}
	return fmt.Sprintf("%s; there are %s.", none, strings.Join(names, ", "))
}

// appMissing turns a missing app into what callers see.
func (c *Controller) appMissing(ctx context.Context, a Actor, name string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return plane.NewError(plane.NotFound, c.unknownApp(ctx, a, name))
	}
	return err
}
