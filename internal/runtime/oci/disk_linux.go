package oci

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// smallestDisk is what a file system with anything in it needs.
const smallestDisk = 1 << 20

// disk gives a backend's own layer a size: a file system in a sparse file,
// mounted at a directory. It has no journal, since nothing of it outlives the backend.
func (b bundle) disk(at string, size int64, owner int) error {
	if size < smallestDisk {
		return fmt.Errorf("disk_limit_bytes is %d; the oci runtime can make disks of %d bytes and more", size, smallestDisk)
	}
	f, err := os.OpenFile(b.path(diskFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("disk_limit_bytes is %d, of which this machine's file system can make no file: %w", size, err)
	}
	program, err := find("mkfs.ext4")
	if err != nil {
		return errors.New("disk_limit_bytes needs mkfs.ext4, which this machine lacks; install e2fsprogs, or leave the limit out")
	}
	id := strconv.Itoa(owner)
	mkfs := exec.Command(program, "-q", "-F", "-m", "0", "-O", "^has_journal,^resize_inode,^metadata_csum",
		"-E", "nodiscard,lazy_itable_init=1,root_owner="+id+":"+id, b.path(diskFile))
	mkfs.Env = []string{"PATH=" + defaultPath}
	if out, err := mkfs.CombinedOutput(); err != nil {
		return fmt.Errorf("disk_limit_bytes: no file system of %d bytes could be made: %s", size, strings.TrimSpace(string(out)))
	}
	loop, err := attachLoop(f)
	if err != nil {
		return fmt.Errorf("disk_limit_bytes: %w", err)
	}
	defer loop.Close()
	if err := unix.Mount(loop.Name(), at, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("disk_limit_bytes: the disk could not be mounted: %w", err)
	}
	return nil
}

// attachLoop gives a file a block device that goes when nothing has it open or
// mounted any more.
func attachLoop(file *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.New("this machine gives no loop devices (/dev/loop-control), which limits of disks need; load the module loop, or leave the limit out")
	}
	defer control.Close()
	config := &unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	for range 64 { // another may take the device between asking and having
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("no loop device is free: %w", err)
		}
		path := "/dev/loop" + strconv.Itoa(n)
		if _, err := os.Stat(path); err != nil { // without udev nobody makes them
			if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
				return nil, fmt.Errorf("make %s: %w", path, err)
			}
		}
		loop, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), config)
		if err == nil {
			return loop, nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach %s: %w", path, err)
		}
	}
	return nil, errors.New("every loop device was taken by others; try again")
}
