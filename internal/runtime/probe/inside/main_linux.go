// The Go runtime would hold a file of cgroups open, which nobody handed down.
//go:debug containermaxprocs=0

// Command inside runs in a backend and tries what it may do, see and reach. What
// it tries does no harm where it succeeds; where a backend shares the machine's
// own it isn't tried at all.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/probe"
)

func main() {
	handed := descriptors() // before anything else opens some
	if len(os.Args) < 2 {
		fail("say what to do")
	}
	switch what, args := os.Args[1], os.Args[2:]; what {
	case "look":
		look(handed)
	case "euid":
		fmt.Print(os.Geteuid())
	case "nothing":
	case "pause":
		unix.Pause()
	case "listen":
		listen()
	case "fork":
		fork()
	case "remember":
		remember()
	case "open":
		open()
	case "fill":
		fill(args[0])
	case "steal":
		steal(args[0])
	case "flood":
		flood(args[0])
	default:
		fail("%s is nothing that can be done", what)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(3)
}

// look writes a report.
func look(handed string) {
	var ask probe.Ask
	if err := json.Unmarshal([]byte(os.Getenv(probe.AskEnv)), &ask); err != nil {
		fail("read what to look at: %v", err)
	}
	r := probe.Report{}
	r.Set("environment", "descriptors", handed)
	environment(r)
	shared := namespaces(r, ask)
	privileges(r)
	processes(r, ask)
	files(r, ask)
	if shared["user"] && shared["mnt"] {
		for _, s := range []string{"system calls", "sockets", "mounts", "proc and sys", "devices", "limits"} {
			r.Set(s, "all", probe.Machines)
		}
	} else {
		calls(r)
		sockets(r)
		mounts(r)
		hidden(r)
		devices(r)
		limits(r)
	}
	reach(r, ask, shared["net"])
	if err := os.WriteFile(ask.Report, r.JSON(), 0o644); err != nil {
		fail("%v", err)
	}
	if len(os.Args) > 2 { // stay, for whoever wants to look from outside
		end := make(chan os.Signal, 1)
		signal.Notify(end, unix.SIGTERM)
		<-end
	}
}
