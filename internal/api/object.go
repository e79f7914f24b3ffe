package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"plane"
)

// value is one JSON value of a request and the name of its field. The
// standard decoder isn't strict enough for requests: it takes names in any
// case, null for everything, repeated names, and mends broken text.
type value struct {
	field string
	raw   json.RawMessage
}

func (v value) null() bool { return string(v.raw) == "null" }

// what names the kind of the value, for error sentences.
func (v value) what() string {
	if len(v.raw) == 0 {
		return "missing"
	}
	switch v.raw[0] {
	case 'n':
		return "null"
	case 't', 'f':
		return string(v.raw)
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "the number " + string(v.raw[:min(len(v.raw), 24)])
}

func (v value) wrong(want string) *plane.Error {
	return plane.Invalid(v.field, fmt.Sprintf("%s is %s; it must be %s.", v.field, v.what(), want))
}

// text reads a string; null is an error.
func (v value) text(into *string) *plane.Error {
	if v.raw[0] != '"' {
		return v.wrong("a string")
	}
	*into = unquote(v.raw)
	return nil
}

// optionalText reads a string or null.
func (v value) optionalText(into **string) *plane.Error {
	if v.null() {
		*into = nil
		return nil
	}
	if v.raw[0] != '"' {
		return v.wrong("a string or null")
	}
	s := unquote(v.raw)
	*into = &s
	return nil
}

// optionalInt32 reads an integer of 32 bits, written as one, or null.
func (v value) optionalInt32(into **int32) *plane.Error {
	if v.null() {
		*into = nil
		return nil
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 32)
	if err != nil {
		return v.wrong("an integer of 32 bits or null")
	}
	m := int32(n)
	*into = &m
	return nil
}

// boolean reads true or false; null is an error.
func (v value) boolean(into *bool) *plane.Error {
	switch string(v.raw) {
	case "true":
		*into = true
	case "false":
		*into = false
	default:
		return v.wrong("true or false")
	}
	return nil
}

// texts reads an array of strings.
func (v value) texts(into *[]string) *plane.Error {
	if v.raw[0] != '[' || json.Unmarshal(v.raw, into) != nil {
		return v.wrong("an array of strings")
	}
	return nil
}

// object gives every member to take, which says whether it knows the name.
// names are all that it knows, for the suggestion.
func (v value) object(names []string, take func(value, string) *plane.Error) *plane.Error {
	if len(v.raw) == 0 || v.raw[0] != '{' {
		return v.wrong("an object")
	}
	prefix := ""
	if v.field != "" && v.field != bodyField {
		prefix = v.field + "."
	}
	var seen []string
	for name, raw := range members(v.raw) {
		field := prefix + name
		if !slices.Contains(names, name) {
			return plane.Invalid(field, fmt.Sprintf("%s is not a field here%s", field, didYouMean(name, names)))
		}
		if slices.Contains(seen, name) {
			return plane.Invalid(field, field+" is given twice.")
		}
		seen = append(seen, name)
		if err := take(value{field: field, raw: raw}, name); err != nil {
			return err
		}
	}
	return nil
}

// bodyField is the name of the whole body in error sentences.
const bodyField = "the body"

// parse checks that body is one JSON text in clean UTF-8.
func parse(body []byte) (value, *plane.Error) {
	bad := func(why string) *plane.Error {
		return &plane.Error{Kind: plane.BadRequest, Status: 400, Message: "The body is not valid JSON: " + why + "."}
	}
	if !utf8.Valid(body) {
		return value{}, bad("it is not UTF-8")
	}
	if !json.Valid(body) {
		var any json.RawMessage
		if err := json.Unmarshal(body, &any); err != nil {
			return value{}, bad(err.Error())
		}
		return value{}, bad("syntax error")
	}
	if bytes.Contains(body, []byte(`\u`)) && loneSurrogate(body) {
		return value{}, bad(`a \u escape is half of a pair`)
	}
	return value{field: bodyField, raw: bytes.Trim(body, " \t\r\n")}, nil
}

// loneSurrogate reports whether an escape in valid JSON is half of a UTF-16
// pair: the standard decoder would turn it into U+FFFD, so that two keys
// become one.
func loneSurrogate(b []byte) bool {
	unit := func(i int) (uint64, bool) {
		if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(b[i+2:i+6]), 16, 16)
		return n, err == nil
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		n, ok := unit(i)
		switch {
		case !ok:
			i++
		case n >= 0xD800 && n < 0xDC00:
			low, ok := unit(i + 6)
			if !ok || low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 11
		case n >= 0xDC00 && n <= 0xDFFF:
			return true
		default:
			i += 5
		}
	}
	return false
}

// members yields the members of an object in their order. raw must be valid
// JSON and begin with '{'.
func members(raw []byte) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		i := skipSpace(raw, 1)
		for raw[i] != '}' {
			end := endOfString(raw, i)
			name := unquote(raw[i:end])
			i = skipSpace(raw, skipSpace(raw, end)+1) // over the colon
			end = endOfValue(raw, i)
			if !yield(name, raw[i:end:end]) {
				return
			}
			i = skipSpace(raw, end)
			if raw[i] == ',' {
				i = skipSpace(raw, i+1)
			}
		}
	}
}

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r' {
		i++
	}
	return i
}

func endOfString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func endOfValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return endOfString(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = endOfString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			i++
			if depth == 0 {
				return i
			}
		}
	}
	for i < len(b) && !strings.ContainsRune(",}] \t\r\n", rune(b[i])) {
		i++
	}
	return i
}

func unquote(raw []byte) string {
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		panic("api: a string of valid JSON doesn't parse: " + err.Error())
	}
	return s
}

// didYouMean ends a sentence with the nearest of names, or with all of them.
func didYouMean(wrong string, names []string) string {
	if best := plane.Nearest(wrong, names); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known are " + strings.Join(names, ", ") + "."
}
