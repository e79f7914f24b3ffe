package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"plane"
)

// CanonicalAuth gives the one form of a caller's auth that backends are shown:
// compact, the keys of every object sorted by bytes, nothing escaped that JSON
// doesn't demand, integers as they are, other numbers in their shortest form
// with a decimal point. Of repeated keys the last one counts. Absent auth is {}.
// Anything but an object, and more than plane.MaxClaims bytes, gives a
// *plane.Error for the field "auth".
func CanonicalAuth(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return json.RawMessage("{}"), nil
	}
	if !json.Valid(raw) {
		return nil, plane.Invalid("auth", "auth is not JSON.")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, plane.Invalid("auth", "auth is not JSON: "+err.Error()+".")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, plane.Invalid("auth", "auth must be a JSON object.")
	}
	out, err := appendCanonical(nil, object)
	if err != nil {
		return nil, plane.Invalid("auth", err.Error())
	}
	if len(out) > plane.MaxClaims {
		return nil, plane.Invalid("auth", fmt.Sprintf("auth is %d bytes; at most %d are allowed.", len(out), plane.MaxClaims))
	}
	return out, nil
}

func appendCanonical(b []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendString(b, v), nil
	case json.Number:
		return appendJSONNumber(b, string(v))
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendCanonical(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k), ':')
			if b, err = appendCanonical(b, v[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	panic(fmt.Sprintf("token: %T from a JSON decoder", v))
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case strings.IndexByte("\b\t\n\f\r", c) >= 0:
			b = append(b, '\\', "btn\x00fr"[c-'\b'])
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return append(b, '"')
}

// appendJSONNumber keeps integers of 64 bits and writes everything else as the
// shortest decimal of a 64-bit float, with an exponent only beyond 10¹⁶ and
// below 10⁻⁵.
func appendJSONNumber(b []byte, s string) ([]byte, error) {
	if s != "-0" && !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return strconv.AppendInt(b, n, 10), nil
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return strconv.AppendUint(b, n, 10), nil
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, fmt.Errorf("auth has a number out of range: %s", s)
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-5 && abs < 1e16 {
		start := len(b)
		b = strconv.AppendFloat(b, f, 'f', -1, 64)
		if !bytes.ContainsRune(b[start:], '.') {
			b = append(b, ".0"...)
		}
		return b, nil
	}
	text := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(text, "e")
	n, _ := strconv.Atoi(exponent)
	return strconv.AppendInt(append(append(b, mantissa...), 'e'), int64(n), 10), nil
}
