package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
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
func (c *Controller) Connect(ctx context.Context, a Actor, r ConnectRequest) (ConnectResponse, error) {
	w, auth, err := c.checkConnect(a, r)
	if err != nil {
		return ConnectResponse{}, err
	}
	g, err := c.ensure(ctx, a, w)
	if err != nil {
		return ConnectResponse{}, err
	}
	if r.WaitReady && g.live.status != plane.Ready {
		if g, err = c.untilReady(ctx, a, w, g, r.WaitSeconds); err != nil {
			return ConnectResponse{}, err
		}
	}
	return c.answerConnect(ctx, r, auth, g)
}

// checkConnect says what a request wants, or what is wrong with it.
func (c *Controller) checkConnect(a Actor, r ConnectRequest) (want, json.RawMessage, error) {
	var w want
	switch {
	case r.WaitSeconds < 0 || r.WaitSeconds > maxReadyWait:
		return w, nil, plane.Invalid("wait_seconds", fmt.Sprintf("wait_seconds is %d; it must be from 1 to %d.", r.WaitSeconds, maxReadyWait))
	case r.TokenLifetime < 0 || r.TokenLifetime > maxTokenLife:
		return w, nil, plane.Invalid("token_lifetime_seconds", fmt.Sprintf("token_lifetime_seconds is %d; it must be from 1 to %d.", r.TokenLifetime, maxTokenLife))
	case r.Port != "":
		return w, nil, plane.Invalid("port", fmt.Sprintf("There is no port named %q.", r.Port))
	case r.App != "":
		return w, nil, plane.Invalid("app", fmt.Sprintf("There is no app %q.", r.App))
	}
	if r.Key != nil {
		if bad := r.Key.Check(); bad != nil {
			return w, nil, bad
		}
		w.key, w.known = *r.Key, true
	} else {
		w.key = plane.Key{Name: newName(plane.PrefixKey)}
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
	if r.Spec == nil {
		return w, auth, nil
	}
	if bad := r.Spec.Check(); bad != nil {
		return w, nil, bad
	}
	w.spec, w.byCaller = r.Spec, true
	if app := c.cfg.Unnamed; app != nil && len(r.Spec.Executable) == 0 && w.key.Namespace == app.Name {
		w.spec, w.app, w.byCaller = withApp(*app, *r.Spec), app.Name, false
	}
	return w, auth, nil
}

// withApp is an app's spec with what a caller says of cluster and limits.
func withApp(app plane.App, s plane.Spec) *plane.Spec {
	out := app.Template.Spec()
	out.ID, out.Subdomain, out.UseStaticToken = s.ID, s.Subdomain, s.UseStaticToken
	if s.Cluster != nil {
		out.Cluster = s.Cluster
	}
	if s.Pool != "" {
		out.Pool = s.Pool
	}
	if s.LifetimeLimit != nil {
		out.LifetimeLimit = s.LifetimeLimit
	}
	if s.MaxIdle != nil {
		out.MaxIdle = s.MaxIdle
	}
	if s.StartTimeout != nil {
		out.StartTimeout = s.StartTimeout
	}
	if s.StopGrace != nil {
		out.StopGrace = s.StopGrace
	}
	if s.Lease != "" {
		out.Lease = s.Lease
	}
	return &out
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
			Backend: b.backend, Cluster: b.cluster, User: r.User, Auth: auth, Revocation: b.revocation, Issued: now.Unix(),
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
	out.URLs = URLs{Token: out.URL, Key: c.keyURL(b)}
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

// keyURL is the URL of the key itself, where it has one.
func (c *Controller) keyURL(b *liveKey) *string {
	app := c.cfg.Unnamed
	if app == nil || !c.cfg.Dev || b.key.Namespace != app.Name || b.key.Tag != "" {
		return nil
	}
	label, ok := b.key.HostLabel()
	if !ok {
		return nil
	}
	u := c.origin(b.cluster, label) + "/"
	return &u
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
		case refused(s) && w.spec != nil && w.spec.ID == nil && try < claimTries:
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
		e := plane.NewError(plane.StartFailed, fmt.Sprintf("Backend %s was asked to end before it was ready: %s.", id, reasonPhrase(s.Reason)))
		return e
	}
	e := plane.NewError(plane.StartFailed, fmt.Sprintf("Backend %s ended before it was ready. %s", id, endSentence(s)))
	if s.Exit != nil {
		e.Output = s.Exit.Output
	}
	return e
}
