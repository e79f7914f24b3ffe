package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and hash may be set by the linker (-X main.version=…), and commit and
// date where a build has no repository to note them from.
var (
	version = "0.1.0"
	hash    = "" // eight digits that stand for the commit
	commit  = ""
	date    = "" // of the commit, RFC 3339
	changed = "" // "true" = with changes that weren't committed
)

const unknownHash = "unknown"

// build is what tells this program from others of its name.
type build struct {
	Version string `json:"version"`
	Hash    string `json:"hash"`   // eight digits of the commit
	Commit  string `json:"commit"` // "" = not known
	Date    string `json:"date"`   // of the commit, RFC 3339
	Changed bool   `json:"changed"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

// thisBuild is what the linker was told, else what the toolchain noted of the
// repository that it built from.
func thisBuild() build {
	b := build{
		Version: version, Hash: hash, Commit: commit, Date: date, Changed: changed == "true",
		Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok && b.Commit == "" {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Date = s.Value
			case "vcs.modified":
				b.Changed = s.Value == "true"
			}
		}
	}
	switch {
	case b.Hash != "":
	case len(b.Commit) >= 8:
		b.Hash = b.Commit[:8]
	default:
		b.Hash = unknownHash
	}
	return b
}

// buildHash is eight digits that tell builds apart.
func buildHash() string { return thisBuild().Hash }

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  plane version\n  plane version --json",
		GroupID: groupUse,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := thisBuild()
			if asJSON {
				return printJSON(cmd.OutOrStdout(), b)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), b)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// String is one line: plane 0.1.0 (1234abcd of 2026-01-02, changed) go1.26 linux/amd64.
func (b build) String() string {
	from := ""
	if b.Hash != unknownHash {
		from = b.Hash
		if len(b.Date) >= len("2006-01-02") {
			from += " of " + b.Date[:len("2006-01-02")]
		}
		if b.Changed {
			from += ", changed"
		}
		from = " (" + from + ")"
	}
	return fmt.Sprintf("plane %s%s %s %s", b.Version, from, b.Go, b.System)
}
