package plane_test

import (
	"errors"
	"fmt"
	"testing"

	"plane"
)

func TestErrorsAreFoundByKind(t *testing.T) {
	err := fmt.Errorf("connect: %w", plane.NewError(plane.KeyHeld, "Held."))
	if !plane.IsKind(err, plane.KeyHeld) || plane.IsKind(err, plane.Other) || plane.IsKind(errors.New("x"), plane.KeyHeld) || plane.IsKind(nil, plane.KeyHeld) {
		t.Errorf("%v is not just %s", err, plane.KeyHeld)
	}
	if want := "connect: KeyHeld: Held."; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
