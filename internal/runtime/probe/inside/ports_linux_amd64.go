package main

import "golang.org/x/sys/unix"

// ports tries the calls that give the machine's input and output to a program.
func ports(name string) string {
	number, level := uintptr(unix.SYS_IOPL), uintptr(4) // there is none above 3
	if name == "ioperm" {
		number, level = unix.SYS_IOPERM, 1<<20
	}
	_, _, errno := unix.RawSyscall(number, level, 1, 0)
	return word(errno)
}
