package line

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"plane/internal/runtime"
)

// streams are the input and output of a command: pipes, or a terminal.
type streams struct {
	c        runtime.Command
	theirs   []*os.File // the command's ends, until it has started
	outputs  []output
	input    *os.File // where its input is written; nil = it has none, or a terminal
	terminal *os.File // ours, of both
	copying  sync.WaitGroup
}

type output struct {
	from *os.File
	to   io.Writer
}

// EndOfInput is the key that ends the input of a program in a terminal.
const EndOfInput = 4

// adopt takes over a terminal; nil is none.
func (s *streams) adopt(terminal *os.File) {
	if terminal == nil {
		return
	}
	s.terminal = terminal
	s.resize(runtime.Size{Rows: s.c.Rows, Cols: s.c.Cols})
	out := s.c.Stdout
	if out == nil {
		out = io.Discard
	}
	s.outputs = append(s.outputs, output{from: terminal, to: out})
}

func (s *streams) resize(size runtime.Size) {
	if s.terminal == nil || size.Rows == 0 || size.Cols == 0 {
		return
	}
	raw, err := s.terminal.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
}

// started lets go of what is the command's now.
func (s *streams) started() {
	for _, f := range s.theirs {
		_ = f.Close()
	}
	s.theirs = nil
}

func (s *streams) close() {
	s.started()
	for _, o := range s.outputs {
		_ = o.from.Close()
	}
	if s.input != nil {
		_ = s.input.Close()
	}
	s.copying.Wait()
}

// converse passes on input, output and sizes until the command has ended.
func (s *streams) converse(ended <-chan struct{}) {
	for _, o := range s.outputs {
		s.copying.Go(o.pass)
	}
	if s.c.Stdin != nil {
		go s.feed() // until its reader ends, or the command has: nothing else can end a Read
	}
	sizes := s.c.Resize
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				sizes = nil
			}
			s.resize(size)
		case <-ended:
			return
		}
	}
}

func (s *streams) feed() {
	switch {
	case s.terminal != nil:
		if _, err := io.Copy(s.terminal, s.c.Stdin); err == nil {
			_, _ = s.terminal.Write([]byte{EndOfInput})
		}
	case s.input != nil:
		_, _ = io.Copy(s.input, s.c.Stdin)
		_ = s.input.Close()
	}
}

// finish passes on what is still in the pipes, once nothing of the command is
// left. Somebody else may hold them open: there is no waiting for an end of file.
func (s *streams) finish() {
	for _, o := range s.outputs {
		if o.from.SetReadDeadline(time.Unix(1, 0)) != nil {
			_ = o.from.Close()
		}
	}
	s.copying.Wait()
}

// pass copies to the end, or until the deadline of finish and then what is
// there. If nobody takes it any more, the command finds its output closed.
func (o output) pass() {
	defer o.from.Close()
	buf := make([]byte, 32<<10)
	for read := o.from.Read; ; {
		n, err := read(buf)
		if n > 0 {
			if _, err := o.to.Write(buf[:n]); err != nil {
				return
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && o.from.SetReadDeadline(time.Time{}) == nil:
			read = o.atOnce
		case err != nil:
			return
		}
	}
}

// atOnce reads what is there, and doesn't wait.
func (o output) atOnce(p []byte) (n int, err error) {
	raw, err := o.from.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for {
			if n, failed = syscall.Read(int(fd), p); !errors.Is(failed, syscall.EINTR) {
				return true
			}
		}
	})
	if n <= 0 && failed == nil {
		failed = io.EOF
	}
	return max(n, 0), errors.Join(err, failed)
}
