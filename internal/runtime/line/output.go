package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"plane"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Output reads what a backend wrote. See runtime.Logger. It goes on when the
// warden is replaced.
func (l *Line) Output(ctx context.Context, id plane.BackendID, tail int, follow bool) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &outputReader{line: l, id: id, follow: follow, ctx: func() context.Context { return ctx }, cancel: cancel}
	if err := o.open(tail, -1); err != nil {
		cancel()
		return nil, err
	}
	return o, nil
}

// outputReader is one reading of output over as many wardens as it takes.
type outputReader struct {
	line   *Line
	id     plane.BackendID
	follow bool
	ctx    func() context.Context // of the whole reading, which Read has none for
	cancel context.CancelFunc

	mu  sync.Mutex // guards cur
	cur *warden.OutputReader
}

func (o *outputReader) open(tail int, from int64) error {
	return o.line.Ask(o.ctx(), func(*warden.Client) error {
		cur, err := warden.Output(o.ctx(), o.line.home, o.id, tail, o.follow, from)
		if err != nil && !errors.Is(err, warden.ErrGone) {
			return fmt.Errorf("%w: %w", warden.ErrLost, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.cur = cur
		return err
	})
}

func (o *outputReader) Read(p []byte) (int, error) {
	for {
		o.mu.Lock()
		cur := o.cur
		o.mu.Unlock()
		n, err := cur.Read(p)
		if n > 0 || !errors.Is(err, warden.ErrLost) {
			return n, err
		}
		if o.ctx().Err() != nil {
			return 0, o.ctx().Err()
		}
		_ = cur.Close()
		if err := o.open(0, cur.Offset()); err != nil {
			if errors.Is(err, runtime.ErrGone) {
				return 0, io.EOF
			}
			return 0, err
		}
	}
}

// Close ends the reading.
func (o *outputReader) Close() error {
	o.cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cur.Close()
}
