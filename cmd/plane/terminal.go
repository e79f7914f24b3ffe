package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// isTerminal reports whether a stream is a terminal: people look at it, or type on it.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Keys as a terminal sends them that isn't asked to make signals of them.
const (
	ctrlC = 3
	ctrlD = 4
)

// screen is a terminal that is drawn on in place. What stood there before
// comes back when it is closed.
type screen struct {
	out  *os.File
	keys chan byte // what is typed; nothing ever comes if nobody can type

	in     *os.File
	before *term.State
}

func openScreen(out *os.File, in io.Reader) (*screen, error) {
	s := &screen{out: out, keys: make(chan byte)}
	if isTerminal(in) {
		s.in = in.(*os.File)
		before, err := term.MakeRaw(int(s.in.Fd()))
		if err != nil {
			return nil, fmt.Errorf("read single keys from the terminal: %w", err)
		}
		s.before = before
		go s.listen() // a read of a terminal can't be cancelled; it ends with the process
	}
	if _, err := io.WriteString(out, "\x1b[?1049h\x1b[?25l"); err != nil { // another screen, no cursor
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *screen) listen() {
	for {
		var b [1]byte
		if n, err := s.in.Read(b[:]); err != nil || n == 0 {
			return
		}
		s.keys <- b[0]
	}
}

func (s *screen) close() {
	_, _ = io.WriteString(s.out, "\x1b[?25h\x1b[?1049l")
	if s.before != nil {
		_ = term.Restore(int(s.in.Fd()), s.before)
	}
}

// draw shows a line and a table, as much of it as there is room for.
func (s *screen) draw(head string, rows [][]string) error {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	var b strings.Builder
	if err := table(&b, rows); err != nil {
		return err
	}
	_, err = io.WriteString(s.out, frame(head, b.String(), width, height))
	return err
}

// frame is what makes a terminal of that size show head and body: each line
// replaces what stood there, so that nothing flickers.
func frame(head, body string, width, height int) string {
	lines := append([]string{head, ""}, strings.Split(strings.TrimRight(body, "\n"), "\n")...)
	if len(lines) > height {
		more := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… and %d more", more))
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines {
		if r := []rune(cell(line)); len(r) > width {
			line = string(r[:width])
		}
		if i == 2 {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\x1b[K")
		if i < len(lines)-1 {
			b.WriteString("\r\n")
		}
	}
	b.WriteString("\x1b[J")
	return b.String()
}
