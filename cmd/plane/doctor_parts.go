package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"plane/client"
	"plane/internal/drone/home"
	deadlines "plane/internal/drone/table"
	"plane/internal/drone/warden"
)

const doctorWait = 2 * time.Second // for one answer of another process

// watchedHome is the home of a data directory, for looking only.
func watchedHome(dir string) home.Home {
	return home.Home{Dir: dir, Run: filepath.Dir(operatorSocket(dir))}
}

// running says whether a controller serves from the directory.
func (d doctor) running(ctx context.Context) finding {
	const check = "running"
	socket := operatorSocket(d.dir)
	if !answers(socket) {
		if pid, held := d.home.Holder("agent"); held {
			return failed(check, fmt.Sprintf("Process %d holds %s and its operator's socket doesn't answer.", pid, d.dir),
				fmt.Sprintf("If it is stopped, continue it: kill -CONT %d.", pid))
		}
		return fine(check, "Nothing serves from %s now.", d.dir)
	}
	c, err := client.New("unix://"+socket, client.Options{})
	if err != nil {
		return failed(check, sentence(err), "Start `plane dev` again.")
	}
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	if err := c.Health(ctx); err != nil {
		return failed(check, fmt.Sprintf("A controller serves from %s and isn't well: %s", d.dir, strings.TrimSuffix(sentence(err), "."))+".",
			"See "+d.home.Log("dev")+" for the cause.")
	}
	where := ""
	if l := listeningOf(d.dir); l.API != "" {
		where = fmt.Sprintf(" at %s, proxy at %s", l.API, l.Proxy)
	}
	return fine(check, "A controller serves from %s%s.", d.dir, where)
}

// watchers are reaper and warden.
func (d doctor) watchers(ctx context.Context) finding {
	const check = "watchers"
	_, agent := d.home.Holder("agent")
	reaperPid, reaper := d.home.Holder("reaper")
	wardenPid, there := d.home.Holder("warden")
	backends := 0
	if t, err := deadlines.Open(d.home.TableFile()); err == nil {
		backends = len(t.Entries())
		_ = t.Close()
	}
	if there {
		ctx, cancel := context.WithTimeout(ctx, doctorWait)
		defer cancel()
		if _, err := warden.Probe(ctx, d.home); err != nil {
			return failed(check, fmt.Sprintf("The warden (process %d) doesn't answer.", wardenPid),
				fmt.Sprintf("If it is stopped, continue it: kill -CONT %d.", wardenPid))
		}
	}
	switch {
	case there && reaper && !agent && backends > 0:
		return warned(check, fmt.Sprintf("Without an agent, until their deadline: %s.", plural(backends, "backend")),
			"Start `plane dev` or `plane drone` there to take them over.")
	case there && reaper:
		return fine(check, "Reaper (process %d) and warden (process %d) watch %s.", reaperPid, wardenPid, plural(backends, "backend"))
	case there || reaper || agent:
		return warned(check, "Of reaper and warden one is missing.", "Wait some seconds, they start each other; else see "+d.home.Log("reaper")+".")
	}
	return fine(check, "Reaper and warden don't run; an agent starts them.")
}

// versions compares this program with those that run from the directory.
func (d doctor) versions(ctx context.Context) finding {
	const check = "version"
	self := "plane " + version
	if h := buildHash(); h != unknownHash {
		self += " (" + h + ")"
	}
	if socket := operatorSocket(d.dir); answers(socket) {
		if c, err := client.New("unix://"+socket, client.Options{}); err == nil {
			ctx, cancel := context.WithTimeout(ctx, doctorWait)
			defer cancel()
			if a, err := c.About(ctx); err == nil && (a.Version != version || a.Hash != buildHash()) {
				return warned(check, fmt.Sprintf("This is %s, and plane %s (%s) serves from the data directory.", self, a.Version, a.Hash),
					"Start that one again to have one version everywhere.")
			}
		}
	}
	for _, part := range []string{"agent", "warden", "reaper"} {
		if pid, held := d.home.Holder(part); held && otherProgram(pid) {
			return warned(check, fmt.Sprintf("This is %s, and the %s (process %d) was started from another build.", self, part, pid),
				"It goes on working; it is replaced when it has nothing to do and `plane dev` is started again.")
		}
	}
	return fine(check, "%s, %s/%s; what runs from the data directory is the same.", self, goruntime.GOOS, goruntime.GOARCH)
}

// otherProgram reports whether a process surely runs another file than this one.
func otherProgram(pid int) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false // no such system
	}
	theirs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil && !os.SameFile(self, theirs)
}

// ports are those of API and proxy.
func (d doctor) ports() finding {
	const check = "ports"
	if l := listeningOf(d.dir); l.API != "" && answers(operatorSocket(d.dir)) {
		return fine(check, "API %s and proxy %s are ours.", l.API, l.Proxy)
	}
	var moved []string
	for _, p := range []struct{ flag, addr, otherwise string }{{"--api", d.api, devAPI}, {"--proxy", d.proxy, devProxy}} {
		l, err := devListen(p.flag, p.addr, p.otherwise)
		if err != nil {
			text := strings.TrimSuffix(sentence(err), ".")
			return failed(check, strings.ToUpper(text[:1])+text[1:]+".", "Free it, or start `plane dev "+p.flag+" 127.0.0.1:0`.")
		}
		if at := l.Addr().String(); p.addr == "" && at != p.otherwise {
			moved = append(moved, fmt.Sprintf("%s is taken, %s is free", p.otherwise, at))
		}
		_ = l.Close()
	}
	if len(moved) > 0 {
		return warned(check, strings.Join(moved, "; ")+".", "Nothing need be done: `plane dev` takes the free one and prints it.")
	}
	return fine(check, "Those of API and proxy are free.")
}

// names is whether programs find KEY.localhost.
func (d doctor) names(ctx context.Context) finding {
	const check, name = "names", "plane-doctor.localhost"
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	var found []string
	if getent, err := exec.LookPath("getent"); err == nil { // asks as programs in C do
		out, _ := exec.CommandContext(ctx, getent, "ahosts", name).Output()
		for l := range strings.Lines(string(out)) {
			found = append(found, strings.Fields(l + " ?")[0])
		}
	} else {
		found, _ = net.DefaultResolver.LookupHost(ctx, name)
	}
	for _, ip := range found {
		if a := net.ParseIP(ip); a != nil && !a.IsLoopback() {
			return failed(check, fmt.Sprintf("%s leads to %s, which is another machine.", name, ip), "Mend the resolver, or use http://127.0.0.1:PORT/~/KEY/.")
		}
	}
	if len(found) == 0 {
		return warned(check, "The system's resolver doesn't know *.localhost; browsers and curl do by themselves.",
			"Where a program can't resolve it, use the path form http://localhost:PORT/~/KEY/.")
	}
	return fine(check, "*.localhost leads to %s.", found[0])
}

// browser is whether `plane open` can show a page.
func (d doctor) browser() finding {
	const check = "browser"
	words, err := browserCommand(os.Getenv, goruntime.GOOS)
	if err != nil {
		text := err.Error()
		return warned(check, strings.ToUpper(text[:1])+text[1:]+", so no page can be opened.", "Copy the URL that `plane open` prints, or set BROWSER.")
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return warned(check, fmt.Sprintf("The browser %s isn't there.", words[0]), "Set BROWSER to one that is.")
	}
	return fine(check, "%s opens pages.", words[0])
}
