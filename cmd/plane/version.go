package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and hash may be set by the linker (-X main.version=…).
var (
	version = "0.1.0"
	hash    = ""
)

const unknownHash = "unknown"

// buildHash is eight digits that tell builds apart: those of the revision that
// was built, if the toolchain noted it.
func buildHash() string {
	if hash != "" {
		return hash
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 8 {
				return s.Value[:8]
			}
		}
	}
	return unknownHash
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		GroupID: groupUse,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{
					"version": version, "hash": buildHash(), "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			build := ""
			if h := buildHash(); h != unknownHash {
				build = " (" + h + ")"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "plane %s%s %s %s/%s\n", version, build, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
