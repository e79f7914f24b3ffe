package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newStatusCommand() *cobra.Command {
	var r remote
	var t target
	var follow bool
	cmd := &cobra.Command{
		Use:     "status KEY",
		Short:   "Show a backend, or follow what becomes of it",
		Example: "  plane status doc-17\n  plane status board/doc-17 --follow",
		GroupID: groupUse,
		Args:    t.check,
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			id, err := t.latest(cmd.Context(), c, cmd, given)
			if err != nil {
				return err
			}
			if follow {
				return followStatus(cmd, c, id, r.json)
			}
			b, err := c.Backend(cmd.Context(), id)
			if err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), b)
			}
			return printBackend(cmd.OutOrStdout(), b, preparing(cmd.Context(), c, b))
		},
	}
	r.bind(cmd.Flags())
	t.bind(cmd, &r)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print each status until it has ended")
	return cmd
}

func followStatus(cmd *cobra.Command, c *client.Client, id plane.BackendID, asJSON bool) error {
	if _, err := c.Status(cmd.Context(), id); err != nil { // a wrong id shows at once
		return err
	}
	line := newProgressLine(cmd.ErrOrStderr())
	defer line.clear()
	return c.FollowProgress(cmd.Context(), id, "", func(e client.StatusEntry) error {
		line.clear()
		if asJSON {
			return printLine(cmd.OutOrStdout(), e)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %s%s\n", clock(e.Time), e.Status, entryText(e))
		return err
	}, func(p client.Progress) error {
		line.show(progressOf(p))
		return nil
	})
}

// preparing says how far the preparation of a backend is, "" if that is over or
// isn't known.
func preparing(ctx context.Context, c *client.Client, b client.Backend) string {
	if b.Status.Order() >= plane.Waiting.Order() {
		return ""
	}
	why, err := c.Explain(ctx, b.Key.Namespace, b.Key.Name)
	if err != nil || why.Now == nil || why.Now.Progress == nil || why.Now.Backend.BackendID != b.BackendID {
		return ""
	}
	return progressText(why.Now.Progress.Text, why.Now.Progress.Done, why.Now.Progress.Total)
}

func printBackend(w io.Writer, b client.Backend, preparing string) error {
	tag := ""
	if b.Key.Tag != "" {
		tag = " (tag " + b.Key.Tag + ")"
	}
	err := card(w,
		[2]string{"key", b.Key.String() + tag},
		[2]string{"backend", string(b.BackendID)},
		[2]string{"generation", generationText(b.Generation)},
		[2]string{"status", statusText(b)},
		[2]string{"preparing", preparing},
		[2]string{"app", appText(b)},
		[2]string{"cluster", string(b.Cluster)},
		[2]string{"drone", string(b.Drone)},
		[2]string{"connections", liveOnly(b, strconv.Itoa(b.Connections))},
		[2]string{"holds", holdsText(b.Holds)},
		[2]string{"cpu", liveOnly(b, age(time.Duration(b.CPUMS)*time.Millisecond))},
		[2]string{"memory", liveOnly(b, measured(b, bytesText(b.MemoryBytes)))},
		[2]string{"processes", liveOnly(b, countText(b.Pids))},
		[2]string{"network", liveOnly(b, trafficText(b))},
		[2]string{"own files", liveOnly(b, sizeOrNone(b.Disk))},
		[2]string{"data", liveOnly(b, sizeOrNone(b.Data))},
		[2]string{"image", b.Digest},
		[2]string{"ended", exitText(b.Exit)},
	)
	if err == nil && b.Exit != nil && b.Exit.Output != "" {
		_, err = fmt.Fprintf(w, "last output\n%s\n", indent(b.Exit.Output))
	}
	return err
}

// statusText is a status with how long it has been so.
func statusText(b client.Backend) string {
	text := fmt.Sprintf("%s, for %s", b.Status, age(since(b.Since)))
	if b.Activity != "" && b.Activity != "awake" {
		text += " (" + b.Activity + ")"
	}
	return text
}

// countText and sizeOrNone are "" for what there is none of, or isn't measured.
func countText(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func sizeOrNone(n int64) string {
	if n == 0 {
		return ""
	}
	return bytesText(n)
}

func liveOnly(b client.Backend, s string) string {
	if b.Status == plane.Terminated {
		return ""
	}
	return s
}

func holdsText(holds []client.Hold) string {
	var out []string
	for _, h := range holds {
		s := h.Name
		if h.Reason != "" {
			s += " (" + h.Reason + ")"
		}
		out = append(out, fmt.Sprintf("%s for %s", s, age(time.Duration(h.SecondsTo)*time.Second)))
	}
	return strings.Join(out, ", ")
}
