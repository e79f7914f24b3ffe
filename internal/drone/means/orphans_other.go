//go:build !linux

package means

import "context"

func becomeSubreaper() {}

// Run has nothing to do: orphans are the init process's here.
func (o *Orphans) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
