package plane

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// App is a named template for starting backends, at one of its releases.
type App struct {
	Name     string // "" = the unnamed app of `plane dev -- COMMAND`
	Release  int64  // from 1
	Template Template
}

var appName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// CheckAppName reports what is wrong with an app's name. The empty name, of the
// unnamed app of `plane dev`, is none of those.
func CheckAppName(name string) *Error {
	if !appName.MatchString(name) || strings.Contains(name, "--") {
		return Invalid("app", fmt.Sprintf("app %q: use a-z, then up to 30 of a-z, 0-9 and single '-'.", name))
	}
	return nil
}

// Template is what an app says of its backends: the form of plane.yaml and of
// PUT /ctrl/apps/NAME. What it leaves out is the default.
type Template struct {
	Command []string          `json:"command,omitempty"` // "{port}" stands for the port, "{port:NAME}" for a further one
	Image   string            `json:"image,omitempty"`   // then a command takes the place of its entrypoint and command
	Runtime string            `json:"runtime,omitempty"` // "" = the drone's choice; process, docker or oci
	Dir     string            `json:"dir,omitempty"`     // absolute; "" = the drone's choice, or the image's
	Listen  string            `json:"listen,omitempty"`  // of a command: "" or "inherit"
	Env     map[string]string `json:"env,omitempty"`
	Limits  ResourceLimits    `json:"resource_limits,omitzero"`

	// Of an image; see Executable.
	PullPolicy  string          `json:"pull_policy,omitempty"`
	Credentials *Credentials    `json:"credentials,omitempty"`
	Mount       json.RawMessage `json:"mount,omitempty"`
	NetworkName *string         `json:"network_name,omitempty"`
	User        string          `json:"user,omitempty"`
	Port        int             `json:"port,omitempty"`
	ReadOnly    bool            `json:"read_only,omitempty"`
	GPUs        string          `json:"gpus,omitempty"`

	MaxIdle       *int32         `json:"max_idle_seconds,omitempty"`       // seconds; nil = never stopped for idleness
	LifetimeLimit *int32         `json:"lifetime_limit_seconds,omitempty"` // seconds; nil = no limit
	StartTimeout  *int32         `json:"start_timeout_seconds,omitempty"`  // seconds; nil = DefaultStartTimeout
	StopGrace     *int32         `json:"stop_grace_seconds,omitempty"`     // seconds; nil = DefaultStopGrace
	Data          Data           `json:"data,omitempty"`
	Lease         Policy         `json:"lease,omitempty"`
	Access        Access         `json:"access,omitempty"`
	Host          HostMode       `json:"host,omitempty"`
	Ports         map[string]int `json:"ports,omitempty"` // name → port inside an image; a command is told its own in PORT_NAME
	Idle          []Use          `json:"idle,omitempty"`  // what counts as use; nil = all
	Pool          string         `json:"pool,omitempty"`
	Egress        string         `json:"egress,omitempty"` // of an image; see ParseEgress
}

// Data says what directory a backend has for what it keeps.
type Data string

// The kinds of data directory. "" is DataNone.
const (
	DataNone    Data = "none"
	DataScratch Data = "scratch" // gone with the backend
	DataKeep    Data = "keep"    // belongs to the key: its next backend finds it
)

// Access says who may use an app's key URLs. "" is public under `plane dev` and
// token elsewhere.
type Access string

// The kinds of access.
const (
	AccessPublic Access = "public" // whoever knows the URL
	AccessToken  Access = "token"  // whoever came with a token of that key
)

// HostMode says what Host, Origin and Referer a backend sees. "" is HostPreserve.
type HostMode string

// The host modes.
const (
	HostPreserve  HostMode = "preserve"  // those that the client sent
	HostLocalhost HostMode = "localhost" // localhost:PORT, for servers that refuse other names
)

// Use is something that keeps a backend from being idle.
type Use string

// The uses.
const (
	UseRequests Use = "requests" // open requests and sockets
	UseHolds    Use = "holds"    // holds that the backend takes on its own socket
)

// Counts reports whether u keeps a backend with such a list awake.
func (u Use) Counts(list []Use) bool { return list == nil || slices.Contains(list, u) }

var portName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)

// ParseTemplate reads a template. Unknown fields are errors. Error.Field names
// the field that is wrong, with dots between names.
func ParseTemplate(raw []byte) (Template, *Error) {
	var t Template
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return t, templateSyntax(err)
	}
	return t, t.Check()
}

// templateSyntax says which field can't be read, and why.
func templateSyntax(err error) *Error {
	text := strings.TrimPrefix(err.Error(), "json: ")
	if field, ok := strings.CutPrefix(text, "unknown field "); ok {
		field = strings.Trim(field, `"`)
		return Invalid(field, fmt.Sprintf("There is no field %q in an app.", field))
	}
	if e, ok := err.(*json.UnmarshalTypeError); ok {
		field := strings.TrimPrefix(e.Field, "Template.")
		return Invalid(field, fmt.Sprintf("%s can't be %s; it must be %s.", field, e.Value, shapeOf(e)))
	}
	return &Error{Kind: BadRequest, Message: "The app is no JSON object: " + text + "."}
}

func shapeOf(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "slice":
		return "a list of texts"
	case "map", "struct":
		return "a table of names and values"
	case "string":
		return "a text"
	case "bool":
		return "true or false"
	}
	return "a whole number"
}

// Check reports the first field that is wrong.
func (t Template) Check() *Error {
	if bad := t.Spec().Check(); bad != nil {
		bad.Field = bareField(bad.Field)
		bad.Message = bareField(bad.Message)
		return bad
	}
	if len(t.Command) == 0 && t.Image == "" {
		return Invalid("command", "The app has neither a command nor an image; give one of them.")
	}
	return nil
}

// bareField takes the prefixes of a spec's fields from a text.
func bareField(s string) string {
	for _, prefix := range []string{"spawn_config.executable.", "spawn_config."} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return rest
		}
	}
	return s
}

// Spec is what a backend of the app is started with.
func (t Template) Spec() Spec {
	x := Executable{
		Command: t.Command, Dir: t.Dir, Listen: t.Listen, Env: t.Env, Limits: t.Limits, RuntimeName: t.Runtime,
		Image: t.Image, PullPolicy: t.PullPolicy, Credentials: t.Credentials, Mount: t.Mount, NetworkName: t.NetworkName,
		User: t.User, Port: t.Port, ReadOnly: t.ReadOnly, GPUs: t.GPUs,
	}
	raw, err := json.Marshal(x)
	if err != nil {
		panic("plane: an executable that is no JSON: " + err.Error()) // it has only texts and numbers
	}
	if len(t.Command) == 0 && t.Image == "" {
		raw = nil
	}
	return Spec{
		Pool: t.Pool, Executable: raw,
		LifetimeLimit: t.LifetimeLimit, MaxIdle: t.MaxIdle, StartTimeout: t.StartTimeout, StopGrace: t.StopGrace,
		Lease: t.Lease, Data: t.Data, Access: t.Access, Host: t.Host, Ports: t.Ports, Idle: t.Idle, Egress: t.Egress,
	}
}

// checkApp is the part of Spec.Check about what only apps say.
func (s Spec) checkApp() *Error {
	const at = "spawn_config."
	bad := func(field, why string) *Error { return Invalid(at+field, at+field+" "+why+".") }
	switch s.Data {
	case "", DataNone, DataScratch, DataKeep:
	default:
		return bad("data", fmt.Sprintf("is %q; use none, scratch or keep", s.Data))
	}
	switch s.Access {
	case "", AccessPublic, AccessToken:
	case "forward-auth":
		return bad("access", `is "forward-auth", which this version doesn't have yet; use public or token`)
	default:
		return bad("access", fmt.Sprintf("is %q; use public or token", s.Access))
	}
	switch s.Host {
	case "", HostPreserve, HostLocalhost:
	default:
		return bad("host", fmt.Sprintf("is %q; use preserve or localhost", s.Host))
	}
	if bad := checkPorts(s.Ports); bad != nil {
		return bad
	}
	if s.Idle != nil && len(s.Idle) == 0 {
		return bad("idle", "is empty; name what counts as use, requests or holds, or leave it out")
	}
	for _, u := range s.Idle {
		if u != UseRequests && u != UseHolds {
			return bad("idle", fmt.Sprintf("has %q; use requests and holds", u))
		}
	}
	if _, err := ParseEgress(s.Egress); err != nil {
		return bad("egress", err.Error())
	}
	return nil
}

func checkPorts(ports map[string]int) *Error {
	if len(ports) == 0 {
		return nil // every connect is checked: no list is made for nothing
	}
	const at = "spawn_config.ports"
	if len(ports) > MaxPorts {
		return Invalid(at, fmt.Sprintf("%s has %d names; at most %d are allowed.", at, len(ports), MaxPorts))
	}
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		if !portName.MatchString(name) {
			return Invalid(at, fmt.Sprintf("%s has the name %q; use a-z, then up to 30 of a-z, 0-9 and '_'.", at, name))
		}
		if p := ports[name]; p < 1 || p > 65535 {
			return Invalid(at+"."+name, fmt.Sprintf("%s.%s is %d; it must be from 1 to 65535.", at, name, p))
		}
	}
	return nil
}

// MaxPorts is the most further ports that a backend may have.
const MaxPorts = 16

// Absolute makes a relative Dir of a command one below base; "" becomes base
// itself. That of an image is a directory of the image.
func (t Template) Absolute(base string) Template {
	if len(t.Command) > 0 && t.Image == "" && !filepath.IsAbs(t.Dir) {
		t.Dir = filepath.Join(base, t.Dir)
	}
	return t
}
