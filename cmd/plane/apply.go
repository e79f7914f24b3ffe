package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
	"plane/internal/planefile"
)

func newApplyCommand() *cobra.Command {
	var r remote
	var file string
	cmd := &cobra.Command{
		Use:   "apply [APP...]",
		Short: "Give the controller the apps of plane.yaml",
		Long: "Give the controller the apps of plane.yaml, or those that are named. An app that\n" +
			"differs gets a new release, which new backends take; running ones keep theirs.",
		Example: "  plane apply\n  plane apply -f deploy/plane.yaml board",
		GroupID: groupUse,
		RunE: func(cmd *cobra.Command, given []string) error {
			f, err := openPlanefile(file)
			if err != nil {
				return err
			}
			names, err := chosenApps(f, given)
			if err != nil {
				return err
			}
			return apply(cmd, r, f, names)
		},
	}
	r.bind(cmd.Flags())
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file (default: "+planefile.Name+" of the working directory)")
	cmd.ValidArgsFunction = func(_ *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		f, err := openPlanefile(file)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f.Names(), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// openPlanefile reads the file that is named, or that of the working directory.
func openPlanefile(named string) (planefile.File, error) {
	if named != "" {
		return planefile.Read(named)
	}
	wd, err := os.Getwd()
	if err != nil {
		return planefile.File{}, fmt.Errorf("find the working directory: %w", err)
	}
	path, err := planefile.Find(wd)
	switch {
	case err != nil:
		return planefile.File{}, err
	case path == "":
		return planefile.File{}, fmt.Errorf("there is no %s here; write one with `plane init`, or name another with --file", planefile.Name)
	}
	return planefile.Read(path)
}

func chosenApps(f planefile.File, given []string) ([]string, error) {
	if len(given) == 0 {
		return f.Names(), nil
	}
	for _, name := range given {
		if _, ok := f.Apps[name]; ok {
			continue
		}
		if best := plane.Nearest(name, f.Names()); best != "" {
			return nil, misusef("there is no app %q in %s; did you mean %q?", name, f.Path, best)
		}
		return nil, misusef("there is no app %q in %s", name, f.Path)
	}
	slices.Sort(given)
	return slices.Compact(given), nil
}

func apply(cmd *cobra.Command, r remote, f planefile.File, names []string) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	done := []client.Applied{}
	for _, name := range names {
		got, err := c.Apply(cmd.Context(), name, f.Apps[name])
		if err != nil {
			return refusedApp(f, name, err)
		}
		done = append(done, got)
		if r.json {
			continue
		}
		if err := printApplied(cmd, got); err != nil {
			return err
		}
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"applied": done})
	}
	return nil
}

// refusedApp puts file and line before what a controller finds wrong.
func refusedApp(f planefile.File, name string, err error) error {
	var e *plane.Error
	if !errors.As(err, &e) || e.Kind != plane.BadRequest {
		return err
	}
	at := *e
	at.Message = f.Where(name, e.Field) + ": " + e.Message
	var failed *client.Failure
	if errors.As(err, &failed) {
		return &client.Failure{ID: failed.ID, Err: &at}
	}
	return &at
}

func printApplied(cmd *cobra.Command, got client.Applied) error {
	what := fmt.Sprintf("release %d is new", got.Release)
	if !got.Changed {
		what = fmt.Sprintf("unchanged, release %d", got.Release)
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", got.App, what); err != nil {
		return err
	}
	for _, w := range got.Warnings {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "plane: warning: %s: %s\n", got.App, cell(w))
	}
	return nil
}
