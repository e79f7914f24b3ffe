package docker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"plane"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Output reads what the engine has kept of a container's output. See
// runtime.Logger. It goes on when the engine is restarted.
func (r *Runtime) Output(ctx context.Context, id plane.BackendID, tail int, follow bool) (io.ReadCloser, error) {
	var b warden.Running
	if err := r.Ask(ctx, func(c *warden.Client) (err error) {
		b, err = c.Attach(ctx, id)
		return err
	}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &output{r: r, id: id, follow: follow && b.Exit == nil, ctx: func() context.Context { return ctx }, cancel: cancel}
	err := o.open(tail)
	if errdefs.IsNotFound(err) && b.Exit != nil {
		// The container is gone: what was kept with its end is all there is.
		cancel()
		return io.NopCloser(strings.NewReader(b.Exit.Output)), nil
	}
	if err != nil {
		cancel()
		if errdefs.IsNotFound(err) {
			return nil, runtime.ErrGone
		}
		return nil, r.silent(err)
	}
	return o, nil
}

// output is one reading over as many engines as it takes. The engine puts a
// time before each piece, which tells where to go on.
type output struct {
	r      *Runtime
	id     plane.BackendID
	follow bool
	ctx    func() context.Context // of the whole reading, which Read has none for
	cancel context.CancelFunc

	rest []byte
	last string // the time of the last piece
	same int    // how many pieces had that time
	skip int    // pieces of that time that have been read already

	mu  sync.Mutex // guards cur
	cur io.ReadCloser
}

func (o *output) open(tail int) error {
	ask := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: o.follow, Since: o.last}
	if tail > 0 {
		ask.Tail = strconv.Itoa(tail)
	}
	cur, err := o.r.engine.ContainerLogs(o.ctx(), containerName(o.id), ask)
	if err != nil {
		return err
	}
	o.skip = o.same
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cur = cur
	return nil
}

// Read waits for output.
func (o *output) Read(p []byte) (int, error) {
	for len(o.rest) == 0 {
		err := o.next()
		if err == nil {
			continue
		}
		if o.ctx().Err() != nil {
			return 0, o.ctx().Err()
		}
		if errors.Is(err, io.EOF) && (!o.follow || !o.runs()) {
			return 0, io.EOF
		}
		if err := o.again(); err != nil {
			return 0, err
		}
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

// next reads one piece: a header of eight bytes with its length, a time, text.
func (o *output) next() error {
	var head [8]byte
	if _, err := io.ReadFull(o.cur, head[:]); err != nil {
		return err
	}
	piece := make([]byte, min(binary.BigEndian.Uint32(head[4:]), 1<<20))
	if _, err := io.ReadFull(o.cur, piece); err != nil {
		return err
	}
	at, text, ok := bytes.Cut(piece, []byte(" "))
	if !ok {
		return nil
	}
	switch t := string(at); {
	case o.skip > 0 && t == o.last:
		o.skip--
		return nil
	case t == o.last:
		o.same++
	default:
		o.last, o.same, o.skip = t, 1, 0
	}
	o.rest = text
	return nil
}

// runs asks whether more may come. While the engine doesn't answer it may.
func (o *output) runs() bool {
	c, err := o.r.inspect(o.ctx(), o.id)
	return err != nil && !errdefs.IsNotFound(err) || err == nil && c.State != nil && c.State.Running
}

// again opens the output where it broke, when the engine answers again.
func (o *output) again() error {
	_ = o.cur.Close()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := o.open(0)
		switch {
		case err == nil:
			return nil
		case errdefs.IsNotFound(err):
			return io.EOF
		}
		select {
		case <-o.ctx().Done():
			return o.ctx().Err()
		case <-time.After(pause):
		}
	}
}

// Close ends the reading; a Read that waits returns.
func (o *output) Close() error {
	o.cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cur.Close()
}

// lastLines is the end of the output as it is shown with an exit: at most 20
// lines and 4 KiB.
func (r *Runtime) lastLines(ctx context.Context, id plane.BackendID) string {
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	o := &output{r: r, id: id, ctx: func() context.Context { return ctx }, cancel: cancel}
	if err := o.open(20); err != nil {
		return ""
	}
	defer o.Close()
	const most = 4 << 10
	b, _ := io.ReadAll(io.LimitReader(o, 1<<20))
	b = b[max(0, len(b)-most):]
	return strings.ToValidUTF8(string(bytes.TrimRight(b, "\n")), "\uFFFD")
}
