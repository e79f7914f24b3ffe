package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"plane"
)

// Connect gets or starts the backend of a key. It is not repeated: after an
// Unreachable the backend may run; connecting again finds it.
func (c *Client) Connect(ctx context.Context, req ConnectRequest) (ConnectResponse, error) {
	var got ConnectResponse
	err := c.call(ctx, http.MethodPost, "/ctrl/connect", nil, req, &got)
	return got, err
}

// Terminate asks for a backend's end and doesn't wait for it.
func (c *Client) Terminate(ctx context.Context, id plane.BackendID, kind plane.StopKind) error {
	return c.call(ctx, http.MethodPost, "/ctrl/b/"+segment(string(id))+"/"+string(kind)+"-terminate", nil, nil, nil)
}

// Revoke makes the tokens of one user of a backend worthless.
func (c *Client) Revoke(ctx context.Context, id plane.BackendID, user string) error {
	in := struct {
		Backend plane.BackendID `json:"backend_id"`
		User    string          `json:"user"`
	}{id, user}
	return c.call(ctx, http.MethodPost, "/ctrl/b/revoke", nil, in, nil)
}

// Drain keeps new backends off a drone, and reports whether that is new.
func (c *Client) Drain(ctx context.Context, cluster plane.ClusterName, drone plane.NodeName) (bool, error) {
	return c.setDraining(ctx, cluster, drone, "drain")
}

// Undrain lets backends on a drone again, and reports whether that is new.
func (c *Client) Undrain(ctx context.Context, cluster plane.ClusterName, drone plane.NodeName) (bool, error) {
	return c.setDraining(ctx, cluster, drone, "undrain")
}

func (c *Client) setDraining(ctx context.Context, cluster plane.ClusterName, drone plane.NodeName, verb string) (bool, error) {
	var got struct {
		Updated bool `json:"updated"`
	}
	err := c.call(ctx, http.MethodPost, "/ctrl/c/"+segment(string(cluster))+"/d/"+segment(string(drone))+"/"+verb, nil, nil, &got)
	return got.Updated, err
}

// Removal says how a node is removed.
type Removal struct {
	Force       bool // also with backends that may still run
	Compromised bool // a proxy: refuse all tokens made so far
}

// RemoveNode forgets a drone or proxy.
func (c *Client) RemoveNode(ctx context.Context, cluster plane.ClusterName, node plane.NodeName, how Removal) error {
	q := url.Values{}
	if how.Force {
		q.Set("force", "1")
	}
	if how.Compromised {
		q.Set("compromised", "1")
	}
	return c.call(ctx, http.MethodDelete, "/ctrl/c/"+segment(string(cluster))+"/nodes/"+segment(string(node)), q, nil, nil)
}

// ClusterState lists the nodes of a cluster that are connected.
func (c *Client) ClusterState(ctx context.Context, cluster plane.ClusterName) (ClusterState, error) {
	var got ClusterState
	err := c.call(ctx, http.MethodGet, "/ctrl/c/"+segment(string(cluster))+"/state", nil, nil, &got)
	return got, err
}

// Backend shows one backend.
func (c *Client) Backend(ctx context.Context, id plane.BackendID) (Backend, error) {
	var got Backend
	err := c.call(ctx, http.MethodGet, "/ctrl/b/"+segment(string(id)), nil, nil, &got)
	return got, err
}

// Backends yields the backends that f chooses, page by page. It ends after
// the first error.
func (c *Client) Backends(ctx context.Context, f Filter) iter.Seq2[Backend, error] {
	return func(yield func(Backend, error) bool) {
		q := f.query()
		for {
			var page struct {
				Backends []Backend `json:"backends"`
				Next     *string   `json:"next"`
			}
			if err := c.call(ctx, http.MethodGet, "/ctrl/backends", q, nil, &page); err != nil {
				yield(Backend{}, err)
				return
			}
			for _, b := range page.Backends {
				if !yield(b, nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			q.Set("cursor", *page.Next)
		}
	}
}

func (f Filter) query() url.Values {
	q := url.Values{"limit": {"1000"}}
	for name, v := range map[string]string{
		"cluster": string(f.Cluster), "key_prefix": f.KeyPrefix, "status": string(f.Status), "drone": string(f.Drone),
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if f.Namespace != nil {
		q.Set("namespace", *f.Namespace)
	}
	if f.App != nil {
		q.Set("app", *f.App)
	}
	if f.Live {
		q.Set("live", "1")
	}
	return q
}

// Explain tells why a key's backend runs, or doesn't.
func (c *Client) Explain(ctx context.Context, namespace, name string) (Explanation, error) {
	var got Explanation
	err := c.call(ctx, http.MethodGet, "/ctrl/explain", url.Values{"namespace": {namespace}, "name": {name}}, nil, &got)
	return got, err
}

// APIKeys lists the API keys, without secrets.
func (c *Client) APIKeys(ctx context.Context) ([]APIKey, error) {
	var got struct {
		Keys []APIKey `json:"api_keys"`
	}
	err := c.call(ctx, http.MethodGet, "/ctrl/api-keys", nil, nil, &got)
	return got.Keys, err
}

// CreateAPIKey makes an API key. Its secret is shown this once.
func (c *Client) CreateAPIKey(ctx context.Context, name string, grants []string) (APIKey, error) {
	var got APIKey
	in := struct {
		Name   string   `json:"name"`
		Grants []string `json:"grants"`
	}{name, grants}
	err := c.call(ctx, http.MethodPost, "/ctrl/api-keys", nil, in, &got)
	return got, err
}

// DeleteAPIKey deletes an API key.
func (c *Client) DeleteAPIKey(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/ctrl/api-keys/"+segment(id), nil, nil, nil)
}

// About tells which Plane the controller is.
func (c *Client) About(ctx context.Context) (Controller, error) {
	var got Controller
	err := c.call(ctx, http.MethodGet, "/ctrl/status", nil, nil, &got)
	return got, err
}

// Health reports whether the controller can answer.
func (c *Client) Health(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/pub/health", nil, nil, nil)
}

// Status is a backend's latest status.
func (c *Client) Status(ctx context.Context, id plane.BackendID) (StatusEntry, error) {
	var got StatusEntry
	err := c.call(ctx, http.MethodGet, "/pub/b/"+segment(string(id))+"/status", nil, nil, &got)
	return got, err
}

func since(seq int64) url.Values { return url.Values{"since": {strconv.FormatInt(seq, 10)}} }
