//go:build !linux

package dockertest

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }

func stopped(int) bool { return true }

func (e *Engine) end(TB) {}
