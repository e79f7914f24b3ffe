package docker

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
)

// openEngine makes a client of the engine at host; "" = DOCKER_HOST, else the
// usual socket. It asks nothing.
func openEngine(host string) (*client.Client, error) {
	host = cmp.Or(host, os.Getenv(client.EnvOverrideHost), client.DefaultDockerHost)
	if err := checkHost(host); err != nil {
		return nil, err
	}
	usual := []client.Opt{client.WithHost(host), client.WithUserAgent("plane")}
	if strings.HasPrefix(host, "unix:") { // which has no use for certificates
		c, err := client.New(usual...)
		if err != nil {
			return nil, wrong("DOCKER_HOST is %q, which can't be used: %w", host, err)
		}
		return c, nil
	}
	c, err := client.New(append([]client.Opt{client.WithTLSClientConfigFromEnv()}, usual...)...)
	if err != nil {
		return nil, wrong("the certificates for the Docker engine at %s can't be used (%w); let DOCKER_CERT_PATH name a directory with ca.pem, cert.pem and key.pem", host, err)
	}
	return c, nil
}

// checkHost refuses what Plane doesn't speak, and engines whose containers it
// couldn't reach.
func checkHost(host string) error {
	scheme, rest, ok := strings.Cut(host, "://")
	if !ok {
		return wrong("DOCKER_HOST is %q, which doesn't say how the engine is reached; use unix:// with the path of its socket, such as %s", host, client.DefaultDockerHost)
	}
	switch scheme {
	case "unix":
		if !strings.HasPrefix(rest, "/") {
			return wrong("DOCKER_HOST is %q; use the whole path of the engine's socket, such as %s", host, client.DefaultDockerHost)
		}
	case "tcp":
		name, port, err := net.SplitHostPort(rest)
		if err != nil || port == "" {
			return wrong("DOCKER_HOST is %q; use an address of this machine and a port, such as tcp://127.0.0.1:2376", host)
		}
		if a, err := netip.ParseAddr(name); name != "localhost" && (err != nil || !a.IsLoopback()) {
			return wrong("DOCKER_HOST is %q: containers of another machine's engine aren't reached from here; run a drone on that machine and leave DOCKER_HOST unset there", host)
		}
	case "ssh":
		return wrong("DOCKER_HOST is %q: containers of another machine's engine aren't reached from here; run a drone on that machine and leave DOCKER_HOST unset there", host)
	case "npipe":
		return wrong("DOCKER_HOST is %q, which is for Windows; run Plane in WSL and use %s there", host, client.DefaultDockerHost)
	default:
		return wrong("DOCKER_HOST is %q; use unix:// with the path of the engine's socket, or tcp:// with an address of this machine and a port", host)
	}
	return nil
}

// oldestAPI is that of Docker 20.10.
const oldestAPI = "1.41"

// speaks refuses an engine that is too old, and what isn't one.
func (r *Runtime) speaks(ctx context.Context) error {
	res, err := r.engine.Ping(ctx, client.PingOptions{})
	switch {
	case err != nil && strings.HasPrefix(r.engine.DaemonHost(), "tcp:") && (strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "HTTPS server")):
		return wrong("the Docker engine at %s wants other certificates (%s); set DOCKER_TLS_VERIFY to 1 and DOCKER_CERT_PATH to the directory with its ca.pem, and cert.pem and key.pem for it", r.engine.DaemonHost(), says(cause(err)))
	case err != nil:
		return r.silent(err)
	case res.APIVersion == "":
		return wrong("what answers at %s is no Docker engine; set DOCKER_HOST to the socket of one", r.engine.DaemonHost())
	case older(res.APIVersion, oldestAPI):
		return wrong("the Docker engine at %s speaks version %s of its API, and Plane needs %s; update it to Docker 20.10 or newer, or Podman 4", r.engine.DaemonHost(), res.APIVersion, oldestAPI)
	}
	return nil
}

// older compares versions such as 1.41.
func older(a, b string) bool {
	x, y := version(a), version(b)
	return x[0] < y[0] || x[0] == y[0] && x[1] < y[1]
}

func version(s string) (parts [2]int) {
	major, minor, _ := strings.Cut(s, ".")
	parts[0], _ = strconv.Atoi(major)
	parts[1], _ = strconv.Atoi(minor)
	return parts
}
