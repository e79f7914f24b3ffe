package clustertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Connected is what the tests look at of a connect's answer.
type Connected struct {
	BackendID  string `json:"backend_id"`
	Generation int64  `json:"generation"`
	Spawned    bool   `json:"spawned"`
	URL        string `json:"url"`
	Kind       string `json:"kind"`
	Message    string `json:"message"`
	URLs       struct {
		Token string `json:"token"`
		Key   string `json:"key"`
	} `json:"urls"`
}

var apiClient = &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// connect asks a controller for the backend of a key, to be started with command.
func connect(api, key string, command ...string) (Connected, error) {
	body := map[string]any{"key": map[string]string{"name": key}}
	if len(command) > 0 {
		body["spawn_config"] = map[string]any{"executable": map[string]any{"command": command}}
	}
	return connectBody(api, body)
}

func connectBody(api string, body any) (Connected, error) {
	var c Connected
	b, err := json.Marshal(body)
	if err != nil {
		return c, err
	}
	resp, err := apiClient.Post(api+"/ctrl/connect", "application/json", bytes.NewReader(b))
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		return c, fmt.Errorf("connect: %s: %w", resp.Status, err)
	}
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("connect: %s: %s %s", resp.Status, c.Kind, c.Message)
	}
	return c, nil
}

// terminate makes a backend absent; a failure shows in what the test looks at next.
func terminate(api, id string) {
	resp, err := apiClient.Post(api+"/ctrl/b/"+id+"/hard-terminate", "application/json", strings.NewReader("null"))
	if err == nil {
		_ = resp.Body.Close()
	}
}

// LockHolder is the pid that holds the lock of a drone's part (agent, warden,
// reaper) in dataDir, 0 if none does.
func LockHolder(dataDir, part string) int {
	b, err := os.ReadFile(filepath.Join(dataDir, part+".lock"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || !alive(pid) {
		return 0
	}
	return pid
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// marked are the processes that carry a backend's id in their environment.
func marked(t TB, id string) []int {
	t.Helper()
	var pids []int
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		b, err := os.ReadFile(p + "/environ")
		if err != nil || !strings.Contains("\x00"+string(b), "\x00SESSION_BACKEND_ID="+id+"\x00") {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(p), "%d", &pid); err == nil && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
