package plane_test

import (
	"testing"
	"time"

	"plane"
)

func TestExpiry(t *testing.T) {
	now := time.Unix(1000, 0)
	for expires, want := range map[int64]bool{0: false, 999: true, 1000: true, 1001: false} {
		if got := (plane.Claims{Expires: expires}).Expired(now); got != want {
			t.Errorf("expires %d, at 1000: %v, want %v", expires, got, want)
		}
	}
}

func TestRevocationReachesTheUsersOlderTokensOnly(t *testing.T) {
	eve, bob := "eve", "bob"
	r := plane.Route{Revocation: 3, Revoked: map[string]int64{"eve": 3}}
	for name, c := range map[string]struct {
		claims plane.Claims
		want   bool
	}{
		"older":             {plane.Claims{User: &eve, Revocation: 2}, false},
		"of a new connect":  {plane.Claims{User: &eve, Revocation: 3}, true},
		"of somebody else":  {plane.Claims{User: &bob, Revocation: 0}, true},
		"of nobody special": {plane.Claims{}, true},
	} {
		if got := r.Allows(c.claims); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
