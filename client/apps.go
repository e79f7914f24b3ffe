package client

import (
	"context"
	"net/http"

	"plane"
)

// Applied says what came of giving an app a template.
type Applied struct {
	App      string   `json:"app"`
	Release  int64    `json:"release"`
	Changed  bool     `json:"changed"` // false: it was that already; there is no new release
	Warnings []string `json:"warnings,omitempty"`
}

// App is an app at its current release.
type App struct {
	Name      string         `json:"name"` // "" = the unnamed one of `plane dev -- COMMAND`
	Default   bool           `json:"default"`
	Release   int64          `json:"release"`
	UpdatedAt int64          `json:"updated_at"`       // Unix milliseconds, of the choice of the release
	Live      int            `json:"live"`             // backends, of whatever release
	Digest    string         `json:"digest,omitempty"` // of the release's image, when known
	Spec      plane.Template `json:"spec"`
	Releases  []Release      `json:"releases,omitempty"` // newest first; only of App, SetRelease
}

// Release is one version of an app; it never changes.
type Release struct {
	Release   int64          `json:"release"`
	CreatedAt int64          `json:"created_at"` // Unix milliseconds
	Actor     string         `json:"actor"`
	Digest    *string        `json:"digest"` // of the image, when known
	Spec      plane.Template `json:"spec"`
}

// Apps is all apps, by name.
type Apps struct {
	Apps    []App   `json:"apps"`
	Default *string `json:"default"` // of `plane dev`; nil elsewhere
}

// Apply gives an app a template. One that differs from the current release
// makes a new one; new backends take it, running ones keep theirs.
func (c *Client) Apply(ctx context.Context, app string, t plane.Template) (Applied, error) {
	var got Applied
	err := c.call(ctx, http.MethodPut, "/ctrl/apps/"+segment(app), nil, t, &got)
	return got, err
}

// Apps lists the apps.
func (c *Client) Apps(ctx context.Context) (Apps, error) {
	var got Apps
	err := c.call(ctx, http.MethodGet, "/ctrl/apps", nil, nil, &got)
	return got, err
}

// App shows one app with its releases.
func (c *Client) App(ctx context.Context, app string) (App, error) {
	var got App
	err := c.call(ctx, http.MethodGet, "/ctrl/apps/"+segment(app), nil, nil, &got)
	return got, err
}

// SetRelease makes new backends of an app take that release; 0 is the one
// before the current.
func (c *Client) SetRelease(ctx context.Context, app string, release int64) (App, error) {
	var got App
	in := struct {
		Release int64 `json:"release,omitempty"`
	}{release}
	err := c.call(ctx, http.MethodPost, "/ctrl/apps/"+segment(app)+"/release", nil, in, &got)
	return got, err
}
