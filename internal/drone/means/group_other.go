//go:build !linux

package means

import (
	"log/slog"

	"plane"
)

// groups: only Linux has cgroups.
type groups struct{}

func newGroups(string, *slog.Logger) *groups { return nil }
func groupsAt(string, string) *groups        { return nil }

func (g *groups) dir() string                          { return "" }
func (g *groups) kill(plane.BackendID) error           { return nil }
func (g *groups) procs(plane.BackendID) ([]int, error) { return nil, nil }
func (g *groups) populated() []plane.BackendID         { return nil }
func (g *groups) children() []plane.BackendID          { return nil }
func (g *groups) clean(plane.BackendID)                {}
func (g *groups) tidy()                                {}
func (g *groups) outOfMemory(plane.BackendID) bool     { return false }

func (g *groups) limit(plane.BackendID, plane.ResourceLimits) (join []joining, missing []string) {
	return nil, nil
}
