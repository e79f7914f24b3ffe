package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane"
	"plane/client"
)

// Exit codes.
const (
	exitFailure     = 1 // also: not found
	exitMisuse      = 2
	exitInterrupted = 130
)

// misuse is a command line that can't be right.
type misuse struct{ error }

func misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

func (m misuse) Unwrap() error { return m.error }

// worded is an error whose text is part of the command line's contract.
type worded struct{ text string }

func (w worded) Error() string { return w.text }

// report tells people, or with --json programs, what went wrong.
func report(ctx context.Context, cmd *cobra.Command, err error, stderr io.Writer) int {
	var bad misuse
	var said worded
	var code exitCode
	if err == nil {
		return 0
	}
	if errors.As(err, &code) {
		return int(code)
	}
	var word string
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q for", &word); n == 1 { // cobra has no type for it
		err = unknownCommand(cmd, word)
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &bad):
		_, _ = fmt.Fprintf(stderr, "plane: %s\nRun \"%s --help\" for usage.\n", strings.TrimSpace(err.Error()), cmd.CommandPath())
		return exitMisuse
	case errors.As(err, &said):
		_, _ = fmt.Fprintln(stderr, said.text)
		return exitFailure
	}
	if f := cmd.Flags().Lookup("json"); f != nil && f.Value.String() == "true" {
		_ = json.NewEncoder(stderr).Encode(map[string]any{"error": errorObject(err)})
		return exitFailure
	}
	_, _ = fmt.Fprintln(stderr, "plane: "+sentence(err))
	return exitFailure
}

type errorJSON struct {
	ID      string     `json:"id,omitempty"`
	Kind    plane.Kind `json:"kind"`
	Message string     `json:"message"`
	Field   string     `json:"field,omitempty"`
	Output  string     `json:"output,omitempty"`
}

func errorObject(err error) errorJSON {
	var f *client.Failure
	var e *plane.Error
	switch {
	case errors.As(err, &f):
		return errorJSON{ID: f.ID, Kind: f.Err.Kind, Message: f.Err.Message, Field: f.Err.Field, Output: f.Err.Output}
	case errors.As(err, &e):
		return errorJSON{Kind: e.Kind, Message: e.Message, Field: e.Field, Output: e.Output}
	}
	return errorJSON{Kind: plane.Other, Message: sentence(err)}
}

// sentence says what went wrong and, where that is known, what helps.
func sentence(err error) string {
	var f *client.Failure
	var e *plane.Error
	var away *client.Unreachable
	switch {
	case errors.As(err, &f):
		s := f.Err.Message
		if f.Err.Output != "" {
			s += "\nIts last output:\n" + indent(f.Err.Output)
		}
		if f.Err.Kind == plane.Other { // the controller's log says more
			s += "\n(error id " + f.ID + " in the controller's log)"
		}
		return s
	case errors.As(err, &e):
		return e.Message
	case errors.As(err, &away):
		return err.Error() + "\nStart one with `plane dev -- COMMAND`, or name it with --controller or PLANE_CONTROLLER."
	}
	return err.Error()
}

// flagMisuse words pflag's errors and suggests the flag that was meant.
func flagMisuse(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		return misuse{badValue(value)}
	}
	wrong, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return misuse{err}
	}
	var known []string
	visit := func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	}
	cmd.Flags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
	best := plane.Nearest(wrong, known)
	if best == "" {
		return misuse{err}
	}
	return misusef("unknown flag: --%s; did you mean --%s?", wrong, best)
}

// badValue says what a flag takes.
func badValue(e *pflag.InvalidValueError) error {
	f := e.GetFlag()
	allowed := ""
	switch kind := f.Value.Type(); {
	case strings.HasPrefix(kind, "int"):
		allowed = "a whole number"
	case strings.HasPrefix(kind, "uint"):
		allowed = "a whole number of 0 or more"
	case strings.HasPrefix(kind, "float"):
		allowed = "a number"
	case kind == "duration":
		allowed = "a time such as 30s, 5m or 1h30m"
	case kind == "bool":
		allowed = "true or false"
	default:
		return e
	}
	if errors.Is(e, strconv.ErrRange) {
		return fmt.Errorf("--%s %s is out of range", f.Name, e.GetValue())
	}
	return fmt.Errorf("--%s %q must be %s", f.Name, e.GetValue(), allowed)
}

// group makes a command that only holds others. A wrong word below it is
// misuse, with the right one suggested, not a silent help text.
func group(cmd *cobra.Command, sub ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			_ = cmd.Help()
			return misusef("%s needs a command", cmd.CommandPath())
		}
		return unknownCommand(cmd, args[0])
	}
	cmd.AddCommand(sub...)
	return cmd
}

// args is cobra's check of positional arguments, with errors that are misuse.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if check(cmd, given) == nil {
			return nil
		}
		usage := strings.TrimSuffix(cmd.UseLine(), " [flags]")
		if len(given) == 0 {
			return misusef("something is missing; write %q", usage)
		}
		return misusef("%s given; write %q", plural(len(given), "word"), usage)
	}
}
