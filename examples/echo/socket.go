package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// backendSocket calls the socket that Plane gives every backend.
func backendSocket(ctx context.Context, method, path, body string) (*http.Response, error) {
	socket := os.Getenv("SESSION_BACKEND_SOCKET")
	if socket == "" {
		return nil, fmt.Errorf("SESSION_BACKEND_SOCKET is not set: not run by Plane")
	}
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://plane"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return t.RoundTrip(req)
}

func relay(w http.ResponseWriter, r *http.Request, method, path, body string) {
	resp, err := backendSocket(r.Context(), method, path, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	if t := resp.Header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// hold keeps this backend awake without a request: ?name, ?seconds.
func hold(w http.ResponseWriter, r *http.Request) {
	body := fmt.Sprintf(`{"seconds":%d,"reason":"asked to"}`, number(r, "seconds", 60))
	relay(w, r, http.MethodPut, "/v1/holds/"+url.PathEscape(or(r.URL.Query().Get("name"), "echo")), body)
}

func unhold(w http.ResponseWriter, r *http.Request) {
	relay(w, r, http.MethodDelete, "/v1/holds/"+url.PathEscape(or(r.URL.Query().Get("name"), "echo")), "")
}

func self(w http.ResponseWriter, r *http.Request) {
	relay(w, r, http.MethodGet, "/v1/self", "")
}
