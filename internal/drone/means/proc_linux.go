package means

import (
	"bytes"
	"os"
	"strconv"
)

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

func readProc(pid int) (Proc, bool) {
	if pid <= 0 {
		return Proc{}, false
	}
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return Proc{}, false
	}
	f := statFields(stat)
	if len(f) < 20 {
		return Proc{}, false
	}
	num := func(i int) int { n, _ := strconv.Atoi(string(f[i])); return n }
	start, _ := strconv.ParseUint(string(f[19]), 10, 64)
	return Proc{
		Pid: pid, Parent: num(1), Group: num(2), Session: num(3), Start: start,
		Zombie: f[0][0] == 'Z' || f[0][0] == 'X',
	}, true
}

// statFields are the fields after the name, which may itself contain spaces and
// brackets: state, ppid, pgrp, session, …
func statFields(stat []byte) [][]byte {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return nil
	}
	return bytes.Fields(stat[i+1:])
}

func listProcs() []Proc {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var all []Proc
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			if p, ok := readProc(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

func environ(pid int) []byte {
	env, _ := os.ReadFile(procFile(pid, "environ"))
	return env
}
