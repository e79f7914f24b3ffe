package isolation

import (
	"encoding/json"
	"fmt"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Filter is the list of system calls that containers with these capabilities may
// make on this machine: that of the Docker engine, in its newest form.
func Filter(caps []string) (*specs.LinuxSeccomp, error) {
	set := &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: caps, Ambient: caps}
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: set}, Linux: &specs.Linux{}})
	if err != nil {
		return nil, fmt.Errorf("make the list of system calls: %w", err)
	}
	return p, nil
}

// EngineFilter is the same as a Docker engine reads it, which looks itself at a
// container's capabilities. "" where an engine's own must do.
func EngineFilter() (string, error) {
	b, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		return "", fmt.Errorf("make the list of system calls: %w", err)
	}
	return string(b), nil
}
