package means

import (
	"os"
	"strconv"
	"strings"
)

// Traffic is what went in and out of the network namespace of a process, in
// bytes; 0 if that can't be told.
func Traffic(pid int) (received, sent int64) {
	dev, err := os.ReadFile(procFile(pid, "net/dev"))
	if err != nil {
		return 0, 0
	}
	return traffic(string(dev))
}

// traffic reads /proc/PID/net/dev. What comes from the gate goes over the
// namespace's own loopback, which counts every byte, either way, once as
// received and once as sent: here once, as received.
func traffic(dev string) (received, sent int64) {
	for line := range strings.Lines(dev) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 9 {
			continue
		}
		in, _ := strconv.ParseInt(f[0], 10, 64)
		out, _ := strconv.ParseInt(f[8], 10, 64)
		received += in
		if strings.TrimSpace(name) != "lo" {
			sent += out
		}
	}
	return received, sent
}
