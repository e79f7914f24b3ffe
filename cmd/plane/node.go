package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newNodeCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "node",
		Short:   "List, drain and remove the machines of a cluster",
		GroupID: groupUse,
	},
		newNodeListCommand(),
		newDrainCommand("drain DRONE", "Keep new backends off a drone", "is draining", "was draining already", (*client.Client).Drain),
		newDrainCommand("undrain DRONE", "Let new backends on a drone again", "takes backends again", "was not draining", (*client.Client).Undrain),
		newNodeRemoveCommand(),
	)
}

// clusterOf is the cluster that is named, or the controller's default.
func clusterOf(ctx context.Context, c *client.Client, named string) (plane.ClusterName, error) {
	if named != "" {
		return plane.ClusterName(named), nil
	}
	about, err := c.About(ctx)
	if err != nil {
		return "", err
	}
	if about.DefaultCluster == "" {
		return "", misusef("the controller has no default cluster; name one with --cluster")
	}
	return about.DefaultCluster, nil
}

// clusterRemote is how a command finds its controller and a cluster of it.
type clusterRemote struct {
	remote
	cluster string
}

func (r *clusterRemote) bind(cmd *cobra.Command) {
	r.remote.bind(cmd.Flags())
	cmd.Flags().StringVar(&r.cluster, "cluster", "", "cluster (default: the controller's)")
}

func (r *clusterRemote) open(ctx context.Context) (*client.Client, plane.ClusterName, error) {
	c, err := r.client()
	if err != nil {
		return nil, "", err
	}
	name, err := clusterOf(ctx, c, r.cluster)
	return c, name, err
}

func newNodeListCommand() *cobra.Command {
	var r clusterRemote
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the nodes that are connected",
		Example: "  plane node ls",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, name, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			state, err := c.ClusterState(cmd.Context(), name)
			if err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), state)
			}
			if err := table(cmd.OutOrStdout(), nodeRows(state)); err != nil {
				return err
			}
			return printMissing(cmd.OutOrStdout(), state)
		},
	}
	r.bind(cmd)
	return cmd
}

// nodeRows is the table of nodes. What drones run, and what their machines have
// and use, is there where any drone says so.
func nodeRows(state client.ClusterState) [][]string {
	measured := slices.ContainsFunc(state.Drones, func(d client.Drone) bool { return d.Host != nil })
	told := slices.ContainsFunc(state.Drones, func(d client.Drone) bool { return len(d.Runtimes)+len(d.Missing) > 0 })
	rows := [][]string{{"NODE", "KIND", "STATE", "BACKENDS", "HEARTBEAT", "VERSION"}}
	if told {
		rows[0] = append(rows[0], "RUNS")
	}
	if measured {
		rows[0] = append(rows[0], "CPU", "MEMORY", "DISK")
	}
	for _, d := range state.Drones {
		row := []string{
			string(d.Node.NodeName()), "drone", droneState(d), strconv.Itoa(d.BackendCount),
			age(time.Duration(d.LastHeartbeatAge)*time.Second) + " ago", d.Node.PlaneVersion,
		}
		if told {
			row = append(row, runtimesText(d))
		}
		if measured {
			row = append(row, hostCells(d.Host)...)
		}
		rows = append(rows, row)
	}
	for _, p := range state.Proxies {
		rows = append(rows, []string{string(p.NodeName()), "proxy", "connected", "-", "-", p.PlaneVersion})
	}
	return rows
}

// missesShown is how many reasons stand below the table; --json has all.
const missesShown = 4

// printMissing says what the drones miss, each thing once.
func printMissing(w io.Writer, state client.ClusterState) error {
	var order []string
	of := map[string][]string{}
	for _, d := range state.Drones {
		for _, line := range missingLines(d) {
			if of[line] == nil {
				order = append(order, line)
			}
			of[line] = append(of[line], string(d.Node.NodeName()))
		}
	}
	for i, line := range order {
		if i == 0 {
			_, _ = fmt.Fprintln(w)
		}
		if i == missesShown {
			_, err := fmt.Fprintf(w, "… and %d more reasons; --json has them.\n", len(order)-i)
			return err
		}
		where := of[line][0]
		if n := len(of[line]); n > 1 {
			where = plural(n, "drone")
		}
		if _, err := fmt.Fprintf(w, "%s can't offer %s\n", where, cell(line)); err != nil {
			return err
		}
	}
	return nil
}

// missingLines are what a drone misses; runtimes that miss the same are together.
func missingLines(d client.Drone) []string {
	why := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(d.Missing)) {
		why[d.Missing[name]] = append(why[d.Missing[name]], name)
	}
	var lines []string
	for text, names := range why {
		lines = append(lines, join(names)+": "+text)
	}
	slices.Sort(lines)
	return lines
}

// runtimesText is what a drone runs backends with, and what it can't.
func runtimesText(d client.Drone) string {
	text := cmp.Or(strings.Join(d.Runtimes, ", "), "nothing")
	if len(d.Missing) > 0 {
		text += " (not " + strings.Join(slices.Sorted(maps.Keys(d.Missing)), ", ") + ")"
	}
	return text
}

func droneState(d client.Drone) string {
	states := []string{"not ready"}
	if d.Ready {
		states[0] = "ready"
	}
	if d.Draining {
		states = append(states, "draining")
	}
	return strings.Join(states, ", ")
}

func newDrainCommand(use, short, done, already string, do func(*client.Client, context.Context, plane.ClusterName, plane.NodeName) (bool, error)) *cobra.Command {
	var r clusterRemote
	cmd := &cobra.Command{
		Use:               use,
		Short:             short,
		Example:           "  plane node " + strings.Replace(use, "DRONE", "dr-1a2b3c", 1),
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNodes(&r),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, name, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			updated, err := do(c, cmd.Context(), name, plane.NodeName(given[0]))
			if err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), map[string]bool{"updated": updated})
			}
			word := done
			if !updated {
				word = already
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", given[0], word)
			return err
		},
	}
	r.bind(cmd)
	return cmd
}

func newNodeRemoveCommand() *cobra.Command {
	var r clusterRemote
	var how client.Removal
	cmd := &cobra.Command{
		Use:               "rm NODE",
		Short:             "Forget a drone or proxy",
		Example:           "  plane node rm dr-1a2b3c",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeNodes(&r),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, name, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.RemoveNode(cmd.Context(), name, plane.NodeName(given[0]), how); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"removed": given[0]})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s removed\n", given[0])
			return err
		},
	}
	r.bind(cmd)
	cmd.Flags().BoolVar(&how.Force, "force", false, "also with backends that may still run: a second copy of them may be started")
	cmd.Flags().BoolVar(&how.Compromised, "compromised", false, "a proxy whose keys leaked: refuse all tokens made so far")
	return cmd
}
