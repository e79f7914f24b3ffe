package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newWhyCommand() *cobra.Command {
	var r remote
	var t target
	cmd := &cobra.Command{
		Use:     "why KEY",
		Aliases: []string{"explain"},
		Short:   "Say why a key's backend runs, or doesn't",
		GroupID: groupUse,
		Args:    t.check,
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			var k plane.Key
			if t.id == "" {
				k = t.key(cmd, given[0])
			} else {
				b, err := c.Backend(cmd.Context(), plane.BackendID(t.id))
				if err != nil {
					return err
				}
				k = b.Key
			}
			why, err := c.Explain(cmd.Context(), k.Namespace, k.Name)
			if err != nil {
				return err
			}
			if why.Now == nil && why.Crash == nil && len(why.History) == 0 && len(why.Events) == 0 {
				return plane.NewError(plane.NotFound, fmt.Sprintf("Nothing is known of key %q.", k))
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), why)
			}
			return printWhy(cmd.OutOrStdout(), why)
		},
	}
	r.bind(cmd.Flags())
	t.bind(cmd.Flags())
	return cmd
}

func printWhy(w io.Writer, why client.Explanation) error {
	if err := printNow(w, why); err != nil {
		return err
	}
	if why.Decision != "" {
		_, _ = fmt.Fprintf(w, "\nPlaced: %s\n", cell(why.Decision))
	}
	if x := why.Crash; x != nil {
		_, _ = fmt.Fprintf(w, "\nIt ended %s in a row right after its start; the next start is possible in %ds.\n", plural(x.Count, "time"), x.RetryIn)
		if x.Output != "" {
			_, _ = fmt.Fprintf(w, "Its last output:\n%s\n", indent(x.Output))
		}
	}
	if len(why.History) > 0 {
		rows := [][]string{{"GENERATION", "BACKEND", "STARTED", "STATUS", "WHAT BECAME OF IT"}}
		for _, p := range why.History {
			rows = append(rows, []string{strconv.FormatInt(int64(p.Generation), 10), string(p.Backend), clock(p.CreatedAt), string(p.Status), p.Story})
		}
		_, _ = fmt.Fprintln(w)
		if err := table(w, rows); err != nil {
			return err
		}
	}
	if len(why.Events) == 0 {
		return nil
	}
	rows := [][]string{{"TIME", "EVENT", "BY", "WHAT"}}
	for _, e := range why.Events {
		rows = append(rows, []string{clock(e.Time), e.Kind, e.Actor, e.Text})
	}
	_, _ = fmt.Fprintln(w)
	return table(w, rows)
}

func printNow(w io.Writer, why client.Explanation) error {
	now := why.Now
	if now == nil {
		_, err := fmt.Fprintf(w, "Nothing runs for %s.\n", cell(why.Key.String()))
		return err
	}
	_, _ = fmt.Fprintf(w, "%s: %s\n\n", cell(why.Key.String()), cell(now.Awake))
	b := now.Backend
	return card(w,
		[2]string{"backend", string(b.BackendID)},
		[2]string{"status", fmt.Sprintf("%s, for %s", b.Status, age(since(b.Since)))},
		[2]string{"drone", string(b.Drone)},
		[2]string{"requests", fmt.Sprintf("%d open, %d of them upgraded", now.Plain+now.Upgraded, now.Upgraded)},
		[2]string{"holds", holdsText(now.Holds)},
		[2]string{"idle limit", seconds(now.IdleAfter)},
		[2]string{"idle stop in", seconds(now.IdleIn)},
		[2]string{"lifetime ends in", seconds(now.EndsIn)},
		[2]string{"cpu", age(time.Duration(b.CPUMS) * time.Millisecond)},
		[2]string{"memory", bytesText(b.MemoryBytes)},
	)
}
