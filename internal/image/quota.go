package image

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// errQuota: an image doesn't fit below the quota, though all was removed that may be.
var errQuota = errors.New("over the quota")

// room gives how many bytes the store may take more, after removing what is
// unused until there is place for need.
func (s *Store) room(ctx context.Context, need int64) (int64, error) {
	if free := s.quota - s.Size(); free >= need {
		return free, nil
	}
	if err := s.clear(ctx, 0, need); err != nil {
		return 0, err
	}
	free := s.quota - s.Size()
	if free >= need {
		return free, nil
	}
	return 0, fmt.Errorf("the image doesn't fit below the quota of this machine's images (--image-quota %d bytes), of which backends and images pulled just now take %d; raise it, or choose a smaller image: %w", s.quota, s.Size(), errQuota)
}

// allowance counts what one layer takes, against the quota.
type allowance struct {
	s          *Store
	ctx        context.Context //nolint:containedctx // of one unpacking
	used, room int64
}

// take counts n bytes more.
func (a *allowance) take(n int64) (err error) {
	a.used += n
	if a.s.quota == 0 || a.used <= a.room {
		return nil
	}
	a.room, err = a.s.room(a.ctx, a.used)
	return err
}

// noSpace reports an error for which the remedy is more space.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, errQuota)
}

// tidy removes at once what no image needs: a pull has failed for lack of space.
func (s *Store) tidy(ctx context.Context) {
	if err := s.alone(context.WithoutCancel(ctx), s.collect); err != nil {
		s.log.Warn("what a failed pull left isn't removed yet", "error", err)
	}
}
