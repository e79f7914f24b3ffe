package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newDataCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "data",
		Short:   "List and give up what is kept for keys",
		GroupID: groupUse,
	}, newDataListCommand(), newDataAbandonCommand())
}

func newDataListCommand() *cobra.Command {
	var r remote
	var wide bool
	cmd := &cobra.Command{
		Use:     "ls [APP]",
		Aliases: []string{"list"},
		Short:   "List what is kept for keys (data: keep)",
		Example: "  plane data ls\n  plane data ls board",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			var f client.DataFilter
			if len(given) == 1 {
				f.Namespace = &given[0]
			}
			found := []client.Data{}
			for d, err := range c.Data(cmd.Context(), f) {
				if err != nil {
					return err
				}
				found = append(found, d)
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"data": found})
			}
			if len(found) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "Nothing is kept.")
				return err
			}
			rows := [][]string{{"KEY", "SIZE", "IN USE", "LAST USED", "DRONE", "VOLUME"}}
			for _, d := range found {
				rows = append(rows, []string{keyCell(d.Key, wide), sizeText(d), inUse(d), age(since(d.AttachedAt)) + " ago", droneOf(d), d.Volume})
			}
			return table(cmd.OutOrStdout(), rows)
		},
	}
	r.bind(cmd.Flags())
	cmd.Flags().BoolVarP(&wide, "wide", "w", false, "print long keys whole")
	cmd.ValidArgsFunction = completeApps(&r)
	return cmd
}

func sizeText(d client.Data) string {
	if d.Bytes == nil {
		return "-"
	}
	return bytesText(*d.Bytes)
}

func inUse(d client.Data) string {
	if d.InUse {
		return "yes"
	}
	return "no"
}

func droneOf(d client.Data) string {
	if d.Reachable {
		return string(d.Drone)
	}
	return string(d.Drone) + " (away)"
}

func newDataAbandonCommand() *cobra.Command {
	var r remote
	var t target
	var yes bool
	cmd := &cobra.Command{
		Use:   "abandon KEY",
		Short: "Give up what is kept for a key, for good",
		Long: "Give up what is kept for a key, for good: its next backend begins with an empty\n" +
			"directory. It is for keys whose drone won't come back. Asks first.",
		Example: "  plane data abandon board/doc-17",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			k, err := t.key(cmd.Context(), c, cmd, given[0])
			if err != nil {
				return err
			}
			d, err := dataOf(cmd.Context(), c, k)
			if err != nil {
				return err
			}
			if !yes {
				what := fmt.Sprintf("Give up what is kept for %s (%s, last used %s ago, on %s) for good?", k, knownSize(d), age(since(d.AttachedAt)), droneOf(d))
				if err := confirm(cmd, what); err != nil {
					return err
				}
			}
			if d, err = c.Abandon(cmd.Context(), k.Namespace, k.Name); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), d)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: given up; the next backend begins with nothing\n", cell(k.String()))
			return err
		},
	}
	r.bind(cmd.Flags())
	t.bindNamespace(cmd.Flags())
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	cmd.ValidArgsFunction = completing(&r, func(ctx context.Context, c *client.Client, _ string) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for d, err := range c.Data(ctx, client.DataFilter{}) {
			if err != nil || len(found) == mostCompletions {
				return found, err
			}
			found = append(found, d.Key.String())
		}
		return found, nil
	})
	return cmd
}

func knownSize(d client.Data) string {
	if d.Bytes == nil {
		return "size not known now"
	}
	return bytesText(*d.Bytes)
}

// dataOf finds what is kept for a key.
func dataOf(ctx context.Context, c *client.Client, k plane.Key) (client.Data, error) {
	for d, err := range c.Data(ctx, client.DataFilter{Namespace: &k.Namespace, KeyPrefix: k.Name}) {
		if err != nil || d.Key.Name == k.Name {
			return d, err
		}
	}
	return client.Data{}, plane.NewError(plane.NotFound, fmt.Sprintf("Nothing is kept for key %q.", k))
}

// confirm asks a person. Without a terminal nobody can answer.
func confirm(cmd *cobra.Command, question string) error {
	if !isTerminal(cmd.InOrStdin()) {
		return misusef("this needs a yes, and there is no terminal to ask on; give --yes")
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", cell(question))
	answer := make(chan string, 1)
	go func() { // a read of a terminal can't be cancelled; it ends with the process
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-cmd.Context().Done():
		return context.Cause(cmd.Context())
	case said := <-answer:
		if said == "y" || said == "yes" {
			return nil
		}
	}
	return worded{"Nothing was done."}
}
