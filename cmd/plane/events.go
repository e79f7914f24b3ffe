package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"plane/client"
)

func newEventsCommand() *cobra.Command {
	var r remote
	var seq int64
	var follow bool
	cmd := &cobra.Command{
		Use:     "events",
		Short:   "Print what happened in the cluster, and by whom",
		Example: "  plane events\n  plane events --since 120 --follow",
		GroupID: groupUse,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if seq < 0 {
				return misusef("--since must not be negative")
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			each := func(e client.Event) error {
				if r.json {
					return printLine(cmd.OutOrStdout(), e)
				}
				return printEvent(cmd, e)
			}
			if err := c.Events(cmd.Context(), seq, func(e client.Event) error {
				seq = e.Seq
				return each(e)
			}); err != nil || !follow {
				return err
			}
			return c.FollowEvents(cmd.Context(), seq, each)
		},
	}
	r.bind(cmd.Flags())
	cmd.Flags().Int64Var(&seq, "since", 0, "only what came after the event with this number")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on")
	return cmd
}

func printEvent(cmd *cobra.Command, e client.Event) error {
	about := string(e.Node)
	if e.Key != nil {
		about = e.Key.String()
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%6d  %s  %-10s  %-20s  %s  [%s]\n", e.Seq, clock(e.Time), cell(e.Kind), cell(about), cell(e.Text), cell(e.Actor))
	return err
}
