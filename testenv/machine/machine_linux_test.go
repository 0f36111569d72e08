package machine_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/testenv/machine"
	"hausmeister/testenv/need"
)

// TestMain lets this program be a test that starts a machine and dies, for
// TestNothingOutlivesTheTest.
func TestMain(m *testing.M) {
	if os.Getenv("HAUSMEISTER_MACHINE_AND_DIE") != "" {
		started, err := machine.Start(context.Background())
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(started.Name())
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	os.Exit(m.Run())
}

func TestRebootPowerAndCable(t *testing.T) {
	if err := machine.Available(); err != nil {
		need.Skip(t, "%v", err)
	}
	ctx := t.Context()
	m, err := machine.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	exec := func(args ...string) string {
		t.Helper()
		out, err := m.Exec(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	bootID := func() string { return exec("journalctl", "-b", "-n1", "-o", "export", "--output-fields=_BOOT_ID") }

	if got := exec("hostname"); got != m.Name() {
		t.Errorf("hostname is %q, want %q", got, m.Name())
	}
	if _, err := m.Exec(ctx, "false"); err == nil {
		t.Error("Exec(false) gives no error")
	}
	if err := m.WriteFile("/root/kept", []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}

	listener, err := net.Listen("tcp", m.HostAddr().String()+":0")
	if err != nil {
		t.Fatalf("listening where the machine looks for us: %v", err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	reaches := func() bool {
		_, err := m.Exec(ctx, "timeout", "1", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", m.HostAddr(), port))
		return err == nil
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); {
			if time.Now().After(end) {
				t.Fatalf("not within 20 s: %s", what)
			}
		}
	}
	eventually("network after the first boot", reaches)
	if err := m.Unplug(ctx); err != nil {
		t.Fatal(err)
	}
	eventually("no network without the cable", func() bool { return !reaches() })
	if err := m.Plug(ctx); err != nil {
		t.Fatal(err)
	}
	eventually("network with the cable again", reaches)

	first := bootID()
	if err := m.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if bootID() == first {
		t.Error("the boot id after Reboot is the one before")
	}
	eventually("network after the reboot", reaches)

	if err := m.PowerCut(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Exec(ctx, "true"); err == nil {
		t.Error("Exec works without power")
	}
	if err := m.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	if got := exec("cat", "/root/kept"); got != "before" {
		t.Errorf("the file written before reboot and power cut is %q", got)
	}
	if journal := m.Journal(ctx, "systemd-networkd"); strings.Count(journal, "host0") == 0 {
		t.Errorf("the journal does not name host0:\n%s", journal)
	}
}

// TestNothingOutlivesTheTest kills a test program that has a machine.
func TestNothingOutlivesTheTest(t *testing.T) {
	if err := machine.Available(); err != nil {
		need.Skip(t, "%v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "HAUSMEISTER_MACHINE_AND_DIE=1")
	out, err := cmd.Output()
	name := strings.TrimSpace(string(out))
	if !strings.HasPrefix(name, "hm") {
		t.Fatalf("the program with a machine: %v: %s", err, out)
	}
	for end := time.Now().Add(time.Minute); ; {
		left := leftOf(t, name)
		if left == "" {
			return
		}
		<-time.After(50 * time.Millisecond)
		if time.Now().After(end) {
			t.Fatalf("a minute after its test died, machine %s still has: %s", name, left)
		}
	}
}

// leftOf names what still exists of a machine.
func leftOf(t *testing.T, name string) string {
	t.Helper()
	if _, err := net.InterfaceByName("ve-" + name); err == nil {
		return "its network link"
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.Contains(string(line), "\x00"+name+"\x00") {
			return "process " + e.Name()
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "hausmeister-machine") {
		return "its mounts in our namespace"
	}
	return ""
}
