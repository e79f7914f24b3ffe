package main

import (
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"plane/internal/drone/home"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// specOf is what `plane connect` with these words would start.
func specOf(t *testing.T, in string, command []string, flags ...string) string {
	t.Helper()
	var f connectFlags
	cmd := &cobra.Command{Use: "connect"}
	f.bind(cmd.Flags())
	cmd.SetIn(strings.NewReader(in))
	if err := cmd.ParseFlags(flags); err != nil {
		t.Fatal(err)
	}
	s, err := f.spec(cmd, command)
	if err != nil {
		t.Fatal(err)
	}
	return string(s.Executable)
}

func TestConnectSaysHowAnImageIsRun(t *testing.T) {
	for _, c := range []struct {
		in      string
		command []string
		flags   []string
		want    string
	}{
		{"", nil, []string{"--image", "board:7"}, `{"image":"board:7"}`},
		{
			"",
			[]string{"serve", "-v"},
			[]string{"--image", "board:7", "--runtime", "oci", "--mount", "docs/a", "--env", "A=1", "--env", "B=x=y", "--pull-policy", "Always", "--image-port", "80", "--dir", "/srv"},
			`{"command":["serve","-v"],"dir":"/srv","env":{"A":"1","B":"x=y"},"runtime":"oci","image":"board:7","pull_policy":"Always","mount":"docs/a","port":80}`,
		},
		{"", nil, []string{"--image", "board:7", "--mount", "true"}, `{"image":"board:7","mount":true}`},
		{"secret\n", nil, []string{"--image", "r.example/b:7", "--username", "bob", "--password-stdin"}, `{"image":"r.example/b:7","credentials":{"username":"bob","password":"secret"}}`},
		{"token", nil, []string{"--image", "r.example/b:7", "--password-stdin"}, `{"image":"r.example/b:7","credentials":{"identity_token":"token"}}`},
		{"", []string{"/bin/true"}, []string{"--runtime", "process", "--env", "A="}, `{"command":["/bin/true"],"env":{"A":""},"runtime":"process"}`},
	} {
		if got := specOf(t, c.in, c.command, c.flags...); got != c.want {
			t.Errorf("%v: %s, want %s", c.flags, got, c.want)
		}
	}
}

func TestAWrongFlagOfAnImageIsNamedWithItsRemedy(t *testing.T) {
	site(t)
	for want, args := range map[string]string{
		`--runtime must be process, docker or oci`:                                  "--image x --runtime podman",
		`--runtime is process, which runs commands; use docker or oci for an image`: "--image x --runtime process",
		`--runtime is oci, which runs images; add --image IMAGE`:                    "--runtime oci -- true",
		`--pull-policy must be IfNotPresent, Always or Never`:                       "--image x --pull-policy sometimes",
		`--pull-policy is for images only; this executable is a command`:            "--pull-policy Always -- true",
		`--image-port is 70000; it must be from 1 to 65535`:                         "--image x --image-port 70000",
		`--env "A": write NAME=VALUE`:                                               "--image x --env A",
		`flags that say how a program is run need one: add --image IMAGE`:           "--pull-policy Never",
		`--username needs --password-stdin`:                                         "--image x --username bob",
		`--username and --password-stdin are for the registry of an image`:          "--username bob -- true",
		`--password-stdin: standard input is empty`:                                 "--image x --password-stdin",
	} {
		words := strings.Fields(args)
		fails(t, 2, want, append([]string{"connect", "k"}, words...)...)
		fails(t, 2, want, append([]string{"dev", "--data-dir", t.TempDir()}, words...)...)
	}
	for want, args := range map[string]string{
		`--mount must be a relative path of plain names`:                        "--image x --mount ../up",
		`--mount is for images only`:                                            "--mount docs -- true",
		`--dir must be an absolute path`:                                        "--image x --dir srv",
		`flags that say how a program is run need one: add --image IMAGE or --`: "--mount true",
	} {
		fails(t, 2, want, append([]string{"connect", "k"}, strings.Fields(args)...)...)
	}
}

// offered is what a shell is told for the words of a line.
func offered(t *testing.T, words ...string) string {
	t.Helper()
	_, out, _ := play(t, append([]string{"__complete"}, words...)...)
	return out
}

func TestFlagsAndNamesOfImagesAreCompleted(t *testing.T) {
	away(t)
	for _, verb := range []string{"dev", "connect"} {
		like(t, offered(t, verb, "--runtime", ""), `process\ndocker\noci\n:4\n`)
		like(t, offered(t, verb, "--pull-policy", ""), `IfNotPresent\nAlways\nNever\n:4\n`)
		like(t, offered(t, verb, "--image", ""), `:4\n`)
	}
	dir := t.TempDir()
	like(t, offered(t, "image", "rm", "--data-dir", filepath.Join(dir, "none"), ""), `:4\n`)
	if exists(filepath.Join(dir, "none")) {
		t.Error("completing makes a data directory")
	}
	h, err := home.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := image.Open(h.Images(), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	small := imagetest.Image(t, v1.Config{}, imagetest.Layer(t, imagetest.File{Name: "hello", Body: []byte("x")}))
	tar := imagetest.Archive(t, map[string]v1.Image{"board:7": small, "redis:7": small})
	if _, err := store.Import(t.Context(), tar, func(image.Progress) {}); err != nil {
		t.Fatal(err)
	}
	like(t, offered(t, "image", "rm", "--data-dir", dir, "bo"), `board:7\t\d+ \w+\n:4\n`)
	like(t, offered(t, "image", "rm", "--data-dir", dir, "board:7", ""), `redis:7\t\d+ \w+\n:4\n`)
}
