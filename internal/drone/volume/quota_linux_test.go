package volume

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"plane/internal/drone/home"
)

// TestMain lets this program be one that fills a directory.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "fill" {
		f, err := os.Create(os.Args[2])
		for range 8 {
			if err == nil {
				_, err = f.Write(make([]byte, 1<<20))
			}
		}
		if err == nil {
			err = f.Sync()
		}
		if errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.ENOSPC) {
			os.Exit(7)
		}
		if err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// kernelLacksQuota reports whether this kernel was built without quotas in
// files of ext4: then there is nothing to try.
func kernelLacksQuota() bool {
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return false
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	b, _ := io.ReadAll(z)
	return !bytes.Contains(b, []byte("CONFIG_QFMT_V2=y")) && !bytes.Contains(b, []byte("CONFIG_QFMT_V2=m"))
}

// onQuota mounts a file system of 64 MiB with project quotas.
func onQuota(t *testing.T) string {
	t.Helper()
	switch {
	case os.Geteuid() != 0:
		t.Skip("only root can mount a file system with project quotas")
	case kernelLacksQuota():
		t.Skip("this kernel was built without CONFIG_QFMT_V2: no file system of it has project quotas")
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<20), os.Mkdir(mnt, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"mkfs.ext4", "-q", "-O", "quota,project", image},
		{"mount", "-o", "loop,prjquota", image, mnt},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			missing := t.Skipf
			if os.Getenv("CI") != "" {
				missing = t.Fatalf // this kernel can do it
			}
			missing("%s: %v: %s", strings.Join(argv, " "), err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", mnt).Run() })
	return mnt
}

// fill has a program that isn't root's write 8 MiB into dir, and reports
// whether that failed for want of room.
func fill(t *testing.T, dir string) bool {
	t.Helper()
	_ = os.Chown(dir, 65534, 65534)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(filepath.Dir(dir), "fill") // where that user may read it
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "fill", filepath.Join(dir, "big"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() == 7 {
		return true
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return false
}

func TestQuotaBindsADirectoryAndNoOther(t *testing.T) {
	mnt := onQuota(t)
	h := home.Home{Dir: mnt}
	s := NewShelf(h)
	for _, name := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(mnt, name, "deep"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a, b := filepath.Join(mnt, "a"), filepath.Join(mnt, "b")
	// Root may go beyond it on ext4: that is told.
	if err := s.Bound(a, 2<<20); !errors.Is(err, ErrNoQuota) {
		t.Fatalf("bound: %v", err)
	}
	if !fill(t, a) {
		t.Error("8 MiB were written into 2 MiB")
	}
	if n := s.Size(t.Context(), a); n < 1<<20 || n > 2<<20 {
		t.Errorf("it counts %d", n)
	}
	if fill(t, b) {
		t.Error("the neighbour is bound")
	}
	if err := s.Bound(a, 0); !errors.Is(err, ErrNoQuota) {
		t.Fatalf("unbound: %v", err)
	}
	if fill(t, a) {
		t.Error("it is still bound")
	}
}

// Here, on whatever file system, a bound is kept or it is told that it isn't.
func TestSizeIsThatOnTheDisk(t *testing.T) {
	s, h := newShelf(t)
	dir := filepath.Join(h.Dir, "d")
	if err := os.MkdirAll(filepath.Join(dir, "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := s.Size(t.Context(), dir)
	file := filepath.Join(dir, "deep", "f")
	if err := os.WriteFile(file, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sparse := filepath.Join(dir, "sparse")
	if err := errors.Join(os.Link(file, filepath.Join(dir, "same")), os.WriteFile(sparse, nil, 0o600), os.Truncate(sparse, 1<<30)); err != nil {
		t.Fatal(err)
	}
	if grown := s.Size(t.Context(), dir) - before; grown < 3<<20 || grown > 3<<20+64<<10 {
		t.Errorf("3 MiB, a second name of them and a hole make %d", grown)
	}
	if err := s.Bound(dir, 1<<20); err != nil && !errors.Is(err, ErrNoQuota) {
		t.Error(err)
	}
}
