package api

import (
	"fmt"
	"math"
	"net/http"

	"plane"
	"plane/internal/controller"
)

var (
	templateFields = []string{
		"command", "image", "runtime", "dir", "listen", "env", "resource_limits", "pull_policy", "credentials", "mount",
		"network_name", "user", "port", "read_only", "gpus", "max_idle_seconds", "lifetime_limit_seconds", "start_timeout_seconds",
		"stop_grace_seconds", "data", "lease", "access", "host", "ports", "idle", "pool", "egress",
	}
	credentialFields = []string{"username", "password", "identity_token"}
	limitFields      = []string{
		"cpu_period", "cpu_period_percent", "cpu_time_limit", "memory_limit_bytes", "disk_limit_bytes", "pids_limit", "open_files_limit",
	}
	releaseFields = []string{"release"}
)

func appOf(r *http.Request) (string, error) {
	name := r.PathValue("app")
	if bad := plane.CheckAppName(name); bad != nil {
		return "", bad
	}
	return name, nil
}

// appAndBody reads what a request says of the app that its path names.
func appAndBody(w http.ResponseWriter, r *http.Request) (name string, v value, err error) {
	if name, err = appOf(r); err != nil {
		return "", value{}, err
	}
	v, err = body(w, r)
	return name, v, err
}

// apply gives an app a template.
func (a *API) apply(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	name, v, err := appAndBody(w, r)
	if err != nil {
		return err
	}
	t, err := decodeTemplate(v)
	if err != nil {
		return err
	}
	done, err := a.ctrl.Apply(r.Context(), who, name, t)
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, done)
	return nil
}

// decodeTemplate reads the body of PUT /ctrl/apps/NAME. Names are judged here:
// encoding/json takes them in any case and twice.
func decodeTemplate(v value) (plane.Template, error) {
	bad := v.object(templateFields, func(v value, name string) *plane.Error {
		switch {
		case v.null():
			return nil
		case name == "resource_limits":
			return v.object(limitFields, func(value, string) *plane.Error { return nil })
		case name == "credentials":
			return v.object(credentialFields, func(value, string) *plane.Error { return nil })
		case name == "idle" && len(v.raw) > 0 && emptyList(v.raw):
			return plane.Invalid("idle", "idle is an empty list; name requests, holds or both, or leave it out.")
		}
		return nil
	})
	if bad != nil {
		return plane.Template{}, bad
	}
	t, bad := plane.ParseTemplate(v.raw)
	if bad != nil {
		return plane.Template{}, bad
	}
	return t, nil
}

func emptyList(raw []byte) bool {
	return raw[0] == '[' && raw[skipSpace(raw, 1)] == ']'
}

func (a *API) apps(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	if _, err := parseQuery(r); err != nil {
		return err
	}
	list, err := a.ctrl.Apps(r.Context(), who)
	if err != nil {
		return err
	}
	if list.Apps == nil {
		list.Apps = []controller.AppView{}
	}
	a.answer(w, http.StatusOK, list)
	return nil
}

func (a *API) app(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	name, err := appOf(r)
	if err != nil {
		return err
	}
	view, err := a.ctrl.App(r.Context(), who, name)
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, view)
	return nil
}

// setRelease makes new backends of an app take another release.
func (a *API) setRelease(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	name, v, err := appAndBody(w, r)
	if err != nil {
		return err
	}
	release, err := decodeRelease(v)
	if err != nil {
		return err
	}
	view, err := a.ctrl.Point(r.Context(), who, name, release)
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, view)
	return nil
}

// decodeRelease reads the body of POST /ctrl/apps/NAME/release; without a
// number it is 0, the release before.
func decodeRelease(v value) (int64, error) {
	var n *int32
	bad := v.object(releaseFields, func(v value, _ string) *plane.Error {
		if bad := v.optionalInt32(&n); bad != nil {
			return bad
		}
		if n != nil && *n < 1 {
			return plane.Invalid("release", fmt.Sprintf("release is %d; it must be from 1 to %d, or absent for the one before.", *n, math.MaxInt32))
		}
		return nil
	})
	switch {
	case bad != nil:
		return 0, bad
	case n == nil:
		return 0, nil
	}
	return int64(*n), nil
}
