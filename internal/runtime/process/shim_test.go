package process_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"plane"
)

func ptr[T any](v T) *T { return &v }

// limited is what makes a shell run before the program.
var limited = plane.ResourceLimits{OpenFilesLimit: ptr(int64(100))}

// A program finds its own name and environment, whether or not limits are set
// before it begins.
func TestProgramSeesItsOwnNameAndEnvironment(t *testing.T) {
	g := newRig(t)
	if err := os.WriteFile(g.File("tool"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/sh", g.File("shell")); err != nil {
		t.Fatal(err)
	}
	for _, l := range []plane.ResourceLimits{{}, limited} {
		for _, word := range []string{"./shell", "shell", g.File("shell")} {
			u := g.unit("", time.Minute)
			u.Env = []string{"PATH=/bin:" + g.home.Dir, "odd.name=it's", "PATH_TO=x", "t=kept"}
			u.Executable = plane.Executable{
				Dir: g.home.Dir, Limits: l,
				Command: []string{word, "-c", `tr '\0' '\n' < /proc/$$/cmdline > seen; tr '\0' '\n' < /proc/$$/environ >> seen; ulimit -n >> seen`},
			}
			if exit := g.wait(g.start(u)); exit.Code == nil || *exit.Code != 0 {
				t.Fatalf("ended as %+v", exit)
			}
			seen := g.read("seen")
			if name, _, _ := strings.Cut(seen, "\n"); name != word {
				t.Errorf("limits %+v: %s has the name %s", l, word, name)
			}
			for _, want := range []string{"\nodd.name=it's\n", "\nt=kept\n", "\nPATH_TO=x\n"} {
				if !strings.Contains(seen, want) {
					t.Errorf("limits %+v: no %q among\n%s", l, want, seen)
				}
			}
			if l == limited && !strings.HasSuffix(seen, "\n100\n") {
				t.Errorf("the limit is not in force:\n%s", seen)
			}
		}
	}
}

// What ended is then the shell before the program: it says so in a sentence,
// not by the number of its exit.
func TestWhatCouldNotBeExecutedSaysSo(t *testing.T) {
	g := newRig(t)
	if err := os.WriteFile(g.File("it's"), []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	u := g.unit("", time.Minute)
	u.Executable = plane.Executable{Dir: g.home.Dir, Limits: limited, Command: []string{"./it's"}}
	if exit := g.wait(g.start(u)); !strings.Contains(exit.Message, `"./it's" could not be executed`) || exit.Code != nil || exit.Output == "" {
		t.Errorf("ended as %+v", exit)
	}
	u = g.unit("exit 0", time.Minute)
	u.Executable.Limits.OpenFilesLimit = ptr(int64(1 << 30))
	if exit := g.wait(g.start(u)); !strings.Contains(exit.Message, fmt.Sprint(1<<30)) || !strings.HasSuffix(exit.Message, ".") {
		t.Errorf("ended as %+v", exit)
	}
	// A program's own 126 is its own.
	u = g.unit("exit 126", time.Minute)
	u.Executable.Limits = limited
	if exit := g.wait(g.start(u)); exit.Code == nil || *exit.Code != 126 || exit.Message != "" {
		t.Errorf("ended as %+v", exit)
	}
}
