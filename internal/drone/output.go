package drone

import (
	"bufio"
	"context"
	"io"
	"strings"
	"time"

	"plane"
	"plane/internal/runtime"
)

const (
	lastOutput     = 300 * time.Millisecond // wait for the last lines of an ended backend
	lastLines      = 20                     // of an exit's record
	lastLinesBytes = 4 << 10
	maxShownLine   = 16 << 10
)

// follow shows the output of the backend to the observer, line by line.
func (r *runner) follow(ctx context.Context, tail int) {
	l, ok := r.runtime.(runtime.Logger)
	if !ok || r.Observer == nil {
		return
	}
	done := make(chan struct{})
	r.followed = done
	r.helpers.Go(func() {
		defer close(done)
		out, err := l.Output(ctx, r.id, tail, true)
		if err != nil {
			if ctx.Err() == nil {
				r.log.Warn("output can't be followed", "error", err)
			}
			return
		}
		defer func() { _ = out.Close() }()
		for in := bufio.NewReaderSize(out, maxShownLine); ; {
			line, err := in.ReadSlice('\n')
			if len(line) > 0 {
				r.show(Moment{Kind: MomentOutput, Line: strings.TrimRight(string(line), "\r\n")})
			}
			if err != nil && err != bufio.ErrBufferFull {
				return
			}
		}
	})
}

// lastWords adds the backend's last output to the record of an end that nobody
// asked for, unless the runtime has done so.
func (r *runner) lastWords(ctx context.Context, exit plane.Exit) plane.Exit {
	l, ok := r.runtime.(runtime.Logger)
	if !ok || exit.Output != "" || r.now.Load().state.Status.Ending() {
		return exit
	}
	ctx, cancel := context.WithTimeout(ctx, lastOutput)
	defer cancel()
	out, err := l.Output(ctx, r.id, lastLines, false)
	if err != nil {
		return exit
	}
	defer func() { _ = out.Close() }()
	b, _ := io.ReadAll(io.LimitReader(out, 1<<20))
	if len(b) > lastLinesBytes {
		b = b[len(b)-lastLinesBytes:]
	}
	exit.Output = strings.ToValidUTF8(string(b), "�")
	return exit
}
