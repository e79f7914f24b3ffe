package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenStartsTheBrowserOfTheUser(t *testing.T) {
	site(t)
	dir := t.TempDir()
	seen := filepath.Join(dir, "seen")
	browser := filepath.Join(dir, "browser")
	if err := os.WriteFile(browser, []byte("#!/bin/sh\necho \"$@\" >"+seen+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	must(t, "connect", "k", "--", "/bin/echo")
	for name, want := range map[string]string{browser: "", browser + " --new %s --end": "--new "} {
		t.Setenv("BROWSER", name)
		out := must(t, "open", "k")
		like(t, out, `http://localhost:9090/[\w-]+/\n`)
		b, err := os.ReadFile(seen)
		if err != nil || !strings.HasPrefix(string(b), want+strings.TrimSpace(out)) {
			t.Errorf("%s: opened %q (%v), want %q", name, b, err, out)
		}
	}
	like(t, must(t, "open", "k", "--json"), `.*"opened": true,\n.*`)
}

func TestOpenPrintsTheURLWhereThereIsNoBrowser(t *testing.T) {
	site(t)
	must(t, "connect", "k", "--", "/bin/echo")
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	for browser, words := range map[string]string{"": "no display", "/nonexistent/browser": "can't be started", "false": "failed"} {
		t.Setenv("BROWSER", browser)
		code, out, errOut := play(t, "open", "k")
		if code != 0 || !strings.HasPrefix(out, "http://localhost:9090/") || !strings.Contains(errOut, words) || !strings.Contains(errOut, "open the URL yourself") {
			t.Errorf("BROWSER=%q: exit %d\n%s%s", browser, code, out, errOut)
		}
	}
	like(t, must(t, "open", "k", "--json"), `.*"opened": false,\n.*`)
	fails(t, 1, "nothing says what to start", "open", "other")
	fails(t, 2, "open KEY", "open")
}

func TestWhichBrowser(t *testing.T) {
	none := func(string) string { return "" }
	if words, err := browserCommand(none, "darwin"); err != nil || words[0] != "open" {
		t.Error(words, err)
	}
	if words, err := browserCommand(none, "linux"); err == nil {
		t.Error(words)
	}
	first := func(name string) string { return map[string]string{"BROWSER": "a -b:c"}[name] }
	if words, err := browserCommand(first, "linux"); err != nil || strings.Join(words, "|") != "a|-b" {
		t.Error(words, err)
	}
}
