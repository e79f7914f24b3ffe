//go:build !linux

package home

import "path/filepath"

// TableFile is the table of deadlines.
func (h Home) TableFile() string { return filepath.Join(h.Dir, "table") }
