package planefile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plane"
)

// Guess reads from a directory what its app may be, and from which file; "" if
// nothing there says. Then the command serves the directory's files.
func Guess(dir string) (s Starter, from string) {
	s = Starter{App: appName(filepath.Base(dir))}
	for _, guess := range []func(dir string) (command []string, from string){guessGo, guessNode, guessPython} {
		if s.Command, from = guess(dir); from != "" {
			return s, from
		}
	}
	s.Command = []string{"python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"}
	if exists(dir, "index.html") {
		return s, "index.html"
	}
	return s, ""
}

// appName makes a name for an app of a directory's.
func appName(base string) string {
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(base), "-")
	name = strings.TrimLeft(name, "-0123456789")
	name = strings.TrimRight(name[:min(len(name), 31)], "-")
	if plane.CheckAppName(name) != nil {
		return "app"
	}
	return name
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// guessGo finds the main package of a module: its root, or the only one below cmd.
func guessGo(dir string) ([]string, string) {
	if !exists(dir, "go.mod") {
		return nil, ""
	}
	if isMain(dir) {
		return []string{"go", "run", "."}, "go.mod"
	}
	var mains []string
	below, _ := os.ReadDir(filepath.Join(dir, "cmd"))
	for _, d := range below {
		if d.IsDir() && isMain(filepath.Join(dir, "cmd", d.Name())) {
			mains = append(mains, "./cmd/"+d.Name())
		}
	}
	if len(mains) != 1 {
		return nil, ""
	}
	return []string{"go", "run", mains[0]}, "go.mod"
}

var mainPackage = regexp.MustCompile(`(?m)^package main\b`)

func isMain(dir string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	return slices.ContainsFunc(files, func(path string) bool {
		return !strings.HasSuffix(path, "_test.go") && mainPackage.Match(head(path))
	})
}

// head is the beginning of a file: what is looked for stands there.
func head(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, 64<<10)
	n, _ := f.Read(b)
	return b[:n]
}

// guessNode reads package.json. A start script without anything for a shell is
// taken apart: npm would stand between Plane's signals and the program.
func guessNode(dir string) ([]string, string) {
	const file = "package.json"
	var p struct {
		Main    string            `json:"main"`
		Scripts map[string]string `json:"scripts"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || json.Unmarshal(raw, &p) != nil {
		return nil, ""
	}
	switch words := strings.Fields(p.Scripts["start"]); {
	case len(words) > 1 && words[0] == "node" && !strings.ContainsAny(p.Scripts["start"], "\"'`$&|;<>()*?\\~#"):
		return words, file
	case len(words) > 0:
		return []string{"npm", "start"}, file
	case p.Main != "" && exists(dir, p.Main):
		return []string{"node", p.Main}, file
	case exists(dir, "server.js"):
		return []string{"node", "server.js"}, file
	case p.Scripts["dev"] != "":
		return []string{"npm", "run", "dev"}, file
	}
	return nil, ""
}

// guessPython finds a Django project, a file with a usual name, or the only one.
func guessPython(dir string) ([]string, string) {
	if exists(dir, "manage.py") {
		return []string{"python3", "manage.py", "runserver", "--noreload", "127.0.0.1:{port}"}, "manage.py"
	}
	for _, name := range []string{"app.py", "main.py", "server.py"} {
		if exists(dir, name) {
			return pythonCommand(dir, name), name
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.py"))
	if len(files) != 1 {
		return nil, ""
	}
	name := filepath.Base(files[0])
	return pythonCommand(dir, name), name
}

// pythonCommand starts a file as its framework wants it.
func pythonCommand(dir, name string) []string {
	module, text := strings.TrimSuffix(name, ".py"), string(head(filepath.Join(dir, name)))
	switch {
	case strings.Contains(text, "app = Flask("):
		return []string{"python3", "-m", "flask", "--app", module, "run", "--port", "{port}"}
	case strings.Contains(text, "app = FastAPI("):
		return []string{"python3", "-m", "uvicorn", module + ":app", "--port", "{port}"}
	}
	return []string{"python3", name}
}
