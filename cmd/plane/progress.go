package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"plane/client"
)

// progressLine shows how far something has come on one line of a terminal,
// which is gone when it ends. Elsewhere it shows nothing.
type progressLine struct {
	out *os.File // nil = nobody looks

	mu    sync.Mutex // guards shown
	shown bool
}

func newProgressLine(out io.Writer) *progressLine {
	f, ok := out.(*os.File)
	if !ok || !isTerminal(f) {
		return &progressLine{}
	}
	return &progressLine{out: f}
}

func (p *progressLine) show(text string) {
	if p.out == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	width, _, err := term.GetSize(int(p.out.Fd()))
	if err != nil || width <= 1 {
		width = 80
	}
	if r := []rune(cell(text)); len(r) >= width {
		text = string(r[:width-1])
	}
	_, _ = io.WriteString(p.out, "\r"+cell(text)+"\x1b[K")
	p.shown = true
}

// clear removes the line.
func (p *progressLine) clear() {
	if p.out == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		_, _ = io.WriteString(p.out, "\r\x1b[K")
	}
	p.shown = false
}

// progressOf is what a controller tells of a preparation, for people.
func progressOf(p client.Progress) string {
	total := int64(0)
	if p.Total != nil {
		total = *p.Total
	}
	return progressText(p.Text, p.Done, total)
}

// progressText is progress for people; total 0 = not known yet.
func progressText(text string, done, total int64) string {
	switch {
	case total > 0:
		return fmt.Sprintf("%s %3d %%  %s of %s", text, min(done, total)*100/total, bytesText(done), bytesText(total))
	case done > 0:
		return fmt.Sprintf("%s %s", text, bytesText(done))
	}
	return strings.TrimSpace(text)
}
