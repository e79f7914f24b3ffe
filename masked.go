package plane

import (
	"log/slog"
	"strings"
)

// masked stands for a secret wherever one is shown.
const masked = "***"

// Masked is c as it may be shown: nothing of it is left but which fields it has.
func (c *Credentials) Masked() *Credentials {
	if c == nil {
		return nil
	}
	var m Credentials
	for _, f := range []struct {
		from string
		to   *string
	}{{c.Username, &m.Username}, {c.Password, &m.Password}, {c.IdentityToken, &m.IdentityToken}} {
		if f.from != "" {
			*f.to = masked
		}
	}
	return &m
}

// Masked is t as it may be shown: without its credentials.
func (t Template) Masked() Template {
	t.Credentials = t.Credentials.Masked()
	return t
}

// isMasked reports whether c is what is shown in place of credentials.
func (c *Credentials) isMasked() bool {
	return c != nil && (c.Password == masked || c.IdentityToken == masked)
}

// LogValue is what x runs: neither its environment nor its credentials.
func (x Executable) LogValue() slog.Value {
	if x.Image != "" {
		return slog.StringValue(x.Image)
	}
	return slog.StringValue(strings.Join(x.Command, " "))
}

// LogValue is what t runs: neither its environment nor its credentials.
func (t Template) LogValue() slog.Value {
	return Executable{Image: t.Image, Command: t.Command}.LogValue()
}

// LogValue is what s runs: neither its environment nor its credentials.
func (s Spec) LogValue() slog.Value {
	x, bad := ParseExecutable(s.Executable)
	if bad != nil {
		return slog.StringValue(masked)
	}
	return x.LogValue()
}
