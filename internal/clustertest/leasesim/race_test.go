//go:build race

package leasesim

// raced: the race detector has nothing to find in runs on one goroutine, and
// makes them ten times slower.
const raced = true
