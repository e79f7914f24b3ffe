// Package home knows where the parts of one drone keep their files, sockets and
// locks, so that every part derives the same places from the data directory
// alone.
package home

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"plane"
)

// Home is the data directory of one drone. Dir survives reboots; Run holds
// sockets and has a short name. It is a value that may be copied.
type Home struct {
	Dir string // absolute, without symbolic links, mode 0700
	Run string // absolute, mode 0700
}

// maxSocketDir leaves room for the longest backend socket below the 104 bytes
// that a socket's path may have on the smallest system.
const maxSocketDir = 100 - len("/b/.sock") - plane.MaxNameLength

// New makes the directories of a drone below dir, which may be relative, and
// says what is wrong with them if they can't be trusted.
func New(dir string) (Home, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Home{}, fmt.Errorf("find data directory %q: %w", dir, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return Home{}, fmt.Errorf("make data directory: %w", err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return Home{}, fmt.Errorf("find data directory %q: %w", dir, err)
	}
	h := Home{Dir: abs}
	if h.Run, err = h.runDir(); err != nil {
		return Home{}, err
	}
	for _, d := range []string{h.Run, filepath.Join(h.Run, "b"), h.OutputDir()} {
		if err := private(d); err != nil {
			return Home{}, err
		}
	}
	return h, nil
}

// runDir is below Dir if that is short enough. Otherwise it is chosen once and
// remembered by a symbolic link, because parts that are started from another
// environment must find the same place.
func (h Home) runDir() (string, error) {
	inside := filepath.Join(h.Dir, "run")
	if len(inside) <= maxSocketDir {
		return inside, nil
	}
	if target, err := os.Readlink(inside); err == nil {
		return target, private(filepath.Dir(target))
	}
	parent := filepath.Join("/tmp", "plane-"+strconv.Itoa(os.Getuid()))
	if x := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(x) && len(x) <= maxSocketDir-len("/plane/")-hashLength && owned(x) == nil {
		parent = filepath.Join(x, "plane")
	}
	if err := private(parent); err != nil {
		return "", err
	}
	target := filepath.Join(parent, h.Hash())
	if err := os.Symlink(target, inside); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("remember the directory of sockets: %w", err)
	}
	target, err := os.Readlink(inside) // another part may have been quicker
	if err != nil {
		return "", fmt.Errorf("find the directory of sockets: %w", err)
	}
	return target, private(filepath.Dir(target))
}

// private makes dir unless it exists and refuses one that others may write to.
func private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	return owned(dir)
}

func owned(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at directory: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.IsDir():
		return fmt.Errorf("%s is not a directory; remove it or choose another data directory", dir)
	case ok && int(sys.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d; choose another data directory or run as that user", dir, sys.Uid)
	case st.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s may be written by others; run chmod 700 on it", dir)
	}
	return nil
}

const hashLength = 12

// Hash names the data directory where its path would be too long or must not
// be shown: 12 hex digits.
func (h Home) Hash() string {
	sum := sha256.Sum256([]byte(h.Dir))
	return hex.EncodeToString(sum[:hashLength/2])
}

// WardenSocket is where the warden answers agent and reaper.
func (h Home) WardenSocket() string { return filepath.Join(h.Run, "warden.sock") }

// BackendSocket is the socket that a backend may talk to.
func (h Home) BackendSocket(id plane.BackendID) string {
	return filepath.Join(h.Run, "b", string(id)+".sock")
}

// DoorDir has the socket of a backend that sees it as runtime.DoorsDir. It
// is there as long as the backend's start is wanted.
func (h Home) DoorDir(id plane.BackendID) string { return filepath.Join(h.Run, "b", string(id)) }

// Container is the name of a backend's container in an engine.
func Container(id plane.BackendID) string { return "plane-" + string(id) }

// DroneLabel is that of containers; its value is Hash.
const DroneLabel = "dev.plane.drone"

// Engine is a file with the socket of the engine that has to be asked to end
// containers. It isn't there where that isn't so.
func (h Home) Engine() string { return filepath.Join(h.Dir, "engine") }

// GateSocket is where whoever stands on this machine is handed connections to
// backends that listen in a network namespace of their own.
func (h Home) GateSocket() string { return filepath.Join(h.Run, "gate.sock") }

// Images is the store of images and their unpacked layers.
func (h Home) Images() string { return filepath.Join(h.Dir, "images") }

// Bundles has one directory per backend or sandbox of the oci runtime: its
// spec, its root and what it wrote.
func (h Home) Bundles() string { return filepath.Join(h.Dir, "bundles") }

// Journal is the agent's memory of what it took and what it said.
func (h Home) Journal() string { return filepath.Join(h.Dir, "journal") }

// OutputDir has one directory per backend with its output and its exit status.
func (h Home) OutputDir() string { return filepath.Join(h.Dir, "output") }

// Volume is the directory of a key's data.
func (h Home) Volume(id string) string { return filepath.Join(h.Dir, "volumes", id) }

// Abandoned is where a volume lies that was given up.
func (h Home) Abandoned(id string) string { return filepath.Join(h.Dir, "abandoned", id) }

// Scratch is the data directory of a backend that goes with it.
func (h Home) Scratch(id plane.BackendID) string { return filepath.Join(h.Dir, "scratch", string(id)) }

// Log is the file that a part without a terminal writes its own log to.
func (h Home) Log(part string) string { return filepath.Join(h.Dir, part+".log") }
