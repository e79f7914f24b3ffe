package means

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const stateZombie = 5

func ofKinfo(k *unix.KinfoProc) Proc {
	pid := int(k.Proc.P_pid)
	session, err := unix.Getsid(pid)
	if err != nil {
		session = 0
	}
	t := k.Proc.P_starttime
	return Proc{
		Pid: pid, Parent: int(k.Eproc.Ppid), Group: int(k.Eproc.Pgid), Session: session,
		Start: uint64(t.Sec)*1e6 + uint64(t.Usec), Zombie: k.Proc.P_stat == stateZombie,
	}
}

func readProc(pid int) (Proc, bool) {
	if pid <= 0 {
		return Proc{}, false
	}
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(k.Proc.P_pid) != pid {
		return Proc{}, false
	}
	return ofKinfo(k), true
}

func listProcs() []Proc {
	ks, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil
	}
	all := make([]Proc, 0, len(ks))
	for i := range ks {
		all = append(all, ofKinfo(&ks[i]))
	}
	return all
}

// environ is what follows the arguments in kern.procargs2: argc, path, padding,
// argv, environment.
func environ(pid int) []byte {
	raw, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(raw) < 4 {
		return nil
	}
	argc := int(binary.NativeEndian.Uint32(raw))
	raw = raw[4:]
	i := bytes.IndexByte(raw, 0)
	if i < 0 {
		return nil
	}
	raw = bytes.TrimLeft(raw[i:], "\x00")
	for range argc {
		i := bytes.IndexByte(raw, 0)
		if i < 0 {
			return nil
		}
		raw = raw[i+1:]
	}
	return raw
}
