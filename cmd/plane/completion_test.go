package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// completed is what a plain bash, without the package bash-completion, offers
// at the end of a line.
func completed(t *testing.T, line string) string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	dir := t.TempDir()
	script := must(t, "completion", "bash")
	// In the place of the program: it offers what it was asked for.
	fake := "#!/bin/sh\nfor last; do :; done\nprintf '%sx:y\\n:4\\n' \"${last#*=}\"\necho \"$*\" >" + filepath.Join(dir, "asked") + "\n"
	for name, text := range map[string]string{"plane": fake, "script": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Readline splits the line as COMP_WORDBREAKS says; so does this.
	words := strings.NewReplacer("=", "\n=\n", ":", "\n:\n", " ", "\n").Replace(line)
	var list []string
	for i, w := range strings.Split(words, "\n") {
		if w != "" || i == strings.Count(words, "\n") && strings.HasSuffix(line, " ") {
			list = append(list, "'"+w+"'")
		}
	}
	text := "source ./script; compopt() { :; }\nCOMP_WORDS=(" + strings.Join(list, " ") + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n" +
		"COMP_LINE='" + line + "'; COMP_POINT=${#COMP_LINE}\n__start_plane\necho \"${COMPREPLY[*]}\"\n"
	c := exec.Command(bash, "--norc", "--noprofile", "-c", text)
	c.Dir, c.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "BASH_ENV=")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil {
		t.Fatalf("%s: nothing was asked: %v\n%s", line, err, out)
	}
	return strings.TrimSpace(string(asked)) + " -> " + strings.TrimSpace(string(out))
}

func TestAPlainBashCompletesToo(t *testing.T) {
	for line, want := range map[string]string{
		"plane st":          "__complete st -> stx:y",
		"plane why do":      "__complete why do -> dox:y",
		"plane why ":        "__complete why -> x:y",
		"plane ls --app=bo": "__complete ls --app=bo -> box:y",
		"plane why a:b":     "__complete why a:b -> bx:y", // readline replaces what follows the colon
		"plane why a:":      "__complete why a: -> x:y",
	} {
		if got := completed(t, line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}
