package warden

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage bounds a message: arguments and environment are at most 2 MiB on
// any system, and JSON makes them at most six times longer.
const maxMessage = 16 << 20

// conn carries messages and descriptors: four bytes of length, then JSON.
type conn struct {
	c        *net.UnixConn
	patience time.Duration // how long a write may take; a peer that doesn't read is given up

	wmu sync.Mutex

	// The fields below belong to the one reader.
	buf []byte
	fds []int
	oob []byte
}

func newConn(c *net.UnixConn, patience time.Duration) *conn {
	return &conn{c: c, patience: patience, oob: make([]byte, unix.CmsgSpace(4*4))}
}

func (c *conn) close() { _ = c.c.Close() }

// send writes a message; fds stay the caller's. After an error the connection
// is closed, because half a message may have gone out.
func (c *conn) send(m *message, fds ...int) error {
	m.Fds = len(fds)
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	frame = append(frame, body...)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_ = c.c.SetWriteDeadline(time.Now().Add(c.patience))
	n := 0
	if len(fds) > 0 {
		n, _, err = c.c.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
	}
	if err == nil && n < len(frame) {
		_, err = c.c.Write(frame[n:])
	}
	if err != nil {
		c.close()
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// receive reads the next message; its descriptors are the caller's.
func (c *conn) receive() (*message, []int, error) {
	for {
		if len(c.buf) >= 4 {
			n := int(binary.BigEndian.Uint32(c.buf))
			if n > maxMessage {
				return nil, nil, errors.New("receive: message is too long")
			}
			if len(c.buf) >= 4+n {
				m := new(message)
				if err := json.Unmarshal(c.buf[4:4+n], m); err != nil {
					return nil, nil, fmt.Errorf("decode message: %w", err)
				}
				c.buf = append(c.buf[:0], c.buf[4+n:]...)
				if m.Fds > len(c.fds) {
					return nil, nil, errors.New("receive: a descriptor is missing; is the limit of open files reached?")
				}
				fds := c.fds[:m.Fds:m.Fds]
				c.fds = c.fds[m.Fds:]
				return m, fds, nil
			}
		}
		if err := c.fill(); err != nil {
			return nil, nil, err
		}
	}
}

func (c *conn) fill() error {
	part := make([]byte, 4096)
	if len(c.buf) >= 4096 {
		part = make([]byte, 64<<10)
	}
	n, oobn, _, _, err := c.c.ReadMsgUnix(part, c.oob)
	if oobn > 0 {
		msgs, _ := unix.ParseSocketControlMessage(c.oob[:oobn])
		for _, m := range msgs {
			fds, _ := unix.ParseUnixRights(&m)
			c.fds = append(c.fds, fds...)
		}
	}
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if n == 0 {
		return errors.New("receive: connection closed")
	}
	c.buf = append(c.buf, part[:n]...)
	return nil
}

// release closes descriptors that came and were not taken. Only the reader may
// call it, at its end.
func (c *conn) release() {
	closeAll(c.fds)
	c.fds = nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
