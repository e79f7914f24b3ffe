package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane/internal/image/imagetest"
)

// imageDir is a data directory for images. Layers belong to users of a
// namespace, which only root can make them.
func imageDir(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can unpack images")
	}
	away(t)
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/none.sock")
	return t.TempDir()
}

func small(t *testing.T, text string) v1.Image {
	t.Helper()
	return imagetest.Image(t, v1.Config{}, imagetest.Layer(t, imagetest.File{Name: "text", Body: []byte(text)}))
}

// withInput runs a command line with input.
func withInput(t *testing.T, in string, words ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetArgs(words)
	root.SetIn(strings.NewReader(in))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestImagesArePulledListedAndRemoved(t *testing.T) {
	dir := imageDir(t)
	r := imagetest.NewRegistry(t, "bob", "hush")
	name := r.Push(t, "team/app:1", small(t, "one"))
	like(t, must(t, "image", "ls", "--data-dir", dir), `There are no images here\. [^\n]*\n`)

	if out, err := withInput(t, "hush\n", "image", "pull", name, "--data-dir", dir, "--username", "bob", "--password-stdin"); err != nil || !strings.Contains(out, name+" is here: sha256:") {
		t.Fatalf("%v %s", err, out)
	}
	if _, err := withInput(t, "wrong\n", "image", "pull", name, "--data-dir", dir, "--username", "bob", "--password-stdin"); err == nil {
		t.Error("a wrong password is taken")
	}
	fails(t, 1, "team/app", "image", "pull", name, "--data-dir", dir)
	like(t, must(t, "image", "ls", "--data-dir", dir), `IMAGE +DIGEST +SIZE +PULLED +USED +IN USE BY\n`+name+`  sha256:[0-9a-f]{12}  \d+ B +[\d.]+s ago  [\d.]+s ago  -\n\n\d+ B on disk; layers are shared\.\n`)
	var listed struct {
		Images []map[string]any `json:"images"`
	}
	if err := json.Unmarshal([]byte(must(t, "image", "ls", "--json", "--data-dir", dir)), &listed); err != nil || len(listed.Images) != 1 || listed.Images[0]["image"] != name {
		t.Errorf("%v %+v", err, listed)
	}

	fails(t, 1, "did you mean "+name+"?", "image", "rm", strings.Replace(name, "app:1", "app:2", 1), "--data-dir", dir)
	like(t, must(t, "image", "rm", name, "--data-dir", dir), name+` is removed\n`)
	fails(t, 1, "There is no image "+name+" here", "image", "rm", name, "--data-dir", dir)

	fails(t, 2, "is no name of an image", "image", "pull", "A B", "--data-dir", dir)
	fails(t, 2, "--password-stdin", "image", "pull", name, "--username", "bob", "--data-dir", dir)
	if _, err := withInput(t, "", "image", "pull", name, "--password-stdin", "--data-dir", dir); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Error(err)
	}
}

func TestArchivesAreImportedFromAFileAndFromInput(t *testing.T) {
	dir := imageDir(t)
	path := imagetest.Archive(t, map[string]v1.Image{"board:1": small(t, "one")})
	like(t, must(t, "image", "import", path, "--data-dir", dir), `board:1 is here\n`)
	must(t, "image", "rm", "board:1", "--data-dir", dir)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := withInput(t, string(raw), "image", "import", "-", "--data-dir", dir, "--json"); err != nil || !strings.Contains(out, `"docker.io/library/board:1"`) {
		t.Errorf("%v %s", err, out)
	}
	fails(t, 1, "import", "image", "import", path+".none", "--data-dir", dir)
}
