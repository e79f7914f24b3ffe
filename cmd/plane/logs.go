package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newLogsCommand() *cobra.Command {
	var r remote
	var t target
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:     "logs KEY",
		Short:   "Print a backend's output",
		Example: "  plane logs doc-17 --follow\n  plane logs board/doc-17 --tail 20",
		GroupID: groupUse,
		Args:    t.check,
		RunE: func(cmd *cobra.Command, given []string) error {
			if tail < 0 {
				return misusef("--tail must not be negative")
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			id, err := t.latest(cmd.Context(), c, cmd, given)
			if err != nil {
				return err
			}
			if follow {
				return c.FollowLogs(cmd.Context(), id, tail, func(line string) error { return printOutput(cmd, id, line, r.json) })
			}
			return printLogs(cmd, c, id, tail, r.json)
		},
	}
	r.bind(cmd.Flags())
	t.bind(cmd, &r)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the backend ends")
	cmd.Flags().IntVarP(&tail, "tail", "n", 0, "only the last so many lines")
	return cmd
}

func printLogs(cmd *cobra.Command, c *client.Client, id plane.BackendID, tail int, asJSON bool) error {
	output, err := c.Logs(cmd.Context(), id, tail)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	if !asJSON {
		_, err = io.Copy(cmd.OutOrStdout(), output)
		return err
	}
	all, err := io.ReadAll(output)
	if err != nil || len(all) == 0 {
		return err
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(all), "\n"), "\n") {
		if err := printOutput(cmd, id, line, true); err != nil {
			return err
		}
	}
	return nil
}

func printOutput(cmd *cobra.Command, id plane.BackendID, line string, asJSON bool) error {
	if asJSON {
		return printLine(cmd.OutOrStdout(), map[string]string{"backend_id": string(id), "output": line})
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), line)
	return err
}
