//go:build !linux

package memory

import "runtime/debug"

// GiveBack collects garbage and returns free memory to the system.
func GiveBack() error {
	debug.FreeOSMemory()
	return nil
}

// LeaveProgram does nothing here: what a program's own file takes is the system's to
// decide.
func LeaveProgram() error { return nil }
