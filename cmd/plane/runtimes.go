package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/pflag"

	"plane"
	"plane/internal/drone/offer"
	"plane/internal/runtime/egress"
)

// imageFlags are those of `plane drone` about images.
type imageFlags struct {
	runtimes, networks                          []string
	egress, dockerRuntime, logConfig, mountBase string
	egressRange                                 string
	ociRuntime                                  string
	autoPrune                                   bool
	pruneAge                                    int64
	quota                                       int64
	prepared                                    int
}

func (f *imageFlags) bind(fl *pflag.FlagSet) {
	fl.StringSliceVar(&f.runtimes, "runtimes", nil, "what runs backends here: process, docker, oci (default: docker and oci where they can be used)")
	fl.StringVar(&f.egress, "egress", "none", "the most that containers may reach: none, public, or addresses such as 198.51.100.7:443 with commas between")
	bindEgressRange(fl, &f.egressRange)
	fl.StringVar(&f.dockerRuntime, "docker-runtime", "", "runtime that the Docker engine uses, e.g. runsc (default: its own)")
	fl.StringVar(&f.ociRuntime, "oci-runtime", "", "what makes the oci runtime's containers, by name or path: crun or runc (default: whichever is there, crun first)")
	fl.StringSliceVar(&f.networks, "docker-networks", nil, "networks of the Docker engine that an executable may name")
	fl.StringVar(&f.logConfig, "log-config", "", `how the Docker engine keeps output, as JSON: {"Type":"…","Config":{…}}`)
	fl.StringVar(&f.mountBase, "mount-base", "", "directory below which executables may mount one of their own (default: none may)")
	fl.BoolVar(&f.autoPrune, "auto-prune-images", false, "remove images that this drone pulled and nothing uses")
	fl.Int64Var(&f.pruneAge, "auto-prune-containers-older-than-seconds", 0, "age in seconds from which stopped containers of this drone, and unused images, are removed")
	fl.Int64Var(&f.quota, "image-quota", 0, "bytes that the oci runtime's images may take; unused ones are removed (default: no limit)")
	fl.IntVar(&f.prepared, "prepared", 0, "how many sandboxes the oci runtime keeps ready, at 2 MB each; 0 = none")
}

func bindEgressRange(fl *pflag.FlagSet, to *string) {
	fl.StringVar(to, "egress-range", "", "range of IPv4 that containers with egress get addresses from, which no network of this machine uses (default: "+egress.Ranges[0].String()+", or another that is free)")
}

// parseEgressRange reads that flag; "" is the zero value.
func parseEgressRange(s string) (p netip.Prefix, err error) {
	if s == "" {
		return p, nil
	}
	if p, err = netip.ParsePrefix(s); err == nil {
		err = egress.CheckRange(p)
	}
	if err != nil {
		return p, misusef("--egress-range %q: use a range of IPv4 with 16 addresses or more, such as %s", s, egress.Ranges[0])
	}
	return p, nil
}

// options are what they say, and what is wrong with them.
func (f *imageFlags) options() (offer.Options, error) {
	s := offer.Options{
		Runtimes: f.runtimes, DockerRuntime: f.dockerRuntime, DockerNets: f.networks, MountBase: f.mountBase, AutoPrune: f.autoPrune,
		PruneAge: time.Duration(f.pruneAge) * time.Second, Quota: f.quota, Prepared: f.prepared,
		OCIRuntime: f.ociRuntime,
	}
	for _, r := range f.runtimes {
		if r != plane.RuntimeProcess && r != plane.RuntimeDocker && r != plane.RuntimeOCI {
			return s, misusef("--runtimes has %q; use process, docker and oci with commas between them", r)
		}
	}
	var err error
	if s.Egress, err = plane.ParseEgress(f.egress); err != nil {
		return s, misusef("--egress %v", err)
	}
	if s.EgressRange, err = parseEgressRange(f.egressRange); err != nil {
		return s, err
	}
	if f.logConfig != "" {
		if err := json.Unmarshal([]byte(f.logConfig), &s.DockerLog); err != nil {
			return s, misusef(`--log-config: %v; give JSON like {"Type":"json-file","Config":{"max-size":"10m"}}`, err)
		}
	}
	switch {
	case f.pruneAge < 0:
		return s, misusef("--auto-prune-containers-older-than-seconds %d must be 0 or more", f.pruneAge)
	case f.quota < 0:
		return s, misusef("--image-quota %d must be 0 or more", f.quota)
	case f.prepared < 0:
		return s, misusef("--prepared %d must be 0 or more", f.prepared)
	}
	if f.mountBase != "" {
		if st, err := os.Stat(f.mountBase); err != nil || !st.IsDir() {
			return s, misusef("--mount-base %s is no directory; make it", f.mountBase)
		}
	}
	return s, nil
}
