package imagetest

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is one on 127.0.0.1.
type Registry struct {
	Host           string // 127.0.0.1:PORT
	User, Password string // "" = none are asked for

	mu     sync.Mutex // guards the fields below
	blobs  map[string]int
	broken int
	gate   chan struct{}
}

// NewRegistry starts one; it ends with the test. With a user, only they may use it.
func NewRegistry(t testing.TB, user, password string) *Registry {
	t.Helper()
	r := &Registry{User: user, Password: password, blobs: map[string]int{}}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.serve(inner, w, q) }))
	t.Cleanup(s.Close)
	r.Host = strings.TrimPrefix(s.URL, "http://")
	return r
}

func (r *Registry) serve(inner http.Handler, w http.ResponseWriter, q *http.Request) {
	if user, password, _ := q.BasicAuth(); r.User != "" && (user != r.User || password != r.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	if _, digest, blob := strings.Cut(q.URL.Path, "/blobs/sha256:"); blob && q.Method == http.MethodGet {
		r.mu.Lock()
		r.blobs[digest]++
		gate := r.gate
		broken := r.broken > 0
		if broken {
			r.broken--
		}
		r.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-q.Context().Done():
			}
		}
		if broken {
			inner.ServeHTTP(&cut{w, 1000}, q)
			panic(http.ErrAbortHandler)
		}
	}
	inner.ServeHTTP(w, q)
}

// cut passes on the first left bytes.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	_, err := c.ResponseWriter.Write(p[:n])
	return len(p), err
}

// Break cuts the connections of the next n blobs in their middle.
func (r *Registry) Break(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = n
}

// Hold keeps blobs back until the function it returns is called.
func (r *Registry) Hold() (release func()) {
	gate := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = gate
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.gate = nil
		close(gate)
	})
}

// Fetches counts how often each blob was asked for.
func (r *Registry) Fetches() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]int{}
	for d, n := range r.blobs {
		all[d] = n
	}
	return all
}

// Push puts an image there and gives its full name.
func (r *Registry) Push(t testing.TB, repository string, img v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(r.Host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	auth := authn.Anonymous
	if r.User != "" {
		auth = &authn.Basic{Username: r.User, Password: r.Password}
	}
	if err := remote.Write(ref, img, remote.WithAuth(auth)); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}
