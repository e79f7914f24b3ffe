package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
)

// About tells in a few words what engine there is.
func (r *Runtime) About(ctx context.Context) string {
	info, err := r.info(ctx)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("engine %s at %s, layers by %s, cgroups v%s", info.ServerVersion, r.engine.DaemonHost(), info.Driver, info.CgroupVersion)
}

func (r *Runtime) info(ctx context.Context) (system.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	if err := r.speaks(ctx); err != nil {
		return system.Info{}, err
	}
	res, err := r.engine.Info(ctx, client.InfoOptions{})
	if err != nil {
		return system.Info{}, r.silent(err)
	}
	return res.Info, nil
}

// Lacks says what only some executables need and this engine hasn't, a sentence
// for each thing; nil if nothing is.
func (r *Runtime) Lacks(ctx context.Context) error {
	info, err := r.info(ctx)
	if err != nil {
		return nil // which Check says
	}
	return lacks(info)
}

func lacks(info system.Info) error {
	var all []error
	for _, l := range []struct {
		there bool
		what  string
	}{
		{info.LiveRestoreEnabled, "containers end when this engine is stopped or restarted; give it --live-restore, or \"live-restore\": true in its daemon.json"},
		{info.MemoryLimit, "memory_limit_bytes needs the memory controller of cgroups, which this engine hasn't; let the system give it"},
		{info.CPUCfsQuota, "cpu_period_percent needs the cpu controller of cgroups, which this engine hasn't; let the system give it"},
		{info.PidsLimit, "pids_limit needs the pids controller of cgroups, which this engine hasn't; let the system give it"},
		{limitsDisks(info), "disk_limit_bytes needs an engine whose layers are on XFS with project quotas (pquota), and this one's aren't; use the oci runtime for it"},
	} {
		if !l.there {
			all = append(all, errors.New(l.what))
		}
	}
	return errors.Join(all...)
}

// limitsDisks reports whether an engine may be able to: whether XFS was mounted
// with quotas it doesn't tell.
func limitsDisks(info system.Info) bool {
	if info.Driver != "overlay2" {
		return info.Driver == "btrfs" || info.Driver == "zfs"
	}
	for _, s := range info.DriverStatus {
		if s[0] == "Backing Filesystem" {
			return s[1] == "xfs"
		}
	}
	return false
}
