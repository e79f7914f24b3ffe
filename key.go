package plane

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxKeyPart is the most bytes a key's name, namespace or tag may have.
const MaxKeyPart = 1024

// Key names what a backend is for. At most one backend is live per
// (Namespace, Name); Tag must match that of the live backend.
type Key struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Tag       string `json:"tag"`
}

// Check reports the field that is wrong and why: any UTF-8 text without NUL, at
// most MaxKeyPart bytes each. The empty name is a name.
func (k Key) Check() *Error {
	for _, p := range []struct{ field, s string }{
		{"key.name", k.Name},
		{"key.namespace", k.Namespace},
		{"key.tag", k.Tag},
	} {
		switch {
		case len(p.s) > MaxKeyPart:
			return Invalid(p.field, fmt.Sprintf("%s is %d bytes long; at most %d are allowed.", p.field, len(p.s), MaxKeyPart))
		case !utf8.ValidString(p.s) || strings.ContainsRune(p.s, 0):
			return Invalid(p.field, p.field+" must be UTF-8 text without NUL.")
		}
	}
	return nil
}

// Hash names the (namespace, name) pair where the pair itself must not be
// shown or would not fit: 32 hex digits. The tag is no part of it.
func (k Key) Hash() string {
	h := sha256.Sum256([]byte(k.Namespace + "\x00" + k.Name))
	return hex.EncodeToString(h[:16])
}

// HostLabel returns the key's name as the first label of a key URL, and whether
// it can be one: a-z, 0-9 and single '-' inside, not "xn--…", at most 63.
func (k Key) HostLabel() (string, bool) {
	s := k.Name
	if !isHostLabel(s) || strings.Contains(s, "--") || strings.Contains(s, "_") || strings.ToLower(s) != s {
		return "", false
	}
	return s, true
}

// String shows the key as people write it: [NAMESPACE/]NAME.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// Generation numbers a backend among those of its key and is its fencing
// token: strictly rising, never reused, below 2⁵³ so that JavaScript reads it
// exactly. It is the store epoch's number · 2³² + a counter.
type Generation int64

const generationCounterBits = 32

// MaxStoreEpoch is the largest store epoch number a generation can carry.
const MaxStoreEpoch = 1<<(53-generationCounterBits) - 1

// NewGeneration joins a store epoch number (1 to MaxStoreEpoch) and a counter.
func NewGeneration(epoch int64, counter uint32) Generation {
	return Generation(epoch<<generationCounterBits | int64(counter))
}

// Epoch is the number of the store epoch that granted g.
func (g Generation) Epoch() int64 { return int64(g) >> generationCounterBits }

// Short is a generation for people: its counter, and where a restored store
// began to count anew, the epoch. It is no name: programs use the number.
func (g Generation) Short() string {
	counter := int64(g) & (1<<generationCounterBits - 1)
	if g.Epoch() > 1 {
		return fmt.Sprintf("#%d of epoch %d", counter, g.Epoch())
	}
	return fmt.Sprintf("#%d", counter)
}
