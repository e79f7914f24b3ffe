package wire

import (
	"fmt"
	"log/slog"
)

// Messages that carry secrets, keys, tokens or a program's environment, are
// printed and logged without them. Only Encode shows everything.

// String hides the secret.
func (k TokenKey) String() string { return fmt.Sprintf("key %d ***", k.Number) }

// String hides the secrets.
func (k Keys) String() string { return fmt.Sprintf("keys %v", k.Keys) }

// String hides the secrets.
func (w ProxyWelcome) String() string {
	return fmt.Sprintf("welcome of %s, keys %v", w.Controller, w.Keys)
}

// String hides the spec and the static token.
func (s Spawn) String() string {
	return fmt.Sprintf("spawn %s of %s, generation %d", s.Backend, s.Key, s.Generation)
}

// String hides the spec.
func (h Held) String() string {
	return fmt.Sprintf("%s of %s, generation %d, %s", h.Backend, h.Key, h.Generation, h.State.Status)
}

// String hides the specs.
func (h DroneHello) String() string {
	return fmt.Sprintf("hello of %s, boot %s, holding %v", h.Name, h.BootID, h.Inventory)
}

// LogValue is String.
func (k TokenKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// LogValue is String.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// LogValue is String.
func (w ProxyWelcome) LogValue() slog.Value { return slog.StringValue(w.String()) }

// LogValue is String.
func (s Spawn) LogValue() slog.Value { return slog.StringValue(s.String()) }

// LogValue is String.
func (h Held) LogValue() slog.Value { return slog.StringValue(h.String()) }

// LogValue is String.
func (h DroneHello) LogValue() slog.Value { return slog.StringValue(h.String()) }
