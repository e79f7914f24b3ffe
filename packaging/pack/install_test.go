package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// site is a copy of the release that may be changed, and who serves it.
type site struct {
	dir, url string
}

func serveRelease(t *testing.T) site {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"SHA256SUMS", archiveName()} {
		if err := os.Link(filepath.Join(release(t).out, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return site{dir, s.URL}
}

// replace writes a file anew: the release itself keeps its own.
func (s site) replace(t *testing.T, name string, with func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, with(bytes.Clone(b)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tools is a PATH with what the script needs and one of the programs that download.
func tools(t *testing.T, downloader string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"uname", "mktemp", "rm", "cp", "mv", "chmod", "mkdir", "cut", "tar", "gzip", "sha256sum", "shasum", downloader} {
		if name == "" {
			continue
		}
		path, err := exec.LookPath(name)
		switch {
		case err == nil:
			if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		case name == downloader:
			t.Skipf("%s isn't here", name)
		}
	}
	return dir
}

// install runs the script in a home of its own and gives what it said.
func install(t *testing.T, url, path, home string, args ...string) (string, error) {
	t.Helper()
	shell := "/bin/sh"
	if dash, err := exec.LookPath("dash"); err == nil {
		shell = dash
	}
	c := exec.Command(shell, append([]string{filepath.Join("..", "install.sh")}, args...)...)
	c.Env = []string{"PATH=" + path, "HOME=" + home, "TMPDIR=" + t.TempDir()}
	if url != "" {
		c.Env = append(c.Env, "PLANE_DOWNLOAD_URL="+url)
	}
	out, err := c.CombinedOutput()
	left, e := os.ReadDir(strings.TrimPrefix(c.Env[2], "TMPDIR="))
	if e != nil || len(left) > 0 {
		t.Errorf("the script left %v behind", left)
	}
	return string(out), err
}

func TestInstallPutsTheProgramWhereAUserHasIts(t *testing.T) {
	for _, downloader := range []string{"curl", "wget"} {
		t.Run(downloader, func(t *testing.T) {
			home := t.TempDir()
			out, err := install(t, serveRelease(t).url+"/", tools(t, downloader), home)
			program := filepath.Join(home, ".local", "bin", "plane")
			if err != nil || !strings.Contains(out, "plane "+testVersion) || !strings.Contains(out, "isn't on your PATH") {
				t.Fatalf("%v\n%s", err, out)
			}
			version, err := exec.Command(program, "version").Output()
			if err != nil || !strings.HasPrefix(string(version), "plane "+testVersion) {
				t.Errorf("%v: %s", err, version)
			}
		})
	}
	t.Run("file, to a directory", func(t *testing.T) {
		to := filepath.Join(t.TempDir(), "a b", "bin")
		out, err := install(t, "file://"+serveRelease(t).dir, tools(t, ""), "", "--to", to)
		if _, e := os.Stat(filepath.Join(to, "plane")); err != nil || e != nil {
			t.Errorf("%v %v\n%s", err, e, out)
		}
	})
}

func TestInstallRefusesWhatIsNotListed(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s site)
		args  []string
		want  string
	}{
		"a changed archive": {func(t *testing.T, s site) { s.replace(t, archiveName(), flip) }, nil, "nothing was installed"},
		"half an archive": {func(t *testing.T, s site) {
			s.replace(t, archiveName(), func(b []byte) []byte { return b[:len(b)/2] })
		}, nil, "nothing was installed"},
		"no archive": {func(t *testing.T, s site) { _ = os.Remove(filepath.Join(s.dir, archiveName())) }, nil, "can't download"},
		"no list":    {func(t *testing.T, s site) { _ = os.Remove(filepath.Join(s.dir, "SHA256SUMS")) }, nil, "can't download"},
		"an empty checksum": {func(t *testing.T, s site) {
			s.replace(t, "SHA256SUMS", func([]byte) []byte { return []byte("x  " + archiveName() + "\n") })
		}, nil, "damaged"},
		"a list without this platform": {func(t *testing.T, s site) {
			s.replace(t, "SHA256SUMS", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(".tar.gz"), []byte(".zip")) })
		}, nil, "lists nothing for"},
		"a path out of the release": {func(t *testing.T, s site) {
			s.replace(t, "SHA256SUMS", func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte("  plane_"), []byte("  ../plane_"))
			})
		}, nil, "lists nothing for"},
		"two versions": {func(t *testing.T, s site) {
			s.replace(t, "SHA256SUMS", func(b []byte) []byte {
				return append(b, bytes.ReplaceAll(b, []byte(testVersion), []byte("9.9.9"))...)
			})
		}, nil, "--version"},
		"another version":     {func(*testing.T, site) {}, []string{"--version", "9.9.9"}, "lists nothing for version 9.9.9"},
		"a word it can't do":  {func(*testing.T, site) {}, []string{"--too", "x"}, "usage:"},
		"a flag with nothing": {func(*testing.T, site) {}, []string{"--to"}, "needs a value"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveRelease(t)
			c.spoil(t, s)
			home := t.TempDir()
			before := filepath.Join(home, ".local", "bin", "plane")
			if err := os.MkdirAll(filepath.Dir(before), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(before, []byte("the old one"), 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := install(t, s.url, tools(t, "curl"), home, c.args...)
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("%v\n%s", err, out)
			}
			if b, err := os.ReadFile(before); err != nil || string(b) != "the old one" {
				t.Error("what was installed before has changed")
			}
			if all, err := os.ReadDir(filepath.Dir(before)); err != nil || len(all) != 1 {
				t.Error("left behind:", all)
			}
		})
	}
}

func TestInstallSaysWhereFromItMayCome(t *testing.T) {
	for url, want := range map[string]string{
		"":                                "set PLANE_DOWNLOAD_URL",
		"http://releases.example/plane":   "use https://",
		"http://127.0.0.1.example/plane":  "use https://",
		"http://localhost.example:80/x":   "use https://",
		"ftp://releases.example/plane":    "must begin with",
		"releases":                        "must begin with",
		"file://releases":                 "must begin with",
		"file:///nowhere/that/is/a/place": "can't read",
	} {
		out, err := install(t, url, tools(t, ""), t.TempDir())
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%q: %v\n%s", url, err, out)
		}
	}
	home := t.TempDir()
	if out, err := install(t, serveRelease(t).url, tools(t, ""), home); err == nil || !strings.Contains(out, "install curl or wget") {
		t.Errorf("without a program that downloads: %v\n%s", err, out)
	}
}
