package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"plane"
)

// Ask gives Plane's answer for the backend that a Session is to lead to. It is
// called again when that backend has ended.
type Ask func(ctx context.Context) (ConnectResponse, error)

// Asking is an Ask that connects.
func (c *Client) Asking(req ConnectRequest) Ask {
	return func(ctx context.Context) (ConnectResponse, error) { return c.Connect(ctx, req) }
}

// Endpoint is an Ask that POSTs to the endpoint of an app, which decides who
// may open what, connects, and passes the answer on. body may be nil; h nil is
// a client that dials *.localhost by itself.
func Endpoint(rawURL string, body any, h *http.Client) Ask {
	if h == nil {
		h = &http.Client{Transport: transport(DialContext)}
	}
	return func(ctx context.Context) (got ConnectResponse, err error) {
		b, err := json.Marshal(body)
		if err != nil {
			return got, fmt.Errorf("encode request: %w", err)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, rawURL, bytes.NewReader(b))
		if err != nil {
			return got, fmt.Errorf("endpoint: %w", err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
		resp, err := h.Do(r)
		if err != nil {
			return got, unreachable(ctx, err)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return got, failure(resp)
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&got); err != nil {
			return got, &BadAnswer{Err: err}
		}
		return got, nil
	}
}

// ForPage is the answer that may go to a browser: without the secret by which
// the backend knows that a request came through Plane.
func (r ConnectResponse) ForPage() ConnectResponse {
	r.SecretToken = nil
	return r
}

// SessionOptions change how a Session reaches its backend; the zero value is fine.
type SessionOptions struct {
	// HTTP makes the requests and opens the sockets; nil = one that dials with Dial.
	HTTP *http.Client
	// Dial connects, if HTTP is nil; nil = DialContext, which knows *.localhost.
	// The Host of the URL is sent wherever it dials.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Session leads to the backend of a key, whichever generation that is. It may
// be used by several goroutines, and has none of its own.
type Session struct {
	ask  Ask
	http *http.Client
	turn chan struct{} // who holds its one place may ask

	mu   sync.Mutex // guards last
	last ConnectResponse
}

// NewSession asks and waits until the backend is ready. *Ended: it ended
// before it was.
func NewSession(ctx context.Context, ask Ask, opts SessionOptions) (*Session, error) {
	s := &Session{ask: ask, http: opts.HTTP, turn: make(chan struct{}, 1)}
	if s.http == nil {
		dial := opts.Dial
		if dial == nil {
			dial = DialContext
		}
		s.http = &http.Client{Transport: transport(dial)}
	}
	if _, err := s.askNow(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close lets go of idle connections. Sockets go on.
func (s *Session) Close() { s.http.CloseIdleConnections() }

// Answer is what was last answered.
func (s *Session) Answer() ConnectResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Generation is that of the backend that was last answered. A higher one is a
// new state.
func (s *Session) Generation() plane.Generation { return s.Answer().Generation }

// Refresh asks again if stale is still the last answer: of many who find it
// gone, one asks.
func (s *Session) Refresh(ctx context.Context, stale ConnectResponse) (ConnectResponse, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ConnectResponse{}, ctx.Err()
	}
	if a := s.Answer(); a.URL != stale.URL {
		return a, nil
	}
	return s.askNow(ctx)
}

func (s *Session) askNow(ctx context.Context) (ConnectResponse, error) {
	got, err := s.ask(ctx)
	if err != nil {
		return got, err
	}
	if u, err := url.Parse(got.URL); err != nil || u.Host == "" || !strings.HasSuffix(u.Path, "/") {
		return got, &BadAnswer{Err: errors.New("it has no url that leads to a backend")}
	}
	if got.StatusURL != "" && got.Status != plane.Ready {
		u, err := url.Parse(got.StatusURL)
		if err != nil {
			return got, &BadAnswer{Err: err}
		}
		c := &Client{base: &url.URL{Scheme: u.Scheme, Host: u.Host}, http: s.http}
		if err := c.WaitReady(ctx, got.BackendID); err != nil {
			return got, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = got
	return got, nil
}

// below is a path of the backend as a URL.
func below(a ConnectResponse, path string) (*url.URL, error) {
	base, err := url.Parse(a.URL)
	if err != nil {
		return nil, fmt.Errorf("url of the backend: %w", err)
	}
	u, err := base.Parse("./" + strings.TrimLeft(path, "/"))
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	if !strings.HasPrefix(u.EscapedPath(), base.EscapedPath()) {
		return nil, fmt.Errorf("path %q leads out of the session's URL", path)
	}
	return u, nil
}

func expired(a ConnectResponse) bool {
	return a.Expires != nil && time.Now().UnixMilli() >= *a.Expires
}

// Do sends a request for a path below the backend's URL (http.NewRequest(…,
// "state?x=1", …)). It is repeated once if Plane refused it because the token's
// backend has ended, and its body can be had again; nothing else is repeated.
func (s *Session) Do(r *http.Request) (*http.Response, error) {
	was := s.Answer()
	if expired(was) {
		var err error
		if was, err = s.Refresh(r.Context(), was); err != nil {
			return nil, err
		}
	}
	resp, err := s.send(r, was)
	if err != nil || resp.StatusCode != http.StatusGone || r.Body != nil && r.GetBody == nil {
		return resp, err
	}
	now, err := s.Refresh(r.Context(), was)
	if err != nil || now.BackendID == was.BackendID && !expired(was) {
		return resp, nil // the program's own 410, or nothing better to say
	}
	_ = resp.Body.Close()
	return s.send(r, now)
}

func (s *Session) send(r *http.Request, a ConnectResponse) (*http.Response, error) {
	u, err := below(a, r.URL.String())
	if err != nil {
		return nil, err
	}
	r2 := r.Clone(r.Context())
	r2.URL, r2.Host = u, ""
	if r.GetBody != nil {
		if r2.Body, err = r.GetBody(); err != nil {
			return nil, fmt.Errorf("body again: %w", err)
		}
	}
	resp, err := s.http.Do(r2)
	if err != nil {
		return nil, unreachable(r.Context(), err)
	}
	return resp, nil
}
