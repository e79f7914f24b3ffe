package means

import (
	"fmt"
	"regexp"
	"strings"
)

// Some settings can be made only by the process itself, and Go can do nothing
// between fork and exec: a shell does it. It starts in about a millisecond; this
// program as its own helper would take four times that.

// joining is a cgroup that the process must write its own pid to.
type joining struct{ controller, file string }

// prelude is a script for the shell that runs before the program. Where it is
// empty no shell is needed.
func (m *Means) prelude(p Program) (script, warnings []string) {
	l := p.Executable.Limits
	join, missing := m.groups.limit(p.Identity().directory(), l)
	if m.groups == nil {
		missing = missingWithoutGroups(l)
	}
	for _, c := range missing {
		warnings = append(warnings, m.warn(c, "This system gives Plane no way to limit "+c+"; that limit is not in force.")...)
	}
	or := func(step, sentence string) {
		script = append(script, step+" || { printf %s "+quoted(sentence)+" > "+quoted(p.Trouble)+"; exit 126; }")
	}
	for _, g := range join {
		or("echo $$ > "+quoted(g.file), "The limit on "+g.controller+" could not be set on this machine, so the program was not started.")
	}
	if n := l.OpenFilesLimit; n != nil {
		or(fmt.Sprintf("ulimit -n %d", *n), fmt.Sprintf("The open_files_limit %d is more than this machine gives the drone; lower it, or raise that of the drone (ulimit -n).", *n))
	}
	if n := l.CPUTimeLimit; n != nil {
		or(fmt.Sprintf("ulimit -t %d", *n), fmt.Sprintf("The cpu_time_limit %d is more than this machine gives the drone; lower it, or raise that of the drone (ulimit -t).", *n))
	}
	if p.Listener != nil {
		script = append(script, "LISTEN_PID=$$; LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS")
	}
	return script, warnings
}

// handOver is the end of a script: the program takes the shell's place. If it
// can't, some shells end at once and run the trap, others go on.
func handOver(trouble, word string) []string {
	sentence := fmt.Sprintf("Command %q could not be executed; its output says why. The first line of a script must name an interpreter that this machine has.", word)
	note := "printf %s " + quoted(sentence) + " > " + quoted(trouble)
	return []string{
		"trap " + quoted(note) + " EXIT",
		`[ -z "$BASH_VERSION" ] || shopt -s execfail 2>/dev/null`,
		`exec "$@"`,
	}
}

var shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// shellWords are what follows a script: the name that the shell has in its
// messages, and the program as it was named, so that its argv[0] is that. The
// shell looks for it as we did, with two exceptions.
func shellWords(argv []string, path string, env []string) []string {
	searched := strings.Contains(argv[0], "/")
	var odd []string // names that some shells drop
	for _, e := range env {
		searched = searched || strings.HasPrefix(e, "PATH=")
		if !shellName.MatchString(e) {
			odd = append(odd, e)
		}
	}
	words := []string{argv[0]}
	if len(odd) > 0 {
		words = append(append(words, "/usr/bin/env"), odd...)
	}
	if !searched || strings.HasPrefix(argv[0], "-") {
		return append(append(words, path), argv[1:]...)
	}
	return append(words, argv...)
}

// quoted is s as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
