package clustertest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The whole life of a key whose app is an image.
func TestAnImageServesAKeyFromFirstByteToIdleEnd(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(y *yard) {
		t := y.t
		image := y.server()
		d := y.dev(planeYAML([]string{"app", "brief"},
			map[string]any{
				"image": image, "runtime": y.runtime, "data": "keep", "port": 3000, "env": map[string]string{"COLOUR": "red"},
				"resource_limits": map[string]int64{"memory_limit_bytes": 64 << 20, "pids_limit": 24, "cpu_period_percent": 20},
			},
			map[string]any{"image": image, "runtime": y.runtime, "max_idle_seconds": 1},
		))
		began := time.Now()
		hello := d.served("doc", "/")
		t.Logf("first byte of the first key, with its pull: %v", time.Since(began))
		first := d.backendOf("doc")
		if !strings.Contains(hello, first.BackendID) {
			t.Errorf("%q was said, of %s", hello, first.BackendID)
		}
		y.seesWhatRuns(d.DataDir)
		began = time.Now()
		other := d.served("other", "/")
		t.Logf("first byte of the second key: %v", time.Since(began))
		if other == hello || d.served("doc", "/") != hello {
			t.Errorf("two keys, or the same key twice: %q, %q", hello, other)
		}

		open := openSockets(t, d.Proxy, []string{d.KeyURL("doc")})
		open.echo("through the proxy")

		env := map[string]string{}
		if err := json.Unmarshal([]byte(d.served("doc", "/env")), &env); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"PORT": "3000", "COLOUR": "red", "OF": "image", "SESSION_BACKEND_ID": first.BackendID, "SESSION_BACKEND_KEY": "doc",
			"SESSION_BACKEND_FENCING_TOKEN": strconv.FormatInt(first.Generation, 10), "SESSION_BACKEND_DATA_DIR": "/plane-data",
		} {
			if env[name] != want {
				t.Errorf("%s is %q, want %q", name, env[name], want)
			}
		}
		for name := range env {
			if name == "HOME" && env[name] == "" || name == "PLANE_DATA_DIR" || name == "DOCKER_HOST" {
				t.Errorf("%s=%s came in", name, env[name])
			}
		}
		d.commands(t, "doc")
		d.ceilings(t, "doc")

		// Its data is there for the next generation.
		d.served("doc", "/write?path=/plane-data/kept&bytes=5")
		d.says("stop", "doc", "--hard")
		if d.served("doc", "/read?path=/plane-data/kept"); d.backendOf("doc").Generation <= first.Generation {
			t.Error("it never ended")
		}
		if code, _ := d.get("other", "/read?path=/plane-data/kept"); code != 404 {
			t.Errorf("another key's data: %d", code)
		}

		// Past its memory.
		_, _ = d.get("doc", "/eat?bytes=200000000")
		d.why("doc", "used more memory than its limit")

		d.served("soon--brief", "/")
		d.event("its idle end", func(e Event) bool {
			return e.Event == "ended" && e.Key == "soon" && strings.Contains(e.Message, "idle")
		})
		d.why("brief/soon", "dle")
	})
}

// commands runs some beside a key's server.
func (d *Dev) commands(t *testing.T, key string) {
	t.Helper()
	for _, c := range []struct {
		flag, says string
		code       int
		argv       []string
	}{
		{"-T", "", 7, []string{"/server", "exit", "7"}},
		{"-T", "no terminal", 0, []string{"/server", "terminal"}},
		{"-t", "terminal of", 0, []string{"/server", "terminal"}},
	} {
		code, out, errOut := cli(t, d.Dir, append([]string{"exec", "--controller", d.API, c.flag, key, "--"}, c.argv...)...)
		if code != c.code || !strings.Contains(out, c.says) || c.flag == "-T" && strings.Contains(out, "terminal of") {
			t.Errorf("exec %s %v: exit %d, want %d and %q\n%s%s", c.flag, c.argv, code, c.code, c.says, out, errOut)
		}
	}
	code, out, errOut := cli(t, d.Dir, "exec", "--controller", d.API, key, "--", "/no/such/command")
	if code == 0 || !strings.Contains(out+errOut, "/no/such/command") || strings.Count(strings.TrimSpace(errOut), "\n") > 0 {
		t.Errorf("exec of what isn't there: exit %d\n%s%s", code, out, errOut)
	}
	if said := d.says("events"); !strings.Contains(said, "terminal") {
		t.Errorf("the log doesn't say what was run:\n%s", said)
	}
}

// ceilings goes as far as a key's limits of 24 processes and 20 % of a processor.
func (d *Dev) ceilings(t *testing.T, key string) {
	t.Helper()
	if n, err := strconv.Atoi(d.served(key, "/fork?count=60")); err != nil || n < 1 || n >= 24 {
		t.Errorf("%d processes were started, of 24 with their threads (%v)", n, err)
	}
	if ms, err := strconv.Atoi(d.served(key, "/spin?ms=600")); err != nil || ms > 240 {
		t.Errorf("it had %d ms of 600, want 120 (%v)", ms, err)
	}
}
