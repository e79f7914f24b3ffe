package plane

import (
	"encoding/json"
	"time"
)

// Claims are what a token says once it is opened.
type Claims struct {
	Backend    BackendID       `json:"b"`
	Cluster    ClusterName     `json:"c"`
	User       *string         `json:"u,omitempty"`
	Auth       json.RawMessage `json:"a,omitempty"` // a JSON object in the canonical form that backends are shown
	Port       string          `json:"p,omitempty"` // a named further port
	KeyHash    string          `json:"k,omitempty"` // of a cookie, which stands for a key: Key.Hash; "" = a token of Backend
	Revocation int64           `json:"r,omitempty"`
	Issued     int64           `json:"i"`           // Unix seconds
	Expires    int64           `json:"e,omitempty"` // Unix seconds; 0 = as long as the backend lives
}

// MaxClaims is the most bytes that user and auth may have together, encoded.
const MaxClaims = 4096

// UserName is the user, or "" for none.
func (c Claims) UserName() string {
	if c.User == nil {
		return ""
	}
	return *c.User
}

// Expired reports whether the token must no longer open new requests.
func (c Claims) Expired(now time.Time) bool {
	return c.Expires != 0 && now.Unix() >= c.Expires
}
