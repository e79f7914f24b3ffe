// Package examples tests servers that know nothing of Plane: each runs under
// it as it is.
package examples

import (
	"os"
	"testing"

	"plane/internal/clustertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	clustertest.Cleanup()
	os.Exit(code)
}
