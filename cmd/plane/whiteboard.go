package main

import (
	"github.com/spf13/cobra"

	"plane/examples/whiteboard"
)

// newWhiteboardCommand is what `plane dev` runs when it is given nothing else:
// so it works from an installed binary, where there are no examples.
func newWhiteboardCommand() *cobra.Command {
	return &cobra.Command{
		Use:                whiteboardApp,
		Short:              "Serve one shared drawing",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return whiteboard.Main(cmd.Context(), args)
		},
	}
}
