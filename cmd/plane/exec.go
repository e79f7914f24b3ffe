package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"plane"
	"plane/client"
)

// execFlags are how `plane exec` is asked for.
type execFlags struct {
	remote
	target
	tty, noTTY bool
}

func newExecCommand() *cobra.Command {
	var x execFlags
	cmd := &cobra.Command{
		Use:   "exec KEY -- COMMAND [ARG...]",
		Short: "Run a command beside a backend",
		Long: "Run a command where a key's backend runs: with its environment, limits and files,\n" +
			"in its container if it has one. Input and output are those of plane exec, which ends\n" +
			"with the command's exit code. On a terminal the command gets one too. An API key\n" +
			"needs the verb exec; each use stands in the log (`plane events`).",
		Example: "  plane exec doc-17 -- sh\n" +
			"  plane exec board/doc-17 -- ls -l /plane-data\n" +
			"  plane exec doc-17 -- sh -c 'cat > /tmp/in' < file",
		GroupID: groupUse,
		Args: func(cmd *cobra.Command, given []string) error {
			words, command := split(cmd, given)
			switch {
			case cmd.ArgsLenAtDash() < 0 && len(given) > 1:
				return misusef(`put "--" before the command: plane exec %s -- %s`, given[0], given[1])
			case len(command) == 0:
				return misusef(`say what to run behind "--", such as: plane exec KEY -- sh`)
			case x.tty && x.noTTY:
				return misusef("give -t or -T, not both")
			}
			return x.check(cmd, words)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			words, command := split(cmd, given)
			c, err := x.client()
			if err != nil {
				return err
			}
			id, err := x.live(cmd.Context(), c, cmd, words)
			if err != nil {
				return err
			}
			return x.run(cmd, c, id, command)
		},
	}
	x.bindController(cmd.Flags())
	x.target.bind(cmd, &x.remote)
	cmd.Flags().BoolVarP(&x.tty, "tty", "t", false, "give the command a terminal (default: if input and output are one)")
	cmd.Flags().BoolVarP(&x.noTTY, "no-tty", "T", false, "give the command no terminal")
	return cmd
}

// exitCode is that of the command; plane ends with it and says nothing.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func (x *execFlags) run(cmd *cobra.Command, c *client.Client, id plane.BackendID, argv []string) error {
	in, out := cmd.InOrStdin(), cmd.OutOrStdout()
	command := client.Command{Argv: argv, Stdin: in, Stdout: out, Stderr: cmd.ErrOrStderr()}
	command.TTY = !x.noTTY && (x.tty || isTerminal(in) && isTerminal(out))
	if command.TTY {
		restore, err := x.raw(cmd.Context(), &command, in, out)
		if err != nil {
			return err
		}
		defer restore()
	}
	code, err := c.Exec(cmd.Context(), id, command)
	switch {
	case errors.Is(err, syscall.EPIPE): // as of `| head`
		return exitCode(128 + int(syscall.SIGPIPE))
	case err != nil:
		return err
	case code == 0:
		return nil
	case code < 0 || code > 255:
		return exitCode(255)
	}
	return exitCode(code)
}

// raw makes this terminal the command's: every key goes there, Ctrl-C too, and
// its size follows. restore must be called.
func (x *execFlags) raw(ctx context.Context, command *client.Command, in io.Reader, out io.Writer) (restore func(), err error) {
	stop := func() {}
	if f, ok := out.(*os.File); ok && isTerminal(f) {
		command.Rows, command.Cols = sizeOf(f)
		command.Resize, stop = resizes(ctx, f)
	}
	if !isTerminal(in) {
		return stop, nil
	}
	fd := int(in.(*os.File).Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		stop()
		return nil, fmt.Errorf("read single keys from the terminal: %w", err)
	}
	return func() {
		_ = term.Restore(fd, before)
		stop()
	}, nil
}

func sizeOf(f *os.File) (rows, cols uint16) {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 0, 0
	}
	return uint16(height), uint16(width)
}

// resizes gives the terminal's size whenever it has changed, until stop.
func resizes(ctx context.Context, f *os.File) (sizes <-chan client.TerminalSize, stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	told := make(chan client.TerminalSize)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			rows, cols := sizeOf(f)
			select {
			case told <- client.TerminalSize{Rows: rows, Cols: cols}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return told, func() {
		signal.Stop(changed)
		cancel()
		<-ended
	}
}
