package docker

import (
	"archive/tar"
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
)

// account finds the numbers of a user as an image's config or an executable
// names it: UID, NAME, UID:GID or NAME:GROUP. Names are those of the image.
func (r *Runtime) account(ctx context.Context, container, user string) (uid, gid int, err error) {
	name, group, hasGroup := strings.Cut(user, ":")
	users := r.file(ctx, container, "/etc/passwd")
	uid, numeric := number(name)
	gid = 0
	for line := range strings.Lines(users) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || f[0] != name && (!numeric || f[2] != name) {
			continue
		}
		u, ok1 := number(f[2])
		g, ok2 := number(f[3])
		if ok1 && ok2 {
			uid, gid, numeric = u, g, true
			break
		}
	}
	if !numeric {
		return 0, 0, wrong("the image has no user %q; give spawn_config.executable.user a number", name)
	}
	if !hasGroup {
		return uid, gid, nil
	}
	if g, ok := number(group); ok {
		return uid, g, nil
	}
	for line := range strings.Lines(r.file(ctx, container, "/etc/group")) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 2 && f[0] == group {
			if g, ok := number(f[2]); ok {
				return uid, g, nil
			}
		}
	}
	return 0, 0, wrong("the image has no group %q; give spawn_config.executable.user numbers", group)
}

func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}

// file reads a small file of a container that needn't run; "" if it isn't there.
func (r *Runtime) file(ctx context.Context, container, path string) string {
	res, err := r.engine.CopyFromContainer(ctx, container, client.CopyFromContainerOptions{SourcePath: path})
	if err != nil {
		return ""
	}
	defer res.Content.Close()
	archive := tar.NewReader(res.Content)
	if _, err := archive.Next(); err != nil {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(archive, 1<<20))
	if err != nil {
		return ""
	}
	return string(b)
}
