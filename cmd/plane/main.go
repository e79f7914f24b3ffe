// Command plane runs one backend per key. It is every part of Plane, and the
// command line that speaks with a controller.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs one command line and gives the exit code: 0, 1 for a failure
// or something not found, 2 for misuse, 130 after an interrupt.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return report(ctx, cmd, err, stderr)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "plane",
		Short: "One backend per key",
		Long: "Plane runs one backend process per key: per user, per document, per room.\n" +
			"Start with `plane dev -- COMMAND`, then open http://KEY.localhost:9090/.",
		SilenceErrors: true,
		SilenceUsage:  true,

		DisableSuggestions: true, // report has better ones
	}
	root.CompletionOptions.DisableDefaultCmd = true // ours knows the shells that we test
	root.SetFlagErrorFunc(flagMisuse)
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run:"}, &cobra.Group{ID: groupUse, Title: "Look and act:"})
	root.SetHelpCommandGroupID(groupUse)
	root.AddCommand(newWatcherCommands()...)
	root.AddCommand(
		newDevCommand(),
		newControllerCommand(),
		newDroneCommand(),
		newProxyCommand(),
		newInitCommand(),
		newApplyCommand(),
		newAppsCommand(),
		newRollbackCommand(),
		newConnectCommand(),
		newOpenCommand(),
		newListCommand(),
		newStatusCommand(),
		newLogsCommand(),
		newStopCommand(),
		newExecCommand(),
		newImageCommand(),
		newWhyCommand(),
		newTopCommand(),
		newDataCommand(),
		newEventsCommand(),
		newAPIKeyCommand(),
		newNodeCommand(),
		newDoctorCommand(),
		newSupportBundleCommand(),
		newWhiteboardCommand(),
		newBackupCommand(),
		newRestoreCommand(),
		newCompletionCommand(),
		newVersionCommand(),
		newAdminCommand(),
	)
	return root
}

// Groups of the help text: what runs parts, and what speaks with them.
const (
	groupRun = "run"
	groupUse = "use"
)
