//go:build !linux

package docker

import "plane/internal/runtime"

func usageOf(int) (u runtime.Usage, ok bool) { return u, false }
