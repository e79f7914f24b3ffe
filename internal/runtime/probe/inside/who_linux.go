package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/probe"
)

// descriptors are those that are open at the start.
func descriptors() string {
	var all []string
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			continue
		}
		to, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if strings.HasPrefix(to, "anon_inode:") {
			continue // the Go runtime's own
		}
		all = append(all, strconv.Itoa(fd))
	}
	return strings.Join(all, " ")
}

func environment(r probe.Report) {
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		r.Add("environment", "names", name)
	}
}

// namespaces tells which are the backend's own, and which it shares with the
// machine.
func namespaces(r probe.Report, ask probe.Ask) (shared map[string]bool) {
	shared = map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(ask.Namespaces)) {
		at, err := os.Readlink("/proc/self/ns/" + name)
		switch {
		case err != nil:
			r.Set("namespaces", name, err.Error())
		case at == ask.Namespaces[name]:
			shared[name] = true
			r.Set("namespaces", name, probe.Machines)
		default:
			r.Set("namespaces", name, "own")
		}
	}
	for _, file := range []string{"uid_map", "gid_map"} {
		b, _ := os.ReadFile("/proc/self/" + file)
		r.Set("users", file, strings.Join(strings.Fields(string(b)), " "))
		if shared["user"] {
			r.Set("users", file, probe.Machines)
		}
	}
	r.Set("users", "runs as", fmt.Sprint(os.Getuid(), ":", os.Getgid()))
	return shared
}

// privileges are what the kernel says of this process.
func privileges(r probe.Report) {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			r.Set("capabilities", strings.ToLower(strings.TrimPrefix(name, "Cap")), capabilities(value))
		case "NoNewPrivs":
			r.Set("privileges", "no new ones", map[string]string{"0": probe.No, "1": probe.Yes}[value])
		case "Seccomp":
			r.Set("privileges", "system calls", map[string]string{"0": "not filtered", "1": "none", "2": "filtered"}[value])
		}
	}
	if out, err := exec.Command("/setuid", "euid").Output(); err == nil {
		word := "no effect"
		if string(out) != strconv.Itoa(os.Geteuid()) {
			word = "makes it " + string(out)
		}
		r.Set("privileges", "setuid program", word)
	}
}

// capabilities spells a set.
func capabilities(hex string) string {
	bits, err := strconv.ParseUint(hex, 16, 64)
	switch {
	case err != nil:
		return err.Error()
	case bits == 0:
		return "none"
	}
	var all []string
	for i := range 64 {
		if bits&(1<<i) != 0 {
			all = append(all, strconv.Itoa(i))
		}
	}
	return strings.Join(all, " ")
}

// processes tells which others it sees.
func processes(r probe.Report, ask probe.Ask) {
	own, _ := os.Readlink("/proc/self/exe")
	word := "only its own"
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, at := range all {
		if exe, err := os.Readlink(at + "/exe"); err != nil || exe != own {
			word = "others too"
		}
	}
	r.Set("processes", "seen", word)
	// Signal 0 changes nothing. What another backend is there as is unknown
	// inside; its number on the machine is all that could be tried.
	word = probe.Refused
	if unix.Kill(ask.Sibling, 0) == nil && ask.Sibling != os.Getpid() && ask.Sibling != 0 {
		word = probe.LetThrough
	}
	r.Set("processes", "signal to another backend", word)
	if _, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", ask.Sibling)); err == nil && ask.Sibling != os.Getpid() {
		r.Set("processes", "environment of another backend", "read")
	} else {
		r.Set("processes", "environment of another backend", probe.Refused)
	}
}

// steal marks a directory that it should not have been given.
func steal(dir string) {
	if _, err := os.Stat(filepath.Join(dir, "secret")); err == nil {
		_ = os.WriteFile(filepath.Join(dir, "stolen"), nil, 0o644)
	}
}

// files of the machine that must not be there.
func files(r probe.Report, ask probe.Ask) {
	for what, path := range ask.Files {
		word := probe.Absent
		if _, err := os.Lstat(path); err == nil {
			word = "seen"
		}
		r.Set("files of the machine", what, word)
	}
}
