package docker

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/runtime"
	"plane/internal/runtime/isolation"
)

// The labels of our containers. The first is that of Plane 0.5.
const (
	labelBackend    = "dev.plane.backend"
	labelDrone      = home.DroneLabel
	labelKey        = "dev.plane.key" // plane.Key.Hash
	labelGeneration = "dev.plane.generation"
)

// containerName is a backend's container.
func containerName(id plane.BackendID) string { return home.Container(id) }

// backendOf is the other way round.
func backendOf(name string) (plane.BackendID, bool) {
	id, ok := strings.CutPrefix(strings.TrimPrefix(name, "/"), home.Container(""))
	return plane.BackendID(id), ok && plane.BackendID(id).Check() == nil
}

// describe is what the engine is told of a container. It asks nothing.
func (o Options) describe(u runtime.Unit, mark, filter string, way reach, mounts []mount.Mount) (client.ContainerCreateOptions, error) {
	x := u.Executable
	port, ok := network.PortFrom(uint16(u.Port), network.TCP)
	if !ok {
		return client.ContainerCreateOptions{}, wrong("port %d can't be listened on", u.Port)
	}
	c := &container.Config{
		Image: x.Image, User: x.User, WorkingDir: x.Dir, Env: environment(u.Env, mark),
		Labels: map[string]string{
			labelBackend: "true", labelDrone: o.Home.Hash(), labelKey: u.Key.Hash(),
			labelGeneration: strconv.FormatUint(uint64(u.Generation), 10),
		},
		// The drone looks by itself whether it answers.
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	if len(x.Command) > 0 {
		c.Entrypoint, c.Cmd = x.Command, []string{}
	}
	h := &container.HostConfig{
		Runtime: o.EngineRuntime, LogConfig: o.logs(), NetworkMode: "none", Mounts: mounts,
		SecurityOpt: []string{"no-new-privileges"}, Resources: resources(x),
		// Without a size it is as large as half of the machine's memory.
		Tmpfs:   map[string]string{"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=" + strconv.Itoa(isolation.TmpSize)},
		ShmSize: isolation.TmpSize,
		// What engines mask differs with their age.
		MaskedPaths: masked(), ReadonlyPaths: isolation.ReadonlyPaths,
		CgroupnsMode: container.CgroupnsModePrivate, IpcMode: container.IPCModePrivate,
	}
	if filter != "" {
		h.SecurityOpt = append(h.SecurityOpt, "seccomp="+filter)
	}
	if !o.EngineDefaults {
		h.CapDrop, h.CapAdd = []string{"ALL"}, o.CapAdd
	}
	if x.ReadOnly {
		h.ReadonlyRootfs = true
	}
	if d := x.Limits.DiskLimitBytes; d != nil {
		h.StorageOpt = map[string]string{"size": strconv.FormatInt(*d, 10)}
	}
	if x.NetworkName == nil && way != published {
		// Else the engine tells the machine's own, and Google's where there are none;
		// some engines even ask them for a container that has no way out.
		h.DNS, h.DNSSearch = nowhere, []string{"."}
		if way == inside && o.wayOut(u) {
			h.DNS = append(o.Way.Resolvers(), nowhere...)
		}
	}
	switch {
	case x.NetworkName != nil && !slices.Contains(o.Networks, *x.NetworkName):
		return client.ContainerCreateOptions{}, wrong("spawn_config.executable.network_name is %q, which this drone doesn't offer; its operator lists networks with --docker-networks", *x.NetworkName)
	case x.NetworkName != nil:
		h.NetworkMode = container.NetworkMode(*x.NetworkName)
	case way == bridged:
		h.DNSOptions = []string{"timeout:1", "attempts:1"} // the engine's own resolver takes its time to say no
		h.NetworkMode = container.NetworkMode(o.bridge())
	case way == published:
		h.NetworkMode = "bridge"
	}
	if way == published {
		c.ExposedPorts = network.PortSet{port: {}}
		h.PortBindings = network.PortMap{port: {{HostIP: netip.MustParseAddr("127.0.0.1")}}}
	}
	return client.ContainerCreateOptions{Config: c, HostConfig: h, Name: containerName(u.Backend)}, nil
}

// nowhere is a resolver that isn't: a container's own loopback.
var nowhere = []netip.Addr{netip.MustParseAddr("127.0.0.1")}

// wayOut reports whether a backend gets one that isn't the engine's.
func (o Options) wayOut(u runtime.Unit) bool {
	return !u.Egress.None() && u.Executable.NetworkName == nil && o.Way != nil
}

// masked are the paths that a container doesn't see: ours, and those that newer
// engines mask besides, which a list of ours would show again.
func masked() []string {
	heat, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	return append(slices.Clone(isolation.MaskedPaths), heat...)
}

// environment has each name once, with its last value, and the mark.
func environment(env []string, mark string) []string {
	var all []string
	at := map[string]int{}
	for _, e := range append(slices.Clone(env), mark) {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			all[i] = e
			continue
		}
		at[name] = len(all)
		all = append(all, e)
	}
	return all
}

// logs bounds what output may take of the disk, unless the operator has
// decided about it.
func (o Options) logs() container.LogConfig {
	if o.Log.Type == "" && len(o.Log.Config) == 0 {
		return container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "2"}}
	}
	return container.LogConfig{Type: o.Log.Type, Config: o.Log.Config}
}

// resources are the limits as Plane 0.5 maps them, and those that it hasn't.
func resources(x plane.Executable) container.Resources {
	l := x.Limits
	var res container.Resources
	if l.MemoryLimitBytes != nil {
		res.Memory = *l.MemoryLimitBytes
	}
	if l.CPUPeriod != nil {
		res.CPUPeriod = *l.CPUPeriod
	}
	if l.CPUPeriodPercent != nil {
		period := int64(100_000) // µs, the kernel's default
		if l.CPUPeriod != nil {
			period = *l.CPUPeriod
		}
		res.CPUQuota = period * *l.CPUPeriodPercent / 100
	}
	pids := int64(isolation.Pids)
	if l.PidsLimit != nil {
		pids = *l.PidsLimit
	}
	res.PidsLimit = &pids
	for name, n := range map[string]*int64{"cpu": l.CPUTimeLimit, "nofile": l.OpenFilesLimit} {
		if n != nil {
			res.Ulimits = append(res.Ulimits, &container.Ulimit{Name: name, Soft: *n, Hard: *n})
		}
	}
	if x.GPUs != "" {
		count := -1 // all
		if n, err := strconv.Atoi(x.GPUs); err == nil {
			count = n
		}
		res.DeviceRequests = []container.DeviceRequest{{Count: count, Capabilities: [][]string{{"gpu"}}}}
	}
	return res
}

// discarded finds a limit that was asked and that the engine has only warned
// about.
func discarded(l plane.ResourceLimits, warnings []string) error {
	for _, w := range warnings {
		text := strings.ToLower(w)
		if !strings.Contains(text, "discarded") || l.Zero() || strings.Contains(text, "pids") && l.PidsLimit == nil {
			continue
		}
		return wrong("the Docker engine can't keep a limit of spawn_config.executable.resource_limits: %s", strings.TrimRight(w, "."))
	}
	return nil
}
