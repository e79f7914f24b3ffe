package docker_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane/internal/drone/home"
	"plane/internal/runtime/docker"
)

func TestHostsThatCanNotBeUsedAreRefusedWithTheRemedy(t *testing.T) {
	t.Setenv("DOCKER_CERT_PATH", "")
	for host, want := range map[string]string{
		"docker.sock":                 "use unix:// with the path of its socket, such as unix:///var/run/docker.sock",
		"unix://docker.sock":          "use the whole path",
		"tcp://127.0.0.1":             "use an address of this machine and a port",
		"tcp://192.0.2.7:2376":        "run a drone on that machine",
		"tcp://engine.example:2376":   "run a drone on that machine",
		"ssh://me@engine.example":     "run a drone on that machine",
		"npipe:////./pipe/docker":     "run Plane in WSL",
		"https://127.0.0.1:2376":      "use unix://",
		"unix:///" + long("x", 200):   "can't be used",
		"unix:///var/run/docker.sock": "",
		"tcp://127.0.0.1:2375":        "",
		"tcp://localhost:2375":        "",
		"tcp://[::1]:2375":            "",
		"":                            "",
	} {
		t.Setenv("DOCKER_HOST", host)
		r, err := docker.New(docker.Options{Home: home.Home{Dir: t.TempDir()}})
		if err == nil {
			r.Close()
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", host, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "DOCKER_HOST")):
			t.Errorf("%q: %v; want %s", host, err, want)
		}
	}
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:2376")
	t.Setenv("DOCKER_CERT_PATH", t.TempDir())
	if _, err := docker.New(docker.Options{Home: home.Home{Dir: t.TempDir()}}); err == nil || !strings.Contains(err.Error(), "ca.pem, cert.pem and key.pem") {
		t.Errorf("without certificates: %v", err)
	}
	t.Setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
	if r, err := docker.New(docker.Options{Home: home.Home{Dir: t.TempDir()}}); err != nil {
		t.Errorf("a socket, without certificates: %v", err)
	} else {
		r.Close()
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

func TestEnginesThatAreTooOldOrNoneAreRefused(t *testing.T) {
	for version, want := range map[string]string{
		"1.40": "update it to Docker 20.10 or newer",
		"1.24": "update it to Docker 20.10 or newer",
		"":     "is no Docker engine",
		"1.41": "",
		"1.99": "",
	} {
		host, asked := fakeEngine(t, version)
		r, err := docker.New(docker.Options{Home: home.Home{Dir: t.TempDir()}, Host: host})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Check(t.Context())
		r.Close()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("version %q: %v; want %s", version, err, want)
		}
		if spoken := "/v" + min(version, "1.56") + "/info"; want == "" && *asked != spoken {
			t.Errorf("version %q: it was asked for %s, want %s", version, *asked, spoken)
		}
	}
}

// fakeEngine answers pings as of that version, and tells what was asked besides.
func fakeEngine(t *testing.T, version string) (host string, asked *string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "plane")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	asked = new(string)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if version != "" {
			w.Header().Set("Api-Version", version)
		}
		if r.URL.Path != "/_ping" {
			*asked = r.URL.Path
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"OSType":"linux"}`))
		}
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return "unix://" + l.Addr().String(), asked
}
