// Command whiteboard serves one shared drawing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"plane/examples/whiteboard"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := whiteboard.Main(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "whiteboard:", err)
		os.Exit(1)
	}
}
