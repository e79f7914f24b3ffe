package whiteboard

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"plane/internal/clustertest"
)

// TestMain lets the test binary be the program, so that processes can be
// tested without a build.
func TestMain(m *testing.M) {
	if os.Getenv("WHITEBOARD_TEST_MAIN") != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Main(ctx, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "whiteboard:", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	clustertest.Cleanup()
	os.Exit(code)
}
