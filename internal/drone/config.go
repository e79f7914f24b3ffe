// Package drone is the agent: it takes orders from a controller, has runtimes
// carry them out, and reports. It may crash, be stopped and be replaced at any
// time; what it must remember is in its journal, and what must not depend on
// it, the deadlines, is enforced by warden and reaper.
package drone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"plane"
	"plane/internal/drone/gate"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/table"
	"plane/internal/runtime"
)

// Config says what an agent is and works with.
type Config struct {
	Name           plane.NodeName
	Cluster        plane.ClusterName
	Pool           string
	ControllerURLs []string     // base URLs, http(s):// or ws(s)://; one is chosen at random
	Header         http.Header  // of the connection to the controller
	HTTP           *http.Client // nil = the default one

	Home           home.Home
	Table          Deadlines
	Clock          leaseclock.Clock // the one that Table is written with
	BootID         string           // of this boot of the machine
	WardenInstance func() string    // nil = unknown

	Runtimes   map[string]runtime.Runtime // by plane.Executable.Runtime
	Missing    map[string]string          // runtimes that aren't offered → what is missing for them, sentences
	Commands   bool                       // run commands that callers name, not only those of apps
	BaseEnv    []string                   // that every program starts from
	BaseDir    string                     // of programs that name none
	Ports      PortRange                  // zero = DefaultPorts
	Dial       Dial                       // nil = gate.DialAddress
	SingleHost bool                       // the store is on this machine, and Clock stands still in its sleep

	Version, Hash string
	Log           *slog.Logger // nil = none
	Metrics       *Metrics     // nil = nothing is counted
	Observer      Observer     // nil = none

	patience   time.Duration // how long watching a backend may fail; 0 = 30 s
	telemetry  time.Duration // 0 = 5 s
	usageEvery time.Duration // how old what is told of usage may be; 0 = some 10 s, as in Plane 0.5
	weighing   time.Duration // how often data directories are weighed; 0 = weighEvery
	keepEnded  time.Duration // how long the output of an ended backend is kept; 0 = 10 min
}

// Dial connects to a backend's address: host:port, or that of a gate.
type Dial func(ctx context.Context, d *net.Dialer, address string) (net.Conn, error)

// Deadlines is the table of deadlines that warden and reaper enforce; its
// methods do no disk I/O.
type Deadlines interface {
	// Extend moves the deadline of all live entries of that policy and epoch
	// to until, never back and never one that has passed. It returns how many.
	Extend(p plane.Policy, epoch int64, until plane.Instant) int
	// Shorten makes until the last deadline of a backend; an earlier one stays.
	Shorten(id plane.BackendID, until plane.Instant) bool
	// Entries are all that are in use.
	Entries() []table.Entry
}

// ErrSuperseded: a newer agent of the same name serves this drone.
var ErrSuperseded = errors.New("this drone was removed, or another agent of its name has taken over; see that no two machines share a data directory or a name")

// ErrNotRunning is what EndAll gives outside Run.
var ErrNotRunning = errors.New("the agent is not running")

func (c *Config) check() error {
	if err := plane.CheckNode(c.Name, plane.PrefixDrone); err != nil {
		return err
	}
	if err := c.Cluster.Check(); err != nil {
		return err
	}
	if len(c.ControllerURLs) == 0 {
		return errors.New("no controller URL given")
	}
	for _, u := range c.ControllerURLs {
		if _, err := socketURL(u, c.Cluster, c.Pool); err != nil {
			return err
		}
	}
	if c.Table == nil || c.Clock == nil || c.BootID == "" {
		return errors.New("an agent needs a table of deadlines, its clock and the boot id")
	}
	if c.Ports == (PortRange{}) {
		c.Ports = DefaultPorts
	}
	if err := c.Ports.check(); err != nil {
		return fmt.Errorf("port range %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = gate.DialAddress
	}
	if c.WardenInstance == nil {
		c.WardenInstance = func() string { return "" }
	}
	if c.patience == 0 {
		c.patience = 30 * time.Second
	}
	if c.telemetry == 0 {
		c.telemetry = 5 * time.Second
	}
	if c.usageEvery == 0 {
		c.usageEvery = c.telemetry + c.telemetry/2 // every second time
	}
	if c.weighing == 0 {
		c.weighing = weighEvery
	}
	if c.keepEnded == 0 {
		c.keepEnded = 10 * time.Minute
	}
	return nil
}

// socketURL is where a drone connects at the controller with that base URL.
// As in Plane 0.5 a path of the base is dropped.
func socketURL(base string, cluster plane.ClusterName, pool string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("controller URL: %w", err)
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("controller URL %q: use http://HOST:PORT or https://HOST", base)
	}
	if u.Host == "" {
		return "", fmt.Errorf("controller URL %q names no host", base)
	}
	u.User, u.Fragment, u.RawQuery = nil, "", ""
	u.Path = "/ctrl/c/" + string(cluster) + "/drone-socket"
	u.RawPath = "/ctrl/c/" + url.PathEscape(string(cluster)) + "/drone-socket"
	if pool != "" {
		u.RawQuery = url.Values{"pool": {pool}}.Encode()
	}
	return u.String(), nil
}

// bearer is the API key that a controller URL carries as its user name.
func bearer(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.User == nil {
		return ""
	}
	return u.User.Username()
}
