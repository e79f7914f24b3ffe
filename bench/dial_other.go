//go:build !linux

package main

import (
	"errors"
	"net"
)

func dialInside(int, int) (net.Conn, error) {
	return nil, errors.New("containers are measured on Linux only")
}
