//go:build !linux

package image

import (
	"archive/tar"
	"syscall"
)

// whiteouts: nothing is mounted here, so that what layers remove stays as archived.
type whiteouts struct{}

func newWhiteouts() *whiteouts { return &whiteouts{} }

func (*whiteouts) open(string) error { return nil }
func (*whiteouts) close()            {}
func isOpaque(string) bool           { return false }

func (*whiteouts) convert(*tar.Header, string) (bool, error) { return true, nil }
func (*whiteouts) wasRemoved(string) error                   { return nil }
func (*whiteouts) done() error                               { return nil }

func syncTree(string) error { return syscall.Sync() }
