package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if r, err := made(); err == nil {
		_ = os.RemoveAll(filepath.Dir(r.out))
	}
	os.Exit(code)
}

const testVersion = "1.2.3-test"

var testRevision = revision{commit: strings.Repeat("ab12", 10), time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}

func here() platform { return platform{runtime.GOOS, runtime.GOARCH} }

// made is one release for this machine, made once: the other platforms are
// compiled by `make check`.
var made = sync.OnceValues(func() (packer, error) {
	dir, err := os.MkdirTemp("", "plane-pack-")
	if err != nil {
		return packer{}, err
	}
	p := packer{
		source: "../..", out: filepath.Join(dir, "dist"), version: testVersion, platforms: []platform{here()}, revision: testRevision,
		level: gzip.BestSpeed,
	} // the race detector makes it slow
	return p, p.pack()
})

func release(t *testing.T) packer {
	t.Helper()
	p, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func archiveName() string {
	return "plane_" + testVersion + "_" + here().os + "_" + here().arch + ".tar.gz"
}

func TestTheSameSourcesElsewhereGiveTheSameBytes(t *testing.T) {
	first := release(t)
	again := first
	again.source = filepath.Join(t.TempDir(), "elsewhere")
	again.out = filepath.Join(t.TempDir(), "dist")
	copySources(t, first.source, again.source)
	if err := again.pack(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"SHA256SUMS", archiveName()} {
		a, err := os.ReadFile(filepath.Join(first.out, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(again.out, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs between two builds", name)
		}
	}
}

// copySources copies what Go builds from, and the files that pack reads.
func copySources(t *testing.T, from, to string) {
	t.Helper()
	skip := []string{".git", "bin", "dist", "node_modules", ".cache", ".data"}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != from && slices.Contains(skip, d.Name()):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAReleaseNamesItselfAndWhatItContains(t *testing.T) {
	p := release(t)
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", filepath.Join(p.out, archiveName()), "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(filepath.Join(dir, "plane"), "version").Output()
	if want := "plane 1.2.3-test (ab12ab12 of 2026-01-02) go"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%v: %s", err, out)
	}
	others, err := os.ReadFile(filepath.Join(dir, "THIRD-PARTY-LICENSES"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Go, its runtime", "modernc.org/sqlite", "github.com/spf13/cobra", "Permission is hereby granted"} {
		if !bytes.Contains(others, []byte(want)) {
			t.Errorf("the licences of others lack %s", want)
		}
	}
	program, err := os.ReadFile(filepath.Join(dir, "plane"))
	if err != nil {
		t.Fatal(err)
	}
	wd, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(program, []byte(wd)) {
		t.Error("the program names the directory that it was built in")
	}
}

func TestVersionsThatAreNoFileNamesAreRefused(t *testing.T) {
	for _, v := range []string{"../x", "1 2", "1/2", "V1", "$x"} {
		p := packer{source: ".", out: filepath.Join(t.TempDir(), "dist"), version: v}
		if err := p.pack(); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("%q: %v", v, err)
		}
	}
}

// TestTheImageNeedsNothingButItself runs the program as the image does: with
// no other file, as a user that owns nothing but its state.
func TestTheImageNeedsNothingButItself(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("images are of Linux")
	}
	root := filepath.Join(release(t).out, "image")
	plane := filepath.Join(root, here().os+"_"+here().arch, "plane")
	f, err := elf.Open(plane)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil || len(libs) > 0 {
		t.Error("needs libraries:", libs, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("needs a dynamic linker")
		}
	}
	if os.Getuid() != 0 {
		t.Skip("only root can change its root directory")
	}
	if exec.Command("docker", "info").Run() == nil {
		buildImage(t, root)
		return
	}
	empty := t.TempDir()
	for dir := empty; dir != "/"; dir = filepath.Dir(dir) { // the tests' own directory is closed to others
		if st, err := os.Stat(dir); err == nil && st.Mode()&0o001 == 0 {
			if err := os.Chmod(dir, st.Mode()|0o011); err != nil {
				t.Fatal(err)
			}
		}
	}
	program, err := os.ReadFile(plane)
	if err != nil {
		t.Fatal(err)
	}
	const user = 65532
	state := filepath.Join(empty, "var", "lib", "plane")
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, user, user); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(empty, "plane"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (*exec.Cmd, io.ReadCloser) {
		c := exec.Command("/plane", args...)
		c.Dir = "/var/lib/plane"
		c.Env = []string{"HOME=/var/lib/plane", "XDG_STATE_HOME=/var/lib/plane", "TMPDIR=/var/lib/plane"}
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: empty, Credential: &syscall.Credential{Uid: user, Gid: user}}
		out, err := c.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c, out
	}
	c, out := run("controller", "--insecure", "--port", "0")
	var said strings.Builder
	kill := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if strings.Contains(said.String(), "controller serves") {
			_ = c.Process.Signal(syscall.SIGTERM)
		}
		if err != nil {
			break
		}
	}
	if err := c.Wait(); err != nil || !strings.Contains(said.String(), "controller serves") {
		t.Errorf("%v\n%s", err, said.String())
	}
}

func buildImage(t *testing.T, root string) {
	const name = "plane-pack-test"
	if out, err := exec.Command("docker", "build", "--build-arg", "TARGETARCH="+runtime.GOARCH, "-t", name, root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", name).Run() })
	out, err := exec.Command("docker", "run", "--rm", "--network", "none", name, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "plane "+testVersion) {
		t.Errorf("%v: %s", err, out)
	}
}
