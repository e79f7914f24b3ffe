package planefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Starter is the file to begin with.
type Starter struct {
	App     string
	Command []string
	Host    bool // the program refuses other host names than localhost
}

// Text is the file, with a comment at each field.
func (s Starter) Text() string {
	words := make([]string, len(s.Command))
	for i, w := range s.Command {
		words[i] = strconv.Quote(w)
	}
	host := "    # host: localhost         # for programs that refuse other names: Host and Origin are rewritten"
	if s.Host {
		host = "    host: localhost           # it refuses other names: Host and Origin are rewritten"
	}
	lines := []string{
		"# What Plane runs here, one process per key. Start it with `plane dev`, then open",
		"# http://KEY.localhost:9090/. What is left out is the default; every field is",
		"# described in docs/plane-yaml.md of Plane.",
		"apps:",
		"  " + s.App + ":",
		"    # The program finds its port in $PORT; {port} stands for it. It listens on 127.0.0.1.",
		"    command: [" + strings.Join(words, ", ") + "]",
		"    dir: .                    # where it runs, from this file on",
		"    # env: { THEME: dark }    # further environment; texts, numbers in quotes",
		"    max_idle_seconds: 300     # ended after so long without request or hold; leave out for never",
		"    # data: keep              # none | scratch (gone with the process) | keep (of the key, in $SESSION_BACKEND_DATA_DIR)",
		"    # access: token           # public (whoever knows the address) | token (who came with a link that connect made)",
		host,
		"    # stop_grace_seconds: 30  # from SIGTERM to SIGKILL",
		"    # lease: balanced         # fast | balanced | sticky: how long it outlives a lost connection to the controller",
		"    # resource_limits: { memory_limit_bytes: 268435456, cpu_period_percent: 50 }",
	}
	return strings.Join(lines, "\n") + "\n"
}

// Write writes text to a new file at path; an existing one stays as it is and
// is an error.
func Write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return said{fs.ErrExist, fmt.Sprintf("%s is there already; change it, or remove it first.", shown(path))}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
