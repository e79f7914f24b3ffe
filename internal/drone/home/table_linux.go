package home

import (
	"os"
	"path/filepath"
	"strconv"
)

// TableFile is the table of deadlines: in memory, below a directory of this
// user. It is fixed by user and data directory, not by the environment, because
// agent, warden and reaper may be started from different ones.
func (h Home) TableFile() string {
	dir := filepath.Join("/dev/shm", "plane-"+strconv.Itoa(os.Geteuid()))
	if private(dir) != nil {
		return filepath.Join(h.Dir, "table")
	}
	return filepath.Join(dir, h.Hash()+".table")
}
