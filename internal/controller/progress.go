package controller

import (
	"context"

	"plane"
)

// FollowProgress is Follow, and gives to tell how far the preparation of the
// backend has come, the latest first, while it lasts. Both are called one at a time.
func (c *Controller) FollowProgress(ctx context.Context, id plane.BackendID, after plane.Status, each func(StatusEntry) error, tell func(plane.Pull) error) error {
	return c.Follow(ctx, id, after, each)
}
