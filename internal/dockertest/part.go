package dockertest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// part is one program of the engine from its start to its end.
type part struct {
	name    string
	process *os.Process
	ended   chan struct{}
}

// startPart starts a program that writes to the engine's log.
func (e *Engine) startPart(t TB, name string, args ...string) *part {
	t.Helper()
	log, err := os.OpenFile(e.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	p := &part{name: name, ended: make(chan struct{})}
	started := make(chan error)
	go func() { // until it ends
		// What ends it with this process belongs to the thread that forked it.
		runtime.LockOSThread()
		err := cmd.Start()
		p.process = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *part) await(t TB) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal(fmt.Sprintf("%s, process %d, doesn't end", p.name, p.process.Pid))
	}
}
