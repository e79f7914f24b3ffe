package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// get reads a path of a key URL.
func (d *Dev) get(key, path string) (int, string) {
	d.t.Helper()
	code, body, err := tryGet(d.Proxy, key, path)
	if err != nil {
		d.t.Fatal(err)
	}
	return code, body
}

func tryGet(proxy, key, path string) (int, string, error) {
	return do(http.MethodGet, proxy, key, path)
}

func do(method, proxy, key, path string) (int, string, error) {
	req, err := http.NewRequest(method, "http://"+proxy+path, nil)
	if err != nil {
		return 0, "", err
	}
	_, port, _ := net.SplitHostPort(proxy)
	req.Host = key + ".localhost:" + port
	resp, err := apiClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

type echoState struct {
	PID   int `json:"pid"`
	Count int `json:"count"`
}

func (d *Dev) state(key string) echoState {
	d.t.Helper()
	var s echoState
	code, body := d.get(key, "/state")
	if err := json.Unmarshal([]byte(body), &s); code != http.StatusOK || err != nil {
		d.t.Fatalf("state of %s: %d %s", key, code, body)
	}
	return s
}

func TestTwoKeysAreTwoIsolatedBackends(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	if code, _, err := do(http.MethodPost, d.Proxy, "one", "/state"); code != http.StatusOK {
		t.Fatal(code, err)
	}
	one, two := d.state("one"), d.state("two")
	if one.PID == two.PID || one.Count != 1 || two.Count != 0 {
		t.Errorf("not isolated: %+v %+v", one, two)
	}
	if again := d.state("one"); again != one {
		t.Errorf("key one moved: %+v, then %+v", one, again)
	}
	for _, kind := range []string{"started", "ready"} {
		if _, err := d.Await(5*time.Second, func(e Event) bool { return e.Event == kind && e.Key == "two" && e.BackendID != "" }); err != nil {
			t.Error(err)
		}
	}
}

func TestTrap06_KilledDevIsFollowedByOneThatAdopts(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	const n = 20
	before := map[string]echoState{}
	for i := range n {
		key := fmt.Sprintf("kept-%d", i)
		if code, _, err := do(http.MethodPost, d.Proxy, key, "/state"); code != http.StatusOK {
			t.Fatal(code, err)
		}
		before[key] = d.state(key)
	}
	ids := map[string]string{}
	for _, b := range d.Backends() {
		ids[b.Key.Name] = b.BackendID
	}
	d.Kill()
	for key, s := range before {
		if !alive(s.PID) {
			t.Fatalf("%s died with plane dev", key)
		}
	}
	d.Restart()
	d.AwaitListening()
	for key, s := range before {
		if got := d.state(key); got != s {
			t.Errorf("%s was %+v, is %+v", key, s, got)
		}
	}
	after := d.Backends()
	if len(after) != n {
		t.Errorf("%d backends, want %d", len(after), n)
	}
	for _, b := range after {
		if ids[b.Key.Name] != b.BackendID {
			t.Errorf("%s is now %s, was %s", b.Key.Name, b.BackendID, ids[b.Key.Name])
		}
	}
}

func TestTrap49_BackendsOfAKilledDevDieAtTheirDeadlineWithoutHelp(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	c, err := connectBody(d.API, map[string]any{
		"key":          map[string]string{"name": "fast"},
		"spawn_config": map[string]any{"executable": map[string]any{"command": []string{Build(t).Echo, "--grandchild", "setsid"}}, "lease": "fast"},
		"wait":         "ready",
	})
	if err != nil {
		t.Fatal(err)
	}
	pids := marked(t, c.BackendID)
	if len(pids) < 2 {
		t.Fatalf("backend and grandchild expected, have %v", pids)
	}
	killed := time.Now()
	d.Kill()
	// holder's time of the policy is 7 s, renewed every 2 s at least
	await(t, 9*time.Second, "backend and grandchild are gone", func() bool { return len(marked(t, c.BackendID)) == 0 })
	if lived := time.Since(killed); lived < 4*time.Second {
		t.Errorf("it died %v after its agent; it must live until its deadline", lived)
	}
	await(t, 30*time.Second, "warden and reaper leave", func() bool {
		return d.LockHolder("warden") == 0 && d.LockHolder("reaper") == 0
	})
}

func TestSignalsEndDevAndItsBackends(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			d := StartDev(t, nil, Build(t).Echo)
			pid := d.state("ended").PID
			d.Signal(sig)
			if err := d.WaitExit(20 * time.Second); err != nil {
				t.Fatal(err)
			}
			if alive(pid) {
				t.Error("the backend lives on")
			}
			if code := d.ExitCode(); code != 0 {
				t.Errorf("exit code %d\n%s", code, d.Stderr())
			}
		})
	}
}

func TestDevSaysWhatIsWrongInOneSentence(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	d := StartDev(t, nil, Build(t).Echo)
	plainFile := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(plainFile, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	cutShort := t.TempDir()
	write(t, filepath.Join(cutShort, "restore.unfinished"), "over-there\n")
	free := []string{"--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0"}
	for _, c := range []struct {
		name, says string
		args       []string
		more       int // lines beside the sentence
	}{
		{"port taken", "is taken", append([]string{"--data-dir", t.TempDir(), "--api", "127.0.0.1:0", "--proxy", taken.Addr().String(), "--"}, Build(t).Echo), 0},
		{"data directory in use", "in use", append(append([]string{"--data-dir", d.DataDir}, free...), "--", Build(t).Echo), 0},
		{"command not found", "not found", append(append([]string{"--data-dir", t.TempDir()}, free...), "--", "no-such-command-here"), 0},
		{"no such file", "no program", append(append([]string{"--data-dir", t.TempDir()}, free...), "--", "./no-such-file"), 0},
		{"not executable", "chmod +x", append(append([]string{"--data-dir", t.TempDir()}, free...), "--", plainFile), 0},
		{"not loopback", "loopback", append([]string{"--data-dir", t.TempDir(), "--api", "0.0.0.0:0", "--"}, Build(t).Echo), 1},
		{"command and file", "one of them", []string{"--file", "plane.yaml", "--", Build(t).Echo}, 1},
		{"no such plane.yaml", "plane init", append([]string{"--data-dir", t.TempDir(), "--file", "none.yaml"}, free...), 0},
		{"restore cut short", "plane restore", append(append([]string{"--data-dir", cutShort}, free...), "--", Build(t).Echo), 0},
		{"nothing to watch", "no such directory", append(append([]string{"--data-dir", t.TempDir(), "--watch", "none"}, free...), "--", Build(t).Echo), 0},
		{"data directory is a file", "--data-dir", append([]string{"--data-dir", plainFile}, append(free, "--", Build(t).Echo)...), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := Start(t, t.TempDir(), nil, append([]string{"dev"}, c.args...)...)
			if err := p.WaitExit(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			said := strings.TrimSpace(p.Stderr())
			if p.ExitCode() == 0 || !strings.Contains(said, c.says) || strings.Count(said, "\n") > c.more {
				t.Errorf("exit code %d, said:\n%s", p.ExitCode(), said)
			}
		})
	}
}

func TestDevSaysWhatAProgramThatNeverListensIsMissing(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo, "--never-listen")
	visitor, err := net.Dial("tcp", d.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	_, port, _ := net.SplitHostPort(d.Proxy)
	fmt.Fprintf(visitor, "GET / HTTP/1.1\r\nHost: mute.localhost:%s\r\n\r\n", port) // held
	_, err = d.Await(20*time.Second, func(e Event) bool {
		return e.Event == "warning" && e.Key == "mute" && strings.Contains(e.Output, "$PORT")
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASignalWhileDevStartsIsNotLost(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{5, 15, 30, 60, 120} {
		p := Start(t, t.TempDir(), nil, "dev", "--json", "--data-dir", t.TempDir(), "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--", Build(t).Echo)
		time.Sleep(after * time.Millisecond) // somewhere in its start
		p.Signal(syscall.SIGTERM)
		if err := p.WaitExit(20 * time.Second); err != nil {
			t.Errorf("after %d ms: %v", after, err)
		}
	}
}

func TestDevOutlivesWhoReadsItsOutput(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(Build(t).Plane, "dev", "--json", "--data-dir", t.TempDir(), "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--", Build(t).Echo)
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	var e Event
	if err := json.NewDecoder(r).Decode(&e); err != nil || e.Proxy == "" {
		t.Fatalf("%+v %v", e, err)
	}
	_ = r.Close()
	for range 3 { // each start prints lines that nobody reads
		if code, body, err := tryGet(hostPort(e.Proxy), "unread", "/state"); code != http.StatusOK {
			t.Fatalf("%d %s %v", code, body, err)
		}
	}
}
