package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plane"
	"plane/client"
)

// serve is a controller of one function.
func serve(t *testing.T, opts client.Options, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestErrorsAreTyped(t *testing.T) {
	c := serve(t, client.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		_, _ = io.WriteString(w, `{"id":"k3v09adqm2x7rt","kind":"CrashLoop","message":"It ends.","field":"f","retry_after_seconds":4,"output":"boom"}`)
	})
	_, err := c.Connect(t.Context(), client.ConnectRequest{})
	var f *client.Failure
	var e *plane.Error
	if !errors.As(err, &f) || !errors.As(err, &e) || !plane.IsKind(err, plane.CrashLoop) {
		t.Fatal(err)
	}
	if f.ID != "k3v09adqm2x7rt" || *e != (plane.Error{Kind: plane.CrashLoop, Message: "It ends.", Field: "f", Status: 503, Retry: 4 * time.Second, Output: "boom"}) {
		t.Errorf("%+v %+v", f, e)
	}
}

func TestWhatIsNoControllerIsTold(t *testing.T) {
	c := serve(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/pub/b/x/status" {
			_, _ = io.WriteString(w, "<html>")
			return
		}
		http.Error(w, "no", http.StatusTeapot)
	})
	var strange *client.UnexpectedStatus
	if _, err := c.About(t.Context()); !errors.As(err, &strange) || strange.Status != 418 {
		t.Error(err)
	}
	var bad *client.BadAnswer
	if _, err := c.Status(t.Context(), "x"); !errors.As(err, &bad) {
		t.Error(err)
	}
	var away *client.Unreachable
	gone, _ := client.New("http://127.0.0.1:1", client.Options{})
	if _, err := gone.About(t.Context()); !errors.As(err, &away) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.About(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUserNameOfTheURLIsTheKeyAsItStands(t *testing.T) {
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.Path+" "+r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, `{}`)
	}))
	defer s.Close()
	c, err := client.New(strings.Replace(s.URL, "://", "://a%20b:pw@", 1)+"/prefix/", client.Options{APIKey: "other"})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.About(t.Context())
	_, _ = c.Status(t.Context(), "a/b")
	if !slices.Equal(got, []string{"/ctrl/status Bearer a%20b", "/pub/b/a/b/status "}) {
		t.Error(got)
	}
	if c.URL() != s.URL || strings.Contains(fmt.Sprintf("%v %+v %#v", c, c, c), "a%20b") {
		t.Errorf("the key shows: %#v", c)
	}
}

func TestBadURLsAreSaidWithoutTheirKey(t *testing.T) {
	for _, url := range []string{"", "localhost:8080", "ftp://secret@a", "http://", "http://secret@", "http://secret@[", "unix://"} {
		_, err := client.New(url, client.Options{})
		var bad *client.BadURL
		if !errors.As(err, &bad) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for url, want := range map[string]string{"ws://a:1": "http://a:1", "wss://a": "https://a", "https://k@a/x": "https://a"} {
		c, err := client.New(url, client.Options{})
		if err != nil || c.URL() != want {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestTrap48_NamesBelowLocalhostAreDialledWithoutAResolver(t *testing.T) {
	host := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host = r.Host
		_, _ = io.WriteString(w, `{}`)
	}))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c, err := client.New("http://doc.app.localhost:"+port, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Health(t.Context()); err != nil || host != "doc.app.localhost:"+port {
		t.Errorf("%v, host %q", err, host)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"version":"9"}`)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	c, err := client.New("unix://"+path, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if about, err := c.About(t.Context()); err != nil || about.Version != "9" {
		t.Error(about, err)
	}
}

func TestFollowConnectsAgainWhereItWas(t *testing.T) {
	var calls atomic.Int32
	var resumed []string
	c := serve(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		resumed = append(resumed, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		say := func(s string) { _, _ = fmt.Fprintf(w, "data: {\"status\":%q,\"time\":1}\nid: %s\n\n", s, s) }
		switch calls.Add(1) {
		case 1:
			_, _ = io.WriteString(w, ":\n\n")
			say("scheduled")
			say("loading")
			_, _ = io.WriteString(w, "data: nonsense\n\ndata: {\"status\":\"later-version\"}\n\ndata: {\"sta") // cut off
		case 2:
			w.WriteHeader(503)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			say("loading") // a repetition
			say("ready")
			say("terminated")
		}
	})
	var got []string
	err := c.Follow(t.Context(), "x", "", func(e client.StatusEntry) error {
		got = append(got, string(e.Status))
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"scheduled", "loading", "ready", "terminated"}) {
		t.Errorf("%v %v", got, err)
	}
	if !slices.Equal(resumed, []string{"", "loading", "loading", "loading"}) {
		t.Errorf("resumed at %q", resumed)
	}
}

func TestWaitReadyEndsEitherWay(t *testing.T) {
	stream := func(statuses ...string) *client.Client {
		return serve(t, client.Options{}, func(w http.ResponseWriter, _ *http.Request) {
			for _, s := range statuses {
				_, _ = fmt.Fprintf(w, "data: {\"status\":%q,\"termination_reason\":\"external\",\"time\":1}\nid: %s\n\n", s, s)
			}
			w.(http.Flusher).Flush()
		})
	}
	if err := stream("scheduled", "ready").WaitReady(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	var ended *client.Ended
	if err := stream("scheduled", "terminating").WaitReady(t.Context(), "x"); !errors.As(err, &ended) || ended.Entry.Status != plane.Terminating {
		t.Error(err)
	}
	gone := serve(t, client.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(404)
		_, _ = io.WriteString(w, `{"id":"a","kind":"NotFound","message":"Backend does not exist"}`)
	})
	if err := gone.WaitReady(t.Context(), "x"); !plane.IsKind(err, plane.NotFound) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := stream("scheduled").WaitReady(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestBackendsComePageByPage(t *testing.T) {
	var asked []string
	c := serve(t, client.Options{}, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		page := map[string]any{"backends": []client.Backend{{BackendID: "a"}}, "next": "a"}
		if r.URL.Query().Get("cursor") == "a" {
			page = map[string]any{"backends": []client.Backend{{BackendID: "b"}}, "next": nil}
		}
		_ = json.NewEncoder(w).Encode(page)
	})
	var got []plane.BackendID
	empty := ""
	for b, err := range c.Backends(t.Context(), client.Filter{Namespace: &empty, Live: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.BackendID)
	}
	if !slices.Equal(got, []plane.BackendID{"a", "b"}) || !slices.Equal(asked, []string{"limit=1000&live=1&namespace=", "cursor=a&limit=1000&live=1&namespace="}) {
		t.Error(got, asked)
	}
}
