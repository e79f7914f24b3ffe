package clustertest

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cliRun is a `plane` that runs beside the test.
type cliRun struct {
	t    *testing.T
	cmd  *exec.Cmd
	keys io.WriteCloser // its input, open until it is closed
	done chan struct{}

	mu       sync.Mutex // guards the fields below
	out, err bytes.Buffer
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// runs starts `plane ARGS`. It is killed at the end of the test.
func runs(t *testing.T, args ...string) *cliRun {
	t.Helper()
	r := &cliRun{t: t, cmd: exec.Command(Build(t).Plane, args...), done: make(chan struct{})}
	r.cmd.Dir = t.TempDir()
	r.cmd.Stdout, r.cmd.Stderr = lockedWriter{&r.mu, &r.out}, lockedWriter{&r.mu, &r.err}
	keys, err := r.cmd.StdinPipe()
	if err := errors.Join(err, r.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	r.keys = keys
	go func() {
		defer close(r.done)
		_ = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		_, _ = r.cmd.Process.Kill(), keys.Close()
		<-r.done
	})
	return r
}

func (r *cliRun) said() (out, errOut string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String(), r.err.String()
}

// says waits until its output has text.
func (r *cliRun) says(text string) {
	r.t.Helper()
	await(r.t, 30*time.Second, "it says "+text, func() bool {
		out, errOut := r.said()
		select {
		case <-r.done:
			if !strings.Contains(out, text) {
				r.t.Fatalf("it has ended: %q, %q", out, errOut)
			}
		default:
		}
		return strings.Contains(out, text)
	})
}

// ends waits for its end.
func (r *cliRun) ends() (code int, out, errOut string) {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		out, errOut = r.said()
		r.t.Fatalf("it goes on: %q, %q", out, errOut)
	}
	out, errOut = r.said()
	return r.cmd.ProcessState.ExitCode(), out, errOut
}

// getaway is a command whose processes get away as far as they can.
const getaway = `(setsid sh -c 'trap "" TERM HUP INT; exec sleep 300' &)
sh -c 'trap "" TERM HUP INT; sleep 300; :' &
echo up
sleep 300`

// beside are the processes of a backend that it hadn't before.
func beside(t *testing.T, id string, before []int) []int {
	return slices.DeleteFunc(marked(t, id), func(pid int) bool { return slices.Contains(before, pid) })
}

// A command beside a process, over every part that there is.
func TestCommandsRunBesideAProcess(t *testing.T) {
	t.Parallel()
	a := StartApart(t)
	c, err := connectBody(a.API, map[string]any{
		"key": map[string]string{"name": "doc"},
		"spawn_config": map[string]any{
			"executable":       map[string]any{"command": []string{Build(t).Echo}, "resource_limits": map[string]int64{"open_files_limit": 99}},
			"max_idle_seconds": 600,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "it is served", func() bool {
		resp, err := apiClient.Get(strings.Replace(c.URL, "localhost", "127.0.0.1", 1))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode < 400
	})
	before := marked(t, c.BackendID)
	x := func(flag string, argv ...string) *cliRun {
		return runs(t, append([]string{"exec", "--controller", a.API, flag, "doc", "--"}, argv...)...)
	}
	says := func(args ...string) string { return does(t, append(args, "--controller", a.API)...) }

	in := x("-T", "sh", "-c", `echo "$SESSION_BACKEND_KEY"; ulimit -n; [ "$PORT" -gt 0 ] && echo port; cat; echo trouble >&2; exit 7`)
	_, _ = io.WriteString(in.keys, "said\n")
	_ = in.keys.Close()
	if code, out, errOut := in.ends(); code != 7 || out != "doc\n99\nport\nsaid\n" || errOut != "trouble\n" {
		t.Errorf("exit %d, %q, %q", code, out, errOut)
	}
	// Its input stays open.
	if code, out, _ := x("-T", "echo", "done").ends(); code != 0 || out != "done\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	screen := x("-t", "sh", "-c", "test -t 0 && test -t 1 && echo terminal; read line; echo \"<$line>\"; exit 3")
	screen.says("terminal")
	_, _ = io.WriteString(screen.keys, "word\n")
	if code, out, _ := screen.ends(); code != 3 || !strings.Contains(out, "<word>") {
		t.Errorf("in a terminal: exit %d, %q", code, out)
	}
	if code, _, errOut := x("-T", "nothing-of-that-name").ends(); code == 0 || !strings.Contains(errOut, "was not found in PATH") {
		t.Errorf("what isn't there: exit %d, %q", code, errOut)
	}
	if log := says("events"); !strings.Contains(log, "nothing-of-that-name") || !strings.Contains(log, "exit code 7") {
		t.Errorf("the log doesn't tell of commands:\n%s", log)
	}

	gone := func(why string) {
		t.Helper()
		await(t, 30*time.Second, why+": nothing of the command is left", func() bool { return len(beside(t, c.BackendID, before)) == 0 })
	}
	leaves := x("-T", "sh", "-c", getaway)
	leaves.says("up")
	if n := len(beside(t, c.BackendID, before)); n < 3 {
		t.Errorf("%d processes of it run", n)
	}
	if why := says("why", "doc"); !strings.Contains(why, "1 command of `plane exec`") {
		t.Errorf("why doesn't tell of it:\n%s", why)
	}
	_ = leaves.cmd.Process.Signal(syscall.SIGKILL)
	gone("its asker is killed")
	await(t, 30*time.Second, "the log tells that the asker left", func() bool { return strings.Contains(says("events"), "whoever asked for it left") })

	cut := x("-T", "sh", "-c", getaway)
	cut.says("up")
	a.Drone.Kill()
	if code, _, errOut := cut.ends(); code == 0 || !strings.Contains(errOut, "drone disconnected, which ended the command") {
		t.Errorf("its drone's agent is killed: exit %d, %q", code, errOut)
	}
	gone("its drone's agent is killed")
	if now := marked(t, c.BackendID); !slices.Equal(now, before) {
		t.Errorf("the backend has processes %v, had %v", now, before)
	}
	a.Drone.Restart()
	a.AwaitDrone(t)
	if code, out, _ := x("-T", "sh", "-c", "echo $SESSION_BACKEND_ID").ends(); code != 0 || out != c.BackendID+"\n" {
		t.Errorf("by the next agent: exit %d, %q", code, out)
	}

	last := x("-T", "sh", "-c", getaway)
	last.says("up")
	says("stop", "doc")
	if code, _, errOut := last.ends(); code == 0 || !strings.Contains(errOut, "backend ended, which ended the command") {
		t.Errorf("its backend ends: exit %d, %q", code, errOut)
	}
	await(t, 30*time.Second, "nothing of the backend is left", func() bool { return len(marked(t, c.BackendID)) == 0 })
}
