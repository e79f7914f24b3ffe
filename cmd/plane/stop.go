package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newStopCommand() *cobra.Command {
	var r remote
	var t target
	var hard, noWait bool
	cmd := &cobra.Command{
		Use:     "stop KEY...",
		Aliases: []string{"terminate"},
		Short:   "End backends",
		Long:    "End backends: softly (SIGTERM, then its grace period), or at once with --hard.\nWaits until nothing is left of them.",
		Example: "  plane stop doc-17\n  plane stop --hard board/doc-17 board/doc-18",
		GroupID: groupUse,
		Args: func(cmd *cobra.Command, given []string) error {
			return t.check(cmd, given[:min(len(given), 1)])
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			kind := plane.Soft
			if hard {
				kind = plane.Hard
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			if t.id != "" {
				given = []string{""}
			}
			var ids []plane.BackendID
			for i := range given { // a wrong KEY ends none of them
				id, err := t.live(cmd.Context(), c, cmd, given[i:i+1])
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			for _, id := range ids {
				if err := c.Terminate(cmd.Context(), id, kind); err != nil {
					return err
				}
			}
			for _, id := range ids {
				if err := stopped(cmd, c, id, noWait, r.json); err != nil {
					return err
				}
			}
			return nil
		},
	}
	r.bind(cmd.Flags())
	t.bind(cmd, &r)
	cmd.Flags().BoolVar(&hard, "hard", false, "end at once (SIGKILL)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "don't wait for the end")
	return cmd
}

func stopped(cmd *cobra.Command, c *client.Client, id plane.BackendID, noWait, asJSON bool) error {
	out := cmd.OutOrStdout()
	if noWait {
		if asJSON {
			return printLine(out, map[string]string{"backend_id": string(id)})
		}
		_, err := fmt.Fprintf(out, "%s has been told to end\n", id)
		return err
	}
	begun := time.Now()
	last, err := c.WaitEnded(cmd.Context(), id)
	if err != nil {
		return err
	}
	if asJSON {
		return printLine(out, struct {
			ID plane.BackendID `json:"backend_id"`
			client.StatusEntry
		}{id, last})
	}
	b, err := c.Backend(cmd.Context(), id) // the entry doesn't say how
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s (%s) has ended after %s: %s\n", cell(b.Key.String()), id, age(time.Since(begun)), exitText(b.Exit))
	return err
}
