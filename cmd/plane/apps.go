package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newAppsCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "apps [APP]",
		Aliases: []string{"app"},
		Short:   "List apps, or the releases of one",
		Example: "  plane apps\n  plane apps board",
		GroupID: groupUse,
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if len(given) == 1 {
				return showApp(cmd, c, given[0], r.json)
			}
			apps, err := c.Apps(cmd.Context())
			switch {
			case err != nil:
				return err
			case r.json:
				return printJSON(cmd.OutOrStdout(), apps)
			case len(apps.Apps) == 0:
				_, err := fmt.Fprintln(cmd.ErrOrStderr(), "There are no apps; write a plane.yaml with `plane init` and give it with `plane apply`.")
				return err
			}
			return printApps(cmd.OutOrStdout(), apps)
		},
	}
	r.bind(cmd.Flags())
	cmd.ValidArgsFunction = completeApps(&r)
	return cmd
}

func printApps(w io.Writer, apps client.Apps) error {
	rows := [][]string{{"APP", "RELEASE", "SINCE", "LIVE", "WHAT IT RUNS"}}
	for _, a := range apps.Apps {
		name := a.Name
		if name == "" {
			name = "(unnamed)"
		}
		if a.Default {
			name += " (default)"
		}
		rows = append(rows, []string{name, strconv.FormatInt(a.Release, 10), age(since(a.UpdatedAt)), strconv.Itoa(a.Live), programText(a.Spec)})
	}
	return table(w, rows)
}

func showApp(cmd *cobra.Command, c *client.Client, name string, asJSON bool) error {
	a, err := c.App(cmd.Context(), name)
	if err != nil {
		return orNearestApp(cmd, c, name, err)
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), a)
	}
	return printApp(cmd.OutOrStdout(), a)
}

// orNearestApp adds to "not found" what was probably meant.
func orNearestApp(cmd *cobra.Command, c *client.Client, name string, err error) error {
	if !plane.IsKind(err, plane.NotFound) && !plane.IsKind(err, plane.BadRequest) {
		return err
	}
	apps, listing := c.Apps(cmd.Context())
	if listing != nil {
		return err
	}
	var names []string
	for _, a := range apps.Apps {
		names = append(names, a.Name)
	}
	text := fmt.Sprintf("There is no app %q.", name)
	if best := plane.Nearest(name, names); best != "" {
		text = fmt.Sprintf("There is no app %q; did you mean %q?", name, best)
	}
	return plane.NewError(plane.NotFound, text)
}

func printApp(w io.Writer, a client.App) error {
	isDefault := ""
	if a.Default {
		isDefault = "yes: a KEY without APP/ is one of it"
	}
	err := card(w,
		[2]string{"app", a.Name},
		[2]string{"default", isDefault},
		[2]string{"release", fmt.Sprintf("%d, for %s", a.Release, age(since(a.UpdatedAt)))},
		[2]string{"live", plural(a.Live, "backend")},
		[2]string{"runs", programText(a.Spec)},
		[2]string{"settings", settingsText(a.Spec)},
	)
	if err != nil || len(a.Releases) == 0 {
		return err
	}
	rows := [][]string{{"RELEASE", "MADE", "BY", "WHAT CHANGED"}}
	for i, r := range a.Releases {
		number := strconv.FormatInt(r.Release, 10)
		if r.Release == a.Release {
			number += " (in use)"
		}
		changed := ""
		switch {
		case i+1 < len(a.Releases):
			changed = strings.Join(changedFields(a.Releases[i+1].Spec, r.Spec), ", ")
		case r.Release == 1:
			changed = "the first"
		}
		rows = append(rows, []string{number, clock(r.CreatedAt), r.Actor, changed})
	}
	_, _ = fmt.Fprintln(w)
	return table(w, rows)
}

// programText is what an app starts, on one line.
func programText(t plane.Template) string {
	if t.Image != "" && len(t.Command) == 0 {
		return "image " + t.Image
	}
	words := make([]string, len(t.Command))
	for i, word := range t.Command {
		words[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\$&|;<>()*?`") {
			words[i] = strconv.Quote(word)
		}
	}
	text := strings.Join(words, " ")
	if t.Image != "" {
		text = "image " + t.Image + ": " + text
	}
	if r := []rune(text); len(r) > 80 {
		text = string(r[:79]) + "…"
	}
	return text
}

// fieldsOf is a template by the names of its fields.
func fieldsOf(t plane.Template) map[string]json.RawMessage {
	fields := map[string]json.RawMessage{}
	if raw, err := json.Marshal(t); err == nil {
		_ = json.Unmarshal(raw, &fields)
	}
	return fields
}

// settingsText is what an app says beside what it runs; values of its
// environment may be secrets and are not shown.
func settingsText(t plane.Template) string {
	fields := fieldsOf(t)
	delete(fields, "command")
	delete(fields, "image")
	var out []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch name {
		case "env":
			out = append(out, "env ("+strings.Join(slices.Sorted(maps.Keys(t.Env)), ", ")+")")
			continue
		case "credentials":
			out = append(out, "credentials "+t.Credentials.String())
			continue
		}
		out = append(out, name+" "+strings.Trim(string(fields[name]), `"`))
	}
	return strings.Join(out, ", ")
}

func changedFields(before, after plane.Template) []string {
	old, fresh := fieldsOf(before), fieldsOf(after)
	var out []string
	for name := range fresh {
		if !bytes.Equal(old[name], fresh[name]) {
			out = append(out, name)
		}
	}
	for name := range old {
		if _, ok := fresh[name]; !ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
