package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/probe"
)

// word judges what a call has returned: where the kernel looks at arguments
// before rights, their fault counts as let through.
func word(err error) string {
	for _, no := range []error{unix.EPERM, unix.ENOSYS, unix.EACCES, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT} {
		if errors.Is(err, no) {
			return probe.Refused
		}
	}
	return probe.LetThrough
}

var kept [][]byte // what the kernel is told the address of

func text(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

const none = ^uintptr(0) // -1, no descriptor

// calls tries what a container has no business with. The arguments are such
// that nothing changes where a call is allowed: they name what isn't there, or
// ask for nothing.
func calls(r probe.Report) {
	zero := make([]byte, 256)
	empty := uintptr(unsafe.Pointer(&zero[0]))
	timex := &unix.Timex{Modes: 0x4000} // of the tick, which can't be 0
	for name, c := range map[string][6]uintptr{
		"acct":              {unix.SYS_ACCT, text("/nowhere")},
		"add_key":           {unix.SYS_ADD_KEY, text("user"), text("x"), 0, 0, 0},
		"adjtimex":          {unix.SYS_ADJTIMEX, uintptr(unsafe.Pointer(timex))},
		"bpf":               {unix.SYS_BPF, 9999, 0, 0},
		"chroot":            {unix.SYS_CHROOT, text("/")},
		"clock_adjtime":     {unix.SYS_CLOCK_ADJTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(timex))},
		"clock_settime":     {unix.SYS_CLOCK_SETTIME, unix.CLOCK_MONOTONIC, empty},
		"clone3":            {unix.SYS_CLONE3, 0, 0},
		"delete_module":     {unix.SYS_DELETE_MODULE, text("no module"), 0},
		"fanotify_init":     {unix.SYS_FANOTIFY_INIT, 0, 0},
		"finit_module":      {unix.SYS_FINIT_MODULE, none, text(""), 0},
		"fsconfig":          {unix.SYS_FSCONFIG, none, 0, 0, 0, 0},
		"fsmount":           {unix.SYS_FSMOUNT, none, 0, 0},
		"fsopen":            {unix.SYS_FSOPEN, text("no file system"), 0},
		"fspick":            {unix.SYS_FSPICK, none, text("/"), 0},
		"init_module":       {unix.SYS_INIT_MODULE, 0, 0, text("")},
		"io_uring_setup":    {unix.SYS_IO_URING_SETUP, 0, 0},
		"kcmp":              {unix.SYS_KCMP, 1, 1, 9999, 0, 0},
		"kexec_file_load":   {unix.SYS_KEXEC_FILE_LOAD, none, none, 0, text(""), 0x8000},
		"kexec_load":        {unix.SYS_KEXEC_LOAD, 0, 1 << 20, 0, 0},
		"keyctl":            {unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0},
		"mount":             {unix.SYS_MOUNT, text("none"), text("/"), text("no file system"), 0, 0},
		"mount_setattr":     {unix.SYS_MOUNT_SETATTR, none, text(""), 0, 0, 0},
		"move_mount":        {unix.SYS_MOVE_MOUNT, none, text(""), none, text(""), 0},
		"open_by_handle_at": {unix.SYS_OPEN_BY_HANDLE_AT, none, 0, 0},
		"open_tree":         {unix.SYS_OPEN_TREE, none, text("/"), 1},
		"perf_event_open":   {unix.SYS_PERF_EVENT_OPEN, 0, 0, none, none, 0},
		"personality":       {unix.SYS_PERSONALITY, 0x0040000}, // no random addresses
		"pidfd_getfd":       {unix.SYS_PIDFD_GETFD, none, 0, 0},
		"pivot_root":        {unix.SYS_PIVOT_ROOT, text("/"), text("/")},
		"quotactl":          {unix.SYS_QUOTACTL, 0, 0, 0, 0},
		"reboot":            {unix.SYS_REBOOT, 0, 0, 0, 0},
		"request_key":       {unix.SYS_REQUEST_KEY, text("user"), text("x"), 0, 0},
		"sethostname":       {unix.SYS_SETHOSTNAME, empty, none},
		"setdomainname":     {unix.SYS_SETDOMAINNAME, empty, none},
		"setns":             {unix.SYS_SETNS, none, 0},
		"settimeofday":      {unix.SYS_SETTIMEOFDAY, 0, 0},
		"setgroups":         {unix.SYS_SETGROUPS, 0, 0},
		"swapoff":           {unix.SYS_SWAPOFF, text("/nowhere")},
		"swapon":            {unix.SYS_SWAPON, text("/nowhere"), 0},
		"syslog":            {unix.SYS_SYSLOG, 10, 0, 0},
		"umount2":           {unix.SYS_UMOUNT2, text("/proc/self"), 0},
		"unshare":           {unix.SYS_UNSHARE, unix.CLONE_NEWUSER},
		"userfaultfd":       {unix.SYS_USERFAULTFD, 0x8000},
		"vhangup":           {unix.SYS_VHANGUP},
		"mknod of a device": {unix.SYS_MKNODAT, none - 99, text("/tmp/device"), unix.S_IFCHR | 0o666, 0x103},
	} {
		_, _, errno := unix.RawSyscall6(c[0], c[1], c[2], c[3], c[4], c[5], 0)
		var err error
		if errno != 0 {
			err = errno
		}
		r.Add("system calls", word(err), name)
	}
	for _, name := range []string{"iopl", "ioperm"} {
		r.Add("system calls", ports(name), name)
	}
	child := exec.Command("/proc/self/exe", "nothing")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	r.Add("system calls", word(child.Run()), "clone(NEWUSER)")
	_ = os.Remove("/tmp/device")
}

// sockets tries kinds of them that reach around a network of one's own.
func sockets(r probe.Report) {
	for name, c := range map[string][3]int{
		"alg":       {unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		"bluetooth": {unix.AF_BLUETOOTH, unix.SOCK_RAW, 1},
		"packet":    {unix.AF_PACKET, unix.SOCK_RAW, 0},
		"raw":       {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		"raw6":      {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
		"vsock":     {unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		"tcp":       {unix.AF_INET, unix.SOCK_STREAM, 0},
		"unix":      {unix.AF_UNIX, unix.SOCK_STREAM, 0},
	} {
		fd, err := unix.Socket(c[0], c[1]|unix.SOCK_CLOEXEC, c[2])
		if err == nil {
			_ = unix.Close(fd)
		}
		r.Add("sockets", word(err), name)
	}
}
