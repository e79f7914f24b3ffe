//go:build !linux

package gate

import (
	"context"
	"errors"
	"os"

	"plane"
)

var errNoNamespaces = errors.New("this system has no network namespaces")

func (g *Gate) open(_ context.Context, id plane.BackendID, _ int) (*os.File, error) {
	if e, err := g.admit(id); err != nil || !runs(e) {
		return nil, errors.Join(ErrGone, err)
	}
	return nil, errNoNamespaces
}
