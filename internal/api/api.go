package api

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"plane"
	"plane/internal/controller"
)

// Options are how an API is reached and guarded. Exactly one guard holds:
// Insecure, ForwardAuth, or (neither set) API keys.
type Options struct {
	// Insecure needs no keys: who reaches a loopback address may do everything.
	// Requests from other addresses, with a foreign Host, or of a web page are refused.
	Insecure bool
	// Hosts are the names besides loopback ones that a Host header may have,
	// with or without port. Empty and not Insecure: any.
	Hosts []string
	// Origins are those of web pages that may call /ctrl ("https://host").
	// They get no CORS headers: only pages of the same origin can use it.
	Origins []string
	// ForwardAuth is the URL of a server that decides about every /ctrl request.
	ForwardAuth string
	// Unnamed is plane dev's: what its app says may stand for a missing
	// spawn_config.executable.
	Unnamed bool
	// Ready, if set, must give nil for /pub/health to be ok.
	Ready func(context.Context) error

	DefaultCluster plane.ClusterName // told by /ctrl/status, as is Project
	Project        string            // plane dev's working directory; "" = none
	Version, Hash  string
	Log            *slog.Logger // nil = slog.Default()
}

// API serves HTTP. It starts nothing.
type API struct {
	ctrl    *controller.Controller
	opts    Options
	log     *slog.Logger
	network http.Handler
}

// New makes the handler for network listeners.
func New(ctrl *controller.Controller, opts Options) *API {
	a := &API{ctrl: ctrl, opts: opts, log: opts.Log}
	if a.log == nil {
		a.log = slog.Default()
	}
	var d door = apiKeys{authenticate: ctrl.Authenticate}
	switch {
	case opts.Insecure:
		d = loopback{}
	case opts.ForwardAuth != "":
		d = newForwardAuth(opts.ForwardAuth)
	}
	hosts := make([]string, len(opts.Hosts))
	for i, h := range opts.Hosts {
		hosts[i] = strings.ToLower(h)
	}
	a.network = front{api: a, mux: a.routes(d), hosts: hosts, checkHost: opts.Insecure || len(hosts) > 0, checkPeer: opts.Insecure}
	return a
}

// ServeHTTP serves a network listener.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.network.ServeHTTP(w, r) }

// Operator is the handler for a local socket that only the operator may open
// (mode 0600): no key is asked for and every Host is fine.
func (a *API) Operator() http.Handler { return front{api: a, mux: a.routes(operator{})} }

// Server wraps a handler of this package with the limits that it relies on. Its
// Addr, BaseContext and ErrorLog are the caller's to set; ending the base
// context ends streams and sockets.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// front answers what no route answers, and keeps foreign names out.
type front struct {
	api       *API
	mux       *http.ServeMux
	hosts     []string
	checkHost bool
	checkPeer bool
}

func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := f.refuse(r); err != nil {
		f.api.fail(w, r, "", err, faultConnect)
		return
	}
	public := strings.HasPrefix(r.URL.Path, "/pub/")
	answered, pattern := f.mux.Handler(r)
	known := pattern != "" && clean(r.URL.EscapedPath())
	if public && (known || f.knownToGet(r)) {
		allowAnyOrigin(w.Header())
		if r.Method == http.MethodOptions {
			answerPreflight(w)
			return
		}
	}
	switch {
	case known:
		f.mux.ServeHTTP(w, r)
	case pattern == "" && clean(r.URL.EscapedPath()):
		answered.ServeHTTP(headOnly{w}, r) // 404, or 405 with Allow
	default:
		headOnly{w}.WriteHeader(http.StatusNotFound)
	}
}

func (f front) refuse(r *http.Request) error {
	if f.checkPeer && !peerAllowed(r.RemoteAddr) {
		return plane.NewError(plane.Forbidden, "Without API keys this API serves its own machine only.")
	}
	if f.checkHost && !hostAllowed(r.Host, f.hosts) {
		return plane.NewError(plane.Forbidden, "The Host header does not name this API. Use a loopback address or a name that it was told of.")
	}
	return nil
}

// knownToGet reports whether the path is that of a route for GET.
func (f front) knownToGet(r *http.Request) bool {
	if !clean(r.URL.EscapedPath()) {
		return false
	}
	get := &http.Request{Method: http.MethodGet, Host: r.Host, URL: r.URL}
	_, pattern := f.mux.Handler(get)
	return pattern != ""
}

// verb is one thing that the API does for an actor.
type verb func(w http.ResponseWriter, r *http.Request, who controller.Actor) error

// public serves everyone. fault is what callers are told of faults of ours.
func (a *API) public(fault string, do verb) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := do(w, r, controller.Actor{Kind: "public"}); err != nil {
			a.fail(w, r, "", err, fault)
		}
	})
}

// guarded serves whom the door lets in, and no web page.
func (a *API) guarded(d door, fault string, do verb) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !saneID(id) {
			id = plane.RandomName(rand.Reader, plane.NoPrefix)
		}
		w.Header()["X-Request-Id"] = []string{id}
		who, err := a.admit(d, w, r)
		if err == nil {
			who.RequestID = id
			err = do(w, r, who)
		}
		switch {
		case errors.Is(err, errAnswered):
			a.log.Warn("request refused by forward auth", "request_id", id, "route", r.Pattern, "error", err)
		case err != nil:
			a.fail(w, r, id, err, fault)
		}
	})
}

func (a *API) admit(d door, w http.ResponseWriter, r *http.Request) (controller.Actor, error) {
	if err := refuseBrowser(r, a.opts.Origins); err != nil {
		return controller.Actor{}, err
	}
	who, err := d.admit(w, r)
	if err != nil {
		return who, err
	}
	if r.ContentLength != 0 && !isJSON(r.Header.Get("Content-Type")) {
		// Also where the body is ignored: what a form can send does nothing here.
		return who, errNotJSON
	}
	return who, nil
}

var errNotJSON = &plane.Error{
	Kind: plane.BadRequest, Status: http.StatusUnsupportedMediaType,
	Message: "The body must be JSON: send Content-Type: application/json.",
}

const (
	maxBody     = 2 << 20          // bytes
	bodyTimeout = 30 * time.Second // from the head to the end of the body
)

// body reads the JSON body of a request.
func body(w http.ResponseWriter, r *http.Request) (value, error) {
	if !isJSON(r.Header.Get("Content-Type")) {
		return value{}, errNotJSON
	}
	tooLarge := &plane.Error{
		Kind: plane.BadRequest, Status: http.StatusRequestEntityTooLarge,
		Message: "The body is larger than 2097152 bytes.",
	}
	if r.ContentLength > maxBody {
		return value{}, tooLarge
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	b, err := read(http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength)
	_ = rc.SetReadDeadline(time.Time{})
	var tooMany *http.MaxBytesError
	switch {
	case errors.As(err, &tooMany):
		return value{}, tooLarge
	case err != nil:
		return value{}, &plane.Error{Kind: plane.BadRequest, Status: http.StatusBadRequest, Message: "The body did not arrive completely."}
	}
	v, bad := parse(b)
	if bad != nil {
		return value{}, bad
	}
	return v, nil
}

// read takes length bytes, or all if the length is not known.
func read(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	b := make([]byte, length)
	_, err := io.ReadFull(r, b)
	return b, err
}
