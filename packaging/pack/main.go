package main

import (
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	p := packer{level: gzip.BestCompression}
	flag.StringVar(&p.version, "version", "", "version of the release (required)")
	flag.StringVar(&p.out, "out", "dist", "directory to write to; what it held is replaced")
	flag.Parse()
	p.source = "."
	for _, arg := range flag.Args() {
		system, arch, ok := strings.Cut(arg, "/")
		if !ok {
			fail(fmt.Errorf("platform %q: write OS/ARCH", arg))
		}
		p.platforms = append(p.platforms, platform{system, arch})
	}
	if p.version == "" || len(p.platforms) == 0 {
		fail(fmt.Errorf("usage: pack -version VERSION [-out DIR] OS/ARCH…"))
	}
	var err error
	if p.revision, err = readRevision(p.source); err != nil {
		fail(err)
	}
	if err := p.pack(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	_, _ = fmt.Fprintln(os.Stderr, "pack:", err)
	os.Exit(1)
}

type platform struct{ os, arch string }

// revision is the state of the sources; the zero value if there is no repository.
type revision struct {
	commit  string
	time    time.Time
	changed bool
}

// readRevision asks git about a source directory.
func readRevision(dir string) (revision, error) {
	git := func(args ...string) (string, error) {
		c := exec.Command("git", args...)
		c.Dir = dir
		out, err := c.Output()
		return strings.TrimSpace(string(out)), err
	}
	if top, err := git("rev-parse", "--show-cdup"); err != nil || top != "" {
		return revision{}, nil // sources without their repository
	}
	var r revision
	var err error
	if r.commit, err = git("rev-parse", "HEAD"); err != nil {
		return r, fmt.Errorf("read the commit: %w", err)
	}
	at, err := git("show", "-s", "--format=%cI", "HEAD")
	if err != nil {
		return r, fmt.Errorf("read the commit's time: %w", err)
	}
	if r.time, err = time.Parse(time.RFC3339, at); err != nil {
		return r, fmt.Errorf("read the commit's time: %w", err)
	}
	changes, err := git("status", "--porcelain")
	r.changed = changes != ""
	return r, err
}

// build compiles the program for one platform into a file.
func (p *packer) build(to string, at platform) error {
	x := []string{"-s", "-w", "-buildid=", "-X main.version=" + p.version}
	if p.revision.commit != "" {
		x = append(x, "-X main.commit="+p.revision.commit, "-X main.date="+p.revision.time.UTC().Format(time.RFC3339))
	}
	if p.revision.changed {
		x = append(x, "-X main.changed=true")
	}
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	return p.run(at, "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(x, " "), "-o", to, "./cmd/plane")
}

// run runs the go command for a platform.
func (p *packer) run(at platform, args ...string) error {
	out, err := p.goCommand(at, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s for %s/%s: %w\n%s", args[0], at.os, at.arch, err, out)
	}
	return nil
}

// goCommand has none of the caller's settings that would change the result.
func (p *packer) goCommand(at platform, args ...string) *exec.Cmd {
	c := exec.Command("go", args...)
	c.Dir = p.source
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOOS="+at.os, "GOARCH="+at.arch,
		"GOAMD64=v1", "GOARM64=v8.0", "GOWORK=off")
	return c
}
