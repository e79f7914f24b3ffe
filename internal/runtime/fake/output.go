package fake

import (
	"context"
	"io"
	"strings"
	"sync"
)

// output is what a backend wrote, kept whole.
type output struct {
	mu     sync.Mutex // guards the fields below
	text   string
	ended  bool
	change chan struct{} // closed at the next change
}

func (o *output) write(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text += s
	o.wakeLocked()
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.wakeLocked()
}

func (o *output) wakeLocked() {
	if o.change != nil {
		close(o.change)
		o.change = nil
	}
}

// after gives what was written behind offset, and a channel that is closed
// when there is more; nil if there won't be.
func (o *output) after(offset int) (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return o.text[offset:], nil
	}
	if o.change == nil {
		o.change = make(chan struct{})
	}
	return o.text[offset:], o.change
}

func (o *output) reader(ctx context.Context, tail int, follow bool) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	text, _ := o.after(0)
	from := 0
	if tail > 0 {
		lines := strings.SplitAfter(text, "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		from = len(strings.Join(lines[:max(0, len(lines)-tail)], ""))
	}
	r := &reader{output: o, done: ctx.Done(), cancel: cancel, from: from, to: len(text)}
	if follow {
		r.to = -1
	}
	return r
}

type reader struct {
	output   *output
	done     <-chan struct{} // of the Output call, or closed
	cancel   context.CancelFunc
	from, to int // to < 0: until it ends
}

func (r *reader) Read(b []byte) (int, error) {
	for {
		text, more := r.output.after(r.from)
		if r.to >= 0 {
			text, more = text[:r.to-r.from], nil
		}
		if len(text) > 0 {
			n := copy(b, text)
			r.from += n
			return n, nil
		}
		if more == nil {
			return 0, io.EOF
		}
		select {
		case <-more:
		case <-r.done:
			return 0, io.ErrClosedPipe
		}
	}
}

func (r *reader) Close() error {
	r.cancel()
	return nil
}
