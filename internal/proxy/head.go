package proxy

import (
	"errors"
	"strings"
)

// field is a header or trailer field, name and value as they were sent.
type field struct{ name, value string }

// maxFields is how many fields a head may have.
const maxFields = 256

// Framings of a body beside its length.
const (
	chunked    int64 = -1
	untilClose int64 = -2
)

var errMalformed = errors.New("malformed message")

// nextLine cuts one line off text. ok is false for a bare CR and for NUL.
func nextLine(text string) (line, rest string, strict, ok bool) {
	i := strings.IndexByte(text, '\n')
	if i < 0 {
		return "", "", false, false
	}
	line, rest = text[:i], text[i+1:]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line, strict = line[:n-1], true
	}
	return line, rest, strict, strings.IndexByte(line, '\r') < 0 && strings.IndexByte(line, 0) < 0
}

// parseFields reads field lines up to the blank line. strict refuses what only
// lenient readers accept.
func parseFields(fields []field, text string, strict bool) ([]field, error) {
	for {
		line, rest, crlf, ok := nextLine(text)
		if !ok || strict && !crlf {
			return fields, errMalformed
		}
		if line == "" {
			if rest != "" {
				return fields, errMalformed
			}
			return fields, nil
		}
		text = rest
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return fields, errMalformed
		}
		value = strings.Trim(value, " \t")
		if strict && !isValue(value) {
			return fields, errMalformed
		}
		if len(fields) == maxFields {
			return fields, errHeadTooLong
		}
		fields = append(fields, field{name, value})
	}
}

// parseLength reads digits only, at most 18 of them.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// hasToken reports whether a comma-separated list has a token, in any case.
func hasToken(list, tok string) bool {
	for len(list) > 0 {
		item := list
		if i := strings.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = ""
		}
		if strings.EqualFold(strings.Trim(item, " \t"), tok) {
			return true
		}
	}
	return false
}

var tokenChars = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c < 128 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return t
}()

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return s != ""
}

func isTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '#' {
			return false
		}
	}
	return s != ""
}

func isValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
