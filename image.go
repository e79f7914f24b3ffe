package plane

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Credentials are those of an image's registry: a name and a password, or an
// identity token. They are never shown or logged.
type Credentials struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identity_token,omitempty"`
}

// String hides them.
func (c *Credentials) String() string {
	if c == nil {
		return "none"
	}
	return "***"
}

// LogValue hides them.
func (c *Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Mount says which directory below the drone's mount base a backend gets.
type Mount struct {
	ByKey bool   // one of its key's own
	Path  string // relative; "" = none, unless ByKey
}

// ParseMount reads the mount of an executable: true (ByKey), false, null and
// nothing (none), or a relative path without "." and "..".
func ParseMount(raw json.RawMessage) (Mount, error) {
	var m Mount
	if len(raw) == 0 || string(raw) == "null" {
		return m, nil
	}
	if json.Unmarshal(raw, &m.ByKey) == nil {
		return m, nil
	}
	if json.Unmarshal(raw, &m.Path) != nil {
		return m, errors.New("must be true, false or a path")
	}
	if m.Path == "" || strings.ContainsRune(m.Path, 0) || strings.HasPrefix(m.Path, ".") || path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path {
		return m, errors.New(`must be a relative path of plain names: no "..", no leading "/" or "."`)
	}
	return m, nil
}

var imageUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)

// checkImage reports the first of the fields about images that is wrong.
func (x Executable) checkImage() (field, why string) {
	if x.Image == "" {
		for name, set := range map[string]bool{
			"pull_policy": x.PullPolicy != "", "credentials": x.Credentials != nil, "network_name": x.NetworkName != nil,
			"mount": len(x.Mount) > 0 && string(x.Mount) != "null" && string(x.Mount) != "false", "user": x.User != "", "port": x.Port != 0, "read_only": x.ReadOnly, "gpus": x.GPUs != "",
		} {
			if set {
				return name, "is for images only; this executable is a command"
			}
		}
	}
	switch x.RuntimeName {
	case "":
	case RuntimeProcess:
		if x.Image != "" {
			return "runtime", "is process, which runs commands; use docker or oci for an image"
		}
	case RuntimeDocker, RuntimeOCI:
		if x.Image == "" {
			return "runtime", "is " + x.RuntimeName + ", which runs images; give an image"
		}
	default:
		return "runtime", "must be process, docker or oci"
	}
	switch x.PullPolicy {
	case "", PullIfNotPresent, PullAlways, PullNever:
	default:
		return "pull_policy", "must be IfNotPresent, Always or Never"
	}
	if c := x.Credentials; c != nil {
		switch {
		case c.isMasked():
			return "credentials", "is ***, which is how credentials are shown; give them as they are"
		case c.IdentityToken != "" && c.Password != "":
			return "credentials", "has both a password and an identity_token; give one of them"
		case c.IdentityToken == "" && (c.Username == "" || c.Password == ""):
			return "credentials", "needs username and password, or an identity_token"
		}
	}
	if _, err := ParseMount(x.Mount); err != nil {
		return "mount", err.Error()
	}
	if x.Listen != "" && x.Image != "" {
		return "listen", "is for commands only; an image listens on its own port"
	}
	if x.User != "" && !imageUser.MatchString(x.User) {
		return "user", "must be a number or a name of the image, with :GROUP if need be"
	}
	if x.Port < 0 || x.Port > 65535 {
		return "port", fmt.Sprintf("is %d; it must be from 1 to 65535", x.Port)
	}
	if n, err := strconv.Atoi(x.GPUs); x.GPUs != "" && x.GPUs != "all" && (err != nil || n < 1 || n > 64) {
		return "gpus", `must be "all" or a number from 1 to 64`
	}
	return "", ""
}
