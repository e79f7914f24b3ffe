package planefile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGuessesWhatIsThere(t *testing.T) {
	const mod, main = "module x\n", "// x\npackage main\n"
	for name, c := range map[string]struct {
		files      map[string]string
		want, from string
	}{
		"go":               {map[string]string{"go.mod": mod, "x.go": main}, "go run .", "go.mod"},
		"go below cmd":     {map[string]string{"go.mod": mod, "x.go": "package x\n", "cmd/x/main.go": main}, "go run ./cmd/x", "go.mod"},
		"go, two programs": {map[string]string{"go.mod": mod, "cmd/x/main.go": main, "cmd/y/main.go": main}, "http.server", ""},
		"go, only tests":   {map[string]string{"go.mod": mod, "x_test.go": main}, "http.server", ""},
		"node":             {map[string]string{"package.json": `{"scripts":{"start":"node server.js --x"}}`}, "node server.js --x", "package.json"},
		"node by shell":    {map[string]string{"package.json": `{"scripts":{"start":"node a.js && node b.js"}}`}, "npm start", "package.json"},
		"node, other":      {map[string]string{"package.json": `{"scripts":{"start":"vite"}}`}, "npm start", "package.json"},
		"node, main":       {map[string]string{"package.json": `{"main":"a.js"}`, "a.js": ""}, "node a.js", "package.json"},
		"node, dev":        {map[string]string{"package.json": `{"scripts":{"dev":"vite"}}`}, "npm run dev", "package.json"},
		"node, broken":     {map[string]string{"package.json": `{`}, "http.server", ""},
		"python":           {map[string]string{"main.py": "", "other.py": ""}, "python3 main.py", "main.py"},
		"python, one":      {map[string]string{"serve.py": ""}, "python3 serve.py", "serve.py"},
		"flask":            {map[string]string{"app.py": "app = Flask(__name__)"}, "python3 -m flask --app app run --port {port}", "app.py"},
		"fastapi":          {map[string]string{"main.py": "app = FastAPI()"}, "python3 -m uvicorn main:app --port {port}", "main.py"},
		"django":           {map[string]string{"manage.py": ""}, "python3 manage.py runserver --noreload 127.0.0.1:{port}", "manage.py"},
		"files":            {map[string]string{"index.html": ""}, "python3 -m http.server {port} --bind 127.0.0.1", "index.html"},
		"nothing":          {nil, "python3 -m http.server {port} --bind 127.0.0.1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for path, text := range c.files {
				path = filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, from := Guess(dir)
			if got := strings.Join(s.Command, " "); !strings.Contains(got, c.want) || from != c.from {
				t.Errorf("%q from %q, want %q from %q", got, from, c.want, c.from)
			}
			if _, err := Parse(Name, []byte(s.Text())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAppsAreNamedAfterTheirDirectory(t *testing.T) {
	for base, want := range map[string]string{
		"board": "board", "My Board": "my-board", "2048": "app", "a--b": "a-b", "": "app", "été": "t", "x_y.z": "x-y-z",
		strings.Repeat("long-", 10): strings.Repeat("long-", 6) + "l",
	} {
		if got := appName(base); got != want {
			t.Errorf("%q: %q, want %q", base, got, want)
		}
	}
}
