package docker

import (
	"context"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/wait"
)

// Prune removes what is of this drone and of no use: containers that the warden
// doesn't know, and, if the operator wants that, images that were pulled from
// here and that no container has. See Options.PruneAge. A container of ours
// that runs, or is paused, and isn't known is ended at once.
func (r *Runtime) Prune(ctx context.Context) error {
	ours := client.Filters{}.Add("label", labelBackend, labelDrone+"="+r.o.Home.Hash())
	list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return r.silent(err)
	}
	// Asked after the list: a container that is made meanwhile has been known before.
	known, err := r.Held(ctx, plane.RuntimeDocker)
	if err != nil {
		return err
	}
	keep := map[plane.BackendID]bool{}
	for _, b := range known {
		keep[b.Backend] = true
	}
	for _, c := range list.Items {
		// Of several: others link to it under names of their own.
		if slices.ContainsFunc(c.Names, func(name string) bool { id, named := backendOf(name); return named && keep[id] }) {
			continue
		}
		lives := c.State != container.StateExited && c.State != container.StateCreated && c.State != container.StateDead
		if !lives && time.Since(time.Unix(c.Created, 0)) < r.o.PruneAge {
			continue
		}
		if err := r.remove(ctx, c.ID); err != nil && !gone(err) {
			r.log.Warn("a container can't be removed", "container", c.ID, "error", err)
		}
	}
	if !r.o.AutoPruneImages {
		return nil
	}
	return r.pruneImages(ctx)
}

// freshImage is how long an image is kept that was asked for: its container may
// not have been made yet.
const freshImage = 10 * time.Minute

// pruneImages removes images that are idle for too long and, while the disk is
// nearly full, others that are idle, the longest idle first.
func (r *Runtime) pruneImages(ctx context.Context) error {
	now := time.Now()
	idle := r.images.idle(now.Add(-freshImage))
	if len(idle) == 0 {
		return nil
	}
	list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return r.silent(err)
	}
	used := map[string]bool{}
	for _, c := range list.Items {
		used[c.ImageID] = true
	}
	for _, image := range idle {
		if now.Sub(image.at) < r.o.PruneAge && !r.scarce(ctx) {
			break
		}
		found, err := r.engine.ImageInspect(ctx, image.name)
		if err == nil && (used[found.ID] || image.untagged() && len(found.RepoTags) > 0) {
			continue
		}
		if err == nil {
			// Of an image with other names only this one goes; without force the
			// engine refuses where a container, or an image made of it, needs it.
			_, err = r.engine.ImageRemove(ctx, image.name, client.ImageRemoveOptions{PruneChildren: true})
		}
		if err == nil {
			r.log.Info("an image that nobody uses is removed", "image", image.name, "last_used", image.at)
		}
		if err == nil || errdefs.IsNotFound(err) {
			r.images.drop(image.name)
		}
	}
	return nil
}

// scarce reports whether less than a tenth of the engine's disk is free.
func (r *Runtime) scarce(ctx context.Context) bool {
	res, err := r.engine.Info(ctx, client.InfoOptions{})
	if err != nil {
		return false
	}
	var st unix.Statfs_t
	if err := unix.Statfs(res.Info.DockerRootDir, &st); err != nil {
		return false // it is on another machine
	}
	return st.Bavail < st.Blocks/10
}

// Run prunes every minute until ctx ends.
func (r *Runtime) Run(ctx context.Context) error {
	for wait.For(ctx, time.Minute) {
		if err := r.Prune(ctx); err != nil && ctx.Err() == nil {
			r.log.Debug("nothing was pruned", "error", err)
		}
	}
	return nil
}
