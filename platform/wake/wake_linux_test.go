package wake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hausmeister/testenv/need"
)

func TestTransient(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{unix.ENETUNREACH, true},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("sendto", unix.EHOSTUNREACH)}, true},
		{fmt.Errorf("sending: %w", unix.EADDRNOTAVAIL), true},
		{unix.ENETDOWN, true}, {unix.ENOBUFS, true}, {unix.EPERM, true},
		{unix.EMSGSIZE, false}, // QUIC must see it
		{net.ErrClosed, false}, {unix.EBADF, false}, {errors.New("other"), false}, {nil, false},
	} {
		if got := Transient(c.err); got != c.want {
			t.Errorf("Transient(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

// TestTransientForReal: the error of a real socket without a route.
func TestTransientForReal(t *testing.T) {
	if inNamespace(t) {
		c, err := net.ListenUDP("udp4", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9})
		if err == nil || !Transient(err) {
			t.Errorf("sending without a route: %v, want a transient error", err)
		}
	}
}

// inNamespace runs the test again as a process with a network of its own, and
// says whether this is that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("WAKE_TEST_NAMESPACE") != "" {
		return true
	}
	need.Root(t)
	need.Programs(t, "ip")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "WAKE_TEST_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		need.Skip(t, "network namespaces")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a namespace: %v\n%s", err, out)
	}
	return false
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// TestRealNetwork: the kernel's notices of a real change.
func TestRealNetwork(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip(t, "link", "add", "cable", "type", "veth", "peer", "name", "plug")
	ip(t, "link", "set", "plug", "up")
	w := NewWatcher(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- w.Run(ctx, func() { close(ready) }) }()
	<-ready
	network := Event{Network: true}

	ip(t, "addr", "add", "192.0.2.10/24", "dev", "cable")
	ip(t, "link", "set", "cable", "up")
	wantEvent(t, w, 10*time.Second, network)
	ip(t, "route", "add", "default", "via", "192.0.2.1")
	wantEvent(t, w, 10*time.Second, network)
	// Another network with the same address and router, faster than anybody looks.
	ip(t, "route", "del", "default")
	ip(t, "route", "add", "default", "via", "192.0.2.1")
	wantEvent(t, w, 10*time.Second, network)
	ip(t, "link", "set", "plug", "down") // unplugged
	wantEvent(t, w, 10*time.Second, network)
	ip(t, "link", "add", "other", "type", "veth", "peer", "name", "end") // not connected
	wantQuiet(t, w, 2*time.Second)

	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// TestNetworkIsTheSameAgain: what is lent for a day does not count, the router does.
func TestNetworkIsTheSameAgain(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	describe := func() string {
		s, err := Network()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ip(t, "link", "add", "cable", "type", "veth", "peer", "name", "plug")
	ip(t, "link", "set", "plug", "up")
	ip(t, "link", "set", "cable", "up")
	ip(t, "addr", "add", "192.0.2.10/24", "dev", "cable")
	ip(t, "route", "add", "default", "via", "192.0.2.1")
	home := describe()
	ip(t, "addr", "add", "192.0.2.77/24", "dev", "cable")
	if got := describe(); got != home {
		t.Errorf("with another address of the same network %q, want %q", got, home)
	}
	ip(t, "route", "replace", "default", "via", "192.0.2.254")
	if got := describe(); got == home {
		t.Errorf("behind another router still %q", got)
	}
}

func TestSleptIsSteady(t *testing.T) {
	a, err := linux{}.slept()
	if err != nil {
		t.Fatal(err)
	}
	b, err := linux{}.slept()
	if err != nil || b-a > leastSleep || a-b > leastSleep {
		t.Errorf("slept = %v, then %v, %v; awake machines do not sleep", a, b, err)
	}
}

func TestDefaultRoutes(t *testing.T) {
	dir := t.TempDir()
	v4, v6 := filepath.Join(dir, "route"), filepath.Join(dir, "ipv6_route")
	const four = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	0102000A	0003	0	0	600	00000000	0	0	0
wlan0	0002000A	00000000	0001	0	0	600	00FFFFFF	0	0	0
`
	const six = `00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000258 00000001 00000000 00000003    wlan0
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000258 00000001 00000000 00000001    wlan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`
	if err := errors.Join(os.WriteFile(v4, []byte(four), 0o600), os.WriteFile(v6, []byte(six), 0o600)); err != nil {
		t.Fatal(err)
	}
	const want = "wlan0 0102000A\nwlan0 fe800000000000000000000000000001\n"
	if got := defaultRoutes(v4, v6); got != want {
		t.Errorf("defaultRoutes = %q, want %q", got, want)
	}
	if got := defaultRoutes(v4+"x", v6+"x"); got != "" {
		t.Errorf("defaultRoutes without files = %q, want none", got)
	}
}

func FuzzLost(f *testing.F) {
	f.Add([]byte{24, 0, 0, 0, unix.RTM_DELADDR, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 24, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) { lost(b) })
}
