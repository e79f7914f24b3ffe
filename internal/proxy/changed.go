package proxy

import (
	"sync"
	"time"

	"plane"
	"plane/internal/wire"
)

const maxChanged = 4096 // apps; after that they are forgotten, and pages wait for their people

// appChanges remembers when apps last changed, for pages whose backend isn't live.
type appChanges struct {
	mu sync.Mutex           // guards the field below
	at map[string]time.Time // by the app that refs name; "" = the default one
}

func (q *appChanges) note(app string, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.at) >= maxChanged {
		clear(q.at)
	}
	q.at[app] = now
}

func (q *appChanges) after(app string, t time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.at[app].After(t)
}

// appChanged takes the word that an app changed, and lets streams look.
func (p *Proxy) appChanged(m wire.AppChanged, now time.Time) {
	names := []string{m.App}
	if m.Default && m.App != "" {
		names = append(names, "")
	}
	for _, app := range names {
		p.changed.note(app, now)
		p.bells.ringApp(app)
	}
}

// outdated reports whether what g shows isn't live, and the app has changed
// since: the page is to be loaded again.
func (w *watch) outdated(g progress) bool {
	p, now := w.x.p, time.Now()
	k := p.wakings.find(w.what)
	if k != nil && !k.isOver() || g.Status != "" && g.Status != plane.Terminated {
		w.lively = now
		return false
	}
	app := w.what.ref.app
	if p.changed.after(app, w.lively) {
		return true
	}
	// The page may have been made before this stream began: by this start.
	if k == nil || g.Status == "" || !p.changed.after(app, k.began) {
		return false
	}
	p.wakings.drop(k) // what the page is told once
	return true
}
