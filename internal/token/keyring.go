package token

import (
	"cmp"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the length of a key's secret in bytes.
const KeySize = 32

// Key is one of the rotating keys of a cluster.
type Key struct {
	Number uint32
	Secret []byte    // KeySize random bytes
	Active time.Time // sealing begins then; opening at once
}

// String hides the secret.
func (Key) String() string { return "***" }

// GoString hides the secret.
func (Key) GoString() string { return "***" }

// NewKey draws the secret of a new key from r (crypto/rand.Reader).
func NewKey(number uint32, r io.Reader) (Key, error) {
	secret := make([]byte, KeySize)
	if _, err := io.ReadFull(r, secret); err != nil {
		return Key{}, fmt.Errorf("draw token key: %w", err)
	}
	return Key{Number: number, Secret: secret}, nil
}

// Keyring seals and opens tokens. It never changes and may be used by many
// goroutines; new keys make a new one. The nil Keyring knows no key.
type Keyring struct {
	keys   []ringKey // by rising number
	oldest uint32
	static []byte
}

type ringKey struct {
	number uint32
	active time.Time
	aead   cipher.AEAD
	secret []byte // of per-token secrets
}

// NewKeyring takes the keys of a cluster, the lowest number whose tokens are
// still accepted, and the key of static tokens. Keys of lower numbers and
// repeated numbers are left out.
func NewKeyring(keys []Key, oldest uint32, static []byte) *Keyring {
	r := &Keyring{oldest: oldest}
	if len(static) > 0 {
		r.static = derive(static, "plane static token")
	}
	for _, k := range keys {
		if k.Number < oldest || r.find(k.Number) != nil {
			continue
		}
		aead, err := chacha20poly1305.NewX(derive(k.Secret, "plane token seal"))
		if err != nil {
			panic("token: " + err.Error()) // only for a wrong key length, which derive never gives
		}
		r.keys = append(r.keys, ringKey{
			number: k.Number,
			active: k.Active,
			aead:   aead,
			secret: derive(k.Secret, "plane token secret"),
		})
	}
	slices.SortFunc(r.keys, func(a, b ringKey) int { return cmp.Compare(a.number, b.number) })
	return r
}

// derive separates the uses of one secret: knowing the result of one use says
// nothing about another.
func derive(secret []byte, use string) []byte {
	k, err := hkdf.Key(sha256.New, secret, nil, use, KeySize)
	if err != nil {
		panic("token: " + err.Error()) // only for absurd lengths, or under a FIPS mode that refuses short secrets
	}
	return k
}

// String hides the secrets.
func (*Keyring) String() string { return "***" }

// GoString hides the secrets.
func (*Keyring) GoString() string { return "***" }

// Newest is the highest key number, or 0 without keys.
func (r *Keyring) Newest() uint32 {
	if r == nil || len(r.keys) == 0 {
		return 0
	}
	return r.keys[len(r.keys)-1].number
}

func (r *Keyring) find(number uint32) *ringKey {
	for i := range r.keys {
		if r.keys[i].number == number {
			return &r.keys[i]
		}
	}
	return nil
}

// sealing is the newest key that is active. Before the first one is, the
// oldest: a new cluster has no proxy that could not know it.
func (r *Keyring) sealing(now time.Time) *ringKey {
	for i := len(r.keys) - 1; i >= 0; i-- {
		if !r.keys[i].active.After(now) {
			return &r.keys[i]
		}
	}
	return &r.keys[0]
}
