package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"plane"
	"plane/internal/planefile"
)

func newInitCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "init [APP] [-- COMMAND ARG...]",
		Short: "Write a plane.yaml for what is in this directory",
		Long: "Write a commented plane.yaml into the working directory. The command is guessed\n" +
			"from what is there (Go, Node, Python, plain files), unless it is given. A file that\n" +
			"is there already stays as it is.",
		Example: "  plane init\n  plane init board -- ./board --listen 127.0.0.1:{port}",
		GroupID: groupUse,
		Args: func(cmd *cobra.Command, given []string) error {
			words, _ := split(cmd, given)
			if len(words) > 1 {
				return misusef("give one name of an app, not %d; a command stands after \"--\"", len(words))
			}
			if len(words) == 1 {
				if bad := plane.CheckAppName(words[0]); bad != nil {
					return misuse{bad}
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			words, command := split(cmd, given)
			wd, err := os.Getwd()
			if err != nil {
				return fmt.Errorf("find the working directory: %w", err)
			}
			start, found := planefile.Guess(wd)
			if len(words) == 1 {
				start.App = words[0]
			}
			if len(command) > 0 {
				start.Command, found = command, "the command line"
			}
			return writeStarter(cmd, filepath.Join(wd, planefile.Name), start, found, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeStarter(cmd *cobra.Command, path string, start planefile.Starter, found string, asJSON bool) error {
	if err := planefile.Write(path, start.Text()); err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"file": path, "app": start.App, "command": start.Command, "guessed_from": found})
	}
	program := programText(plane.Template{Command: start.Command})
	if found == "" {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is written. Nothing here says what to start: put your program into its command\n(now: %s), then run `plane dev`.\n", planefile.Name, program)
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is written: app %s runs %s (from %s). Look it over, then run `plane dev`.\n", planefile.Name, start.App, program, found)
	return err
}
