package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
)

func lookAtCgroups(root, name string) cgroupLook {
	var c cgroupLook
	unified := ""
	for _, dir := range []string{root, root + "/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			unified = dir
			break
		}
	}
	var v1 []string
	for _, controller := range []string{"memory", "cpu", "pids"} {
		dir := filepath.Join(root, controller)
		if _, err := os.Stat(filepath.Join(dir, "tasks")); err == nil { // only version 1 has it
			v1 = append(v1, controller)
			if unix.Access(dir, unix.W_OK) == nil {
				continue
			}
		} else if unified != "" && gives(unified, controller) {
			continue
		}
		c.missing = append(c.missing, controller)
	}
	switch {
	case unified != "" && len(v1) > 0:
		c.version = "v2, limits by v1"
	case unified != "":
		c.version = "v2"
	case len(v1) > 0:
		c.version = "v1"
		return c // membership and killing need v2
	default:
		return c
	}
	m := means.New("doctor-"+name, slog.New(slog.DiscardHandler))
	c.writable = m.Cgroups()
	m.Tidy()
	return c
}

func gives(dir, controller string) bool {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	return slices.Contains(strings.Fields(string(b)), controller)
}

// unsynchronised reports whether the kernel knows of no time service.
func unsynchronised() bool {
	const errorBit = 0x40 // STA_UNSYNC
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&errorBit != 0
}
