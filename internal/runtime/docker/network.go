package docker

import (
	"context"
	"net"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// bridge is the network of ours for backends that can't be entered.
func (o Options) bridge() string { return "plane-" + o.Home.Hash() }

// ensureBridge makes that network: no way out, and containers don't reach each
// other.
func (r *Runtime) ensureBridge(ctx context.Context) error {
	_, err := r.engine.NetworkInspect(ctx, r.o.bridge(), client.NetworkInspectOptions{})
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	_, err = r.engine.NetworkCreate(ctx, r.o.bridge(), client.NetworkCreateOptions{
		Driver: "bridge", Internal: true,
		Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
		Labels:  map[string]string{labelDrone: r.o.Home.Hash()},
	})
	if errdefs.IsConflict(err) {
		return nil // somebody was quicker
	}
	return err
}

// hostPort is where a bridged or published container is dialled; "" if it has
// no address any more.
func hostPort(way reach, c container.InspectResponse, port int) string {
	if c.NetworkSettings == nil {
		return ""
	}
	if way == published {
		p, _ := network.PortFrom(uint16(port), network.TCP)
		for _, b := range c.NetworkSettings.Ports[p] {
			return net.JoinHostPort("127.0.0.1", b.HostPort)
		}
		return ""
	}
	for _, e := range c.NetworkSettings.Networks {
		if e.IPAddress.IsValid() {
			return net.JoinHostPort(e.IPAddress.String(), strconv.Itoa(port))
		}
	}
	return ""
}
