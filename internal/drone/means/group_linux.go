package means

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"plane"
)

// groups are cgroups: membership and killing through version 2; controllers of
// version 1, on hosts that have them there, only where a limit asks for them,
// because joining those costs 10 ms.
type groups struct {
	base string // directory in the cgroup2 mount
	hash string

	once  sync.Once // guards v2
	v2    map[string]bool
	v1dir func(controller string) string // for tests; nil = where it is mounted
}

func newGroups(hash string, log *slog.Logger) *groups {
	mount := ""
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			mount = dir
			break
		}
	}
	if mount == "" {
		return nil
	}
	for _, parent := range []string{mount, filepath.Join(mount, ownGroup())} {
		g := &groups{base: filepath.Join(parent, "plane-"+hash), hash: hash}
		if err := g.try(parent); err == nil {
			g.has2("memory") // that it counts, where it can be had: joining one of version 1 costs too much for that
			return g
		}
	}
	log.Info("no cgroups may be made here; backends are found by session and marker", "mount", mount)
	return nil
}

// groupsAt is for looking at what others made.
func groupsAt(base, hash string) *groups {
	if base == "" {
		return nil
	}
	return &groups{base: base, hash: hash}
}

// try reports whether cgroups can be made, entered and killed below parent.
func (g *groups) try(parent string) error {
	if err := os.Mkdir(g.base, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := unix.Access(filepath.Join(parent, "cgroup.procs"), unix.W_OK); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(g.base, "cgroup.kill"), os.O_WRONLY, 0) // Linux 5.14
	if err != nil {
		return err
	}
	return f.Close()
}

func ownGroup() string {
	b, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(p)
		}
	}
	return "/"
}

func (g *groups) dir() string {
	if g == nil {
		return ""
	}
	return g.base
}

func (g *groups) of(id plane.BackendID) string { return filepath.Join(g.base, string(id)) }

// make creates the cgroup of a backend and opens it for clone.
func (g *groups) make(id plane.BackendID) (*os.File, error) {
	dir := g.of(id)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
}

func (g *groups) kill(id plane.BackendID) error {
	err := os.WriteFile(filepath.Join(g.of(id), "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// procs are those of the cgroup and of every cgroup that was made below it.
func (g *groups) procs(id plane.BackendID) ([]int, error) {
	if empty(g.of(id)) {
		return nil, nil
	}
	var all []int
	err := filepath.WalkDir(g.of(id), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return ignoreGone(err)
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				all = append(all, pid)
			}
		}
		return ignoreGone(err)
	})
	return all, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// empty reads the kernel's own word on a whole subtree.
func empty(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return ignoreGone(err) == nil
	}
	return bytes.Contains(b, []byte("populated 0"))
}

func (g *groups) children() []plane.BackendID {
	if g == nil {
		return nil
	}
	entries, _ := os.ReadDir(g.base)
	var all []plane.BackendID
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, plane.BackendID(e.Name()))
		}
	}
	return all
}

func (g *groups) populated() []plane.BackendID {
	return slices.DeleteFunc(g.children(), func(id plane.BackendID) bool { return empty(g.of(id)) })
}

// clean removes the cgroups of a backend, innermost first.
func (g *groups) clean(id plane.BackendID) {
	if g == nil || id == "" {
		return
	}
	for _, c := range controllers {
		if dir := g.v1(c, id); dir != "" {
			removeTree(dir)
		}
	}
	removeTree(g.of(id))
}

// tree lists a cgroup and all that were made below it, outermost first.
func tree(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

func removeTree(dir string) {
	for _, d := range slices.Backward(tree(dir)) {
		_ = os.Remove(d)
	}
}

func (g *groups) tidy() {
	if g == nil {
		return
	}
	for _, id := range g.children() {
		if empty(g.of(id)) {
			g.clean(id) // of a start that was cut short
		}
	}
	for _, c := range controllers {
		if dir := g.v1(c, ""); dir != "" {
			_ = os.Remove(dir)
		}
	}
	_ = os.Remove(g.base) // fails while there is one of a backend
}
