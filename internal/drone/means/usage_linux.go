package means

import (
	"os"
	"strconv"
	"strings"
	"time"
)

const tick = time.Second / 100 // USER_HZ, the same on every Linux

func procUsage(pid int) Usage {
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return Usage{}
	}
	f := statFields(stat)
	if len(f) < 15 {
		return Usage{}
	}
	var u Usage
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, and those of children waited for
		n, _ := strconv.ParseInt(string(f[i]), 10, 64)
		u.CPU += time.Duration(n) * tick
	}
	statm, _ := os.ReadFile(procFile(pid, "statm"))
	if words := strings.Fields(string(statm)); len(words) > 2 {
		resident, _ := strconv.ParseInt(words[1], 10, 64)
		shared, _ := strconv.ParseInt(words[2], 10, 64)
		u.Memory = (resident - shared) * int64(os.Getpagesize())
	}
	return u
}
