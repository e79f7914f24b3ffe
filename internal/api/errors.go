package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"plane"
)

// Messages of faults that are ours, as Plane 0.5 words them.
const (
	faultDatabase = "Database error"
	faultHealth   = "Database health check failed"
	faultConnect  = "Internal error."
	faultRevoke   = "Failed to revoke token"
)

// status is the HTTP status of an error: its own, or the one of its kind.
func status(e *plane.Error) int {
	if e.Status != 0 {
		return e.Status
	}
	switch e.Kind {
	case plane.BadRequest, plane.NoClusterProvided, plane.InvalidClusterName:
		return http.StatusBadRequest
	case plane.Unauthorized:
		return http.StatusUnauthorized
	case plane.Forbidden:
		return http.StatusForbidden
	case plane.NotFound:
		return http.StatusNotFound
	case plane.KeyUnheldNoSpawnConfig, plane.KeyHeld, plane.FailedToRemoveKey:
		return http.StatusConflict
	case plane.UnsupportedExecutable:
		return http.StatusUnprocessableEntity
	case plane.LimitExceeded:
		return http.StatusTooManyRequests
	case plane.StartFailed:
		return http.StatusBadGateway
	case plane.KeyHeldUnhealthy, plane.CrashLoop, plane.Unavailable, plane.DataUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// failure is the error object. The first three fields are always there.
type failure struct {
	ID      string     `json:"id"`
	Kind    plane.Kind `json:"kind"`
	Message string     `json:"message"`
	Field   string     `json:"field,omitempty"`
	Retry   int64      `json:"retry_after_seconds,omitempty"`
	Output  string     `json:"output,omitempty"`
}

// fail answers with err and logs it under the id that the answer carries.
// fault is what callers are told of an error that is ours.
func (a *API) fail(w http.ResponseWriter, r *http.Request, requestID string, err error, fault string) {
	var e *plane.Error
	if !errors.As(err, &e) {
		e = &plane.Error{Kind: plane.Other, Message: fault}
		if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
			return // nobody is there to be answered
		}
	}
	code := status(e)
	body := failure{
		ID:   plane.RandomName(rand.Reader, plane.NoPrefix),
		Kind: e.Kind, Message: e.Message, Field: e.Field, Output: e.Output,
	}
	if e.Retry > 0 {
		body.Retry = int64(math.Ceil(e.Retry.Seconds()))
		w.Header().Set("Retry-After", strconv.FormatInt(body.Retry, 10))
	}
	level := slog.LevelWarn
	if code >= 500 {
		level = slog.LevelError
	}
	a.log.LogAttrs(r.Context(), level, "request failed",
		slog.String("error_id", body.ID), slog.String("request_id", requestID),
		slog.String("method", r.Method), slog.String("route", r.Pattern),
		slog.Int("status", code), slog.Any("error", err))
	a.answer(w, code, body)
}

// answer writes v as JSON.
func (a *API) answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // a bug: every answer is made of plain fields
		a.log.Error("answer can't be encoded", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h["Content-Type"] = contentTypeJSON
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

var contentTypeJSON = []string{"application/json"}

// healthTimeout bounds health probes: they say "no" rather than wait.
const healthTimeout = 2 * time.Second
