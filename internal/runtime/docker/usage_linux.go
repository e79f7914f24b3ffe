package docker

import (
	"plane/internal/drone/means"
	"plane/internal/runtime"
)

// usageOf reads the cgroups of a container's first process.
func usageOf(pid int) (u runtime.Usage, ok bool) {
	if pid <= 0 {
		return u, false
	}
	c, ok := means.UsageIn(pid)
	u = runtime.Usage{CPU: c.CPU, Memory: c.Memory, Cache: c.Cache, Pids: c.Pids}
	u.Received, u.Sent = means.Traffic(pid)
	return u, ok
}
