package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

const ownNetwork = "HAUSMEISTER_OWN_NETWORK"

// InOwnNetwork runs this program again with the same arguments, in a network of its own
// that leads nowhere, and gives its exit code. It is for tests of what
// notices any network of the machine that comes or goes, as a browser does, which then
// drops what it loads: tests of other packages make networks at the same time.
//
// In the second run, and where the system refuses such networks, ran is false and the
// caller goes on.
func InOwnNetwork() (code int, ran bool, err error) {
	if os.Getenv(ownNetwork) != "" {
		return 0, false, plugIn()
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), ownNetwork+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOSPC):
		return 0, false, nil
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), true, nil // killed by a signal it has none
	case err != nil:
		return 0, false, fmt.Errorf("running in a network of its own: %w", err)
	}
	return 0, true, nil
}

// plugIn gives a new network its loopback interface and a cable that leads nowhere:
// without one a browser takes itself for offline. It is for IPv4 alone, since IPv6 looks
// for a second whether an address is free, and the network would change once more.
func plugIn() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making a network without IPv6: %w", err)
	}
	for _, args := range []string{
		"link set lo up",
		"link add cable type veth peer name plug",
		"addr add 192.0.2.1/24 dev cable",
		"link set plug up",
		"link set cable up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("making a network, ip %s (Debian package iproute2): %w %s", args, err, out)
		}
	}
	return nil
}
