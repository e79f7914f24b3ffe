package plane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// block is a fenced block of a page.
type block struct {
	line int
	info string // after the fence: "sh", "sh serve", "sh skip: why"
	text string
}

func blocks(page []byte) []block {
	var all []block
	var open *block
	for n, line := range strings.Split(string(page), "\n") {
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open = &block{line: n + 1, info: strings.TrimSpace(info)}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return all
}

// pages are the documents of the repository.
func pages(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	sources(t, func(path string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = b
	})
	return all
}

// TestEveryCommandInTheDocsWorks runs the blocks of a page in their order, in
// a copy of the repository and with an empty home. "sh" must succeed, "sh
// serve" must print a URL and runs until the page's end, "sh skip: why" isn't
// run.
func TestEveryCommandInTheDocsWorks(t *testing.T) {
	for path, page := range pages(t) {
		var run []block
		for _, b := range blocks(page) {
			switch word, rest, _ := strings.Cut(b.info, " "); {
			case word == "bash" || word == "shell" || word == "console":
				t.Errorf("%s:%d: call the block sh, so that it is run", path, b.line)
			case word != "sh" || strings.HasPrefix(rest, "skip: "):
			case rest == "" || rest == "serve":
				run = append(run, b)
			default:
				t.Errorf("%s:%d: %q: use sh, sh serve or sh skip: WHY", path, b.line, b.info)
			}
		}
		if len(run) > 0 {
			t.Run(path, func(t *testing.T) { follow(t, path, run) })
		}
	}
}

var moves = regexp.MustCompile(`(?m)^(\S[^(\n]*(&&|;) *)?cd `)

// TestBlocksCanBePastedOneAfterAnother: what a block does to its shell, the
// next one of the page meets in a reader's terminal, though not in this test's.
func TestBlocksCanBePastedOneAfterAnother(t *testing.T) {
	for path, page := range pages(t) {
		for _, b := range blocks(page) {
			if word, _, _ := strings.Cut(b.info, " "); word == "sh" && moves.MatchString(b.text) {
				t.Errorf("%s:%d: the block leaves its reader in another directory; write ( cd … )", path, b.line)
			}
		}
	}
}

func follow(t *testing.T, path string, run []block) {
	r := &reader{dir: place(t)}
	if err := r.copyRepository(t); err != nil {
		t.Fatal(err)
	}
	// An answer that says it failed is a failure of the command.
	if err := os.WriteFile(r.dir+"/.curlrc", []byte("fail-with-body\nsilent\nshow-error\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.env = append(os.Environ(), "HOME="+r.dir, "XDG_STATE_HOME="+r.dir+"/state", "XDG_RUNTIME_DIR=",
		"XDG_CONFIG_HOME="+r.dir+"/config", "GOFLAGS="+os.Getenv("GOFLAGS")+" -buildvcs=false", "CGO_ENABLED=0")
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		v, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		r.env = append(r.env, name+"="+strings.TrimSpace(string(v)))
	}
	for _, b := range run {
		at := fmt.Sprintf("%s:%d", path, b.line)
		if b.info == "sh serve" {
			r.serve(t, at, b.text)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		c := r.command(ctx, b.text)
		out, err := c.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v\n%s\n%s", at, err, b.text, out)
		}
	}
}

// place is a directory for the test. Reaper and warden write there for some
// seconds after everything else has ended, so removing it may need a retry.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "plane-docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(20 * time.Second); ; <-tick.C {
			if err := os.RemoveAll(dir); err == nil || time.Now().After(end) {
				if err != nil {
					t.Error(err)
				}
				return
			}
		}
	})
	return dir
}

// reader does what a page says.
type reader struct {
	dir   string // the copy is in dir/plane
	env   []string
	ports []string // old and new: what is served stands on other ports if those of the page are taken
}

func (r *reader) copyRepository(t *testing.T) error {
	var err error
	sources(t, func(path string) {
		to := filepath.Join(r.dir, "plane", path)
		b, e := os.ReadFile(path)
		info, e2 := os.Stat(path)
		err = errors.Join(err, e, e2, os.MkdirAll(filepath.Dir(to), 0o755))
		if err == nil {
			err = os.WriteFile(to, b, info.Mode().Perm())
		}
	})
	return err
}

func (r *reader) command(ctx context.Context, text string) *exec.Cmd {
	c := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.NewReplacer(r.ports...).Replace(text))
	c.Dir, c.Env = filepath.Join(r.dir, "plane"), r.env
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	return c
}

// address is what a reader waits for; served finds what plane dev listens on.
var (
	address = regexp.MustCompile(`http://\S+\.localhost:\d+`)
	served  = map[string]*regexp.Regexp{
		"localhost:9090": regexp.MustCompile(`localhost:\d+`),
		"127.0.0.1:8080": regexp.MustCompile(`127\.0\.0\.1:\d+`),
	}
)

// serve starts what text says, waits until it has printed where it serves, and
// interrupts it at the end of the test.
func (r *reader) serve(t *testing.T, at, text string) {
	t.Helper()
	out := &output{more: make(chan struct{}, 1)}
	c := r.command(context.WithoutCancel(t.Context()), text)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGINT)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Errorf("%s: goes on after SIGINT\n%s", at, out)
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	late := time.After(3 * time.Minute) // it may have to be built
	for {
		select {
		case <-out.more:
			if !address.MatchString(out.String()) {
				continue
			}
			for was, form := range served {
				if is := form.FindString(out.String()); is != "" {
					r.ports = append(r.ports, was, is)
				}
			}
			return
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: ended: %v\n%s", at, err, out)
		case <-late:
			t.Fatalf("%s: printed no URL\n%s", at, out)
		}
	}
}

// output collects what a process prints, and tells when there is more.
type output struct {
	mu   sync.Mutex // guards b
	b    bytes.Buffer
	more chan struct{}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	o.b.Write(b)
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)`)

func TestLinksInTheDocsLeadSomewhere(t *testing.T) {
	for path, page := range pages(t) {
		for _, m := range link.FindAllSubmatch(page, -1) {
			to := string(m[1])
			if strings.Contains(to, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), to)); err != nil {
				t.Errorf("%s links to %s: %v", path, to, err)
			}
		}
	}
}
