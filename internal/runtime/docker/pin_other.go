//go:build !linux

package docker

import (
	"plane"
	"plane/internal/runtime/datadir"
)

// pin leaves the path as it is: the engine is in a machine of its own, of one
// person.
func (o Options) pin(_ plane.BackendID, d *datadir.Dir) (path string, release func(), err error) {
	return d.Path, func() {}, nil
}

func (o Options) unpinAll() {}
