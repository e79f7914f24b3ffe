package offer

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"plane"
	"plane/internal/drone/home"
)

func newHome(t *testing.T) home.Home {
	t.Helper()
	h, err := home.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestEachThingThatIsMissingIsASentence(t *testing.T) {
	err := errors.Join(
		errors.New("neither crun nor runc is installed; install crun"),
		errors.Join(errors.New("the kernel has no overlay file system.")),
		fmt.Errorf("look at\nmounts: %w (%w)", fs.ErrNotExist, fs.ErrInvalid),
		errors.New("nsenter(1) has no version"),
		errors.New("/usr/bin/crun doesn't tell its version"),
	)
	want := []string{
		"Neither crun nor runc is installed; install crun.", "The kernel has no overlay file system.",
		"Look at mounts: file does not exist (invalid argument).", "Nsenter(1) has no version.", "/usr/bin/crun doesn't tell its version.",
	}
	if got := Each(err); !slices.Equal(got, want) || Sentences(err) != strings.Join(want, " ") || Each(nil) != nil {
		t.Errorf("%q", got)
	}
}

func TestWhatIsNotOfferedSaysWhy(t *testing.T) {
	// No engine listens there.
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/none.sock")
	open := func(o Options) (*Offer, error) {
		o.Home, o.Log = newHome(t), quiet()
		f, err := Open(t.Context(), o)
		if err == nil {
			t.Cleanup(f.Close)
		}
		return f, err
	}
	f, err := open(Options{Runtimes: []string{plane.RuntimeProcess}})
	if err != nil || len(f.Runtimes) != 0 || f.Missing[plane.RuntimeOCI] != NotNamed(plane.RuntimeOCI) || f.Missing[plane.RuntimeDocker] != NotNamed(plane.RuntimeDocker) {
		t.Errorf("only commands: %+v, %v", f, err)
	}
	f, err = open(Options{Unwanted: "Nobody asked."})
	if err != nil || f.Missing[plane.RuntimeOCI] != "Nobody asked." || f.Missing[plane.RuntimeDocker] != "Nobody asked." {
		t.Errorf("unwanted: %+v, %v", f, err)
	}
	f, err = open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	says := f.Missing[plane.RuntimeDocker]
	for _, want := range []string{"The Docker engine at unix://", "none.sock doesn't answer", "start it, or set DOCKER_HOST", "no such file"} {
		if !strings.Contains(says, want) {
			t.Errorf("of an engine that isn't there: %q, want %q", says, want)
		}
	}
	if !strings.HasSuffix(says, ".") || strings.Contains(says, "\n") {
		t.Errorf("%q is no line of sentences", says)
	}
	// One that is asked for by name may come later.
	f, err = open(Options{Runtimes: []string{plane.RuntimeDocker}})
	if err != nil || f.Runtimes[plane.RuntimeDocker] == nil {
		t.Errorf("an engine that is started later: %+v, %v", f, err)
	}
}
