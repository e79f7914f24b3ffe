package token

import (
	"encoding/binary"
	"unicode/utf8"

	"plane"
)

// Field numbers of the sealed part: number, length, value. A reader skips
// numbers that it doesn't know, unless their high bit is set: those narrow
// what the token allows, so a reader that can't obey them must refuse it.
const (
	fieldBackend    = 1
	fieldCluster    = 2
	fieldUser       = 3
	fieldAuth       = 4
	fieldRevocation = 6
	fieldIssued     = 7
	mustKnow        = 0x80
	fieldPort       = mustKnow | 5
	fieldExpires    = mustKnow | 8
	fieldKeyHash    = mustKnow | 9
)

func appendFields(b []byte, c plane.Claims) []byte {
	b = appendText(b, fieldBackend, string(c.Backend))
	b = appendText(b, fieldCluster, string(c.Cluster))
	if c.User != nil {
		b = appendText(b, fieldUser, *c.User)
	}
	if len(c.Auth) > 0 && string(c.Auth) != "{}" {
		b = appendText(b, fieldAuth, string(c.Auth))
	}
	if c.Port != "" {
		b = appendText(b, fieldPort, c.Port)
	}
	if c.KeyHash != "" {
		b = appendText(b, fieldKeyHash, c.KeyHash)
	}
	b = appendNumber(b, fieldRevocation, c.Revocation)
	b = appendNumber(b, fieldIssued, c.Issued)
	return appendNumber(b, fieldExpires, c.Expires)
}

func appendText(b []byte, field byte, s string) []byte {
	b = append(b, field)
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendNumber leaves out 0.
func appendNumber(b []byte, field byte, n int64) []byte {
	if n == 0 {
		return b
	}
	var v [binary.MaxVarintLen64]byte
	size := binary.PutVarint(v[:], n)
	b = append(b, field, byte(size))
	return append(b, v[:size]...)
}

// readFields reads what appendFields wrote. ok is false for anything else.
func readFields(b []byte) (c plane.Claims, ok bool) {
	c.Auth = []byte("{}")
	for len(b) > 0 {
		field := b[0]
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) {
			return c, false
		}
		value := b[1+n : 1+n+int(size)]
		b = b[1+n+int(size):]
		if !readField(&c, field, value) {
			return c, false
		}
	}
	return c, c.Backend.Check() == nil && c.Cluster != ""
}

func readField(c *plane.Claims, field byte, value []byte) bool {
	switch field {
	case fieldBackend:
		c.Backend = plane.BackendID(value)
	case fieldCluster:
		c.Cluster = plane.ClusterName(value)
	case fieldUser:
		user := string(value)
		c.User = &user
		return utf8.Valid(value)
	case fieldAuth:
		c.Auth = append([]byte(nil), value...)
	case fieldPort:
		c.Port = string(value)
	case fieldKeyHash:
		c.KeyHash = string(value)
	case fieldRevocation:
		return readNumber(&c.Revocation, value)
	case fieldIssued:
		return readNumber(&c.Issued, value)
	case fieldExpires:
		return readNumber(&c.Expires, value)
	default:
		return field&mustKnow == 0
	}
	return true
}

func readNumber(into *int64, value []byte) bool {
	n, size := binary.Varint(value)
	*into = n
	return size == len(value) && size > 0
}
