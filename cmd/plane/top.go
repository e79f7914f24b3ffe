package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane/client"
)

// top is how `plane top` is asked for.
type top struct {
	remote
	filter   client.Filter
	sort     string
	interval time.Duration
	once     bool
}

func newTopCommand() *cobra.Command {
	var t top
	var app string
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch what backends use",
		Long: "Watch what backends use, refreshed in place. q or Ctrl-C ends it; c, m and k sort by\n" +
			"CPU, memory and key. Where nobody looks (no terminal), it prints one table.",
		Example: "  plane top\n  plane top --sort memory --app board",
		GroupID: groupUse,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !slices.Contains([]string{sortCPU, sortMemory, sortKey}, t.sort):
				return misusef("--sort %q: use cpu, memory or key", t.sort)
			case t.interval < 100*time.Millisecond:
				return misusef("--interval must be at least 100ms")
			case cmd.Flags().Changed("app"):
				t.filter.App = &app
			}
			return t.run(cmd)
		},
	}
	t.bind(cmd.Flags())
	cmd.Flags().StringVar(&t.sort, "sort", sortCPU, "cpu, memory or key")
	cmd.Flags().StringVar(&app, "app", "", "only of this app")
	cmd.Flags().DurationVar(&t.interval, "interval", 2*time.Second, "how often it looks")
	cmd.Flags().BoolVar(&t.once, "once", false, "print one table and end")
	completeFlags(cmd, &t.remote)
	return cmd
}

func (t *top) run(cmd *cobra.Command) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	t.filter.Live = true
	var l loads
	rows, err := t.look(cmd.Context(), c, &l)
	if err != nil {
		return err
	}
	out, isFile := cmd.OutOrStdout().(*os.File)
	switch {
	case t.json:
		return t.lines(cmd, c, &l, rows)
	case t.once || !isFile || !isTerminal(out):
		return table(cmd.OutOrStdout(), topTable(rows))
	}
	s, err := openScreen(out, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer s.close()
	return t.watch(cmd.Context(), c, &l, s, rows)
}

// look asks for the backends once.
func (t *top) look(ctx context.Context, c *client.Client, l *loads) ([]topRow, error) {
	var found []client.Backend
	for b, err := range c.Backends(ctx, t.filter) {
		if err != nil {
			return nil, err
		}
		found = append(found, b)
	}
	rows := l.observe(time.Now(), found)
	sortRows(rows, t.sort)
	return rows, nil
}

// lines prints one line of JSON per look.
func (t *top) lines(cmd *cobra.Command, c *client.Client, l *loads, rows []topRow) error {
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for {
		if err := printLine(cmd.OutOrStdout(), map[string]any{"time": time.Now().UnixMilli(), "backends": rows}); err != nil || t.once {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return context.Cause(cmd.Context())
		case <-tick.C:
		}
		var err error
		if rows, err = t.look(cmd.Context(), c, l); err != nil {
			return err
		}
	}
}

// watch refreshes the screen until a key or a signal ends it. A controller that
// is away for a while is told, not a reason to end.
func (t *top) watch(ctx context.Context, c *client.Client, l *loads, s *screen, rows []topRow) error {
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	trouble := ""
	for {
		if err := s.draw(t.head(rows, trouble), topTable(rows)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case key := <-s.keys:
			switch key {
			case 'q', 'Q', ctrlC, ctrlD:
				return nil
			case 'c':
				t.sort = sortCPU
			case 'm':
				t.sort = sortMemory
			case 'k':
				t.sort = sortKey
			}
			sortRows(rows, t.sort)
			continue
		case <-tick.C:
		}
		fresh, err := t.look(ctx, c, l)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			trouble = sentence(err)
		default:
			rows, trouble = fresh, ""
		}
	}
}

func (t *top) head(rows []topRow, trouble string) string {
	var cpu float64
	var memory int64
	connections := 0
	for _, r := range rows {
		cpu += r.CPUPercent
		memory += r.MemoryBytes
		connections += r.Connections
	}
	if trouble != "" {
		first, _, _ := strings.Cut(trouble, "\n")
		return "as it was: " + first
	}
	return fmt.Sprintf("%s  %s, %s, %.0f %% CPU, %s   by %s (c m k), q ends", time.Now().Format("15:04:05"),
		plural(len(rows), "backend"), plural(connections, "connection"), cpu, bytesText(memory), t.sort)
}

func topTable(rows []topRow) [][]string {
	all := make([]client.Backend, len(rows))
	for i, r := range rows {
		all[i] = r.Backend
	}
	further := columnsOf(all)
	out := [][]string{append(append([]string{"KEY", "STATUS", "AGE", "CONNS", "CPU %", "MEMORY"}, heads(further)...), "HOLDS")}
	for _, r := range rows {
		row := []string{
			keyCell(r.Key, false), string(r.Status), age(since(r.Since)), strconv.Itoa(r.Connections),
			measured(r.Backend, fmt.Sprintf("%.1f", r.CPUPercent)), measured(r.Backend, bytesText(r.MemoryBytes)),
		}
		out = append(out, append(append(row, cells(further, r.Backend)...), holdsText(r.Holds)))
	}
	return out
}
