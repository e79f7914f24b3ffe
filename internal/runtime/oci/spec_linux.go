package oci

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"plane"
	"plane/internal/runtime/isolation"
)

// shift is the host's number of a sandbox's root: layers are unpacked with it.
const shift = 100_000

// sandbox is what a spec is made of. Nothing of it comes from a caller unless
// it was checked.
type sandbox struct {
	root     string
	hostname string
	argv     []string
	env      []string
	dir      string
	who      user
	readOnly bool
	limits   plane.ResourceLimits
	caps     []string
	userNS   bool
	pids     uint64 // the most that its user namespace may have; 0 = a cgroup bounds them
	tmpfs    int64
	binds    []bind // staged: their flags are those of the mounts already there
	stop     string // the signal that asks it to end, "" = SIGTERM
	groups   string // where the container's own cgroups go; "" = it stays where it is forked
	filter   *filter
}

// stopAnnotation is where a spec has the signal by which its image wants to be
// ended, as the OCI image specification has it.
const stopAnnotation = "org.opencontainers.image.stopSignal"

// bind is a file or directory that the sandbox sees.
type bind struct{ source, target string }

// spec is the container's, as the OCI runtime specification has it.
func (s sandbox) spec() *specs.Spec {
	out := &specs.Spec{
		Version:  "1.0.2", // the oldest that has all this: crun and runc of Debian 12 know it
		Root:     &specs.Root{Path: s.root, Readonly: s.readOnly},
		Hostname: s.hostname,
		Process:  s.process(),
		Mounts:   s.mounts(),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.CgroupNamespace},
			},
			MaskedPaths:   isolation.MaskedPaths,
			ReadonlyPaths: isolation.ReadonlyPaths,
			CgroupsPath:   s.groups,
			// Its network is its own: a port below 1024 is nobody else's there.
			Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
		},
	}
	if s.userNS {
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: shift, Size: mapped}}
		out.Linux.Namespaces = append(out.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		out.Linux.UIDMappings, out.Linux.GIDMappings = ids, ids
	}
	if s.groups != "" {
		no := false
		out.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: no, Access: "rwm"}}}
	}
	if s.filter != nil {
		out.Linux.Seccomp = s.filter.profile
		out.Annotations = s.filter.annotations()
	}
	if s.stop != "" {
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[stopAnnotation] = s.stop
	}
	return out
}

func (s sandbox) process() *specs.Process {
	p := &specs.Process{
		Args: s.argv, Env: s.env, Cwd: s.dir, NoNewPrivileges: true,
		User: specs.User{UID: s.who.uid, GID: s.who.gid, AdditionalGids: s.who.groups},
		Capabilities: &specs.LinuxCapabilities{
			Bounding: s.caps, Effective: s.caps, Permitted: s.caps, Inheritable: s.caps, Ambient: s.caps,
		},
	}
	for _, l := range []struct {
		name string
		v    *int64
	}{{"RLIMIT_CPU", s.limits.CPUTimeLimit}, {"RLIMIT_NOFILE", s.limits.OpenFilesLimit}} {
		if l.v != nil {
			p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: l.name, Soft: uint64(*l.v), Hard: uint64(*l.v)})
		}
	}
	if s.pids > 0 {
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_NPROC", Soft: s.pids, Hard: s.pids})
	}
	return p
}

func (s sandbox) mounts() []specs.Mount {
	tmpfs := func(target string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: "tmpfs", Source: "tmpfs", Options: options}
	}
	shm := fmt.Sprintf("size=%d", s.tmpfs)
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		tmpfs("/dev", "nosuid", "strictatime", "mode=755", "size=65536k"),
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		tmpfs("/dev/shm", "nosuid", "noexec", "nodev", "mode=1777", shm),
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		tmpfs("/tmp", "nosuid", "nodev", "mode=1777", shm),
	}
	for _, b := range s.binds {
		all = append(all, specs.Mount{Destination: b.target, Type: "bind", Source: b.source, Options: []string{"bind", "nosuid", "nodev"}})
	}
	return all
}

// writeSpec writes the spec of a bundle.
func writeSpec(dir string, s *specs.Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	return writeFile(filepath.Join(dir, specFile), b)
}
