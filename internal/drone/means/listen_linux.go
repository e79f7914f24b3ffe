package means

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listening reports whether processes of the backend own a socket that listens
// on port, and whether one of theirs listens on all interfaces. known is false
// where the system doesn't tell.
func (m *Means) Listening(id Identity, port int) (owns, everywhere, known bool, err error) {
	pids, err := m.Procs(id)
	if err != nil || len(pids) == 0 {
		return false, false, false, err
	}
	listening := map[string]listener{} // by inode
	for _, f := range []string{"net/tcp", "net/tcp6"} {
		readListeners(procFile(pids[0], f), listening)
	}
	for _, pid := range pids {
		dir := procFile(pid, "fd")
		d, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(-1)
		_ = d.Close()
		known = known || len(names) > 0
		for _, n := range names {
			link, err := os.Readlink(filepath.Join(dir, n))
			if err != nil || !strings.HasPrefix(link, "socket:[") {
				continue
			}
			if l, ok := listening[link[len("socket:["):len(link)-1]]; ok {
				owns = owns || l.port == port
				everywhere = everywhere || l.everywhere
			}
		}
	}
	return owns, everywhere, known, nil
}

type listener struct {
	port       int
	everywhere bool
}

const stateListen = "0A"

// readListeners reads the head of the file: the kernel lists listening sockets
// first.
func readListeners(file string, into map[string]listener) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		w := strings.Fields(s.Text())
		if len(w) < 10 || w[0] == "sl" {
			continue
		}
		if w[3] != stateListen {
			return
		}
		host, hex, _ := strings.Cut(w[1], ":")
		port, err := strconv.ParseInt(hex, 16, 32)
		if err == nil {
			into[w[9]] = listener{int(port), strings.Trim(host, "0") == ""}
		}
	}
}
