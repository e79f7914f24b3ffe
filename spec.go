package plane

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Spec is what a caller or an app says about a backend to start. JSON names
// are those of the HTTP API's spawn_config.
type Spec struct {
	ID             *string         `json:"id,omitempty"`
	Cluster        *string         `json:"cluster,omitempty"`
	Pool           string          `json:"pool,omitempty"`
	Executable     json.RawMessage `json:"executable,omitempty"`
	LifetimeLimit  *int32          `json:"lifetime_limit_seconds,omitempty"` // seconds; nil = no limit
	MaxIdle        *int32          `json:"max_idle_seconds,omitempty"`       // seconds; nil = no limit
	UseStaticToken bool            `json:"use_static_token,omitempty"`
	Subdomain      *string         `json:"subdomain,omitempty"`
	StartTimeout   *int32          `json:"start_timeout_seconds,omitempty"` // seconds; nil = DefaultStartTimeout
	StopGrace      *int32          `json:"stop_grace_seconds,omitempty"`    // seconds; nil = DefaultStopGrace
	Lease          Policy          `json:"lease,omitempty"`                 // "" = Balanced

	// What only an app's template says; see Template.
	Data   Data           `json:"data,omitempty"`
	Access Access         `json:"access,omitempty"`
	Host   HostMode       `json:"host,omitempty"`
	Ports  map[string]int `json:"ports,omitempty"`
	Idle   []Use          `json:"idle,omitempty"`
	Egress string         `json:"egress,omitempty"`
}

// What a Spec means where it says nothing.
const (
	DefaultStartTimeout = 300 * time.Second
	DefaultStopGrace    = 30 * time.Second
)

// StartLimit is how long the backend may take from its start to ready.
func (s Spec) StartLimit() time.Duration { return seconds(s.StartTimeout, DefaultStartTimeout) }

// Grace is how long after SIGTERM the backend may take to end.
func (s Spec) Grace() time.Duration { return seconds(s.StopGrace, DefaultStopGrace) }

// Policy is the lease policy, Balanced unless the spec says otherwise.
func (s Spec) Policy() Policy {
	if s.Lease == "" {
		return Balanced
	}
	return s.Lease
}

func seconds(n *int32, otherwise time.Duration) time.Duration {
	if n == nil {
		return otherwise
	}
	return time.Duration(*n) * time.Second
}

// Check reports the first field that is wrong, with "spawn_config." before its name.
func (s Spec) Check() *Error {
	const at = "spawn_config."
	if s.ID != nil {
		if err := BackendID(*s.ID).Check(); err != nil {
			return Invalid(at+"id", at+"id: "+err.Error()+".")
		}
	}
	if s.Cluster != nil {
		if err := ClusterName(*s.Cluster).Check(); err != nil {
			return Invalid(at+"cluster", at+err.Error()+".")
		}
	}
	if len(s.Pool) > 128 {
		return Invalid(at+"pool", at+"pool is longer than 128 bytes.")
	}
	if s.Subdomain != nil {
		if err := CheckSubdomain(*s.Subdomain); err != nil {
			return Invalid(at+"subdomain", at+err.Error()+".")
		}
	}
	for _, n := range []struct {
		field string
		v     *int32
		least int32
	}{
		{"lifetime_limit_seconds", s.LifetimeLimit, 1},
		{"max_idle_seconds", s.MaxIdle, 0},
		{"start_timeout_seconds", s.StartTimeout, 1},
		{"stop_grace_seconds", s.StopGrace, 0},
	} {
		if n.v != nil && *n.v < n.least {
			return Invalid(at+n.field, fmt.Sprintf("%s%s is %d; it must be at least %d.", at, n.field, *n.v, n.least))
		}
	}
	if s.Lease != "" && !s.Lease.Valid() {
		return Invalid(at+"lease", fmt.Sprintf("%slease is %q; use fast, balanced or sticky.", at, s.Lease))
	}
	if bad := s.checkApp(); bad != nil {
		return bad
	}
	_, err := ParseExecutable(s.Executable)
	return err
}

// Executable is what to run: a command or an image, never both.
type Executable struct {
	// For a command: argv, extra environment, working directory (absolute; "" = the drone's choice).
	Command []string          `json:"command,omitempty"`
	Dir     string            `json:"dir,omitempty"`
	Listen  string            `json:"listen,omitempty"` // "" or "inherit": descriptor 3 is the listening socket
	Env     map[string]string `json:"env,omitempty"`
	Limits  ResourceLimits    `json:"resource_limits,omitzero"`

	// Which runtime of the drone runs it: "" = the drone's choice, RuntimeProcess
	// for a command, RuntimeDocker or RuntimeOCI for an image.
	RuntimeName string `json:"runtime,omitempty"`

	// For an image. Command, if there is one, takes the place of its entrypoint
	// and command; Dir that of its working directory.
	Image       string          `json:"image,omitempty"`
	PullPolicy  string          `json:"pull_policy,omitempty"` // PullIfNotPresent (default), PullAlways, PullNever
	Credentials *Credentials    `json:"credentials,omitempty"` // for its registry
	Mount       json.RawMessage `json:"mount,omitempty"`       // see ParseMount
	NetworkName *string         `json:"network_name,omitempty"`
	User        string          `json:"user,omitempty"`      // "" = the image's; UID, NAME, UID:GID or NAME:GROUP
	Port        int             `json:"port,omitempty"`      // that it listens on; 0 = DefaultImagePort
	ReadOnly    bool            `json:"read_only,omitempty"` // its root file system can't be written
	GPUs        string          `json:"gpus,omitempty"`      // "" = none, "all" or a number
}

// The runtimes that an executable may ask for.
const (
	RuntimeProcess = "process"
	RuntimeDocker  = "docker"
	RuntimeOCI     = "oci"
)

// The kinds of executable.
const (
	KindProcess = "process"
	KindImage   = "image"
)

// The pull policies. "" is PullIfNotPresent.
const (
	PullIfNotPresent = "IfNotPresent"
	PullAlways       = "Always"
	PullNever        = "Never"
)

// DefaultImagePort is the port that an image listens on unless it says otherwise.
const DefaultImagePort = 8080

// ListenInherit is Executable.Listen for a program that takes its listening
// socket from its parent.
const ListenInherit = "inherit"

// ResourceLimits bound a backend. nil = not limited.
type ResourceLimits struct {
	CPUPeriod        *int64 `json:"cpu_period,omitempty"`         // microseconds, 1000 to 1000000
	CPUPeriodPercent *int64 `json:"cpu_period_percent,omitempty"` // of one CPU, 1 to 255 as Plane 0.5 has it, up to 100000 for larger machines
	CPUTimeLimit     *int64 `json:"cpu_time_limit,omitempty"`     // seconds of CPU time
	MemoryLimitBytes *int64 `json:"memory_limit_bytes,omitempty"` // bytes, at least 1 MiB
	DiskLimitBytes   *int64 `json:"disk_limit_bytes,omitempty"`   // bytes
	PidsLimit        *int64 `json:"pids_limit,omitempty"`         // processes and threads
	OpenFilesLimit   *int64 `json:"open_files_limit,omitempty"`   // descriptors per process
}

// Zero reports whether nothing is limited.
func (l ResourceLimits) Zero() bool { return l == ResourceLimits{} }

var envName = regexp.MustCompile(`^[^=\x00]+$`)

// ParseExecutable reads the executable of a spec. JSON null and absence are the
// zero Executable; unknown fields are errors, so that a misspelt limit is
// never silently none. Errors name the field below spawn_config.executable.
func ParseExecutable(raw json.RawMessage) (Executable, *Error) {
	var x Executable
	if len(raw) == 0 || string(raw) == "null" {
		return x, nil
	}
	const at = "spawn_config.executable"
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		return x, Invalid(at, at+": "+strings.TrimPrefix(err.Error(), "json: ")+".")
	}
	bad := func(field, why string) (Executable, *Error) {
		return x, Invalid(at+"."+field, at+"."+field+" "+why+".")
	}
	isCommand, isImage := len(x.Command) > 0, x.Image != ""
	switch {
	case !isCommand && !isImage:
		return x, Invalid(at, at+" has neither a command nor an image; give one of them.")
	case isCommand && x.Command[0] == "":
		return bad("command", "begins with an empty word; the first word is the program")
	case x.Dir != "" && !filepath.IsAbs(x.Dir):
		return bad("dir", "must be an absolute path")
	case x.Listen != "" && x.Listen != ListenInherit:
		return bad("listen", `must be absent or "inherit"`)
	}
	for _, w := range x.Command {
		if strings.ContainsRune(w, 0) {
			return bad("command", "must not contain NUL")
		}
	}
	for k, v := range x.Env {
		if !envName.MatchString(k) || strings.ContainsRune(v, 0) {
			return bad("env", fmt.Sprintf("has a name or value that no environment can hold: %q", k))
		}
	}
	if field, why := x.checkImage(); field != "" {
		return bad(field, why)
	}
	l := x.Limits
	for _, n := range []struct {
		field       string
		v           *int64
		least, most int64
	}{
		{"cpu_period", l.CPUPeriod, 1000, 1_000_000},
		{"cpu_period_percent", l.CPUPeriodPercent, 1, 100_000},
		{"cpu_time_limit", l.CPUTimeLimit, 1, 1 << 31},
		{"memory_limit_bytes", l.MemoryLimitBytes, 1 << 20, 1 << 50},
		{"disk_limit_bytes", l.DiskLimitBytes, 1 << 12, 1 << 50},
		{"pids_limit", l.PidsLimit, 1, 1 << 22},
		{"open_files_limit", l.OpenFilesLimit, 8, 1 << 30},
	} {
		if n.v != nil && (*n.v < n.least || *n.v > n.most) {
			return bad("resource_limits."+n.field, fmt.Sprintf("is %d; it must be from %d to %d", *n.v, n.least, n.most))
		}
	}
	return x, nil
}

// Kind is KindImage or KindProcess.
func (x Executable) Kind() string {
	if x.Image != "" {
		return KindImage
	}
	return KindProcess
}

// Runs reports whether a runtime of that name can run x.
func (x Executable) Runs(runtime string) bool {
	if x.RuntimeName != "" {
		return runtime == x.RuntimeName
	}
	if x.Image == "" {
		return runtime == RuntimeProcess
	}
	return runtime == RuntimeDocker || runtime == RuntimeOCI
}
