package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cacheDir holds base systems between runs, outside the clone: they are the
// distribution's and not ours.
const cacheDir = "/var/cache/hausmeister"

const suite = "bookworm"

// recipe makes the base system $1 from the mirror $2 (or debootstrap's own).
// Its text is the name of the result, so changing it makes a new one.
const recipe = `set -eu
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps ` + suite + ` "$1" $2
rm -f "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*_*
# The network comes up by itself, as on a device; the journal survives reboots.
chroot "$1" systemctl enable systemd-networkd
# Nothing here waits for people or other machines.
chroot "$1" systemctl mask systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer
mkdir -p "$1/var/log/journal"
echo nameserver 192.0.2.1 >"$1/etc/resolv.conf"
`

// base returns the folder of the base system and makes it first if need be.
func base(ctx context.Context) (string, error) {
	sum := sha256.Sum256([]byte(recipe))
	dir := filepath.Join(cacheDir, "debian-"+hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache for base systems: %w", err)
	}
	lock, err := lockFile(ctx, filepath.Join(cacheDir, "lock"))
	if err != nil {
		return "", fmt.Errorf("waiting for another test that makes a base system: %w", err)
	}
	defer lock.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// Made beside and renamed: a run that is cut leaves no half system under the name.
	half := dir + ".new"
	if err := os.RemoveAll(half); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", recipe, "sh", half, mirror(ctx))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making a base system with debootstrap: %w\n%s", err, tail(out))
	}
	return dir, os.Rename(half, dir)
}

// lockFile takes the lock or ends with ctx; closing the file gives it back, and
// so does the end of this process.
func lockFile(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != syscall.EWOULDBLOCK {
			f.Close()
			return nil, err
		}
		if err := pause(ctx); err != nil {
			f.Close()
			return nil, err
		}
	}
}

// mirror is where this machine's apt gets Debian from; "" leaves the choice to
// debootstrap.
func mirror(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(CODENAME) $(ORIGIN) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == suite && f[1] == "Debian" {
			return f[2]
		}
	}
	return ""
}

func tail(out []byte) []byte {
	const most = 2000
	return out[max(0, len(out)-most):]
}

// pause waits a moment before something is looked at again.
func pause(ctx context.Context) error {
	select {
	case <-time.After(50 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
