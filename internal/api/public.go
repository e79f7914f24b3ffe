package api

import (
	"context"
	"encoding/json"
	"math"
	"net/http"

	"plane"
	"plane/internal/controller"
)

func (a *API) health(w http.ResponseWriter, r *http.Request, _ controller.Actor) error {
	if err := a.checkHealth(r.Context()); err != nil {
		return err
	}
	if a.opts.Ready != nil {
		if err := a.opts.Ready(r.Context()); err != nil {
			return plane.NewError(plane.Unavailable, "Not ready yet: "+err.Error()+".")
		}
	}
	a.answer(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ok"})
	return nil
}

func (a *API) checkHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return a.ctrl.Health(ctx)
}

func backendOf(r *http.Request) plane.BackendID { return plane.BackendID(r.PathValue("backend")) }

func (a *API) status(w http.ResponseWriter, r *http.Request, _ controller.Actor) error {
	entry, err := a.ctrl.Status(r.Context(), backendOf(r))
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, entry)
	return nil
}

// statusStream sends what a backend went through and goes through, and with
// progress how far its preparation has come. It ends after terminated.
func (a *API) statusStream(w http.ResponseWriter, r *http.Request, _ controller.Actor) error {
	id := backendOf(r)
	progress, err := query{r.URL.Query()}.flag("progress") // others are let be, as Plane 0.5 does
	if err != nil {
		return err
	}
	if _, err := a.ctrl.Status(r.Context(), id); err != nil {
		return err
	}
	var after plane.Status
	if last := plane.Status(r.Header.Get("Last-Event-ID")); last.Order() > 0 {
		after = last
	}
	s, ctx := openStream(w, r)
	defer s.close()
	if r.Method == http.MethodHead {
		return nil
	}
	each := func(e controller.StatusEntry) error {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return s.send(b, string(e.Status))
	}
	if !progress {
		err = a.ctrl.Follow(ctx, id, after, each)
	} else {
		err = a.ctrl.FollowProgress(ctx, id, after, each, func(p plane.Pull) error {
			b, err := json.Marshal(progressOf(p))
			if err != nil {
				return err
			}
			return s.sendAs("progress", b, "")
		})
	}
	a.streamEnded(ctx, r, err)
	return nil
}

// progress is how far the preparation of a backend has come.
type progress struct {
	Text    string   `json:"text"`
	Done    int64    `json:"done_bytes"`
	Total   *int64   `json:"total_bytes"` // null = not known yet
	Percent *float64 `json:"percent"`     // likewise
}

func progressOf(p plane.Pull) progress {
	out := progress{Text: p.Text, Done: p.Done}
	if p.Total > 0 {
		percent := math.Floor(min(float64(p.Done)/float64(p.Total), 1)*1000) / 10
		out.Total, out.Percent = &p.Total, &percent
	}
	return out
}

// streamEnded logs why a stream broke off; its status has long been sent.
func (a *API) streamEnded(ctx context.Context, r *http.Request, err error) {
	if err != nil && ctx.Err() == nil {
		a.log.Error("stream broke off", "route", r.Pattern, "error", err)
	}
}
