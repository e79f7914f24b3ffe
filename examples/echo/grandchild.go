package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// grandchildArg, as the first argument, makes this program a process that does
// nothing until it is killed.
const grandchildArg = "grandchild"

// Kinds of processes that outlive a careless parent's end.
const (
	plainChild  = "plain"       // in the same session and process group
	setsidChild = "setsid"      // in a session of its own
	doubleFork  = "double-fork" // in a session of its own, its parent ended
)

func (s *server) grandchild(w http.ResponseWriter, r *http.Request) {
	pid, err := startGrandchild(or(r.URL.Query().Get("kind"), plainChild), s.ignoreTerm.Load())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, pid)
}

// startGrandchild starts one and returns its pid.
func startGrandchild(kind string, ignoreTerm bool) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := []string{grandchildArg, strconv.FormatBool(ignoreTerm)}
	if kind == doubleFork {
		args = append(args, doubleFork)
	}
	c := exec.Command(self, args...)
	switch kind {
	case plainChild:
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
	case setsidChild, doubleFork:
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	default:
		return 0, fmt.Errorf("kind %q: use %s, %s or %s", kind, plainChild, setsidChild, doubleFork)
	}
	if kind != doubleFork {
		if err := c.Start(); err != nil {
			return 0, fmt.Errorf("start grandchild: %w", err)
		}
		go func() { _ = c.Wait() }()
		return c.Process.Pid, nil
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("start grandchild: %w", err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = c.Wait()
	return strconv.Atoi(strings.TrimSpace(line))
}

func grandchildMain(args []string) {
	if len(args) > 1 && args[1] == doubleFork {
		pid, err := startGrandchild(setsidChild, args[0] == "true")
		if err != nil {
			os.Exit(1)
		}
		fmt.Println(pid)
		return
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	for range term {
		if args[0] != "true" {
			return
		}
	}
}
