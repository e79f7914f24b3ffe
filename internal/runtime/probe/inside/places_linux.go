package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/probe"
)

// mounts tells of each whether it can be written, and its restrictions.
func mounts(r probe.Report) {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		at, options := f[4], strings.Split(f[5], ",")
		switch {
		case strings.HasPrefix(at, "/proc/"), strings.HasPrefix(at, "/sys/") && !strings.HasPrefix(at, "/sys/fs/cgroup"):
			continue // see hidden
		case strings.HasPrefix(at, "/sys/fs/cgroup"):
			at = "/sys/fs/cgroup" // one or many, as the machine has them
		}
		var words []string
		for _, o := range []string{"ro", "rw", "nosuid", "nodev", "noexec"} {
			if slices.Contains(options, o) {
				words = append(words, o)
			}
		}
		if writes(at) {
			words = append(words, "written")
		}
		r.Set("mounts", at, strings.Join(words, " "))
	}
	for _, at := range []string{"/tmp", "/dev/shm"} {
		var s unix.Statfs_t
		if unix.Statfs(at, &s) == nil && s.Type == unix.TMPFS_MAGIC {
			r.Set("limits", "bytes of "+at, strconv.FormatInt(int64(s.Blocks)*s.Bsize, 10))
		} else {
			r.Set("limits", "bytes of "+at, "those of the root")
		}
	}
}

// writes tries to write to a file, or to make one in a directory.
func writes(at string) bool {
	if st, err := os.Stat(at); err != nil || !st.IsDir() {
		f, err := os.OpenFile(at, os.O_WRONLY, 0)
		if err == nil {
			_ = f.Close()
		}
		return err == nil
	}
	f, err := os.CreateTemp(at, ".probe-*")
	if err != nil {
		return false
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	return true
}

// Paths that show the machine or change it, whether or not this kernel has them.
var (
	secret = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/bpf", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
	}
	fixed = []string{
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern",
		"/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/drop_caches",
		"/sys/kernel/mm", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent", "/sys/module", "/sys/power/state",
	}
)

// hidden tries to read what shows the machine, and to write what changes it.
func hidden(r probe.Report) {
	for _, at := range secret {
		word := "hidden"
		if shows(at) {
			word = "shown"
		}
		r.Add("proc and sys", word, at)
	}
	for _, at := range fixed {
		word := "not written"
		if _, err := os.Stat(at); err == nil && writes(at) {
			word = "written"
		}
		r.Add("proc and sys", word, at)
	}
	// Whatever else there is: a process's own files are its own.
	for _, root := range []string{"/proc", "/sys"} {
		_ = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // what can't be listed isn't written
			}
			name := strings.TrimPrefix(at, "/proc/")
			if d.IsDir() && name != at && name[0] >= '0' && name[0] <= '9' {
				return fs.SkipDir
			}
			// What is masked is a device that swallows all.
			if st, err := os.Stat(at); err == nil && st.Mode().IsRegular() && unix.Access(at, unix.W_OK) == nil {
				r.Add("proc and sys", "written", at)
			}
			return nil
		})
	}
}

// shows reports whether there is anything to see.
func shows(at string) bool {
	st, err := os.Stat(at)
	if err != nil {
		return false
	}
	if st.IsDir() {
		all, err := os.ReadDir(at)
		return err == nil && len(all) > 0
	}
	f, err := os.OpenFile(at, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 64))
	return n > 0 || err != nil && strings.Contains(err.Error(), "unavailable")
}

// Devices that give away the machine, and those that every program may expect.
var (
	dangerous = strings.Fields(`autofs btrfs-control bus/usb cpu_dma_latency dri fuse hpet hwrng input kmem kmsg kvm loop-control loop0
		mapper/control mem mcelog net/tun nvme0 nvram port ppp rtc0 sda sg0 snd tty0 ttyS0 uinput userfaultfd vda vfio/vfio
		vhost-net vhost-vsock vsock watchdog`)
	usual = strings.Fields("console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero")
)

func devices(r probe.Report) {
	for _, name := range dangerous {
		r.Add("devices", opens(filepath.Join("/dev", name)), name)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		r.Add("devices", opens(filepath.Join("/dev", name)), name)
	}
	r.Add("devices", opens("/device"), "of-the-image")
	all, _ := os.ReadDir("/dev")
	for _, e := range all {
		if !slices.Contains(usual, e.Name()) && !slices.Contains(dangerous, e.Name()) {
			r.Add("devices", "others", e.Name())
		}
	}
}

func opens(at string) string {
	if _, err := os.Stat(at); err != nil {
		return probe.Absent
	}
	f, err := os.OpenFile(at, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return probe.Refused
	}
	_ = f.Close()
	return "opened"
}
