package controller

import (
	"context"
	"errors"
	"io"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

var errUnwritten = errors.New("being written")

// Controller decides.
type Controller struct{ cfg Config }

// New makes a controller over its store. It starts nothing.
func New(ctx context.Context, cfg Config) (*Controller, error) {
	return &Controller{cfg: cfg.withDefaults()}, nil
}

// Run does the background work until ctx is done.
func (c *Controller) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Connect gets or starts the backend of a key.
func (c *Controller) Connect(ctx context.Context, a Actor, r ConnectRequest) (ConnectResponse, error) {
	return ConnectResponse{}, errUnwritten
}

// Terminate asks for a backend's end and doesn't wait for it.
func (c *Controller) Terminate(ctx context.Context, a Actor, id plane.BackendID, kind plane.StopKind) error {
	return errUnwritten
}

// Revoke makes the tokens of one user of a backend worthless.
func (c *Controller) Revoke(ctx context.Context, a Actor, id plane.BackendID, user string) error {
	return errUnwritten
}

// Drain sets or clears a drone's draining flag and reports whether it changed.
func (c *Controller) Drain(ctx context.Context, a Actor, cluster plane.ClusterName, drone plane.NodeName, on bool) (bool, error) {
	return false, errUnwritten
}

// Removal says how a node is removed.
type Removal struct {
	Force       bool // also with unlapsed backends: two may then run; written to the log
	Compromised bool // a proxy: start a new token key and refuse all older tokens
}

// RemoveNode forgets a drone or proxy.
func (c *Controller) RemoveNode(ctx context.Context, a Actor, cluster plane.ClusterName, node plane.NodeName, r Removal) error {
	return errUnwritten
}

// ClusterState lists the attached nodes of a cluster.
func (c *Controller) ClusterState(ctx context.Context, cluster plane.ClusterName) (ClusterState, error) {
	return ClusterState{}, errUnwritten
}

// Status is a backend's latest status.
func (c *Controller) Status(ctx context.Context, id plane.BackendID) (StatusEntry, error) {
	return StatusEntry{}, errUnwritten
}

// Follow gives a backend's statuses later than after ("" = all) to each, in
// order and without gaps; it returns nil after terminated.
func (c *Controller) Follow(ctx context.Context, id plane.BackendID, after plane.Status, each func(StatusEntry) error) error {
	return errUnwritten
}

// Backends lists backends.
func (c *Controller) Backends(ctx context.Context, a Actor, f store.Filter) (BackendPage, error) {
	return BackendPage{}, errUnwritten
}

// Backend shows one backend.
func (c *Controller) Backend(ctx context.Context, a Actor, id plane.BackendID) (BackendView, error) {
	return BackendView{}, errUnwritten
}

// Logs is a backend's output: the last tail lines (0 = all that is kept), and what follows.
func (c *Controller) Logs(ctx context.Context, a Actor, id plane.BackendID, tail int, follow bool) (io.ReadCloser, error) {
	return nil, errUnwritten
}

// Explain tells why a key's backend runs, or doesn't.
func (c *Controller) Explain(ctx context.Context, a Actor, namespace, name string) (Explanation, error) {
	return Explanation{}, errUnwritten
}

// Events gives the log after since to each; with follow until ctx is done.
func (c *Controller) Events(ctx context.Context, a Actor, since int64, follow bool, each func(EventView) error) error {
	return errUnwritten
}

// APIKeys lists the API keys, without secrets.
func (c *Controller) APIKeys(ctx context.Context, a Actor) ([]APIKeyView, error) {
	return nil, errUnwritten
}

// CreateAPIKey makes an API key; its secret is shown this once.
func (c *Controller) CreateAPIKey(ctx context.Context, a Actor, name string, grants []string) (APIKeyView, error) {
	return APIKeyView{}, errUnwritten
}

// DeleteAPIKey deletes an API key; NotFound if there is none.
func (c *Controller) DeleteAPIKey(ctx context.Context, a Actor, id string) error { return errUnwritten }

// Authenticate finds the actor of an API key's secret; Unauthorized if there is none.
func (c *Controller) Authenticate(ctx context.Context, secret string) (Actor, error) {
	return Actor{}, errUnwritten
}

// Health reports whether the store answers (and under plane dev, whether drone and proxy are there).
func (c *Controller) Health(ctx context.Context) error { return errUnwritten }

// ServeDrone speaks with a drone until the connection or ctx ends.
func (c *Controller) ServeDrone(ctx context.Context, conn *wire.Conn, cluster plane.ClusterName, pool string) error {
	return errUnwritten
}

// ServeProxy speaks with a proxy until the connection or ctx ends.
func (c *Controller) ServeProxy(ctx context.Context, conn *wire.Conn, cluster plane.ClusterName) error {
	return errUnwritten
}
