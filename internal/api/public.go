package api

import (
	"context"
	"encoding/json"
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

// statusStream sends what a backend went through and goes through. It ends
// after terminated.
func (a *API) statusStream(w http.ResponseWriter, r *http.Request, _ controller.Actor) error {
	id := backendOf(r)
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
	err := a.ctrl.Follow(ctx, id, after, func(e controller.StatusEntry) error {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return s.send(b, string(e.Status))
	})
	a.streamEnded(ctx, r, err)
	return nil
}

// streamEnded logs why a stream broke off; its status has long been sent.
func (a *API) streamEnded(ctx context.Context, r *http.Request, err error) {
	if err != nil && ctx.Err() == nil {
		a.log.Error("stream broke off", "route", r.Pattern, "error", err)
	}
}
