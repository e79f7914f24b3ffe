package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A directory is a project of its own, and a project has a quota: ext4 and xfs
// count what belongs to it. See quotactl(2) and ioctl_xfs_fsgetxattr(2).

// fsxattr is struct fsxattr of <linux/fs.h>.
type fsxattr struct {
	flags, extsize, nextents, project, cowextsize uint32
	_                                             [8]byte
}

// quota is struct if_dqblk of <linux/quota.h>.
type quota struct {
	hardBlocks, softBlocks, bytes   uint64 // blocks of 1 KiB
	hardInodes, softInodes, inodes  uint64
	blocksGraceUntil, filesGraceEnd uint64
	valid                           uint32
	_                               uint32
}

const (
	getXattr       = 0x801c581f // FS_IOC_FSGETXATTR
	setXattr       = 0x401c5820 // FS_IOC_FSSETXATTR
	projectInherit = 0x200      // FS_XFLAG_PROJINHERIT

	projects      = 2        // PRJQUOTA
	getQuota      = 0x800007 // Q_GETQUOTA
	setQuota      = 0x800008 // Q_SETQUOTA
	getState      = 0x5805   // Q_XGETQSTAT
	blockLimits   = 1        // QIF_BLIMITS
	projectsCount = 1 << 4   // FS_QUOTA_PDQ_ACCT
	projectsBind  = 1 << 5   // FS_QUOTA_PDQ_ENFD

	// Our project numbers are those that nobody gives by hand.
	firstProject = 1 << 30
	drawProject  = 32 // attempts
)

// abilityOf asks the file system of dir. ext4 lets programs with
// CAP_SYS_RESOURCE, which those of root have, go beyond their quota; xfs doesn't.
func abilityOf(dir string) ability {
	f, err := os.Open(dir)
	if err != nil {
		return cannot
	}
	defer f.Close()
	var state [256]byte // struct fs_quota_stat: version, padding, flags
	if quotactl(f, getState, 0, unsafe.Pointer(&state)) != nil {
		return cannot
	}
	flags := *(*uint16)(unsafe.Pointer(&state[2]))
	if flags&projectsCount == 0 {
		return cannot
	}
	var st unix.Statfs_t
	if flags&projectsBind == 0 || unix.Fstatfs(int(f.Fd()), &st) != nil || os.Geteuid() == 0 && int64(st.Type) == unix.EXT4_SUPER_MAGIC {
		return counts
	}
	return bounds
}

func quotactl(f *os.File, cmd, id uint32, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), uintptr(cmd<<8|projects), uintptr(id), uintptr(arg), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func xattr(f *os.File, request uintptr, x *fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(x)))
	if errno != 0 {
		return errno
	}
	return nil
}

// projectOf opens a directory and reads its project; 0 = none.
func projectOf(dir string) (*os.File, fsxattr, error) {
	var x fsxattr
	f, err := os.Open(dir)
	if err != nil {
		return nil, x, err
	}
	if err := xattr(f, getXattr, &x); err != nil {
		_ = f.Close()
		return nil, x, fmt.Errorf("read project of %s: %w", dir, err)
	}
	return f, x, nil
}

func setBound(dir string, bytes int64) error {
	f, x, err := projectOf(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if x.project == 0 {
		if bytes == 0 {
			return nil
		}
		if x.project, err = freeProject(f); err != nil {
			return err
		}
		if err := assign(dir, x.project); err != nil {
			return err
		}
	}
	q := quota{hardBlocks: uint64(bytes+1023) / 1024, valid: blockLimits}
	if err := quotactl(f, setQuota, x.project, unsafe.Pointer(&q)); err != nil {
		return fmt.Errorf("set quota of %s: %w", dir, err)
	}
	return nil
}

func countedBytes(dir string) (int64, bool) {
	f, x, err := projectOf(dir)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var q quota
	if x.project == 0 || quotactl(f, getQuota, x.project, unsafe.Pointer(&q)) != nil {
		return 0, false
	}
	return int64(q.bytes), true
}

// freeProject draws a number that nothing belongs to and that has no quota.
func freeProject(f *os.File) (uint32, error) {
	for range drawProject {
		id := firstProject + rand.Uint32N(firstProject)
		var q quota
		err := quotactl(f, getQuota, id, unsafe.Pointer(&q))
		if errors.Is(err, unix.ENOENT) || err == nil && q.hardBlocks == 0 && q.inodes == 0 {
			return id, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read quota: %w", err)
		}
	}
	return 0, errors.New("no free project number was found")
}

// assign gives a directory and everything in it to a project; what is made in
// it later follows. The directory itself comes last: until then the next
// attempt begins anew.
func assign(dir string, project uint32) error {
	give := func(path string) error {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		var x fsxattr
		if err := xattr(f, getXattr, &x); err != nil {
			return err
		}
		x.project = project
		if st, err := f.Stat(); err == nil && st.IsDir() {
			x.flags |= projectInherit
		}
		return xattr(f, setXattr, &x)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		return give(path)
	})
	if err == nil {
		err = give(dir)
	}
	if err != nil {
		return fmt.Errorf("make %s a project: %w", dir, err)
	}
	return nil
}
