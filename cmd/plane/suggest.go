package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plane"
)

// elsewhereCalled has words of other programs: the first of their meanings that
// a command has below it is what was meant.
var elsewhereCalled = map[string][]string{
	"add":     {"create", "apply"},
	"delete":  {"rm", "abandon", "stop"},
	"end":     {"stop"},
	"kill":    {"stop"},
	"list":    {"ls"},
	"new":     {"create", "init"},
	"ps":      {"ls"},
	"remove":  {"rm", "abandon", "stop"},
	"rm":      {"abandon", "stop"},
	"run":     {"dev"},
	"serve":   {"dev"},
	"show":    {"status"},
	"start":   {"open", "dev"},
	"tail":    {"logs"},
	"undo":    {"rollback"},
	"up":      {"dev"},
	"down":    {"stop"},
	"deploy":  {"apply"},
	"get":     {"ls"},
	"inspect": {"status", "why"},
}

// unknownCommand says that there is no such word below cmd, and what was
// probably meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	text := fmt.Sprintf("unknown command %q for %q", word, cmd.CommandPath())
	switch best := meant(cmd, word); {
	case best != "":
		return misusef("%s; did you mean %q?", text, best)
	case word == "restart" && !cmd.HasParent():
		return misusef("%s: stop the key with %q, and whoever comes next or %q starts it again", text, "plane stop KEY", "plane open KEY")
	}
	return misusef("%s", text)
}

// meant is the command below cmd that a word probably stands for, or "".
func meant(cmd *cobra.Command, word string) string {
	called := map[string]string{} // name or alias → name
	var words []string
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		for _, w := range append([]string{sub.Name()}, sub.Aliases...) {
			called[w] = sub.Name()
			words = append(words, w)
		}
	}
	for _, w := range elsewhereCalled[word] {
		if called[w] != "" {
			return called[w]
		}
	}
	if word == "restart" {
		return "" // "restore" is near, and something else altogether
	}
	begun := func(w string) bool { return len(word) > 1 && strings.HasPrefix(w, word) }
	if i := slices.IndexFunc(words, begun); i >= 0 {
		return called[words[i]]
	}
	if w := plane.Nearest(word, words); w != "" {
		return called[w]
	}
	return ""
}
