package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"plane/internal/clustertest/history"
	"plane/internal/clustertest/overlap"
)

// city is a cluster whose backends write down when they live, and whose
// callers write down what they see.
type city struct {
	*Apart
	*yard   // nil for processes
	t       *testing.T
	homes   []string // data directories of the drones
	drones  []*Part
	backend map[string]any // executable that runs overlap/backend
	keys    int
	lives   *overlap.File
	file    string
	history history.Recorder
	client  *http.Client
}

// startCity's backends are processes.
func startCity(t *testing.T, drones int) *city {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lives")
	return beginCity(t, drones, OfDrone{}, &city{keys: chaosKeys, file: file, backend: map[string]any{
		"command": []string{buildBackend(t)}, "env": map[string]string{overlap.Env: file},
	}})
}

func beginCity(t *testing.T, drones int, of OfDrone, c *city) *city {
	t.Helper()
	c.t = t
	t.Cleanup(c.endExecutioners) // after the drones' end
	var err error
	if c.lives, err = overlap.Create(c.file); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.file, 0o666); err != nil { // users of containers are others
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.lives.Close() })
	c.Apart = startApart(t, WithAdmin{}, of)
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	c.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, port, err := net.SplitHostPort(addr); err == nil && host != "127.0.0.1" {
				addr = net.JoinHostPort("127.0.0.1", port) // *.localhost
			}
			return dialer.DialContext(ctx, network, addr)
		},
	}}
	c.homes, c.drones = []string{c.DataDir + "/drone"}, []*Part{c.Drone}
	for i := 1; i < drones; i++ {
		home := filepath.Join(t.TempDir(), fmt.Sprintf("drone%d", i))
		args := slices.Clone(c.Drone.Args)
		args[slices.Index(args, "--data-dir")+1] = home
		c.homes = append(c.homes, home)
		c.drones = append(c.drones, Start(t, t.TempDir(), of.Env, args...))
	}
	for _, home := range c.homes {
		await(t, 20*time.Second, "executioners of "+filepath.Base(home)+" are there", func() bool {
			return LockHolder(home, "warden") != 0 && LockHolder(home, "reaper") != 0
		})
	}
	await(t, 20*time.Second, "all drones are ready", func() bool { return c.readyDrones() == drones })
	t.Cleanup(c.endAll)
	return c
}

func buildBackend(t *testing.T) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "backend")
	cmd := exec.Command("go", "build", "-o", path, "./internal/clustertest/overlap/backend")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build backend: %v\n%s", err, out)
	}
	return path
}

func (c *city) readyDrones() int {
	var s struct {
		Drones []struct{ Ready bool }
	}
	if err := c.get("/ctrl/c/"+c.cluster()+"/state", &s); err != nil {
		return 0
	}
	n := 0
	for _, d := range s.Drones {
		if d.Ready {
			n++
		}
	}
	return n
}

func (c *city) cluster() string {
	_, port, _ := net.SplitHostPort(c.Proxy)
	return "localhost:" + port
}

func (c *city) get(path string, into any) error {
	resp, err := c.client.Get(c.API + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// errRefused: the controller has decided that nothing was or will be started.
var errRefused = errors.New("refused")

// connect starts or finds the backend of key, and writes down what came of it.
func (c *city) connect(ctx context.Context, key, lease string) (Connected, error) {
	body, err := json.Marshal(map[string]any{
		"key": map[string]string{"name": key},
		"spawn_config": map[string]any{
			"executable":         c.backend,
			"lease":              lease,
			"stop_grace_seconds": 1,
		},
	})
	if err != nil {
		return Connected{}, err
	}
	call := c.history.Begin(key)
	got, err := c.postConnect(ctx, body)
	switch {
	case err == nil:
		call.Connected(got.BackendID, got.Generation, got.Spawned)
	case !errors.Is(err, errRefused):
		call.Failed()
	}
	return got, err
}

func (c *city) postConnect(ctx context.Context, body []byte) (Connected, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.API+"/ctrl/connect", bytes.NewReader(body))
	if err != nil {
		return Connected{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return Connected{}, err
	}
	defer resp.Body.Close()
	var got Connected
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return got, err
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return got, nil
	case resp.StatusCode < 500 && resp.StatusCode != http.StatusConflict:
		return got, fmt.Errorf("%w: %s %s", errRefused, got.Kind, got.Message)
	}
	return got, fmt.Errorf("connect: %s %s %s", resp.Status, got.Kind, got.Message)
}

// visit asks the backend itself, through the proxy, who it is.
func (c *city) visit(ctx context.Context, key string, to Connected) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.URL, nil)
	if err != nil {
		return err
	}
	call := c.history.Begin(key)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("visit: %s %w", resp.Status, err)
	}
	var self struct {
		BackendID  string `json:"backend_id"`
		Generation int64  `json:"generation"`
	}
	if err := json.Unmarshal(b, &self); err != nil {
		return err
	}
	call.Served(self.BackendID, self.Generation)
	if self.BackendID != to.BackendID || self.Generation != to.Generation {
		c.t.Errorf("a token of %s, generation %d, was answered by %s, generation %d",
			to.BackendID, to.Generation, self.BackendID, self.Generation)
	}
	return nil
}

// rows lists every backend that the API knows, and writes down which have ended.
func (c *city) rows() ([]Backend, error) {
	var live []Backend
	for cursor := ""; ; {
		var page struct {
			Backends []Backend
			Next     *string
		}
		if err := c.get("/ctrl/backends?limit=1000&cursor="+cursor, &page); err != nil {
			return nil, err
		}
		for _, b := range page.Backends {
			if b.Status == "terminated" {
				c.history.Ended(b.Key.Name, b.BackendID)
				continue
			}
			live = append(live, b)
		}
		if page.Next == nil {
			return live, nil
		}
		cursor = *page.Next
	}
}

// mismatch says how rows and processes differ; "" = not at all.
func (c *city) mismatch() string {
	rows, err := c.rows()
	if err != nil {
		return err.Error()
	}
	type id struct {
		key        uint64
		generation int64
	}
	row, running := map[id]string{}, map[id]bool{}
	for _, b := range rows {
		if b.Key.Name != "probe" { // runs another program
			row[id{overlap.KeyHash("", b.Key.Name), b.Generation}] = b.BackendID + " " + b.Status
		}
	}
	text := ""
	for _, l := range overlap.Running(c.lives.Lives()) {
		running[id{l.Key, l.Generation}] = true
		if row[id{l.Key, l.Generation}] == "" {
			text += fmt.Sprintf("orphan: %s\n", l)
		}
	}
	for i, b := range row {
		if !running[i] {
			text += fmt.Sprintf("ghost row: %s, generation %d\n", b, i.generation)
		}
	}
	return text
}

// clashes fails the test if two generations of a key ever ran at once.
func (c *city) clashes() {
	c.t.Helper()
	all := overlap.Clashes(c.lives.Lives())
	for i, clash := range all {
		if i == 5 {
			break
		}
		c.t.Errorf("two generations of a key ran at once, %s", clash)
	}
	if len(all) > 0 {
		c.t.Errorf("%d overlaps", len(all))
	}
}

// endExecutioners spares the tests the time after which warden and reaper leave
// by themselves. Stopped first, neither can start the other anew.
func (c *city) endExecutioners() { endExecutioners(c.homes...) }

func endExecutioners(homes ...string) {
	for _, home := range homes {
		var pids []int
		for _, part := range []string{"reaper", "warden"} {
			if pid := LockHolder(home, part); pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
				pids = append(pids, pid)
			}
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for _, pid := range pids {
			for end := time.Now().Add(5 * time.Second); alive(pid) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			}
		}
		for _, dir := range groupsOf(home) {
			_ = os.Remove(dir) // what they would do when they leave
		}
	}
}

// endAll leaves no process behind, whatever the test has shown. It kills only
// what the file of lives names: pid and start time.
func (c *city) endAll() {
	for _, home := range c.homes {
		for _, part := range []string{"warden", "reaper"} {
			if pid := LockHolder(home, part); pid != 0 {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		left := overlap.Running(c.lives.Lives())
		if len(left) == 0 {
			return
		}
		for _, l := range left {
			_ = syscall.Kill(l.Pid, syscall.SIGKILL)
		}
	}
}
