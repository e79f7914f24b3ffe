package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"plane/client"
)

// column is one figure of backends. It is shown where any backend has it: a
// column of dashes tells nobody anything.
type column struct {
	head  string
	value func(client.Backend) int64
	text  func(int64) string
}

// furtherColumns are what backends use beside CPU and memory.
var furtherColumns = []column{
	{"PROCS", func(b client.Backend) int64 { return b.Pids }, func(n int64) string { return strconv.FormatInt(n, 10) }},
	{"IN", func(b client.Backend) int64 { return b.Received }, bytesText},
	{"OUT", func(b client.Backend) int64 { return b.Sent }, bytesText},
	{"DISK", diskOf, bytesText},
}

// diskOf is what a backend has written: into its own files and its data.
func diskOf(b client.Backend) int64 { return b.Disk + b.Data }

// columnsOf are the further columns that some of these backends fill.
func columnsOf(all []client.Backend) []column {
	var out []column
	for _, c := range furtherColumns {
		for _, b := range all {
			if c.value(b) != 0 {
				out = append(out, c)
				break
			}
		}
	}
	return out
}

func heads(columns []column) []string {
	var out []string
	for _, c := range columns {
		out = append(out, c.head)
	}
	return out
}

func cells(columns []column, b client.Backend) []string {
	var out []string
	for _, c := range columns {
		text := "-"
		if n := c.value(b); n != 0 {
			text = c.text(n)
		}
		out = append(out, text)
	}
	return out
}

// usesText is what a backend uses, in one line; "" before it was measured.
func usesText(b client.Backend) string {
	if b.CPUMS == 0 && b.MemoryBytes == 0 {
		return ""
	}
	parts := []string{
		bytesText(b.MemoryBytes) + " of memory",
		age(time.Duration(b.CPUMS)*time.Millisecond) + " of CPU so far",
	}
	if b.Pids > 0 {
		parts = append(parts, processesText(b.Pids))
	}
	if n := diskOf(b); n > 0 {
		parts = append(parts, bytesText(n)+" of disk")
	}
	if text := trafficText(b); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func processesText(n int64) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}

// trafficText is what went over a backend's network; "" if nothing is known.
func trafficText(b client.Backend) string {
	if b.Received == 0 && b.Sent == 0 {
		return ""
	}
	return fmt.Sprintf("%s in and %s out", bytesText(b.Received), bytesText(b.Sent))
}

// hostCells are the figures of a drone's machine: CPU, memory, disk.
func hostCells(h *client.Host) []string {
	if h == nil {
		return []string{"-", "-", "-"}
	}
	return []string{
		fmt.Sprintf("%.0f %% of %s", h.CPUPercent, plural(h.CPUs, "CPU")), ofText(h.MemoryUsed, h.Memory), ofText(h.DiskUsed, h.Disk),
	}
}

func ofText(used, all int64) string {
	if all == 0 {
		return "-"
	}
	return bytesText(used) + " of " + bytesText(all)
}
