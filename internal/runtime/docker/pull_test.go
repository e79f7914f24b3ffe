package docker_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/image/imagetest"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
)

func TestPulls(t *testing.T) {
	g := newRig(t, func(o *docker.Options) { o.AutoPruneImages = true })
	reg := imagetest.NewRegistry(t, "me", "secret")
	name := reg.Push(t, "app:1", image(t))
	other := reg.Push(t, "app:arm", imagetest.OfArchitecture(t, image(t), "s390x"))
	right := &plane.Credentials{Username: "me", Password: "secret"}
	tokens := imagetest.NewTokenRegistry(t, "me", "secret", "secret-identity")
	bearer := tokens.Push(t, "app:1", files(t, "bearer"))
	unit := func(image, policy string, c *plane.Credentials) runtime.Unit {
		u := g.unit(time.Minute)
		u.Executable.Image, u.Executable.PullPolicy, u.Executable.Credentials = image, policy, c
		return u
	}
	for what, c := range map[string]struct {
		u    runtime.Unit
		want string
	}{
		"no credentials":            {unit(name, "", nil), "executable.credentials"},
		"wrong credentials":         {unit(name, "", &plane.Credentials{Username: "me", Password: "wrong"}), "refuses the credentials"},
		"a wrong password, tokens":  {unit(bearer, "", &plane.Credentials{Username: "me", Password: "wrong"}), "refuses the credentials"},
		"a wrong identity token":    {unit(bearer, "", &plane.Credentials{IdentityToken: "wrong"}), "refuses the credentials"},
		"no such tag":               {unit(reg.Host+"/app:2", "", right), "check name and tag"},
		"of another machine":        {unit(other, "", right), "s390x"},
		"no name at all":            {unit("Not A Name", "", nil), "no name of an image"},
		"a registry that is silent": {unit("127.0.0.1:1/app", "", nil), "127.0.0.1:1"},
	} {
		_, err := g.r.Prepare(g.Ctx(), c.u, func(runtime.Progress) {})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, c := range []*plane.Credentials{right, {IdentityToken: "secret-identity"}} {
		if _, err := g.r.Prepare(g.Ctx(), unit(bearer, plane.PullAlways, c), func(runtime.Progress) {}); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	// However many ask, it is pulled once, and all of them hear how far it is.
	release := reg.Hold()
	var all sync.WaitGroup
	var mu sync.Mutex
	last := map[int]runtime.Progress{}
	for i := range 5 {
		all.Go(func() {
			p, err := g.r.Prepare(g.Ctx(), unit(name, plane.PullIfNotPresent, right), func(p runtime.Progress) {
				mu.Lock()
				defer mu.Unlock()
				last[i] = p
				if len(last) == 5 {
					release()
				}
			})
			if err != nil || !strings.HasPrefix(p.Digest, "sha256:") {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	all.Wait()
	for digest, n := range reg.Fetches() {
		if n > 2 { // the engine asked for the config again, of the other tag
			t.Errorf("%s was fetched %d times", digest, n)
		}
	}
	// What is there needs no registry, unless it is to be asked.
	u := unit(name, "", nil)
	if _, err := g.r.Prepare(g.Ctx(), u, nil); err != nil {
		t.Error(err)
	}
	if _, err := g.r.Prepare(g.Ctx(), unit(name, plane.PullAlways, nil), func(runtime.Progress) {}); err == nil {
		t.Error("Always doesn't ask")
	}
	g.Outputs(g.r, g.started(u), "serves")
	if err := g.r.Prune(g.Ctx()); err != nil { // just asked for, and used
		t.Error(err)
	}
	if _, err := g.r.Prepare(g.Ctx(), unit(name, plane.PullNever, nil), nil); err != nil {
		t.Errorf("it was pruned: %v", err)
	}
}

func (g *rig) started(u runtime.Unit) plane.BackendID {
	g.t.Helper()
	g.start(u)
	return u.Backend
}
