package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"plane"
)

// Why a token isn't opened.
var (
	ErrMalformed  = errors.New("not a token")
	ErrUnknownKey = errors.New("token of a key that isn't known here") // it may be known elsewhere: ask
	ErrTooOld     = errors.New("token of a key that is refused")
	ErrForged     = errors.New("token not sealed by this cluster")
	ErrNoKeys     = errors.New("no token keys")
)

const (
	version      = 1
	headSize     = 1 + 4 // version, key number
	overhead     = headSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	staticPrefix = "s."

	// MaxLength is the most characters a token has: claims, names and the seal.
	MaxLength = (overhead + plane.MaxClaims + 512 + 2) / 3 * 4
)

// strict refuses trailing bits; parse refuses the line breaks that the decoder skips.
var strict = base64.RawURLEncoding.Strict()

// Seal makes a token of c with the newest key that is active at now. c.Auth
// must be canonical (CanonicalAuth). Claims above plane.MaxClaims give a
// *plane.Error that names the limit.
func (r *Keyring) Seal(c plane.Claims, now time.Time) (string, error) {
	if r == nil || len(r.keys) == 0 {
		return "", ErrNoKeys
	}
	if n := len(c.UserName()) + len(c.Auth); n > plane.MaxClaims {
		return "", plane.Invalid("auth", fmt.Sprintf("user and auth are %d bytes together; at most %d are allowed.", n, plane.MaxClaims))
	}
	if len(c.Backend)+len(c.Cluster)+len(c.Port) > 448 {
		return "", plane.Invalid("cluster", "The names of backend, cluster and port are too long for a token.")
	}
	k := r.sealing(now)
	var stack [256]byte
	fields := appendFields(stack[:0], c)

	b := make([]byte, headSize+chacha20poly1305.NonceSizeX, overhead+len(fields))
	b[0] = version
	binary.BigEndian.PutUint32(b[1:headSize], k.number)
	nonce := b[headSize:]
	_, _ = rand.Read(nonce) // never fails: it ends the program instead
	b = k.aead.Seal(b, nonce, fields, b[:headSize])
	return strict.EncodeToString(b), nil
}

// Open reads a token. It says what the token claims, not that the claims are
// still good: expiry, revocation and the backend's state are the caller's.
func (r *Keyring) Open(tok string) (plane.Claims, error) {
	var stack [512]byte
	b, ok := decode(stack[:0], tok)
	if !ok {
		return plane.Claims{}, ErrMalformed
	}
	k, err := r.keyOf(b)
	if err != nil {
		return plane.Claims{}, err
	}
	nonce, sealed := b[headSize:headSize+chacha20poly1305.NonceSizeX], b[headSize+chacha20poly1305.NonceSizeX:]
	var plain [512]byte
	fields, err := k.aead.Open(plain[:0], nonce, sealed, b[:headSize])
	if err != nil {
		return plane.Claims{}, ErrForged
	}
	c, ok := readFields(fields)
	if !ok {
		return plane.Claims{}, ErrMalformed
	}
	return c, nil
}

// decode gives the bytes of a token that has the right form.
func decode(into []byte, tok string) ([]byte, bool) {
	if len(tok) < (overhead*8+5)/6 || len(tok) > MaxLength || strings.ContainsAny(tok, "\r\n") {
		return nil, false
	}
	b, err := strict.AppendDecode(into, []byte(tok))
	if err != nil || len(b) < overhead || b[0] != version {
		return nil, false
	}
	return b, true
}

func (r *Keyring) keyOf(b []byte) (*ringKey, error) {
	number := binary.BigEndian.Uint32(b[1:headSize])
	if r == nil {
		return nil, ErrUnknownKey
	}
	if number < r.oldest {
		return nil, ErrTooOld
	}
	if k := r.find(number); k != nil {
		return k, nil
	}
	return nil, ErrUnknownKey
}

// Secret is the secret of a token that backends are shown and callers of
// connect get: 43 characters. It is "" for a static token and for one whose
// key isn't known.
func (r *Keyring) Secret(tok string) string {
	var stack [512]byte
	b, ok := decode(stack[:0], tok)
	if !ok {
		return ""
	}
	k, err := r.keyOf(b)
	if err != nil {
		return ""
	}
	return mac(k.secret, tok)
}

// Static is the static token of a backend: "s." and 43 characters, the same
// every time. It is "" if there is no static key.
func (r *Keyring) Static(id plane.BackendID) string {
	if r == nil || r.static == nil {
		return ""
	}
	return staticPrefix + mac(r.static, "static"+string(id))
}

func mac(key []byte, text string) string {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// IsStatic reports whether tok is to be read as a static token.
func IsStatic(tok string) bool { return strings.HasPrefix(tok, staticPrefix) }

// Looks reports whether tok has the form of a token, whether or not it is one
// of this cluster. It needs no key.
func Looks(tok string) bool {
	var stack [512]byte
	_, ok := decode(stack[:0], tok)
	return ok || IsStatic(tok)
}

// StaticHash is what routes carry instead of a static token: hex SHA-256.
func StaticHash(tok string) string {
	h := sha256.Sum256([]byte(tok))
	return hex.EncodeToString(h[:])
}

// Redact is how a token is written in logs: "tok:" and 8 hex digits of its SHA-256.
func Redact(tok string) string {
	h := sha256.Sum256([]byte(tok))
	return "tok:" + hex.EncodeToString(h[:4])
}
