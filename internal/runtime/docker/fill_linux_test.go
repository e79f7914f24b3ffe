package docker_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// fill leaves that much less than a tenth of a disk free.
func fill(t *testing.T, dir string, less int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	n := (int64(st.Bavail)-int64(st.Blocks/10))*int64(st.Bsize) + less
	if n <= 0 {
		return
	}
	f, err := os.CreateTemp(dir, "full")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
		t.Fatal(err)
	}
}
