package plane_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// anything, in mayImport, is any package of ours; it is for what joins parts.
const anything = "*"

// mayImport is who may import whom, without the leading "plane/"; "." is the
// vocabulary package. A name that ends in "/..." covers a tree. Direct imports
// of non-test files count; tests may look sideways.
var mayImport = map[string][]string{
	".":                            {},
	"internal/wire":                {"."},
	"internal/token":               {"."},
	"internal/store":               {"."},
	"internal/store/sqlite":        {".", "internal/store"},
	"internal/store/storetest":     {".", "internal/store"},
	"internal/runtime":             {"."},
	"internal/runtime/line":        {".", "internal/runtime", "internal/drone/warden", "internal/drone/home", "internal/drone/means"},
	"internal/runtime/datadir":     {".", "internal/runtime"},
	"internal/runtime/process":     {".", "internal/runtime", "internal/runtime/line", "internal/drone/warden", "internal/drone/table", "internal/drone/home", "internal/drone/means"},
	"internal/runtime/oci":         {".", "internal/runtime", "internal/runtime/datadir", "internal/runtime/oci/waiter", "internal/runtime/line", "internal/runtime/egress", "internal/runtime/isolation", "internal/image", "internal/drone/warden", "internal/drone/table", "internal/drone/home", "internal/drone/means"},
	"internal/runtime/oci/...":     {".", "internal/runtime"},
	"internal/runtime/docker":      {".", "internal/wait", "internal/flight", "internal/runtime", "internal/runtime/datadir", "internal/runtime/line", "internal/runtime/egress", "internal/runtime/isolation", "internal/drone/warden", "internal/drone/table", "internal/drone/home", "internal/drone/means"},
	"internal/runtime/egress":      {"."},
	"internal/runtime/egress/...":  {anything}, // its tests' machine
	"internal/runtime/isolation":   {},
	"internal/runtime/probe":       {},
	"internal/runtime/probe/...":   {"internal/runtime/probe"},
	"internal/runtime/fake":        {".", "internal/runtime"},
	"internal/flight":              {},
	"internal/wait":                {},
	"internal/image":               {".", "internal/flight"},
	"internal/image/imagetest":     {anything},
	"internal/image/imagetest/...": {},
	"internal/dockertest":          {anything},
	"internal/drone/gate":          {".", "internal/wait", "internal/drone/leaseclock", "internal/drone/table", "internal/drone/means"},
	"internal/runtime/runtimetest": {".", "internal/runtime"},
	"internal/drone":               {".", "internal/wait", "internal/wire", "internal/runtime", "internal/drone/home", "internal/drone/leaseclock", "internal/drone/table", "internal/drone/journal", "internal/drone/volume", "internal/drone/warden", "internal/drone/reaper", "internal/drone/gate"},
	"internal/drone/dronetest":     {".", "internal/runtime", "internal/drone/home", "internal/drone/means", "internal/drone/reaper", "internal/drone/table", "internal/drone/warden"},
	"internal/drone/home":          {"."},
	"internal/drone/offer":         {".", "internal/wait", "internal/drone/home", "internal/image", "internal/run", "internal/runtime", "internal/runtime/line", "internal/runtime/docker", "internal/runtime/oci", "internal/runtime/egress"},
	"internal/drone/leaseclock":    {"."},
	"internal/drone/means":         {"."},
	"internal/drone/volume":        {".", "internal/drone/home"},
	"internal/drone/table":         {".", "internal/drone/home", "internal/drone/leaseclock"},
	"internal/drone/journal":       {".", "internal/drone/home"},
	"internal/drone/warden":        {".", "internal/drone/home", "internal/drone/leaseclock", "internal/drone/means", "internal/drone/table"},
	"internal/drone/reaper":        {".", "internal/drone/home", "internal/drone/leaseclock", "internal/drone/means", "internal/drone/table", "internal/drone/warden"},
	"internal/controller":          {".", "internal/store", "internal/wire", "internal/token"},
	"internal/api":                 {".", "internal/wait", "internal/controller", "internal/store", "internal/wire", "internal/token"},
	"internal/api/apitest":         {anything},
	"internal/proxy":               {".", "internal/wait", "internal/wire", "internal/token"},
	"internal/admin":               {},
	"internal/backup":              {"."},
	"internal/watch":               {},
	"internal/run":                 {},
	"internal/planefile":           {"."},
	"client":                       {"."},
	"examples/...":                 {},
	"examples/whiteboard/cmd/...":  {"examples/whiteboard"},
	"cmd/plane":                    {anything},
	"internal/clustertest":         {anything},
	"internal/clustertest/...":     {anything},
	"packaging/...":                {},
	"bench/...":                    {anything},
	"bench":                        {anything},
}

// others is which modules that aren't ours a package may import; what isn't
// listed may use the standard library and golang.org/x.
var others = map[string][]string{
	".":                           {}, // not even golang.org/x
	"client":                      {"github.com/coder/websocket"},
	"internal/run":                {},
	"internal/watch":              {"github.com/fsnotify/fsnotify"},
	"internal/planefile":          {"go.yaml.in/yaml/v3"},
	"internal/wire":               {"github.com/coder/websocket"},
	"internal/api":                {"github.com/coder/websocket"},
	"internal/image":              {"github.com/google/go-containerregistry/", "github.com/containerd/containerd/v2/", "github.com/distribution/reference", "github.com/klauspost/compress/", "golang.org/x/"},
	"internal/image/imagetest":    {anything},
	"internal/dockertest":         {anything},
	"internal/runtime/oci":        {"github.com/opencontainers/runtime-spec/", "github.com/vishvananda/", "golang.org/x/"},
	"internal/runtime/line":       {"github.com/creack/pty", "golang.org/x/"},
	"internal/runtime/docker":     {"github.com/moby/moby/", "github.com/containerd/errdefs", "github.com/distribution/reference", "golang.org/x/"},
	"internal/runtime/egress/...": {anything},
	"internal/runtime/egress":     {"github.com/vishvananda/", "github.com/google/nftables", "golang.org/x/"},
	"internal/runtime/isolation":  {"github.com/opencontainers/runtime-spec/", "github.com/moby/profiles/seccomp"},
	"internal/admin":              {"github.com/prometheus/client_golang/"},
	"internal/controller":         {"github.com/prometheus/client_golang/prometheus", "golang.org/x/"},
	"internal/drone":              {"github.com/prometheus/client_golang/prometheus", "golang.org/x/"},
	"internal/proxy":              {"github.com/prometheus/client_golang/prometheus", "golang.org/x/"},
	"internal/store/sqlite":       {"github.com/prometheus/client_golang/prometheus", "modernc.org/sqlite", "github.com/pressly/goose/v3", "golang.org/x/"},
	"examples/...":                {"github.com/coder/websocket"},
	"cmd/plane":                   {anything},
	"internal/clustertest":        {anything},
	"internal/clustertest/...":    {anything},
	"bench":                       {anything},
	"bench/...":                   {anything},

	"internal/image/imagetest/...": {"github.com/coder/websocket", "golang.org/x/"},
}

// listed is a package as `go list -json` shows it.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// packages lists ours, as they are on that system.
func packages(t *testing.T, goos string) []listed {
	t.Helper()
	// -e: a package that doesn't build must not hide what others import.
	c := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	c.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

// short is a path of ours as mayImport writes it.
func short(path string) (string, bool) {
	if path == "plane" {
		return ".", true
	}
	return strings.CutPrefix(path, "plane/")
}

// row finds the line of table for a package, by its name or by a tree's.
func row(table map[string][]string, name string) (key string, ok bool) {
	if _, ok := table[name]; ok {
		return name, true
	}
	for dir := name; dir != "." && dir != "/"; dir = filepath.Dir(dir) {
		if _, ok := table[dir+"/..."]; ok {
			return dir + "/...", true
		}
	}
	return "", false
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestImports(t *testing.T) {
	used := map[string]bool{}
	for _, p := range append(packages(t, "linux"), packages(t, "darwin")...) {
		name, _ := short(p.ImportPath)
		key, ok := row(mayImport, name)
		if !ok {
			t.Errorf("%s is not in mayImport of imports_test.go: say what it may import", p.ImportPath)
			continue
		}
		used[key] = true
		for _, path := range p.Imports {
			if s, ours := short(path); ours {
				if allowed := mayImport[key]; !slices.Contains(allowed, s) && !slices.Contains(allowed, anything) {
					t.Errorf("%s imports %s, which mayImport of imports_test.go doesn't allow: never upward, never sideways", p.ImportPath, path)
				}
				continue
			}
			if standard(path) {
				continue
			}
			allowed := []string{"golang.org/x/"}
			if key, ok := row(others, name); ok {
				allowed = others[key]
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return a == anything || strings.HasPrefix(path, a) }) {
				t.Errorf("%s imports %s, which others of imports_test.go doesn't allow", p.ImportPath, path)
			}
		}
	}
	for key := range mayImport {
		if !used[key] && !strings.HasSuffix(key, "/...") && key != "bench" {
			t.Errorf("mayImport of imports_test.go names %s, which doesn't exist", key)
		}
	}
}

func TestEveryPackageHasOneDocComment(t *testing.T) {
	for _, p := range packages(t, "linux") {
		var with []string
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				with = append(with, file)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has a package comment in %d files %v; one file says what the package is for", p.ImportPath, len(with), with)
		}
	}
}

func TestPackagesAreNamedForADuty(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "types", "models", "misc", "base", "shared"}
	for _, p := range packages(t, "linux") {
		if slices.Contains(vague, filepath.Base(p.ImportPath)) {
			t.Errorf("%s: name a package for its duty", p.ImportPath)
		}
	}
}

// sources walks what belongs to the repository and is text.
func sources(t *testing.T, visit func(path string)) {
	t.Helper()
	skip := []string{".git", ".cache", ".data", "bin", "dist", "node_modules"}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skip, d.Name()):
			return filepath.SkipDir
		case d.Type().IsRegular() && filepath.Ext(path) != ".test" && path != "plane":
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
