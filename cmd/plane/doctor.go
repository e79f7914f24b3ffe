package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"plane/internal/drone/home"
)

// finding is what one check found.
type finding struct {
	Check  string `json:"check"`
	Status level  `json:"status"`
	Text   string `json:"text"`             // a sentence
	Remedy string `json:"remedy,omitempty"` // a sentence; there is one unless the status is ok
}

type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn"
	levelFail level = "fail"
)

func fine(check, format string, args ...any) finding {
	return finding{Check: check, Status: levelOK, Text: fmt.Sprintf(format, args...)}
}

func warned(check, text, remedy string) finding { return finding{check, levelWarn, text, remedy} }
func failed(check, text, remedy string) finding { return finding{check, levelFail, text, remedy} }

type doctorFlags struct {
	stateFlags
	api, proxy  string
	maxBackends int
}

func newDoctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what Plane needs of this machine, and say what to do",
		Long: `Check what Plane needs of this machine and of a data directory, whether or not
anything runs there. Each line says ok, warn or fail, and what to do. It changes
nothing. The exit code is 1 if anything fails.`,
		Example: "  plane doctor\n  plane doctor --json",
		GroupID: groupUse,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDoctor(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	f.bind(cmd.Flags())
	cmd.Flags().StringVar(&f.api, "api", "", "address that the API shall have (default "+devAPI+" or a following port)")
	cmd.Flags().StringVar(&f.proxy, "proxy", "", "address that the proxy shall have (default "+devProxy+" or a following port)")
	cmd.Flags().IntVar(&f.maxBackends, "max-backends", defaultMaxBackends, "how many backends shall run at once")
	return cmd
}

// errUnwell is the exit code; the lines have said everything.
var errUnwell = worded{"Something fails; the lines above say what to do."}

func runDoctor(ctx context.Context, f doctorFlags, out io.Writer) error {
	at, err := f.place()
	if err != nil {
		return err
	}
	d := doctor{doctorFlags: f, place: at, home: watchedHome(at.dir)}
	all := d.examine(ctx)
	bad := false
	for _, x := range all {
		bad = bad || x.Status == levelFail
	}
	if f.json {
		err = printJSON(out, map[string]any{"ok": !bad, "data_dir": at.dir, "checks": all})
	} else {
		err = printFindings(out, all)
	}
	if err == nil && bad {
		err = errUnwell
	}
	return err
}

func printFindings(out io.Writer, all []finding) error {
	color := colorOf(out)
	for _, x := range all {
		status := map[level]string{levelOK: green, levelWarn: yellow, levelFail: red}[x.Status]
		text := x.Text
		if x.Remedy != "" {
			text += " " + x.Remedy
		}
		text = strings.ReplaceAll(text, "\n", " ")
		if _, err := fmt.Fprintf(out, "%s  %-8s  %s\n", color.paint(status, fmt.Sprintf("%-4s", x.Status)), x.Check, text); err != nil {
			return err
		}
	}
	return nil
}

// doctor looks at one data directory and the machine under it.
type doctor struct {
	doctorFlags
	place
	home home.Home // of a directory that may not exist; nothing is made there
}

// examine makes all checks, in the order in which people would.
func (d doctor) examine(ctx context.Context) []finding {
	return append([]finding{
		d.running(ctx),
		d.watchers(ctx),
		d.versions(ctx),
		d.ports(),
		d.names(ctx),
		d.browser(),
		d.disk(),
		d.store(),
		d.data(ctx),
		d.clock(ctx),
		d.cgroups(),
		d.limits(),
	}, d.images(ctx)...)
}
