package swap

import (
	"errors"

	"golang.org/x/sys/unix"
)

// held: a program that runs is not in the way of a rename here.
func held(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ETXTBSY) }

// copyAttributes keeps label (SELinux) and capabilities: a file with the wrong
// label may not be run, one without its capabilities lacks rights. Where a file
// system has none of them, or the label is given by the system and may not be
// set, the system's own is right.
func copyAttributes(from, to string) error {
	for _, name := range []string{"security.selinux", "security.capability"} {
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			continue // it has none, or is not there
		}
		err = unix.Lsetxattr(to, name, value[:n], 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	return nil
}
