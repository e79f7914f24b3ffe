//go:build !linux || !(amd64 || arm64)

package waiter

import "errors"

// Program isn't to be had here.
func Program() ([]byte, error) {
	return nil, errors.New("prepared sandboxes need Linux on amd64 or arm64")
}
