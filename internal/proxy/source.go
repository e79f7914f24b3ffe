package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

const (
	smallBuffer = 8 << 10
	largeBuffer = 64 << 10
	maxHead     = 64 << 10 // bytes of a request's or response's head
)

var errHeadTooLong = errors.New("head too long")

var smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}

var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

func putBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}

// source reads a connection. It holds a buffer only while there is something
// in it or something to be read, so that idle connections cost none.
type source struct {
	conn   net.Conn
	raw    syscall.RawConn // nil where the bytes of conn aren't those of a descriptor
	buf    []byte
	r, w   int
	filled bool // the last read filled the buffer: more is likely waiting

	peeked bool // first was taken from conn before its turn
	first  byte

	waiting func()       // called before a read that may wait, or nil
	late    func() error // called when a read's deadline passed; nil error = read on

	read func(uintptr) bool // readLazily's, made once
	n    int
	err  error
}

func (s *source) open(c net.Conn) {
	*s = source{conn: c}
	if sc, ok := c.(*net.TCPConn); ok {
		s.raw, _ = sc.SyscallConn()
	}
}

func (s *source) buffered() int {
	n := s.w - s.r
	if s.peeked {
		n++
	}
	return n
}

// release gives the buffer back if it is empty.
func (s *source) release() {
	if s.r == s.w && s.buf != nil {
		putBuffer(s.buf)
		s.buf, s.r, s.w, s.filled = nil, 0, 0, false
	}
}

// fill reads at least one byte more.
func (s *source) fill() error {
	s.makeRoom()
	if s.peeked {
		if s.buf == nil {
			s.buf = smallBuffers.Get().(*[smallBuffer]byte)[:]
		}
		s.buf[s.w], s.peeked = s.first, false
		s.w++
		return nil
	}
	if s.waiting != nil {
		s.waiting()
	}
	for {
		n, err := s.readSome()
		if n > 0 {
			s.w += n
			s.filled = s.w == len(s.buf)
			return nil
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		if s.late == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := s.late(); err != nil {
			return err
		}
	}
}

func (s *source) makeRoom() {
	if s.buf == nil {
		return
	}
	if s.r == s.w {
		s.r, s.w = 0, 0
		if s.filled && len(s.buf) < largeBuffer {
			putBuffer(s.buf)
			s.buf = largeBuffers.Get().(*[largeBuffer]byte)[:]
		}
		return
	}
	if s.w < len(s.buf) {
		return
	}
	if s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
		return
	}
	bigger := make([]byte, 2*len(s.buf))
	if len(s.buf) < largeBuffer {
		bigger = largeBuffers.Get().(*[largeBuffer]byte)[:]
	}
	copy(bigger, s.buf)
	putBuffer(s.buf)
	s.buf = bigger
}

func (s *source) readSome() (int, error) {
	if s.buf != nil {
		return s.conn.Read(s.buf[s.w:])
	}
	if s.raw == nil {
		s.buf = smallBuffers.Get().(*[smallBuffer]byte)[:]
		return s.conn.Read(s.buf)
	}
	return s.readLazily()
}

// readLazily takes a buffer only once the descriptor has something to read.
func (s *source) readLazily() (int, error) {
	if s.read == nil {
		s.read = func(fd uintptr) bool {
			b := smallBuffers.Get().(*[smallBuffer]byte)
			for {
				s.n, s.err = syscall.Read(int(fd), b[:])
				if s.err != syscall.EINTR {
					break
				}
			}
			if s.n <= 0 {
				smallBuffers.Put(b)
				return s.err != syscall.EAGAIN
			}
			s.buf, s.r, s.w = b[:], 0, 0
			return true
		}
	}
	s.n, s.err = 0, nil
	if err := s.raw.Read(s.read); err != nil {
		return 0, err
	}
	switch {
	case s.n > 0:
		return s.n, nil
	case s.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Addr: s.conn.RemoteAddr(), Err: os.NewSyscallError("read", s.err)}
	}
	return 0, io.EOF
}

// head takes a message's head, the blank line included. begun is called when a
// head has begun to arrive and isn't complete. Nothing at all gives io.EOF.
func (s *source) head(begun func()) (string, error) {
	scanned := 0
	for {
		for scanned == 0 && s.r < s.w && (s.buf[s.r] == '\r' || s.buf[s.r] == '\n') {
			s.r++ // empty lines before a head mean nothing
		}
		data := s.buf[s.r:s.w]
		if end := headEnd(data, scanned); end > 0 {
			text := string(data[:end])
			s.r += end
			return text, nil
		}
		scanned = max(0, len(data)-3)
		if len(data) >= maxHead {
			return "", errHeadTooLong
		}
		if len(data) > 0 && begun != nil {
			begun()
			begun = nil
		}
		if err := s.fill(); err != nil {
			if len(data) > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

// headEnd is where the first blank line at or after from ends, or 0.
func headEnd(data []byte, from int) int {
	for {
		i := bytes.IndexByte(data[from:], '\n')
		if i < 0 {
			return 0
		}
		from += i + 1
		rest := data[from:]
		switch {
		case len(rest) >= 1 && rest[0] == '\n':
			return from + 1
		case len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n':
			return from + 2
		}
	}
}
