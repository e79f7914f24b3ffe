package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// A rootfs is an image's file system as its programs will see it: links lead
// nowhere but into it.
type rootfs struct{ dir *os.File }

func openRootfs(dir string) (rootfs, error) {
	f, err := os.Open(dir)
	return rootfs{f}, err
}

// Close gives it back.
func (r rootfs) Close() { _ = r.dir.Close() }

func (r rootfs) open(name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(r.dir.Fd()), name, &how)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
	}
}

// mostText is more than any /etc/passwd has.
const mostText = 4 << 20

// read reads a small regular file, and nothing if there is none.
func (r rootfs) read(name string) []byte {
	f, err := r.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(f, mostText))
	return b
}

// mkdir makes a directory and those above it, as root's of the sandbox.
func (r rootfs) mkdir(name string, owner int) error {
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(path.Clean(name), "/"), "/") {
		if part == "" {
			continue
		}
		parent, err := r.open(at, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = unix.Mkdirat(int(parent.Fd()), part, 0o755)
		if err == nil {
			err = unix.Fchownat(int(parent.Fd()), part, owner, owner, unix.AT_SYMLINK_NOFOLLOW)
		} else if errors.Is(err, unix.EEXIST) {
			err = nil
		}
		_ = parent.Close()
		if err != nil {
			return err
		}
		at = path.Join(at, part)
	}
	d, err := r.open(at, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return d.Close()
}

// program reports what is wrong with the first word of a command, as the
// sandbox would find it.
func (r rootfs) program(image, word, dir, search string) error {
	if strings.Contains(word, "/") {
		if !path.IsAbs(word) {
			word = path.Join(dir, word)
		}
		return r.usable(image, word, word)
	}
	var found error
	for d := range strings.SplitSeq(search, ":") {
		if !path.IsAbs(d) {
			d = path.Join(dir, d)
		}
		err := r.usable(image, word, path.Join(d, word))
		if err == nil {
			return nil
		}
		if _, absent := err.(absentError); !absent {
			found = err
		}
	}
	if found != nil {
		return found
	}
	return fmt.Errorf("image %s has no command %q in PATH (%s); correct the command, or give its full path", image, word, search)
}

// absentError says that there is no such file.
type absentError string

func (e absentError) Error() string { return string(e) }

func (r rootfs) usable(image, word, at string) error {
	f, err := r.open(at, unix.O_PATH)
	if err != nil {
		return absentError(fmt.Sprintf("image %s has no command %q; correct the command or the image", image, word))
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("look at command %q: %w", word, err)
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return fmt.Errorf("command %q is a directory of image %s; name a program in it", word, image)
	case st.Mode&0o111 == 0:
		return fmt.Errorf("command %q of image %s may not be executed; add chmod +x to its Dockerfile", word, image)
	}
	return nil
}
