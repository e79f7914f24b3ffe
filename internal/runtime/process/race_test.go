//go:build race

package process_test

// raced: the race detector uses several times the memory.
const raced = true
