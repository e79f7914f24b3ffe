package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func newRollbackCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "rollback APP [RELEASE]",
		Short: "Make an app take an earlier release, or any other",
		Long: "Make new backends of an app take another release: the one before the current, or\n" +
			"that which is named. Running ones keep theirs; end them with `plane stop`.",
		Example: "  plane rollback board\n  plane rollback board 3",
		GroupID: groupUse,
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			release := int64(0)
			if len(given) == 2 {
				n, err := strconv.ParseInt(given[1], 10, 32)
				if err != nil || n < 1 {
					return misusef("%q is no release; name a number such as 3, see `plane apps %s`", given[1], given[0])
				}
				release = n
			}
			return rollback(cmd, r, given[0], release)
		},
	}
	r.bind(cmd.Flags())
	cmd.ValidArgsFunction = func(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeApps(&r)(cmd, given, begun)
	}
	return cmd
}

func rollback(cmd *cobra.Command, r remote, app string, release int64) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	before, err := c.App(cmd.Context(), app)
	if err != nil {
		return orNearestApp(cmd, c, app, err)
	}
	now, err := c.SetRelease(cmd.Context(), app, release)
	switch {
	case err != nil:
		return err
	case r.json:
		return printJSON(cmd.OutOrStdout(), now)
	case now.Release == before.Release:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: release %d already\n", app, now.Release)
		return err
	}
	keep := ""
	if now.Live > 0 {
		keep = fmt.Sprintf("; %d live backends keep the release of their start", now.Live)
		if now.Live == 1 {
			keep = "; 1 live backend keeps the release of its start"
		}
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: release %d instead of %d%s\n", app, now.Release, before.Release, keep)
	return err
}
