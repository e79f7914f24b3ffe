package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"plane"
	"plane/internal/controller"
	"plane/internal/store"
)

const maxPage = 1000 // backends

func (a *API) backends(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "cluster", "namespace", "key_prefix", "app", "status", "drone", "live", "limit", "cursor")
	if err != nil {
		return err
	}
	f := store.Filter{
		Cluster:   plane.ClusterName(q.text("cluster")),
		Namespace: q.optional("namespace"),
		KeyPrefix: q.text("key_prefix"),
		App:       q.optional("app"),
		Status:    plane.Status(q.text("status")),
		Drone:     plane.NodeName(q.text("drone")),
		After:     plane.BackendID(q.text("cursor")),
	}
	if f.Status != "" && f.Status.Order() == 0 {
		return plane.Invalid("status", fmt.Sprintf("status is %q; known are %s.", f.Status, allStatuses()))
	}
	limit, err := q.number("limit", 1, maxPage, 100)
	if err != nil {
		return err
	}
	f.Limit = int(limit)
	if f.Live, err = q.flag("live"); err != nil {
		return err
	}
	page, err := a.ctrl.Backends(r.Context(), who, f)
	if err != nil {
		return err
	}
	if page.Backends == nil {
		page.Backends = []controller.BackendView{}
	}
	a.answer(w, http.StatusOK, page)
	return nil
}

func allStatuses() string {
	names := make([]string, len(plane.Statuses))
	for i, s := range plane.Statuses {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

func (a *API) backend(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	view, err := a.ctrl.Backend(r.Context(), who, backendOf(r))
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, view)
	return nil
}

// logs gives a backend's output as text, or as events while it goes on.
func (a *API) logs(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "tail", "follow")
	if err != nil {
		return err
	}
	tail, err := q.number("tail", 0, math.MaxInt32, 0)
	if err != nil {
		return err
	}
	follow, err := q.flag("follow")
	if err != nil {
		return err
	}
	output, err := a.ctrl.Logs(r.Context(), who, backendOf(r), int(tail), follow)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	if !follow {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusOK)
		if _, err := io.Copy(w, output); err != nil {
			a.streamEnded(r.Context(), r, err)
			panic(http.ErrAbortHandler) // so that a cut answer isn't taken for a whole one
		}
		return nil
	}
	s, ctx := openStream(w, r)
	defer s.close()
	if r.Method == http.MethodHead {
		return nil
	}
	// Reading doesn't know of the context.
	stop := context.AfterFunc(ctx, func() { _ = output.Close() })
	defer stop()
	err = eachLine(output, func(line []byte) error {
		return s.send([]byte(strings.ToValidUTF8(string(line), "\uFFFD")), "")
	})
	a.streamEnded(ctx, r, err)
	return nil
}

const maxLine = 64 << 10 // bytes; longer lines are cut into pieces

// eachLine calls fn with every line, without its end.
func eachLine(r io.Reader, fn func([]byte) error) error {
	b := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			if line[len(line)-1] == '\n' {
				line = line[:len(line)-1]
			}
			if err := fn(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

func (a *API) explain(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "namespace", "name")
	if err != nil {
		return err
	}
	name := q.optional("name")
	if name == nil {
		return plane.Invalid("name", "name is missing: which key shall be explained?")
	}
	why, err := a.ctrl.Explain(r.Context(), who, q.text("namespace"), *name)
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, why)
	return nil
}

// events gives the log as JSON lines, or as events while it goes on.
func (a *API) events(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "since", "follow")
	if err != nil {
		return err
	}
	since, err := q.number("since", 0, math.MaxInt64, 0)
	if err != nil {
		return err
	}
	follow, err := q.flag("follow")
	if err != nil {
		return err
	}
	if !follow {
		return a.eventLines(w, r, who, since)
	}
	if last, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64); err == nil && last > since {
		since = last
	}
	s, ctx := openStream(w, r)
	defer s.close()
	if r.Method == http.MethodHead {
		return nil
	}
	err = a.ctrl.Events(ctx, who, since, true, func(e controller.EventView) error {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return s.send(b, strconv.FormatInt(e.Seq, 10))
	})
	a.streamEnded(ctx, r, err)
	return nil
}

func (a *API) eventLines(w http.ResponseWriter, r *http.Request, who controller.Actor, since int64) error {
	begun := false
	begin := func() {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		begun = true
	}
	lines := json.NewEncoder(w)
	err := a.ctrl.Events(r.Context(), who, since, false, func(e controller.EventView) error {
		if !begun {
			begin()
		}
		return lines.Encode(e)
	})
	switch {
	case err != nil && begun:
		a.streamEnded(r.Context(), r, err)
		panic(http.ErrAbortHandler)
	case err != nil:
		return err
	case !begun:
		begin()
	}
	return nil
}

func (a *API) clusterState(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	if err := who.May(controller.VerbRead, controller.Everywhere); err != nil {
		return err
	}
	state, err := a.ctrl.ClusterState(r.Context(), plane.ClusterName(r.PathValue("cluster")))
	if err != nil {
		return err
	}
	if state.Drones == nil {
		state.Drones = []controller.DroneView{}
	}
	if state.Proxies == nil {
		state.Proxies = []controller.NodeView{}
	}
	a.answer(w, http.StatusOK, state)
	return nil
}
