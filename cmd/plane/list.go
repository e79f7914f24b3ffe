package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newListCommand() *cobra.Command {
	var r remote
	var f client.Filter
	var namespace, app, cluster, status, drone string
	var all, wide bool
	cmd := &cobra.Command{
		Use:     "ls [[APP/]KEY-PREFIX]",
		Aliases: []string{"list"},
		Short:   "List backends",
		Example: "  plane ls\n  plane ls board/doc-\n  plane ls --all --app board --json",
		GroupID: groupUse,
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) == 1 {
				f.KeyPrefix = given[0]
				if ns, prefix, ok := strings.Cut(given[0], "/"); ok && !cmd.Flags().Changed("namespace") {
					f.Namespace, f.KeyPrefix = &ns, prefix
				}
			}
			if cmd.Flags().Changed("namespace") {
				f.Namespace = &namespace
			}
			if cmd.Flags().Changed("app") {
				f.App = &app
			}
			f.Cluster, f.Status, f.Drone = plane.ClusterName(cluster), plane.Status(status), plane.NodeName(drone)
			f.Live = !all && status == ""
			return list(cmd, r, f, wide)
		},
	}
	r.bind(cmd.Flags())
	flags := cmd.Flags()
	flags.BoolVarP(&all, "all", "a", false, "also backends that have ended")
	flags.BoolVarP(&wide, "wide", "w", false, "print long keys whole")
	flags.StringVar(&cluster, "cluster", "", "only of this cluster")
	flags.StringVar(&namespace, "namespace", "", "only of this namespace")
	flags.StringVar(&app, "app", "", "only of this app")
	flags.StringVar(&status, "status", "", "only with this status")
	flags.StringVar(&drone, "drone", "", "only on this drone")
	cmd.ValidArgsFunction = completeKeys(&r)
	completeFlags(cmd, &r)
	return cmd
}

func list(cmd *cobra.Command, r remote, f client.Filter, wide bool) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	found := []client.Backend{}
	for b, err := range c.Backends(cmd.Context(), f) {
		if err != nil {
			return err
		}
		found = append(found, b)
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"backends": found})
	}
	if len(found) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), nothingListed(f))
		return err
	}
	slices.SortStableFunc(found, func(a, b client.Backend) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	further := columnsOf(found)
	head := append([]string{"KEY", "STATUS", "SINCE", "CONNS", "CPU", "MEMORY"}, append(heads(further), "DRONE", "BACKEND")...)
	ended := slices.ContainsFunc(found, func(b client.Backend) bool { return b.Exit != nil })
	if ended {
		head = append(head, "HOW IT ENDED")
	}
	rows := [][]string{head}
	for _, b := range found {
		row := []string{
			keyCell(b.Key, wide), string(b.Status), age(since(b.Since)), strconv.Itoa(b.Connections),
			measured(b, age(time.Duration(b.CPUMS)*time.Millisecond)), measured(b, bytesText(b.MemoryBytes)),
		}
		row = append(append(row, cells(further, b)...), string(b.Drone), string(b.BackendID))
		if ended {
			row = append(row, exitText(b.Exit))
		}
		rows = append(rows, row)
	}
	return table(cmd.OutOrStdout(), rows)
}

// nothingListed stands in the place of a table without rows.
func nothingListed(f client.Filter) string {
	narrow := f
	narrow.Live = false
	switch all := narrow == (client.Filter{}); {
	case f.Live && all:
		return "Nothing runs. (--all lists what has ended.)"
	case f.Live:
		return "Nothing that runs matches. (--all lists what has ended.)"
	case all:
		return "There is no backend, and none that has ended."
	}
	return "No backend matches."
}

// measured is a figure, or a dash before the drone's first measurement.
func measured(b client.Backend, text string) string {
	if b.CPUMS == 0 && b.MemoryBytes == 0 {
		return "-"
	}
	return text
}
