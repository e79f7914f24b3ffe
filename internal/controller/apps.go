package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"plane"
	"plane/internal/store"
)

const (
	releasesShown = 100
	releasesKept  = 100 // of an app, beside its pointer's and those that backends name
)

// Apply makes t what an app's new backends are started with: a new release, if
// it differs from the one that the app points at. The first makes the app.
func (c *Controller) Apply(ctx context.Context, a Actor, name string, t plane.Template) (Applied, error) {
	if err := a.May(VerbApp, name); err != nil {
		return Applied{}, err
	}
	if name != "" || !c.isDefault(name) {
		if bad := plane.CheckAppName(name); bad != nil {
			return Applied{}, bad
		}
	}
	if bad := t.Check(); bad != nil {
		return Applied{}, bad
	}
	text, err := json.Marshal(t)
	if err != nil {
		return Applied{}, fmt.Errorf("encode app %q: %w", name, err)
	}
	out := Applied{App: name, Warnings: templateWarnings(t)}
	done := c.apps.changing()
	defer done()
	err = c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		out.Changed = false
		now, err := readApp(tx, name)
		if err == nil {
			was, err := json.Marshal(now.template)
			if err != nil {
				return err
			}
			if bytes.Equal(was, text) {
				out.Release = now.release
				return nil
			}
		} else if !isNotFound(err) {
			return err
		}
		out.Changed = true
		out.Release, err = tx.InsertRelease(store.Release{App: name, Template: t, Actor: a.String()})
		if err != nil {
			return err
		}
		if err := tx.PutApp(name, out.Release); err != nil {
			return err
		}
		if err := tx.ForgetCrashes(name); err != nil {
			return err
		}
		return tx.InsertEvent(appEvent(eventApply, a, name, fmt.Sprintf("Release %d of %s: %s.", out.Release, calledApp(name), runs(t))))
	})
	if err != nil {
		return Applied{}, fmt.Errorf("apply app %q: %w", name, err)
	}
	c.served.add(name)
	if out.Changed {
		c.tellChanged(name)
	}
	c.hub.notify(topicEvents)
	return out, nil
}

// Point moves an app to another of its releases; 0 is the one before.
func (c *Controller) Point(ctx context.Context, a Actor, name string, release int64) (AppView, error) {
	if err := a.May(VerbApp, name); err != nil {
		return AppView{}, err
	}
	done := c.apps.changing()
	moved := false
	err := c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) (err error) {
		moved, err = point(tx, a, name, release)
		return err
	})
	done()
	if isNotFound(err) {
		return AppView{}, c.appMissing(ctx, a, name, err)
	}
	if err != nil {
		return AppView{}, fmt.Errorf("move app %q: %w", name, err)
	}
	if moved {
		c.tellChanged(name)
	}
	c.hub.notify(topicEvents)
	return c.appView(ctx, name)
}

func point(tx store.Tx, a Actor, name string, release int64) (moved bool, err error) {
	app, err := tx.App(name)
	if err != nil {
		return false, err
	}
	all, err := tx.Releases(name, 0)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(all, func(r store.Release) bool {
		return release == 0 && r.Number < app.Release || r.Number == release
	})
	switch {
	case i < 0 && release == 0:
		return false, plane.Invalid("release", fmt.Sprintf("%s has no release before %d.", sentenceCase(calledApp(name)), app.Release))
	case i < 0:
		return false, plane.Invalid("release", fmt.Sprintf("%s has no release %d; its latest are %s.", sentenceCase(calledApp(name)), release, numbers(all)))
	case all[i].Number == app.Release:
		return false, nil
	}
	if err := tx.PutApp(name, all[i].Number); err != nil {
		return false, err
	}
	if err := tx.ForgetCrashes(name); err != nil {
		return false, err
	}
	return true, tx.InsertEvent(appEvent(eventRollback, a, name, fmt.Sprintf(
		"%s went from release %d to %d: %s.", sentenceCase(calledApp(name)), app.Release, all[i].Number, runs(all[i].Template))))
}

// numbers are the latest few releases, as a list for people.
func numbers(all []store.Release) string {
	var list []string
	for _, r := range all[:min(len(all), 5)] {
		list = append(list, fmt.Sprint(r.Number))
	}
	return strings.Join(list, ", ")
}

// App shows one app with its releases.
func (c *Controller) App(ctx context.Context, a Actor, name string) (AppView, error) {
	if err := a.May(VerbRead, name); err != nil {
		return AppView{}, err
	}
	v, err := c.appView(ctx, name)
	return v, c.appMissing(ctx, a, name, err)
}

func (c *Controller) appView(ctx context.Context, name string) (AppView, error) {
	var v AppView
	err := c.store.View(ctx, func(tx store.Tx) error {
		row, err := tx.App(name)
		if err != nil {
			return err
		}
		if v, err = c.viewApp(tx, row); err != nil {
			return err
		}
		all, err := tx.Releases(name, releasesShown)
		for _, r := range all {
			v.Releases = append(v.Releases, releaseView(r))
		}
		return err
	})
	return v, err
}

// Apps lists the apps that a may read, by name.
func (c *Controller) Apps(ctx context.Context, a Actor) (AppList, error) {
	out := AppList{Apps: []AppView{}, Default: c.cfg.DefaultApp}
	if !a.readsSomething() {
		return out, a.May(VerbRead, Everywhere)
	}
	err := c.store.View(ctx, func(tx store.Tx) error {
		out.Apps = []AppView{}
		rows, err := tx.Apps()
		if err != nil {
			return err
		}
		for _, row := range rows {
			if !a.allows(VerbRead, row.Name) || !c.serves(row.Name) {
				continue
			}
			v, err := c.viewApp(tx, row)
			if err != nil {
				return err
			}
			out.Apps = append(out.Apps, v)
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("list apps: %w", err)
	}
	return out, nil
}

func (c *Controller) viewApp(tx store.Tx, row store.App) (AppView, error) {
	r, err := tx.Release(row.Name, row.Release)
	if err != nil {
		return AppView{}, fmt.Errorf("release %d of app %q: %w", row.Release, row.Name, err)
	}
	live, err := tx.CountLiveOf(row.Name)
	return AppView{
		Name: row.Name, Default: c.isDefault(row.Name), Release: row.Release, UpdatedAt: row.UpdatedAt.UnixMilli(),
		Live: live, Digest: r.Digest, Spec: r.Template.Masked(),
	}, err
}

func releaseView(r store.Release) ReleaseView {
	return ReleaseView{
		Release: r.Number, CreatedAt: r.CreatedAt.UnixMilli(), Actor: r.Actor, Digest: known(r.Digest), Spec: r.Template.Masked(),
	}
}

// templateWarnings are what an app says that nothing enforces.
func templateWarnings(t plane.Template) []string {
	var all []string
	if t.Image != "" {
		return nil
	}
	if t.Egress != "" {
		all = append(all, "egress isn't enforced for commands: they have this machine's network.")
	}
	for _, name := range slices.Sorted(maps.Keys(t.Ports)) {
		all = append(all, fmt.Sprintf("ports.%s: a command isn't given port %d; it is told its own in PORT_%s.", name, t.Ports[name], strings.ToUpper(name)))
	}
	if t.Limits.DiskLimitBytes != nil {
		all = append(all, "resource_limits.disk_limit_bytes is watched for commands, and told when it is exceeded; it isn't enforced.")
	}
	return all
}

// runs is what an app runs, for people.
func runs(t plane.Template) string {
	if t.Image != "" {
		return t.Image
	}
	return strings.Join(t.Command, " ")
}

// calledApp is an app's name within a sentence.
func calledApp(name string) string {
	if name == "" {
		return "the unnamed app"
	}
	return "app " + name
}

func sentenceCase(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
