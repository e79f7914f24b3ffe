package main

import (
	"fmt"
	"io"
	"strings"
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
		Long: "Say why a key's backend runs, or doesn't: what holds it awake and what would end\n" +
			"it, where it was placed and why, and how the one before ended.",
		Example: "  plane why doc-17\n  plane why board/doc-17",
		GroupID: groupUse,
		Args:    t.check,
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			k, err := t.about(cmd, c, given)
			if err != nil {
				return err
			}
			why, err := c.Explain(cmd.Context(), k.Namespace, k.Name)
			if err != nil {
				return err
			}
			if why.Now == nil && why.Crash == nil && why.Next == "" && len(why.History) == 0 && len(why.Events) == 0 {
				return plane.NewError(plane.NotFound, fmt.Sprintf("Nothing is known of key %q.", k))
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), why)
			}
			return printWhy(cmd.OutOrStdout(), why)
		},
	}
	r.bind(cmd.Flags())
	t.bind(cmd, &r)
	return cmd
}

// about is the key of the target.
func (t *target) about(cmd *cobra.Command, c *client.Client, given []string) (plane.Key, error) {
	if t.id == "" {
		return t.key(cmd.Context(), c, cmd, given[0])
	}
	b, err := c.Backend(cmd.Context(), plane.BackendID(t.id))
	return b.Key, err
}

// printWhy tells the story from now backwards.
func printWhy(w io.Writer, why client.Explanation) error {
	if err := printNow(w, why); err != nil {
		return err
	}
	if why.Decision != "" && why.Now != nil {
		_, _ = fmt.Fprintf(w, "\nWhy there: %s\n", cell(why.Decision))
	}
	printCrash(w, why.Crash)
	printLastEnd(w, why)
	if err := printHistory(w, why.History); err != nil {
		return err
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
	key := cell(why.Key.String())
	now := why.Now
	if now == nil {
		_, err := fmt.Fprintf(w, "Nothing runs for %s.\n", key)
		if why.Next != "" && why.Crash == nil {
			_, err = fmt.Fprintf(w, "\nNothing can be started: %s\n", cell(why.Next))
		}
		return err
	}
	b := now.Backend
	_, _ = fmt.Fprintf(w, "%s is %s since %s. %s\n\n", key, b.Status, momentText(b.Since), cell(now.Awake))
	requests := ""
	if n := now.Plain + now.Upgraded; n > 0 {
		requests = fmt.Sprintf("%d open, %d of them upgraded (WebSocket)", n, now.Upgraded)
	}
	return card(w,
		[2]string{"backend", fmt.Sprintf("%s, generation %s", b.BackendID, generationText(b.Generation))},
		[2]string{"app", appText(b)},
		[2]string{"drone", string(b.Drone)},
		[2]string{"requests", requests},
		[2]string{"holds", holdsText(now.Holds)},
		[2]string{"idle limit", seconds(now.IdleAfter)},
		[2]string{"idle stop in", seconds(now.IdleIn)},
		[2]string{"lifetime ends in", seconds(now.EndsIn)},
		[2]string{"uses", usesText(b)},
		[2]string{"image", b.Digest},
	)
}

// momentText is a time of day with how long ago it was, and the day if it
// isn't today.
func momentText(ms int64) string {
	at := time.UnixMilli(ms).Local()
	form := "15:04:05"
	if y, m, d := time.Now().Date(); at.Day() != d || at.Month() != m || at.Year() != y {
		form = "2006-01-02 15:04:05"
	}
	return fmt.Sprintf("%s (%s ago)", at.Format(form), age(since(ms)))
}

func printCrash(w io.Writer, x *client.Crash) {
	if x == nil {
		return
	}
	next := "the next connect starts it again"
	if x.RetryIn > 0 {
		next = fmt.Sprintf("it isn't started again for %s", age(time.Duration(x.RetryIn)*time.Second))
	}
	_, _ = fmt.Fprintf(w, "\nIt ended %s in a row right after its start; %s.\n", plural(x.Count, "time"), next)
	if x.Output != "" {
		_, _ = fmt.Fprintf(w, "Its last output:\n%s\n", indent(x.Output))
	}
}

const lastLines = 10

// printLastEnd tells how the latest of the ended generations ended.
func printLastEnd(w io.Writer, why client.Explanation) {
	for _, p := range why.History {
		if p.EndedAt == nil {
			continue
		}
		_, _ = fmt.Fprintf(w, "\nThe last one (generation %s) ended at %s: %s.\n", generationText(p.Generation), momentText(*p.EndedAt), pastEnd(p, why.Events))
		if p.Exit != nil && p.Exit.Output != "" && p.Exit.Output != p.Exit.Message && (why.Crash == nil || why.Crash.Output != p.Exit.Output) {
			lines := strings.Split(strings.TrimRight(p.Exit.Output, "\n"), "\n")
			_, _ = fmt.Fprintf(w, "Its last output:\n%s\n", indent(strings.Join(lines[max(0, len(lines)-lastLines):], "\n")))
		}
		return
	}
}

// pastEnd says how a generation ended, and if someone asked for it, who.
func pastEnd(p client.Past, events []client.Event) string {
	text := p.Reason.Phrase()
	if p.Exit != nil {
		text = exitText(p.Exit)
	}
	if p.Reason != plane.External {
		return text
	}
	for _, e := range events {
		if e.Kind == "terminate" && e.BackendID == p.Backend && e.Actor != "" {
			return text + " (" + cell(e.Actor) + ")"
		}
	}
	return text
}

func printHistory(w io.Writer, history []client.Past) error {
	if len(history) == 0 {
		return nil
	}
	rows := [][]string{{"GENERATION", "BACKEND", "STARTED", "STATUS", "WHAT BECAME OF IT"}}
	for _, p := range history {
		rows = append(rows, []string{generationText(p.Generation), string(p.Backend), clock(p.CreatedAt), string(p.Status), p.Story})
	}
	_, _ = fmt.Fprintln(w)
	return table(w, rows)
}
