package api

import (
	"net/http"

	"plane"
	"plane/internal/controller"
)

// about tells which Plane this is.
func (a *API) about(w http.ResponseWriter, r *http.Request, _ controller.Actor) error {
	if err := a.checkHealth(r.Context()); err != nil {
		return err
	}
	a.answer(w, http.StatusOK, struct {
		Status         string            `json:"status"`
		Version        string            `json:"version"`
		Hash           string            `json:"hash"`
		DefaultCluster plane.ClusterName `json:"default_cluster,omitempty"`
		Project        string            `json:"project,omitempty"`
	}{"ok", a.opts.Version, a.opts.Hash, a.opts.DefaultCluster, a.opts.Project})
	return nil
}

func (a *API) connect(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	v, err := body(w, r)
	if err != nil {
		return err
	}
	req, err := decodeConnect(v, a.opts.Unnamed)
	if err != nil {
		return err
	}
	resp, err := a.ctrl.Connect(r.Context(), who, req)
	if err != nil {
		return err
	}
	a.answer(w, http.StatusOK, resp)
	return nil
}

// terminate asks for the end and doesn't wait for it.
func (a *API) terminate(kind plane.StopKind) verb {
	return func(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
		if err := a.ctrl.Terminate(r.Context(), who, backendOf(r), kind); err != nil {
			return err
		}
		a.answer(w, http.StatusOK, nil)
		return nil
	}
}

func (a *API) revoke(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	v, err := body(w, r)
	if err != nil {
		return err
	}
	id, user, err := decodeRevoke(v)
	if err != nil {
		return err
	}
	if err := a.ctrl.Revoke(r.Context(), who, id, user); err != nil {
		return err
	}
	a.answer(w, http.StatusOK, "Token revoked successfully")
	return nil
}

func (a *API) drain(on bool) verb {
	return func(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
		cluster, drone := plane.ClusterName(r.PathValue("cluster")), plane.NodeName(r.PathValue("drone"))
		updated, err := a.ctrl.Drain(r.Context(), who, cluster, drone, on)
		if err != nil {
			return err
		}
		a.answer(w, http.StatusOK, struct {
			Updated bool `json:"updated"`
		}{updated})
		return nil
	}
}

// removeNode forgets a drone or proxy.
func (a *API) removeNode(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	q, err := parseQuery(r, "force", "compromised")
	if err != nil {
		return err
	}
	var how controller.Removal
	if how.Force, err = q.flag("force"); err != nil {
		return err
	}
	if how.Compromised, err = q.flag("compromised"); err != nil {
		return err
	}
	cluster, node := plane.ClusterName(r.PathValue("cluster")), plane.NodeName(r.PathValue("node"))
	if err := a.ctrl.RemoveNode(r.Context(), who, cluster, node, how); err != nil {
		return err
	}
	a.answer(w, http.StatusOK, nil)
	return nil
}

func (a *API) apiKeys(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	keys, err := a.ctrl.APIKeys(r.Context(), who)
	if err != nil {
		return err
	}
	if keys == nil {
		keys = []controller.APIKeyView{}
	}
	a.answer(w, http.StatusOK, struct {
		Keys []controller.APIKeyView `json:"api_keys"`
	}{keys})
	return nil
}

func (a *API) createAPIKey(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	v, err := body(w, r)
	if err != nil {
		return err
	}
	name, grants, err := decodeAPIKey(v)
	if err != nil {
		return err
	}
	key, err := a.ctrl.CreateAPIKey(r.Context(), who, name, grants)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // the secret is in it
	a.answer(w, http.StatusOK, key)
	return nil
}

func (a *API) deleteAPIKey(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	if err := a.ctrl.DeleteAPIKey(r.Context(), who, r.PathValue("id")); err != nil {
		return err
	}
	a.answer(w, http.StatusOK, nil)
	return nil
}
