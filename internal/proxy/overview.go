package proxy

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"plane"
	"plane/internal/wire"
)

// overviews are the open questions for what the start page shows.
type overviews struct {
	mu   sync.Mutex // guards the fields below
	last int64
	open map[int64]chan wire.Overview
}

func (q *overviews) begin() (id int64, answer chan wire.Overview) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	answer = make(chan wire.Overview, 1)
	q.open[q.last] = answer
	return q.last, answer
}

func (q *overviews) end(id int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, id)
}

func (q *overviews) take(m wire.Overview) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if answer := q.open[m.ID]; answer != nil {
		delete(q.open, m.ID)
		answer <- m
	}
}

// overviewLimit is how long the start page's question waits: it is put again
// every second.
const overviewLimit = 3 * time.Second

// overview answers the start page's question, to itself only: what runs on
// somebody's machine is no other page's business.
func (x *exchange) overview(ctx context.Context) bool {
	switch x.req.fetchSite {
	case "", "same-origin", "none":
	default:
		return x.say(answer{status: 403})
	}
	id, answers := x.p.overviews.begin()
	defer x.p.overviews.end(id)
	x.p.session.send(wire.OverviewAsk{ID: id})
	wait, done := x.slow(ctx)
	wait, cancel := context.WithTimeout(wait, overviewLimit)
	var got wire.Overview
	var err error
	select {
	case got = <-answers:
	case <-wait.Done():
		err = wait.Err()
	}
	cancel()
	done()
	switch {
	case err != nil:
		return x.say(later)
	case got.Error != nil:
		return x.say(answer{status: 404, text: got.Error.Message + "\n"})
	}
	text, err := json.Marshal(x.overviewOf(got))
	if err != nil {
		panic("proxy: an overview that is no JSON: " + err.Error())
	}
	return x.say(answer{
		status: 200, text: string(text), noStore: true,
		fields: []field{{"content-type", "application/json"}, {"cross-origin-resource-policy", "same-origin"}},
	})
}

// served is what the start page shows.
type served struct {
	Apps     []servedApp     `json:"apps"`
	Backends []servedBackend `json:"backends"`
	Total    int             `json:"total"` // live ones
}

type servedApp struct {
	Name    string `json:"name"`
	Default bool   `json:"default"`
	Runs    string `json:"runs"`
	Release int64  `json:"release"`
}

type servedBackend struct {
	Key         string       `json:"key"` // as the command line takes it
	Name        string       `json:"name"`
	App         string       `json:"app"`
	Backend     string       `json:"backend_id"`
	Status      plane.Status `json:"status"`
	SinceMS     int64        `json:"since_ms"`
	Connections int          `json:"connections"`
	Memory      int64        `json:"memory_bytes"`
	End         string       `json:"end,omitempty"`
	Host        string       `json:"host,omitempty"` // of its key URL, if it can have one
	Path        string       `json:"path"`           // of its key URL below the bare host
}

// overviewOf adds to what a controller says how the keys are reached.
func (x *exchange) overviewOf(m wire.Overview) served {
	s := served{Apps: []servedApp{}, Backends: []servedBackend{}, Total: m.Total}
	byDefault := ""
	for _, a := range m.Apps {
		if a.Default {
			byDefault = a.Name
		}
		s.Apps = append(s.Apps, servedApp{Name: a.Name, Default: a.Default, Runs: a.Runs, Release: a.Release})
	}
	for _, b := range m.Backends {
		of := servedBackend{
			Key: b.Key.String(), Name: b.Key.Name, App: b.App, Backend: string(b.Backend), Status: b.Status,
			SinceMS: b.SinceMS, Connections: b.Connections, Memory: b.Memory, End: b.End,
		}
		if b.App == b.Key.Namespace { // else no key URL leads there
			app := b.App
			if app == byDefault {
				app = ""
			}
			of.Host, of.Path = x.hostForm(app, b.Key.Name), pathForm(app, b.Key.Name)
		}
		s.Backends = append(s.Backends, of)
	}
	return s
}
