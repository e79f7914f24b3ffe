package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"plane"
	"plane/internal/controller"
)

// door is a way in to /ctrl: it says who a caller is, or refuses.
type door interface {
	// admit may answer the request itself and then gives errAnswered.
	admit(w http.ResponseWriter, r *http.Request) (controller.Actor, error)
}

var errAnswered = errors.New("answered")

// loopback lets in everyone who reaches a loopback address. guard.go keeps
// web pages from being someone.
type loopback struct{}

func (loopback) admit(http.ResponseWriter, *http.Request) (controller.Actor, error) {
	return controller.Actor{Kind: "loopback"}, nil
}

// operator lets in everyone who may open the socket: a file of mode 0600.
type operator struct{}

func (operator) admit(http.ResponseWriter, *http.Request) (controller.Actor, error) {
	return controller.Actor{Kind: "operator"}, nil
}

// apiKeys lets in who knows the secret of an API key.
type apiKeys struct {
	authenticate func(ctx context.Context, secret string) (controller.Actor, error)
}

func (d apiKeys) admit(w http.ResponseWriter, r *http.Request) (controller.Actor, error) {
	secret, ok := bearer(r.Header.Get("Authorization"))
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return controller.Actor{}, plane.NewError(plane.Unauthorized, "An API key is needed: send it as \"Authorization: Bearer KEY\". `plane api-key create` on the controller's machine makes one.")
	}
	actor, err := d.authenticate(r.Context(), secret)
	if plane.IsKind(err, plane.Unauthorized) {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	return actor, err
}

// bearer takes the secret out of an Authorization header.
func bearer(header string) (string, bool) {
	scheme, secret, ok := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	return secret, ok && strings.EqualFold(scheme, "bearer") && secret != ""
}

// forwardAuth asks another server whether a request may come in.
type forwardAuth struct {
	url  string
	http *http.Client
}

// forwardedHeaders are what the other server is shown of a request: what says
// who the caller is, and nothing that describes a body or a connection.
var forwardedHeaders = []string{
	"Accept", "Accept-Language", "Authorization", "Cookie", "Forwarded", "Origin", "Referer",
	"User-Agent", "X-Api-Key", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
	"X-Real-Ip", "X-Request-Id",
}

const forwardAuthTimeout = 10 * time.Second

func newForwardAuth(url string) forwardAuth {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	return forwardAuth{url: url, http: &http.Client{
		Transport: transport,
		Timeout:   forwardAuthTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

func (d forwardAuth) admit(w http.ResponseWriter, r *http.Request) (controller.Actor, error) {
	ask, err := http.NewRequestWithContext(r.Context(), r.Method, d.url, http.NoBody)
	if err != nil {
		return controller.Actor{}, fmt.Errorf("ask forward auth: %w", err)
	}
	for _, name := range forwardedHeaders {
		if v, ok := r.Header[name]; ok {
			ask.Header[name] = v
		}
	}
	if ask.Header.Get("X-Forwarded-Host") == "" {
		ask.Header.Set("X-Forwarded-Host", r.Host)
	}
	ask.Header.Set("X-Original-Path", strings.TrimPrefix(r.URL.EscapedPath(), "/ctrl"))
	resp, err := d.http.Do(ask)
	if err != nil {
		plain(w, http.StatusBadGateway, "Error forwarding auth.")
		return controller.Actor{}, fmt.Errorf("%w: %w", errAnswered, err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		plain(w, http.StatusUnauthorized, "Unauthorized")
		return controller.Actor{}, errAnswered
	}
	return controller.Actor{Kind: "forward-auth"}, nil
}

// plain answers in bytes without a content type, as scripts behind forward
// auth know it.
func plain(w http.ResponseWriter, code int, body string) {
	w.Header()["Content-Type"] = nil
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}
