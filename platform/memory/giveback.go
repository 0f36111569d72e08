//go:build !linux

package memory

import "runtime/debug"

// GiveBack collects garbage and returns free memory to the system.
func GiveBack() error {
	debug.FreeOSMemory()
	return nil
}
