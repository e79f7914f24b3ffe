package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"plane"
	"plane/internal/token"
)

const (
	defaultReadyWait = 60  // seconds
	maxReadyWait     = 120 // seconds
	maxTokenLife     = 366 * 24 * 3600
)

// Connect gets or starts the backend of a key and hands out a token for it. A
// connect to a live key writes nothing.
func (c *Controller) Connect(ctx context.Context, a Actor, r ConnectRequest) (out ConnectResponse, err error) {
	defer c.cfg.Metrics.connected(time.Now(), &r, &out, &err)
	w, auth, err := c.checkConnect(ctx, a, r)
	if err != nil {
		return ConnectResponse{}, err
	}
	g, err := c.ensure(ctx, a, w)
	if err != nil {
		return ConnectResponse{}, c.namingNone(ctx, a, r, w, err)
	}
	if bad := checkPort(r.Port, g.live.ports, g.live.static); bad != nil {
		return ConnectResponse{}, bad
	}
	if r.WaitReady && g.live.status != plane.Ready {
		if g, err = c.untilReady(ctx, a, w, g, r.WaitSeconds); err != nil {
			return ConnectResponse{}, err
		}
	}
	return c.answerConnect(ctx, r, auth, g)
}

// checkConnect says what a request wants, or what is wrong with it.
func (c *Controller) checkConnect(ctx context.Context, a Actor, r ConnectRequest) (want, json.RawMessage, error) {
	var w want
	switch {
	case r.WaitSeconds < 0 || r.WaitSeconds > maxReadyWait:
		return w, nil, plane.Invalid("wait_seconds", fmt.Sprintf("wait_seconds is %d; it must be from 1 to %d.", r.WaitSeconds, maxReadyWait))
	case r.TokenLifetime < 0 || r.TokenLifetime > maxTokenLife:
		return w, nil, plane.Invalid("token_lifetime_seconds", fmt.Sprintf("token_lifetime_seconds is %d; it must be from 1 to %d.", r.TokenLifetime, maxTokenLife))
	}
	if r.Key != nil {
		if bad := r.Key.Check(); bad != nil {
			return w, nil, bad
		}
		w.key, w.known = *r.Key, true
	} else {
		w.key = plane.Key{Name: newName(plane.PrefixKey)}
	}
	app, ofApp, bad := c.appNamed(r, w.key)
	if bad != nil {
		return w, nil, bad
	}
	if ofApp {
		w.key.Namespace = app
	}
	if err := a.May(VerbConnect, w.key.Namespace); err != nil {
		return w, nil, err
	}
	auth, err := token.CanonicalAuth(r.Auth)
	if err != nil {
		return w, nil, err
	}
	if r.User != nil && len(*r.User)+len(auth) > plane.MaxClaims {
		return w, nil, plane.Invalid("user", fmt.Sprintf("user and auth are %d bytes together; at most %d are allowed.", len(*r.User)+len(auth), plane.MaxClaims))
	}
	if r.Spec != nil {
		if bad := r.Spec.Check(); bad != nil {
			return w, nil, bad
		}
	}
	w.spec, w.starts, w.port = r.Spec, r.Spec != nil || r.App != "", r.Port
	if ofApp && w.starts {
		if w.app, err = c.servedApp(ctx, app); isNotFound(err) {
			return w, nil, plane.Invalid("app", c.unknownApp(ctx, a, app))
		}
	}
	return w, auth, err
}

// appNamed is the app that a request is for: the one it names, or that of plane
// dev if it names neither an app nor a namespace nor what to run.
func (c *Controller) appNamed(r ConnectRequest, k plane.Key) (string, bool, *plane.Error) {
	runs := r.Spec != nil && hasExecutable(r.Spec.Executable)
	switch {
	case r.App == "":
		if c.cfg.DefaultApp == nil || k.Namespace != "" || runs || r.Spec != nil && len(r.Spec.Executable) > 0 {
			return "", false, nil
		}
		return *c.cfg.DefaultApp, true, nil
	case k.Namespace != "" && k.Namespace != r.App:
		return "", false, plane.Invalid("key.namespace", fmt.Sprintf(
			"key.namespace is %q; keys of app %s are in namespace %q: leave it out.", k.Namespace, r.App, r.App))
	case runs:
		return "", false, plane.Invalid("spawn_config.executable", fmt.Sprintf(
			"spawn_config.executable is given, and so is app %q, which says what to run; leave one of them out.", r.App))
	}
	return r.App, true, nil
}

// namingNone adds to the refusal of a connect to plane dev that names nothing to
// start which apps there are.
func (c *Controller) namingNone(ctx context.Context, a Actor, r ConnectRequest, w want, err error) error {
	if !c.cfg.Dev || c.cfg.DefaultApp != nil || r.App != "" || r.Spec != nil || w.key.Namespace != "" {
		return err
	}
	var e *plane.Error
	if !errors.As(err, &e) || e.Kind != plane.KeyUnheldNoSpawnConfig {
		return err
	}
	return plane.NewError(e.Kind, e.Message+" "+c.unknownApp(ctx, a, ""))
}

func hasExecutable(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// checkPort says that a backend has no further port of that name, or nil.
func checkPort(name string, ports map[string]int, static bool) *plane.Error {
	if name == "" {
		return nil
	}
	if static {
		return plane.Invalid("port", "port is given, but the backend has a static token, which leads to its main port; leave it out.")
	}
	if _, ok := ports[name]; ok {
		return nil
	}
	if len(ports) == 0 {
		return plane.Invalid("port", fmt.Sprintf("There is no port %q: the backend has only its main one; further ones are named under ports of an app.", name))
	}
	return plane.Invalid("port", fmt.Sprintf("There is no port %q; the backend has %s.", name, strings.Join(slices.Sorted(maps.Keys(ports)), ", ")))
}

// answerConnect mints the token.
func (c *Controller) answerConnect(ctx context.Context, r ConnectRequest, auth json.RawMessage, g got) (ConnectResponse, error) {
	b := g.live
	ring, err := c.ringOf(ctx, b.cluster)
	if err != nil {
		return ConnectResponse{}, err
	}
	out := ConnectResponse{
		BackendID: b.backend, Spawned: g.spawned, Status: b.status, Key: b.key, Generation: b.generation,
		StatusURL: c.cfg.URL + "/pub/b/" + string(b.backend) + "/status",
	}
	if g.spawned {
		out.Drone = &g.drone
	}
	if b.subdomain != "" {
		out.Subdomain = &b.subdomain
	}
	if b.static {
		out.Token = ring.Static(b.backend)
	} else {
		now := time.Now()
		claims := plane.Claims{
			Backend: b.backend, Cluster: b.cluster, User: r.User, Auth: auth, Port: r.Port, Revocation: b.revocation, Issued: now.Unix(),
		}
		if r.TokenLifetime > 0 {
			claims.Expires = now.Unix() + int64(r.TokenLifetime)
			ms := claims.Expires * 1000
			out.Expires = &ms
		}
		if out.Token, err = ring.Seal(claims, now); err != nil {
			return ConnectResponse{}, err
		}
		secret := ring.Secret(out.Token)
		out.SecretToken = &secret
	}
	origin := c.origin(b.cluster, b.subdomain)
	out.URL = origin + "/" + out.Token + "/"
	out.URLs = URLs{Token: out.URL, Key: c.keyURL(b, out.Token)}
	if r.Port != "" && b.access == plane.AccessToken {
		out.URLs.Key = nil // the key's address leads to the main port, and this token doesn't
	}
	return out, nil
}

// origin is where browsers find a cluster: scheme, sub-domain, host.
func (c *Controller) origin(cluster plane.ClusterName, subdomain string) string {
	host := string(cluster)
	if public, ok := c.cfg.PublicHost[cluster]; ok {
		host = public
	}
	scheme := plane.ClusterName(host).Scheme()
	if subdomain != "" {
		host = subdomain + "." + host
	}
	return scheme + "://" + host
}

// statusBase is the controller's URL as status_url begins: without user name,
// and without a slash at its end.
func statusBase(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return strings.TrimSuffix(base, "/")
	}
	u.User = nil
	return strings.TrimSuffix(u.String(), "/")
}

// untilReady waits until a backend is ready. One that its drone refused is
// started again, perhaps elsewhere; one that ended is an error that says how.
func (c *Controller) untilReady(ctx context.Context, a Actor, w want, g got, seconds int) (got, error) {
	if seconds == 0 {
		seconds = defaultReadyWait
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(seconds)*time.Second, errWaited)
	defer cancel()
	for try := 1; ; try++ {
		s, err := c.settledState(ctx, g.live.backend)
		switch {
		case errors.Is(err, errWaited):
			e := plane.NewError(plane.Unavailable, fmt.Sprintf(
				"Backend %s isn't ready after %d s: it is %s. It goes on starting; connect again.", g.live.backend, seconds, s.Status))
			e.Retry = time.Second
			return got{}, e
		case err != nil:
			return got{}, err
		case s.Status == plane.Ready:
			ready := *g.live
			ready.status = plane.Ready
			g.live = &ready
			return g, nil
		case refused(s) && w.starts && (w.spec == nil || w.spec.ID == nil) && try < claimTries:
			if g, err = c.ensure(ctx, a, w); err != nil {
				return got{}, err
			}
		default:
			return got{}, startFailed(g.live.backend, s)
		}
	}
}

// settledState waits until a backend is ready, ending or ended.
func (c *Controller) settledState(ctx context.Context, id plane.BackendID) (plane.State, error) {
	hint, stop := c.hub.subscribe(topic(id))
	defer stop()
	var last plane.State
	for {
		b, err := c.backend(ctx, id)
		if err == nil {
			last = b.State
		}
		if err != nil && ctx.Err() == nil || last.Status.Order() >= plane.Ready.Order() {
			return last, err
		}
		select {
		case <-hint:
		case <-time.After(pollWait):
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
	}
}

func startFailed(id plane.BackendID, s plane.State) *plane.Error {
	if s.Status != plane.Terminated {
		e := plane.NewError(plane.StartFailed, fmt.Sprintf("Backend %s was asked to end before it was ready: %s.", id, s.Reason.Phrase()))
		return e
	}
	e := plane.NewError(plane.StartFailed, fmt.Sprintf("Backend %s ended before it was ready. %s", id, endSentence(s)))
	if s.Exit != nil {
		e.Output = s.Exit.Output
	}
	return e
}
