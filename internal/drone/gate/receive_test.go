package gate

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"plane"
)

// A gate that is killed while it is asked: the connection is reset, not closed.
func TestAGateThatDiesWhileItIsAskedIsAnError(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "g")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			// Closed with what it was sent unread.
			raw, _ := c.(*net.UnixConn).SyscallConn()
			err = raw.Read(func(fd uintptr) bool {
				var b [1]byte
				_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
				return err == nil
			})
			_ = c.Close()
		}
		served <- err
	}()
	if c, err := dial(t.Context(), plane.GateAddress{Socket: socket, Backend: "b", Port: 1}); err == nil {
		_ = c.Close()
		t.Error("a connection to nothing")
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
