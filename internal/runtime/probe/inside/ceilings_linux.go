package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// fork starts processes until no more can be, and tells how many there were.
// They end with it. A machine that doesn't refuse is spared.
func fork() {
	n := 0
	for ; n < 200; n++ {
		c := exec.Command("/proc/self/exe", "pause")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if err := c.Start(); err != nil {
			fmt.Println(n, errors.Is(err, unix.EAGAIN))
			return
		}
		defer c.Process.Kill() //nolint:errcheck // it may have ended
	}
	fmt.Println(n, false)
}

// remember takes memory until it is killed.
func remember() {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = byte(i)
		}
		all = append(all, b)
		if len(all) > 4096 {
			fail("there is no end")
		}
	}
}

// open opens files until no more can be.
func open() {
	for n := 0; ; n++ {
		if _, err := unix.Open("/proc/self/exe", unix.O_RDONLY, 0); err != nil {
			fmt.Println(n, errors.Is(err, unix.EMFILE))
			return
		}
	}
}

// fill writes a file until there is no room.
func fill(path string) {
	f, err := os.Create(path)
	if err != nil {
		fail("%v", err)
	}
	b := make([]byte, 1<<20)
	for n := 0; ; {
		did, err := f.Write(b)
		n += did
		if err != nil || n > 1<<30 {
			_ = os.Remove(path)
			fmt.Println(n, errors.Is(err, unix.ENOSPC))
			return
		}
	}
}

// flood writes that many MiB of lines to its output.
func flood(mib string) {
	most, err := strconv.Atoi(mib)
	if err != nil {
		fail("%v", err)
	}
	w := bufio.NewWriterSize(os.Stdout, 64<<10)
	line := make([]byte, 127)
	for i := range line {
		line[i] = 'x'
	}
	line = append(line, '\n')
	for range most << 20 / len(line) {
		if _, err := w.Write(line); err != nil {
			fail("%v", err)
		}
	}
	_ = w.Flush()
}
