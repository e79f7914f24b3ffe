package means

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Listening reports whether processes of the backend own a socket that listens
// on port, and whether one of theirs listens on all interfaces. known is false
// where the system doesn't tell.
func (m *Means) Listening(id Identity, port int) (owns, everywhere, known bool, err error) {
	all, err := listeners()
	if err != nil {
		return false, false, false, nil //nolint:nilerr // a system without socket diagnosis doesn't tell
	}
	pids, err := m.Procs(id)
	if err != nil {
		return false, false, false, err
	}
	// A backend without processes owns nothing: whoever listens is a stranger.
	known = true
	for _, pid := range pids {
		dir := procFile(pid, "fd")
		d, err := os.Open(dir)
		if err != nil {
			known = known && !errors.Is(err, fs.ErrPermission)
			continue
		}
		names, _ := d.Readdirnames(-1)
		_ = d.Close()
		for _, n := range names {
			link, err := os.Readlink(filepath.Join(dir, n))
			if err != nil || !strings.HasPrefix(link, "socket:[") {
				continue
			}
			inode, err := strconv.ParseUint(link[len("socket:["):len(link)-1], 10, 32)
			if err != nil {
				continue
			}
			if l, ok := all[uint32(inode)]; ok {
				owns = owns || l.port == port
				everywhere = everywhere || l.everywhere
			}
		}
	}
	return owns, everywhere, known || owns, nil
}

type listener struct {
	port       int
	everywhere bool
}

// The layout of sock_diag(7), and of <linux/inet_diag.h>.
const (
	sockDiagByFamily = 20
	tcpListen        = 10
	diagRequestSize  = 16 + 56
	diagReplySize    = 72
	diagPort         = 4  // of a reply: source port, big endian
	diagAddress      = 8  // source address, 16 bytes
	diagInode        = 68 // machine's byte order
)

// listeners are the TCP sockets of this network namespace that listen, by
// inode. The kernel's table in /proc lists the same, but walks
// every bucket of established connections too, which takes milliseconds.
func listeners() (map[uint32]listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	found := map[uint32]listener{}
	buf := make([]byte, 32<<10)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := unix.Sendto(fd, diagRequest(family), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, err
		}
		for done := false; !done; {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return nil, err
			}
			if done, err = diagReplies(buf[:n], found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func diagRequest(family byte) []byte {
	b := make([]byte, diagRequestSize)
	binary.NativeEndian.PutUint32(b, diagRequestSize)
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[16], b[17] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[20:], 1<<tcpListen)
	return b
}

// diagReplies reads one datagram of answers and reports whether it was the last.
func diagReplies(b []byte, found map[uint32]listener) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false, unix.EBADMSG
		}
		body := b[unix.SizeofNlMsghdr:size]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(body) >= 4 {
				return false, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			}
			return false, unix.EBADMSG
		case sockDiagByFamily:
			if len(body) >= diagReplySize {
				address := strings.Trim(string(body[diagAddress:diagAddress+16]), "\x00")
				found[binary.NativeEndian.Uint32(body[diagInode:])] = listener{
					port:       int(binary.BigEndian.Uint16(body[diagPort:])),
					everywhere: address == "",
				}
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return false, nil
}
