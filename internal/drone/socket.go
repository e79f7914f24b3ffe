package drone

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"plane"
	"plane/internal/wire"
)

const (
	maxHoldSeconds = 86400
	maxHoldText    = 200 // bytes of a name and of a reason
	maxSocketBody  = 16 << 10
	streamBeat     = 15 * time.Second
)

// socketRoutes is what a backend may ask on its socket.
func socketRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/holds/{name}", putHold)
	mux.HandleFunc("DELETE /v1/holds/{name}", deleteHold)
	mux.HandleFunc("GET /v1/self", getSelf)
	mux.HandleFunc("GET /v1/events", getEvents)
	return mux
}

func runnerOf(r *http.Request) *runner {
	return r.Context().Value(doorKey{}).(*door).runner
}

func putHold(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Seconds int64  `json:"seconds"`
		Reason  string `json:"reason"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxSocketBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		text := err.Error()
		if errors.Is(err, io.EOF) {
			text = "there is none"
		}
		answerError(w, &plane.Error{Kind: plane.BadRequest, Status: 400, Message: `The body must be {"seconds": N, "reason": "…"}: ` + text + "."})
		return
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		answerError(w, &plane.Error{Kind: plane.BadRequest, Status: 400, Message: "The body goes on after its JSON object."})
		return
	}
	name := req.PathValue("name")
	switch {
	case name == "" || len(name) > maxHoldText || !printable(name):
		answerError(w, plane.Invalid("name", fmt.Sprintf("A hold's name has 1 to %d bytes of printable text.", maxHoldText)))
		return
	case body.Seconds < 1 || body.Seconds > maxHoldSeconds:
		answerError(w, plane.Invalid("seconds", fmt.Sprintf("seconds must be from 1 to %d.", maxHoldSeconds)))
		return
	case len(body.Reason) > maxHoldText || !printable(body.Reason):
		answerError(w, plane.Invalid("reason", fmt.Sprintf("reason may have %d bytes of printable text.", maxHoldText)))
		return
	}
	if err := runnerOf(req).holds.put(name, body.Reason, time.Duration(body.Seconds)*time.Second); err != nil {
		answerError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// printable reports whether text can be shown to people as it is.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

func deleteHold(w http.ResponseWriter, req *http.Request) {
	if err := runnerOf(req).holds.drop(req.PathValue("name")); err != nil {
		answerError(w, plane.NewError(plane.Other, "The hold's end could not be recorded."))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// self is what a backend may know of itself.
type self struct {
	Backend    plane.BackendID   `json:"backend_id"`
	Key        plane.Key         `json:"key"`
	Generation plane.Generation  `json:"generation"`
	Cluster    plane.ClusterName `json:"cluster"`
	App        string            `json:"app"`
	Release    int64             `json:"release,omitempty"`
	Status     plane.Status      `json:"status"`
	Holds      []wire.Hold       `json:"holds"`
}

func getSelf(w http.ResponseWriter, req *http.Request) {
	r := runnerOf(req)
	answer(w, http.StatusOK, self{
		Backend: r.id, Key: r.record.Key, Generation: r.record.Generation, Cluster: r.record.Cluster,
		App: r.record.App, Release: r.record.Release,
		Status: r.now.Load().state.Status, Holds: append([]wire.Hold{}, r.holds.list()...),
	})
}

func getEvents(w http.ResponseWriter, req *http.Request) {
	events, end := runnerOf(req).stream.subscribe()
	defer end()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for text := ": plane\n\n"; ; {
		if _, err := io.WriteString(w, text); err != nil || out.Flush() != nil {
			return
		}
		var open bool
		select {
		case <-req.Context().Done():
			return
		case text, open = <-events:
			if !open {
				return
			}
		case <-beat.C:
			text = ": plane\n\n"
		}
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the peer may have gone
}

func answerError(w http.ResponseWriter, e *plane.Error) {
	status := e.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	answer(w, status, map[string]any{"kind": e.Kind, "message": e.Message, "field": e.Field})
}
