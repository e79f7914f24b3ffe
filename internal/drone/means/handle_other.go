//go:build !linux

package means

import (
	"context"
	"os"
)

func pollable(int) *os.File { return nil }

// OpenHandle finds the first process of id, or nil if it isn't there.
func (m *Means) OpenHandle(id Identity) *Handle {
	if !m.Alive(id) {
		return nil
	}
	return NewHandle(id, -1)
}

func waitReadable(context.Context, *os.File) (done bool, err error) { return false, nil }

// killExactly kills the first process of id.
func (m *Means) killExactly(id Identity) {
	if m.Alive(id) {
		_ = kill(id.Pid, sigKill)
	}
}
