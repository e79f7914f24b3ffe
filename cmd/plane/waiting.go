package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/client"
	"plane/internal/wait"
)

// waiting is a connect that waits until its backend is ready. A controller
// waits but for a while; while the preparation comes on (a large image is
// pulled), it is asked again. Meanwhile line shows how far it is.
type waiting struct {
	client   *client.Client
	line     *progressLine
	patience time.Duration // how long the preparation may stand still
	connect  func(context.Context, client.ConnectRequest) (client.ConnectResponse, error)

	moved atomic.Int64 // when it last came on, in Unix nanoseconds
}

// standstill is how long a controller waits if it isn't told.
const standstill = time.Minute

const (
	lookAfter = 300 * time.Millisecond // what is ready sooner is not looked at
	lookEvery = time.Second
)

func (w *waiting) until(ctx context.Context, req client.ConnectRequest) (client.ConnectResponse, error) {
	if req.Wait == "" || req.Key == nil {
		return w.connect(ctx, req)
	}
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { w.watch(watching, *req.Key) })
	defer w.line.clear()
	defer watch.Wait()
	defer stop()
	for {
		asked := time.Now()
		got, err := w.connect(ctx, req)
		waited := time.Since(asked) >= w.patience/2 // else it is about something else
		if !plane.IsKind(err, plane.Unavailable) || !waited || time.Since(time.Unix(0, w.moved.Load())) > w.patience {
			return got, err
		}
	}
}

// watch follows the preparation of the key's backend, and of the next one if
// that ends.
func (w *waiting) watch(ctx context.Context, k plane.Key) {
	for pause := lookAfter; wait.For(ctx, pause); pause = lookEvery {
		why, err := w.client.Explain(ctx, k.Namespace, k.Name)
		var no *client.Failure
		if errors.As(err, &no) && no.Err.Status < 500 {
			return // this API key may not look
		}
		if err != nil || why.Now == nil || why.Now.Backend.Status.Order() >= plane.Ready.Order() {
			continue
		}
		_ = w.client.FollowProgress(ctx, why.Now.Backend.BackendID, "", func(e client.StatusEntry) error {
			w.moved.Store(time.Now().UnixNano())
			w.line.clear() // of what is over
			if e.Status.Order() >= plane.Ready.Order() {
				return errSettled
			}
			return nil
		}, func(p client.Progress) error {
			w.moved.Store(time.Now().UnixNano())
			w.line.show(k.String() + ": " + progressOf(p))
			return nil
		})
	}
}

var errSettled = errors.New("nothing is prepared any more")
