package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

// newAdminCommand is the command line that scripts for Plane 0.5 know: same
// flags, output and error texts; but it exits with 1 when something failed.
func newAdminCommand() *cobra.Command {
	var r remote
	cmd := group(&cobra.Command{
		Use:     "admin",
		Short:   "The commands of Plane 0.5, for scripts",
		GroupID: groupUse,
	},
		newAdminConnectCommand(&r),
		newAdminTerminateCommand(&r),
		newAdminDrainCommand(&r),
		newAdminStatusCommand(&r),
		newAdminClusterStateCommand(&r),
		newAdminBackendStatusCommand(&r),
	)
	r.bind(cmd.PersistentFlags())
	return cmd
}

// adminVerb runs do with a client and words its errors as scripts expect them.
func adminVerb(r *remote, do func(cmd *cobra.Command, c *client.Client, given []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, given []string) error {
		c, err := r.client()
		if err != nil {
			return adminError(err)
		}
		return adminError(do(cmd, c, given))
	}
}

func adminError(err error) error {
	var f *client.Failure
	var strange *client.UnexpectedStatus
	var bad *client.BadAnswer
	var url *client.BadURL
	var away *client.Unreachable
	switch {
	case errors.As(err, &f):
		return worded{fmt.Sprintf("API returned error status:\n    Message: %s\n    HTTP status: %d %s\n    Error ID for correlating with logs: %s",
			f.Err.Message, f.Err.Status, http.StatusText(f.Err.Status), f.ID)}
	case errors.As(err, &strange):
		return worded{fmt.Sprintf("Unexpected status code from API server: %d %s", strange.Status, http.StatusText(strange.Status))}
	case errors.As(err, &bad):
		return worded{"JSON error: " + bad.Err.Error()}
	case errors.As(err, &url):
		return worded{"URL error: " + url.Error()}
	case errors.As(err, &away):
		return worded{"HTTP error from API server: " + away.Err.Error()}
	}
	return err
}

func newAdminConnectCommand(r *remote) *cobra.Command {
	var image, cluster, key, id, pool, mount, subdomain string
	var immediate, static bool
	var maxIdle int32
	cmd := &cobra.Command{
		Use:   "connect --image IMAGE",
		Short: "Start or find a backend",
		Args:  args(cobra.NoArgs),
		RunE: adminVerb(r, func(cmd *cobra.Command, c *client.Client, _ []string) error {
			if image == "" {
				return misusef("--image is required")
			}
			x := map[string]any{"image": image}
			if mount != "" {
				x["mount"] = mount
			}
			raw, err := json.Marshal(x)
			if err != nil {
				return fmt.Errorf("encode executable: %w", err)
			}
			req := client.ConnectRequest{Spawn: &plane.Spec{
				ID: given(id), Cluster: given(cluster), Pool: pool, Executable: raw,
				MaxIdle: &maxIdle, UseStaticToken: static, Subdomain: given(subdomain),
			}}
			if key != "" {
				req.Key = &plane.Key{Name: key}
			}
			return adminConnect(cmd, c, req, immediate, r.json)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&image, "image", "", "image to run (required)")
	f.StringVar(&cluster, "cluster", "", "cluster to start in")
	f.StringVar(&key, "key", "", "name of the key")
	f.BoolVar(&immediate, "immediate", false, "don't wait until the backend is ready")
	f.Int32Var(&maxIdle, "max-idle-seconds", 500, "end it after so many seconds without a request")
	f.StringVar(&id, "id", "", "id of a new backend")
	f.BoolVar(&static, "static-token", false, "one token for everybody, as long as the backend lives")
	f.StringVar(&pool, "pool", "", "pool of drones to start in")
	f.StringVar(&mount, "mount", "", "path to mount, below the drone's base")
	f.StringVar(&subdomain, "subdomain", "", "subdomain of the backend's URL")
	return cmd
}

// given is nil for an empty string.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func adminConnect(cmd *cobra.Command, c *client.Client, req client.ConnectRequest, immediate, asJSON bool) error {
	got, err := c.Connect(cmd.Context(), req)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		err = printLine(out, got)
	} else {
		err = printConnected(out, got)
	}
	if err != nil || immediate {
		return err
	}
	var ended error
	err = c.Follow(cmd.Context(), got.BackendID, "", func(e client.StatusEntry) error {
		if err := printAdminStatus(out, e, asJSON); err != nil {
			return err
		}
		if e.Status.Ending() {
			ended = worded{fmt.Sprintf("Backend %s has ended before it was ready.", got.BackendID)}
		}
		if e.Status.Order() >= plane.Ready.Order() {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return ended
	}
	return err
}

var errEnough = errors.New("enough seen")

func printConnected(out io.Writer, got client.ConnectResponse) error {
	word := "Reusing"
	if got.Spawned {
		word = "Created"
	}
	_, err := fmt.Fprintf(out, "%s backend: %s\nURL: %s\nStatus URL: %s\n", word, got.BackendID, got.URL, got.StatusURL)
	if err == nil && got.Drone != nil {
		_, err = fmt.Fprintf(out, "Drone: %s\n", *got.Drone)
	}
	return err
}

func printAdminStatus(out io.Writer, e client.StatusEntry, asJSON bool) error {
	if asJSON {
		return printLine(out, e)
	}
	_, err := fmt.Fprintf(out, "Status: %s at %s\n", e.Status, adminTime(e.At()))
	return err
}

// adminTime shows milliseconds only where there are some.
func adminTime(t time.Time) string {
	if t.Nanosecond() == 0 {
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

func newAdminTerminateCommand(r *remote) *cobra.Command {
	var hard, immediate bool
	cmd := &cobra.Command{
		Use:   "terminate BACKEND",
		Short: "End a backend",
		Args:  args(cobra.ExactArgs(1)),
		RunE: adminVerb(r, func(cmd *cobra.Command, c *client.Client, given []string) error {
			kind, id := plane.Soft, plane.BackendID(given[0])
			if hard {
				kind = plane.Hard
			}
			if err := c.Terminate(cmd.Context(), id, kind); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if r.json {
				_ = printLine(out, map[string]plane.BackendID{"terminating": id})
			} else {
				_, _ = fmt.Fprintf(out, "Sent termination signal %s\n", id)
			}
			if immediate {
				return nil
			}
			return followAdminStatus(cmd, c, id, r.json)
		}),
	}
	cmd.Flags().BoolVar(&hard, "hard", false, "end at once")
	cmd.Flags().BoolVar(&immediate, "immediate", false, "don't wait for the end")
	return cmd
}

func followAdminStatus(cmd *cobra.Command, c *client.Client, id plane.BackendID, asJSON bool) error {
	if _, err := c.Status(cmd.Context(), id); err != nil { // a wrong id, or no controller, shows at once
		return err
	}
	return c.Follow(cmd.Context(), id, "", func(e client.StatusEntry) error {
		return printAdminStatus(cmd.OutOrStdout(), e, asJSON)
	})
}
