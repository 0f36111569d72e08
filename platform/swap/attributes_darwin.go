package swap

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

func held(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ETXTBSY) }

// copyAttributes makes sure that the new file may run at all: it is not marked
// as come from the internet, and what signs it is whole, where the old one is
// signed. The file is one of its own (a rename, never an overwrite, which would
// get the process killed: the kernel keeps signatures by inode).
func copyAttributes(from, to string) error {
	err := unix.Lremovexattr(to, "com.apple.quarantine")
	if err != nil && !errors.Is(err, unix.ENOATTR) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if exec.CommandContext(ctx, "/usr/bin/codesign", "--verify", from).Run() != nil {
		return nil // not signed itself, or gone: there is nothing to hold the new one to
	}
	if out, err := exec.CommandContext(ctx, "/usr/bin/codesign", "--verify", "--strict", to).CombinedOutput(); err != nil {
		return fmt.Errorf("signature of %s: %w: %s", to, err, out)
	}
	return nil
}
