// Package isolation is what containers may not do, see and take unless the
// operator says otherwise, whichever runtime makes them.
package isolation

import (
	"fmt"
	"slices"
	"strings"
)

// MaskedPaths show the machine.
var MaskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	"/sys/devices/virtual/powercap", "/sys/firmware",
}

// ReadonlyPaths change the machine, or have it work for whoever writes there.
var ReadonlyPaths = []string{
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/mtrr", "/proc/pressure", "/proc/sys", "/proc/sysrq-trigger",
}

const (
	// Pids is how many processes and threads a container may have that doesn't
	// say: a fork bomb ends there, and hardly any program gets that far.
	Pids = 4096
	// TmpSize is the size of its /tmp, and of its /dev/shm, in bytes of memory.
	TmpSize = 64 << 20
)

// CheckCapabilities refuses names that there aren't: engines leave them out, or
// fail when the first backend starts.
func CheckCapabilities(names []string) error {
	for _, c := range names {
		if !slices.Contains(capabilities, c) {
			return fmt.Errorf("%q is no capability; write it like CAP_CHOWN", c)
		}
	}
	return nil
}

var capabilities = strings.Fields(`CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_AUDIT_WRITE CAP_BLOCK_SUSPEND CAP_BPF
	CAP_CHECKPOINT_RESTORE CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_IPC_LOCK CAP_IPC_OWNER
	CAP_KILL CAP_LEASE CAP_LINUX_IMMUTABLE CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_MKNOD CAP_NET_ADMIN CAP_NET_BIND_SERVICE
	CAP_NET_BROADCAST CAP_NET_RAW CAP_PERFMON CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYSLOG CAP_SYS_ADMIN
	CAP_SYS_BOOT CAP_SYS_CHROOT CAP_SYS_MODULE CAP_SYS_NICE CAP_SYS_PACCT CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYS_RESOURCE
	CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_WAKE_ALARM`)
