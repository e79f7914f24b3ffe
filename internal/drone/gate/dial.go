package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/wait"
)

// Dial gives a connection to what an address names, through the gate of its
// drone. While there is none it waits for one, until ctx is done: a drone's
// agent that is replaced is back soon. ErrRefused, ErrGone, ErrShared,
// ErrClosed.
func Dial(ctx context.Context, a plane.GateAddress) (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		c, err := dial(ctx, a)
		if !errors.Is(err, ErrClosed) {
			return c, err
		}
		if !wait.For(ctx, pause) {
			return nil, err
		}
	}
}

// DialAddress dials a route's address: host:port, or that of a gate.
func DialAddress(ctx context.Context, d *net.Dialer, address string) (net.Conn, error) {
	a, ok := plane.ParseGateAddress(address)
	if !ok {
		return d.DialContext(ctx, "tcp", address)
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	return Dial(ctx, a)
}

// DialAddress dials an address of this drone as the function of that name does,
// without the socket.
func (g *Gate) DialAddress(ctx context.Context, d *net.Dialer, address string) (net.Conn, error) {
	a, ok := plane.ParseGateAddress(address)
	if !ok || a.Socket != g.Socket {
		return DialAddress(ctx, d, address)
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	return g.Connect(ctx, a.Backend, a.Port)
}

func dial(ctx context.Context, a plane.GateAddress) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", a.Socket)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClosed, hidden(err))
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	q, err := json.Marshal(ask{a.Backend, a.Port})
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append(q, '\n')); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClosed, hidden(err))
	}
	line, f, err := receive(c.(*net.UnixConn))
	if f != nil {
		defer f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClosed, hidden(err))
	}
	var got answer
	switch err := json.Unmarshal(line, &got); {
	case err != nil:
		return nil, fmt.Errorf("read the gate's answer: %w", err)
	case got.Error != "" && kinds[got.Kind] != nil:
		return nil, kinds[got.Kind]
	case got.Error != "":
		return nil, errors.New(got.Error)
	case f == nil:
		return nil, errors.New("the gate's answer comes without a connection")
	}
	return net.FileConn(f)
}

// receive reads one line and what descriptor comes with it.
func receive(c *net.UnixConn) (line []byte, f *os.File, err error) {
	buf, oob := make([]byte, maxAsk), make([]byte, unix.CmsgSpace(4))
	for {
		n, m, _, _, err := c.ReadMsgUnix(buf[len(line):], oob)
		if m > 0 && f == nil {
			f = descriptor(oob[:m])
		}
		if err != nil { // n is -1 then
			return nil, f, err
		}
		line = buf[:len(line)+n]
		switch {
		case n == 0:
			return nil, f, errors.New("it closed the connection")
		case line[len(line)-1] == '\n':
			return line, f, nil
		case len(line) == len(buf):
			return nil, f, errors.New("its answer is too long")
		}
	}
}

func descriptor(oob []byte) *os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil || len(fds) == 0 {
			continue
		}
		for _, fd := range fds[1:] {
			_ = unix.Close(fd)
		}
		unix.CloseOnExec(fds[0])
		return os.NewFile(uintptr(fds[0]), "backend")
	}
	return nil
}

// hidden is err without the path of the socket.
func hidden(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
