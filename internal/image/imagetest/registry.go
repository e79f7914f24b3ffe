package imagetest

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is one on 127.0.0.1. It counts who takes what, and misbehaves when told to.
type Registry struct {
	Host           string // 127.0.0.1:PORT
	User, Password string // "" = none are asked for
	IdentityToken  string // that may be exchanged for access, see NewTokenRegistry

	inner http.Handler
	mu    sync.Mutex // guards the fields below
	blobs map[string]int
	sent  map[string]int64
	fault Fault
	cuts  int
	gate  chan struct{}
}

// Fault is how a registry misbehaves while it gives blobs. The zero Fault is none.
type Fault struct {
	Cut       int64         // bytes after which the connection breaks
	Cuts      int           // how many answers are bad, the first ones; 0 = all
	Least     int64         // bytes of an answer that is bad; configurations are blobs too, and small
	NoRanges  bool          // parts are asked for in vain, the whole is given
	Stall     bool          // after Cut bytes nothing comes any more, instead of an end
	Wrong     bool          // the last byte is another one
	PauseEach time.Duration // after each 32 KiB
	Missing   string        // the hex digest of a blob that isn't there
}

// NewRegistry starts one; it ends with the test. With a user, only they may use
// it, by name and password (Basic).
func NewRegistry(t TB, user, password string) *Registry {
	t.Helper()
	return start(t, &Registry{User: user, Password: password})
}

// NewTokenRegistry starts one that wants bearer tokens, as public registries do:
// its /token gives them for that name and password or for that identity token.
func NewTokenRegistry(t TB, user, password, identityToken string) *Registry {
	t.Helper()
	return start(t, &Registry{User: user, Password: password, IdentityToken: identityToken})
}

func start(t TB, r *Registry) *Registry {
	t.Helper()
	r.inner = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.blobs, r.sent = map[string]int{}, map[string]int64{}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.Host = strings.TrimPrefix(s.URL, "http://")
	return r
}

func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/token" {
		r.token(w, q)
		return
	}
	if !r.allowed(w, q) {
		return
	}
	_, digest, blob := strings.Cut(q.URL.Path, "/blobs/sha256:")
	if !blob || q.Method != http.MethodGet {
		r.inner.ServeHTTP(w, q)
		return
	}
	r.mu.Lock()
	r.blobs[digest]++
	gate, fault := r.gate, r.fault
	if r.cuts++; fault.Cuts > 0 && r.cuts > fault.Cuts {
		fault = Fault{NoRanges: fault.NoRanges}
	}
	r.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-q.Context().Done():
		}
	}
	if digest == fault.Missing {
		http.NotFound(w, q)
		return
	}
	if fault.NoRanges {
		q.Header.Del("Range")
	}
	out := &faulty{ResponseWriter: w, fault: fault, gone: q.Context().Done(), count: func(n int) {
		r.mu.Lock()
		r.sent[digest] += int64(n)
		r.mu.Unlock()
	}}
	r.inner.ServeHTTP(out, q)
	if out.broken {
		panic(http.ErrAbortHandler)
	}
}

// access is the token that /token gives.
const access = "access-granted"

// allowed answers those who may not.
func (r *Registry) allowed(w http.ResponseWriter, q *http.Request) bool {
	challenge, ok := `Basic realm="test"`, r.User == ""
	if r.IdentityToken != "" {
		challenge = `Bearer realm="http://` + r.Host + `/token",service="test"`
		ok = q.Header.Get("Authorization") == "Bearer "+access
	} else if user, password, _ := q.BasicAuth(); user == r.User && password == r.Password {
		ok = true
	}
	if ok {
		return true
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w)
	return false
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
}

func (r *Registry) token(w http.ResponseWriter, q *http.Request) {
	user, password, _ := q.BasicAuth()
	if q.Method == http.MethodPost && user == "" {
		user, password = q.FormValue("username"), q.FormValue("password")
	}
	byName := r.User != "" && user == r.User && password == r.Password
	if !byName && q.FormValue("refresh_token") != r.IdentityToken {
		refuse(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": access, "access_token": access, "expires_in": 300})
}

// Misbehave makes it give blobs with that fault from now on.
func (r *Registry) Misbehave(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault, r.cuts = f, 0
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

// Fetches counts how often each blob was asked for, by hex digest.
func (r *Registry) Fetches() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.blobs)
}

// Sent counts the bytes of each blob that were given, by hex digest.
func (r *Registry) Sent() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.sent)
}

// Push puts an image there and gives its full name.
func (r *Registry) Push(t TB, repository string, img v1.Image) string {
	t.Helper()
	ref := r.name(t, repository)
	if err := remote.Write(ref, img, remote.WithAuth(r.auth())); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// PushIndex puts an index of images there and gives its full name.
func (r *Registry) PushIndex(t TB, repository string, index v1.ImageIndex) string {
	t.Helper()
	ref := r.name(t, repository)
	if err := remote.WriteIndex(ref, index, remote.WithAuth(r.auth())); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// PushManifest puts a manifest there as it is and gives its full name.
func (r *Registry) PushManifest(t TB, repository, mediaType, body string) string {
	t.Helper()
	ref := r.name(t, repository)
	q, err := http.NewRequestWithContext(context.Background(), http.MethodPut, "http://"+r.Host+"/v2/"+ref.Context().RepositoryStr()+"/manifests/"+ref.Identifier(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", mediaType)
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("push manifest: %s", answer.Status)
	}
	return ref.String()
}

func (r *Registry) name(t TB, repository string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.Host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (r *Registry) auth() authn.Authenticator {
	if r.User == "" && r.IdentityToken == "" {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{Username: r.User, Password: r.Password, IdentityToken: r.IdentityToken})
}
