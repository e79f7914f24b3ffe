//go:build amd64 || arm64

package waiter

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// waiting is a waiter that runs, and the pipe to it.
type waiting struct {
	t    *testing.T
	cmd  *exec.Cmd
	pipe *os.File
	out  bytes.Buffer
}

func program(t *testing.T) string {
	t.Helper()
	b, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "waiter")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func start(t *testing.T) *waiting {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := &waiting{t: t, pipe: w, cmd: exec.Command(program(t))}
	p.cmd.ExtraFiles = []*os.File{r}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = []string{"OF=waiter"}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.Close(), p.cmd.Process.Kill() })
	return p
}

func (p *waiting) tell(c Command) {
	p.t.Helper()
	b, err := c.Payload()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.pipe.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// end closes the pipe and returns how the program ended.
func (p *waiting) end() (code int, out string) {
	p.t.Helper()
	_ = p.pipe.Close()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode(), p.out.String()
}

func sh(script string, more ...string) Command {
	return Command{Paths: []string{"/bin/sh"}, Argv: append([]string{"sh", "-c", script}, more...), Env: []string{"PATH=/usr/bin:/bin"}}
}

func TestTheCommandRunsAsItIsTold(t *testing.T) {
	dir := t.TempDir()
	p := start(t)
	c := sh(`pwd; printf '<%s>' "$0" "$@"; echo; tr '\0' '\n' < /proc/$$/environ; [ -e /proc/$$/fd/3 ] || echo closed; exit 7`, "zero", "", "two words", "it's\nö")
	c.Dir = dir
	c.Env = append(c.Env, "A=1", "EMPTY=", "odd.name=ü")
	p.tell(c)
	code, out := p.end()
	want := dir + "\n<zero><><two words><it's\nö>\nPATH=/usr/bin:/bin\nA=1\nEMPTY=\nodd.name=ü\nclosed\n"
	if code != 7 || out != want {
		t.Errorf("it ended with %d and wrote\n%s\nnot\n%s", code, out, want)
	}
}

func TestTheProgramIsLookedForInOrder(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"denied": 0o644, "first": 0o755, "second": 0o755} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o755),
			os.WriteFile(filepath.Join(dir, name, "tool"), []byte("#!/bin/sh\necho "+name+"\n"), mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, one := range []struct {
		path string
		code int
		says string
	}{
		{"missing:first:second", 0, "first\n"},
		{"denied:second:first:", 0, "second\n"},
		{"first/tool:second", 0, "second\n"}, // no directory
		{"missing:denied:nowhere", ExitDenied, `Command "tool" can't be executed`},
		{"missing:nowhere", ExitMissing, `Command "tool" was not found`},
	} {
		p := start(t)
		p.tell(Command{Dir: dir, Paths: Paths("tool", one.path), Argv: []string{"tool"}, Env: []string{"PATH=/bin"}})
		if code, out := p.end(); code != one.code || !strings.HasPrefix(out, one.says) {
			t.Errorf("%s: ended with %d and wrote %q", one.path, code, out)
		}
	}
}

func TestADirectoryThatIsNotThereIsNamed(t *testing.T) {
	p := start(t)
	c := sh("echo no")
	c.Dir = "/no/such"
	p.tell(c)
	if code, out := p.end(); code != ExitDenied || !strings.Contains(out, "/no/such can't be entered") {
		t.Errorf("ended with %d and wrote %q", code, out)
	}
}

func TestWithoutAPayloadItEnds(t *testing.T) {
	whole, err := sh("echo no").Payload()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 7, 8, 9, len(whole) - 1} {
		p := start(t)
		if _, err := p.pipe.Write(whole[:n]); err != nil {
			t.Fatal(err)
		}
		if code, out := p.end(); code != 0 || out != "" {
			t.Errorf("after %d bytes: ended with %d and wrote %q", n, code, out)
		}
	}
}

func TestAPayloadMayComeInPieces(t *testing.T) {
	p := start(t)
	big := strings.Repeat("x", 100<<10) // more than a pipe holds
	c := sh(`echo "$0" ${#BIG} ${#MORE}`, "done")
	c.Env = append(c.Env, "BIG="+big, "MORE="+big)
	b, err := c.Payload()
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		n := min(len(b), 3333)
		if _, err := p.pipe.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if code, out := p.end(); code != 0 || out != fmt.Sprintf("done %d %d\n", len(big), len(big)) {
		t.Errorf("ended with %d and wrote %q", code, out)
	}
}

func TestWhatIsTooLongIsRefused(t *testing.T) {
	c := sh("exit")
	c.Env = []string{"A=" + strings.Repeat("x", MaxPayload)}
	if _, err := c.Payload(); err == nil {
		t.Error("a payload that is too long")
	}
	c.Env = []string{"A=\x00B=1"}
	if _, err := c.Payload(); err == nil {
		t.Error("a payload with a zero byte")
	}
}

// memory is what a process holds of its own, in KB.
func (p *waiting) memory() (kb int) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		at, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", p.cmd.Process.Pid))
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid))
		if string(stat) == "waiter\n" && (strings.Contains(string(at), "pipe") || string(at) == "0") {
			break
		}
		if time.Now().After(end) {
			p.t.Fatal("it never waits")
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skip("memory can't be read here")
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "Rss:" {
			kb, _ = strconv.Atoi(f[1])
		}
	}
	return kb
}

func TestItWaitsInALittleMemory(t *testing.T) {
	p := start(t)
	kb := p.memory()
	t.Logf("%d KB", kb)
	if kb > 64 {
		t.Errorf("it holds %d KB while it waits", kb)
	}
	p.tell(sh("echo yes"))
	if code, out := p.end(); code != 0 || out != "yes\n" {
		t.Errorf("ended with %d and wrote %q", code, out)
	}
}

func TestTheFileIsAsSmallAsItShouldBe(t *testing.T) {
	b, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || len(f.Progs) != 2 || f.Progs[0].Flags&elf.PF_W != 0 || f.Progs[1].Flags&elf.PF_X != 0 {
		t.Errorf("%+v", f.FileHeader)
	}
	if t.Logf("%d bytes", len(b)); len(b) > 1000 {
		t.Errorf("it has %d bytes", len(b))
	}
}
