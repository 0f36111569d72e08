package machine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// mountPoint is where each machine's file system is mounted, in a namespace of
// its own, so all use the same empty folder.
const mountPoint = cacheDir + "/mount"

// Times that a machine on a busy computer may take.
const (
	bootTime = 2 * time.Minute
	stopTime = 30 * time.Second
)

// A Machine is one Debian. Its methods are for one goroutine at a time.
type Machine struct {
	name   string
	host   netip.Addr // our end of its network cable
	inside netip.Addr
	holder *exec.Cmd // keeps the namespace with its disk
	nspawn *process  // nil while it has no power
	leader int       // its process 1, as we number it
}

// Available says what keeps machines from running here, or nil.
func Available() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("root's rights"))
	}
	for _, program := range []string{"systemd-nspawn", "debootstrap", "nsenter", "unshare", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			errs = append(errs, fmt.Errorf("the program %s", program))
		}
	}
	return errors.Join(errs...)
}

// Start makes a machine and boots it.
func Start(ctx context.Context) (*Machine, error) {
	dir, err := base(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(mountPoint, 0o755); err != nil {
		return nil, err
	}
	id := make([]byte, 16)
	rand.Read(id)
	m := &Machine{name: "hm" + hex.EncodeToString(id[:3])} // short: the link is called ve-NAME, 15 characters at most
	m.host, m.inside = addresses(id)
	if err := m.mount(ctx, dir); err != nil {
		return nil, fmt.Errorf("mounting the disk of machine %s: %w", m.name, err)
	}
	network := fmt.Sprintf("[Match]\nName=host0\n[Network]\nAddress=%s/30\nGateway=%s\nLinkLocalAddressing=no\n", m.inside, m.host)
	err = errors.Join(
		m.WriteFile("/etc/systemd/network/10-host0.network", []byte(network), 0o644),
		m.WriteFile("/etc/hostname", []byte(m.name+"\n"), 0o644),
		m.WriteFile("/etc/machine-id", []byte(hex.EncodeToString(id)+"\n"), 0o444),
	)
	if err == nil {
		err = m.PowerOn(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

// addresses takes a pair from the range for tests between devices (RFC 2544),
// by chance, so that machines of several test programs do not meet.
func addresses(id []byte) (host, inside netip.Addr) {
	last := id[15] &^ 3
	return netip.AddrFrom4([4]byte{198, 18 + id[13]&1, id[14], last + 1}),
		netip.AddrFrom4([4]byte{198, 18 + id[13]&1, id[14], last + 2})
}

// mount starts the process whose mount namespace holds the machine's disk: the
// base system below, the machine's own writes in memory above.
func (m *Machine) mount(ctx context.Context, lower string) error {
	const script = `set -e
mount -t tmpfs -o mode=755 hausmeister-machine "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
# A volume as a disk has it; the system itself lies on none. Where there are no
# loop devices the machine goes without. Under another name, for loop devices
# hold snaps, which are no volumes; that name only exists in this namespace. The
# loop device is given back when the mount ends.
volume() {
	truncate -s 96M "$1/home.img" && mkfs.ext4 -q "$1/home.img" || return
	loop=$(losetup --find --show "$1/home.img") || return
	mount -t tmpfs -o dev hausmeister-disk /dev/shm &&
		cp -a "$loop" /dev/shm/disk &&
		mount /dev/shm/disk "$1/root/home"
	losetup --detach "$loop"
}
volume "$1" || echo "no volume for the machine" >&2
echo mounted
exec sleep infinity`
	m.holder = exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", mountPoint, lower)
	m.holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var errOut bytes.Buffer
	m.holder.Stderr = &errOut
	out, err := m.holder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.holder.Start(); err != nil {
		return err
	}
	line := make([]byte, len("mounted"))
	if _, err := out.Read(line); err != nil || string(line) != "mounted" {
		m.holder.Wait()
		return fmt.Errorf("mount: %s", bytes.TrimSpace(errOut.Bytes()))
	}
	return nil
}

// Name is the machine's host name.
func (m *Machine) Name() string { return m.name }

// HostAddr is the address under which the machine finds us.
func (m *Machine) HostAddr() netip.Addr { return m.host }

// Path is where we find a file of the machine, whether or not it has power.
func (m *Machine) Path(name string) string {
	return fmt.Sprintf("/proc/%d/root%s/root/%s", m.holder.Process.Pid, mountPoint, name)
}

// WriteFile puts a file onto the machine's disk.
func (m *Machine) WriteFile(name string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(m.Path(name)), 0o755); err != nil {
		return err
	}
	os.Remove(m.Path(name)) // a link of the base system must not lead us astray
	return os.WriteFile(m.Path(name), data, mode)
}

// PowerOn boots the machine and waits until systemd is done with it.
func (m *Machine) PowerOn(ctx context.Context) error {
	if m.nspawn != nil {
		return fmt.Errorf("machine %s has power already", m.name)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bootTime, fmt.Errorf("machine %s is not up after %v", m.name, bootTime))
	defer cancel()
	// nsenter becomes nspawn, so this process's id is nspawn's.
	cmd := exec.Command("nsenter", "-t", fmt.Sprint(m.holder.Process.Pid), "-m",
		"systemd-nspawn", "-q", "-D", mountPoint+"/root", "-M", m.name, "-b", "--register=no", "--keep-unit",
		"--console=pipe", "--network-veth", "--resolv-conf=off", "--link-journal=no", "--timezone=off",
		"--kill-signal=SIGRTMIN+3") // what SIGTERM to nspawn means for systemd inside: halt
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p, err := start(cmd)
	if err != nil {
		return fmt.Errorf("starting systemd-nspawn: %w", err)
	}
	m.nspawn = p
	if err := m.waitBooted(ctx); err != nil {
		return errors.Join(fmt.Errorf("booting machine %s: %w\n%s", m.name, err, p.output()), m.PowerCut())
	}
	return m.plugIn(ctx)
}

func (m *Machine) waitBooted(ctx context.Context) error {
	for {
		if m.nspawn.ended() {
			return errors.New("systemd-nspawn ended")
		}
		if m.leader = firstProcess(m.nspawn.pid()); m.leader != 0 {
			// "degraded" is up too: a unit of Debian's that fails in a container.
			out, _ := m.exec(ctx, "systemctl", "is-system-running")
			if state := strings.TrimSpace(string(out)); state == "running" || state == "degraded" {
				return nil
			}
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// plugIn gives our end of the cable its address; it is new with each boot.
func (m *Machine) plugIn(ctx context.Context) error {
	if err := run(ctx, "ip", "addr", "replace", m.host.String()+"/30", "dev", m.link()); err != nil {
		return err
	}
	return m.Plug(ctx)
}

func (m *Machine) link() string { return "ve-" + m.name }

// Plug puts the network cable in.
func (m *Machine) Plug(ctx context.Context) error {
	return run(ctx, "ip", "link", "set", m.link(), "up")
}

// Unplug takes the network cable out: the machine sees its link go down.
func (m *Machine) Unplug(ctx context.Context) error {
	return run(ctx, "ip", "link", "set", m.link(), "down")
}

// Exec runs a program inside, as root, and returns what it wrote to standard
// output; an error holds what it wrote to standard error.
func (m *Machine) Exec(ctx context.Context, args ...string) (string, error) {
	out, err := m.exec(ctx, args...)
	if err != nil {
		return string(out), fmt.Errorf("on machine %s, %s: %w", m.name, strings.Join(args, " "), err)
	}
	return string(out), nil
}

func (m *Machine) exec(ctx context.Context, args ...string) ([]byte, error) {
	if m.leader == 0 {
		return nil, errors.New("no power")
	}
	enter := []string{"-t", fmt.Sprint(m.leader), "-a", "-r", "-w", "env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Who was started inside may outlive nsenter and keep the pipes open.
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%w: %s", err, bytes.TrimSpace(tail(errOut.Bytes())))
	}
	return out.Bytes(), nil
}

// Reboot lets systemd shut everything down and boots again.
func (m *Machine) Reboot(ctx context.Context) error {
	// The connection to systemd may end before its answer.
	_, err := m.exec(ctx, "systemctl", "reboot")
	if !m.nspawn.wait(ctx, stopTime) {
		return errors.Join(fmt.Errorf("machine %s does not go down: %w", m.name, err), m.PowerCut())
	}
	m.nspawn, m.leader = nil, 0
	return m.PowerOn(ctx)
}

// KillAgent ends the service's main process as no program can see coming.
func (m *Machine) KillAgent(ctx context.Context) error {
	_, err := m.Exec(ctx, "systemctl", "kill", "--kill-who=main", "--signal=KILL", "hausmeister-agent.service")
	return err
}

// PowerCut ends every process of the machine at once; what they wrote but did
// not sync survives here, unlike on a real disk. PowerOn boots it again.
func (m *Machine) PowerCut() error {
	if m.nspawn == nil {
		return nil
	}
	// Killing nspawn itself would leave the machine running without it.
	if m.leader != 0 {
		syscall.Kill(m.leader, syscall.SIGKILL)
	} else {
		syscall.Kill(m.nspawn.pid(), syscall.SIGTERM)
	}
	if !m.nspawn.wait(context.Background(), stopTime) {
		syscall.Kill(m.nspawn.pid(), syscall.SIGKILL)
		return fmt.Errorf("machine %s: systemd-nspawn outlived its machine", m.name)
	}
	m.nspawn, m.leader = nil, 0
	return nil
}

// Journal returns what a unit logged, since the machine was made.
func (m *Machine) Journal(ctx context.Context, unit string) string {
	out, err := exec.CommandContext(ctx, "nsenter", "-t", fmt.Sprint(m.holder.Process.Pid), "-m",
		"journalctl", "--no-pager", "-o", "short-iso-precise", "-D", mountPoint+"/root/var/log/journal", "-u", unit).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s\njournalctl: %v", out, err)
	}
	return string(out)
}

// Stop ends the machine and removes what it was.
func (m *Machine) Stop() error {
	var errs []error
	if m.nspawn != nil {
		syscall.Kill(m.nspawn.pid(), syscall.SIGTERM)
		if m.nspawn.wait(context.Background(), stopTime) {
			m.nspawn, m.leader = nil, 0
		} else {
			errs = append(errs, fmt.Errorf("machine %s does not stop by itself", m.name), m.PowerCut())
		}
	}
	// With its last process the namespace and the disk in it are gone.
	if m.holder.ProcessState == nil {
		m.holder.Process.Kill()
		m.holder.Wait()
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
