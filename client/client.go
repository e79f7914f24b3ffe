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
	"time"

	"plane"
)

// Client calls one controller. It may be used by several goroutines.
type Client struct {
	base *url.URL
	key  secret
	http *http.Client
}

// secret is an API key; it shows itself to nobody.
type secret string

func (secret) String() string   { return "***" }
func (secret) GoString() string { return "***" }

// MarshalText keeps it out of JSON and logs.
func (secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Options change what New does; the zero value is fine.
type Options struct {
	// APIKey is sent as a bearer token on /ctrl. A user name in the URL wins.
	APIKey string
	// HTTP makes the requests; nil = one that dials *.localhost by itself.
	HTTP *http.Client
	// Header is added to every request on /ctrl.
	Header http.Header
}

// New makes a client for the controller at rawURL: http://HOST[:PORT],
// https://…, or unix:///PATH of an operator's socket. A user name in the URL is
// sent as a bearer token, as it stands; a path is dropped. New connects to nothing.
func New(rawURL string, opts Options) (*Client, error) {
	if path, ok := strings.CutPrefix(rawURL, "unix://"); ok {
		return newUnix(path, opts)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, &BadURL{URL: redact(rawURL), Err: errors.New("it can't be parsed")}
	}
	switch u.Scheme {
	case "http", "https":
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	default:
		return nil, &BadURL{URL: redact(rawURL), Err: errors.New("it must begin with http://, https:// or unix://")}
	}
	if u.Host == "" {
		return nil, &BadURL{URL: redact(rawURL), Err: errors.New("it names no host")}
	}
	key := opts.APIKey
	if name := userName(rawURL); name != "" {
		key = name
	}
	c := &Client{base: &url.URL{Scheme: u.Scheme, Host: u.Host}, key: secret(key), http: opts.HTTP}
	if c.http == nil {
		c.http = &http.Client{Transport: transport(DialContext)}
	}
	return c.with(opts.Header), nil
}

// redact drops everything up to the host: a key may stand there.
func redact(rawURL string) string {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return rawURL
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = "***" + rest[at:]
	}
	return scheme + "://" + rest
}

// userName is the user name of a URL as it stands, not percent-decoded.
func userName(rawURL string) string {
	_, rest, _ := strings.Cut(rawURL, "://")
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndex(authority, "@")
	if at < 0 {
		return ""
	}
	name, _, _ := strings.Cut(authority[:at], ":")
	return name
}

func newUnix(path string, opts Options) (*Client, error) {
	if path == "" {
		return nil, &BadURL{URL: "unix://", Err: errors.New("it names no socket")}
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	c := &Client{
		base: &url.URL{Scheme: "http", Host: "localhost"},
		key:  secret(opts.APIKey),
		http: &http.Client{Transport: transport(dial)},
	}
	return c.with(opts.Header), nil
}

func (c *Client) with(header http.Header) *Client {
	if len(header) > 0 {
		h := *c.http
		h.Transport = withHeader{header: header.Clone(), next: h.Transport}
		c.http = &h
	}
	return c
}

type withHeader struct {
	header http.Header
	next   http.RoundTripper
}

func (t withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/ctrl/") {
		r = r.Clone(r.Context())
		for name, v := range t.header {
			r.Header[name] = v
		}
	}
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(r)
}

func transport(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
}

// DialContext dials like net.Dialer, but knows that localhost and every name
// below it are this machine: browsers know, resolvers of systems don't.
func DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	host, port, err := net.SplitHostPort(address)
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if err != nil || name != "localhost" && !strings.HasSuffix(name, ".localhost") {
		return d.DialContext(ctx, network, address)
	}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	if conn, err6 := d.DialContext(ctx, network, net.JoinHostPort("::1", port)); err6 == nil {
		return conn, nil
	}
	return nil, err
}

// URL is the controller's address, without credentials.
func (c *Client) URL() string { return c.base.String() }

// String names the controller; no form of printing shows the key.
func (c *Client) String() string { return "client of " + c.URL() }

// GoString is String.
func (c *Client) GoString() string { return c.String() }

const maxAnswer = 64 << 20 // bytes

// call sends a request and reads the answer into out (nil: it is dropped).
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, query, in, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &Unreachable{Err: err}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return &BadAnswer{Err: err}
	}
	return nil
}

// send gives the answer if its status is 200. path is escaped.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, in any, header http.Header) (*http.Response, error) {
	var body io.Reader
	if in != nil || method == http.MethodPost {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	target := c.base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, &BadURL{URL: c.base.Host, Err: err}
	}
	for name, v := range header {
		r.Header[name] = v
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" && strings.HasPrefix(path, "/ctrl/") {
		r.Header.Set("Authorization", "Bearer "+string(c.key))
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		return nil, failure(resp)
	}
	return resp, nil
}

func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error // it repeats method and URL
	if errors.As(err, &u) {
		err = u.Err
	}
	return &Unreachable{Err: err}
}

func failure(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var said struct {
		ID      string     `json:"id"`
		Kind    plane.Kind `json:"kind"`
		Message string     `json:"message"`
		Field   string     `json:"field"`
		Retry   int64      `json:"retry_after_seconds"`
		Output  string     `json:"output"`
	}
	if err := json.Unmarshal(b, &said); err != nil || said.Kind == "" {
		return &UnexpectedStatus{Status: resp.StatusCode}
	}
	return &Failure{ID: said.ID, Err: &plane.Error{
		Kind: said.Kind, Message: said.Message, Field: said.Field, Status: resp.StatusCode,
		Retry: time.Duration(said.Retry) * time.Second, Output: said.Output,
	}}
}

func segment(s string) string { return url.PathEscape(s) }
