// Package run starts the parts of a process and stops them together.
package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Part is something that works until ctx is done or it fails.
type Part struct {
	Name string // for errors: "proxy"
	// Run blocks until every goroutine it started has ended.
	Run func(ctx context.Context) error
}

// All runs the parts at once. As soon as one returns, with an error or
// without, or ctx is done, the others' context is done; All returns when every
// part has. Its error joins theirs, each behind the part's name; that a part
// was cancelled as asked is no error.
func All(ctx context.Context, parts ...Part) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() {
			defer stop()
			err := p.Run(ctx)
			if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return
			}
			errs[i] = fmt.Errorf("%s: %w", p.Name, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
