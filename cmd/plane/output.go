package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"plane"
)

// printJSON prints v in a form that people can read too.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLine prints v as one line of JSON.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows in columns. The first row is the head.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = cell(c)
		}
		_, _ = fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	return t.Flush()
}

// card prints names and values, one pair a line; pairs without a value are left out.
func card(w io.Writer, pairs ...[2]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range pairs {
		if p[1] != "" {
			_, _ = fmt.Fprintf(t, "%s\t%s\n", p[0], cell(p[1]))
		}
	}
	return t.Flush()
}

// cell keeps foreign text from moving the cursor or the columns.
func cell(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return '\uFFFD'
		}
		return c
	}, s)
}

const (
	longestKey = 72 // in a table: an app's name and a UUID fit
	keyEnd     = 24 // of a longer one's characters are shown at the end
)

// keyCell is a key for a table: a long one without its middle, unless all of it
// is wanted.
func keyCell(k plane.Key, wide bool) string {
	text := []rune(cell(k.String()))
	if wide || len(text) <= longestKey {
		return string(text)
	}
	return string(text[:longestKey-keyEnd-1]) + "…" + string(text[len(text)-keyEnd:])
}

// age is a duration as people say it: the two largest units.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func since(ms int64) time.Duration { return time.Since(time.UnixMilli(ms)) }

func seconds(n *int64) string {
	if n == nil {
		return ""
	}
	return age(time.Duration(*n) * time.Second)
}

// bytesText is a size in binary units.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// indent sets foreign text apart, without its control characters.
func indent(s string) string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\r"), "\t", "    ")
		out = append(out, "  "+cell(line))
	}
	return strings.Join(out, "\n")
}

func clock(ms int64) string { return time.UnixMilli(ms).Local().Format("2006-01-02 15:04:05.000") }

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
