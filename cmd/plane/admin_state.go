package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newAdminDrainCommand(r *remote) *cobra.Command {
	var cluster, drone string
	cmd := &cobra.Command{
		Use:   "drain --cluster CLUSTER --drone DRONE",
		Short: "Keep new backends off a drone",
		Args:  args(cobra.NoArgs),
		RunE: adminVerb(r, func(cmd *cobra.Command, c *client.Client, _ []string) error {
			if cluster == "" || drone == "" {
				return misusef("--cluster and --drone are required")
			}
			updated, err := c.Drain(cmd.Context(), plane.ClusterName(cluster), plane.NodeName(drone))
			switch {
			case err != nil:
				return err
			case r.json:
				return printLine(cmd.OutOrStdout(), map[string]bool{"updated": updated})
			case updated:
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Drone %s draining initiated.\n", drone)
			default:
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Drone %s was already draining.\n", drone)
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "cluster of the drone (required)")
	cmd.Flags().StringVar(&drone, "drone", "", "name of the drone (required)")
	return cmd
}

func newAdminStatusCommand(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the controller's status and version",
		Args:  args(cobra.NoArgs),
		RunE: adminVerb(r, func(cmd *cobra.Command, c *client.Client, _ []string) error {
			about, err := c.About(cmd.Context())
			if err != nil {
				return err
			}
			if r.json {
				return printLine(cmd.OutOrStdout(), about)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Status: %s\nVersion: %s (client: %s)\nHash: %s (client: %s)\n",
				about.Status, about.Version, version, about.Hash, buildHash())
			return err
		}),
	}
}

func newAdminClusterStateCommand(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:   "cluster-state CLUSTER",
		Short: "List the nodes of a cluster",
		Args:  args(cobra.ExactArgs(1)),
		RunE: adminVerb(r, func(cmd *cobra.Command, c *client.Client, given []string) error {
			state, err := c.ClusterState(cmd.Context(), plane.ClusterName(given[0]))
			if err != nil {
				return err
			}
			if r.json {
				return printLine(cmd.OutOrStdout(), state)
			}
			return printClusterState(cmd.OutOrStdout(), state)
		}),
	}
}

func printClusterState(w io.Writer, state client.ClusterState) error {
	_, _ = fmt.Fprintln(w, "Drones:")
	for _, d := range state.Drones {
		printNode(w, d.Node)
		_, _ = fmt.Fprintf(w, "    Ready: %t\n    Draining: %t\n    Backend count: %d\n    Last heartbeat age: %s\n",
			d.Ready, d.Draining, d.BackendCount, largestUnit(d.LastHeartbeatAge))
	}
	_, err := fmt.Fprintln(w, "Proxies:")
	for _, p := range state.Proxies {
		printNode(w, p)
	}
	return err
}

func printNode(w io.Writer, n client.Node) {
	_, _ = fmt.Fprintf(w, "  %s\n    Plane version: %s\n    Plane hash: %s\n    Controller: %s\n    Controller heartbeat age: %s\n",
		n.NodeName(), n.PlaneVersion, n.PlaneHash, n.Controller, largestUnit(n.ControllerHeartbeatAge))
}

// largestUnit shows seconds as 3s, 5m, 2h or 1d.
func largestUnit(seconds int64) string {
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 60*60:
		return fmt.Sprintf("%dm", seconds/60)
	case seconds < 24*60*60:
		return fmt.Sprintf("%dh", seconds/60/60)
	}
	return fmt.Sprintf("%dd", seconds/24/60/60)
}

func newAdminBackendStatusCommand(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:   "backend-status BACKEND",
		Short: "Follow a backend's status until it has ended",
		Args:  args(cobra.ExactArgs(1)),
		RunE: adminVerb(r, func(cmd *cobra.Command, c *client.Client, given []string) error {
			return followAdminStatus(cmd, c, plane.BackendID(given[0]), r.json)
		}),
	}
}
