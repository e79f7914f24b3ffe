package clustertest

// TB is what this package needs of a testing.TB, so that benchmarks, which
// are programs, can start parts too.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}
