//go:build !linux

package child

import "syscall"

// Elsewhere a child of a killed program lives on: there is no signal for that.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
