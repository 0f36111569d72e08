//go:build linux

package service_test

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

	"hausmeister/platform/service"
)

// TestMain lets the test program be the service.
func TestMain(m *testing.M) {
	if how := os.Getenv("SERVICE_TEST_RUN"); how != "" {
		err := serve(how)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve(how string) error {
	s, err := service.New(service.Config{Name: "example-agent"})
	if err != nil {
		return err
	}
	return s.Run(context.Background(), func(ctx context.Context, n *service.Notifier) error {
		switch how {
		case "fails":
			return errors.New("the disk is gone")
		case "panics":
			panic("boom")
		}
		n.Ready()
		n.Status("reading")
		defer fmt.Println("stopped in order")
		return n.Watchdog(ctx, nil, func() bool { return true })
	})
}

// systemd is the listening end of the notify socket.
type systemd struct {
	*net.UnixConn
	path string
}

func listen(t *testing.T) systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return systemd{c, path}
}

func (s systemd) want(t *testing.T, want string) {
	t.Helper()
	b := make([]byte, 512)
	_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := s.Read(b)
	if got := string(b[:n]); err != nil || got != want {
		t.Fatalf("systemd was told %q, %v; want %q", got, err, want)
	}
}

func start(t *testing.T, how string, env ...string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "SERVICE_TEST_RUN="+how), env...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, &out
}

func TestRunUnderSystemd(t *testing.T) {
	sd := listen(t)
	cmd, out := start(t, "well", "NOTIFY_SOCKET="+sd.path, "WATCHDOG_USEC=300000")
	sd.want(t, "READY=1")
	sd.want(t, "STATUS=reading")
	sd.want(t, "WATCHDOG=1") // at once,
	sd.want(t, "WATCHDOG=1") // and again in time
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for {
		b := make([]byte, 512)
		n, err := sd.Read(b)
		if err != nil {
			t.Fatalf("systemd was not told of the end: %v", err)
		}
		if got := string(b[:n]); got == "STOPPING=1" {
			break
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "stopped in order") {
		t.Errorf("after SIGTERM: %v\n%s", err, out)
	}
}

func TestRunThatFails(t *testing.T) {
	for how, want := range map[string]string{"fails": "the disk is gone", "panics": "boom"} {
		cmd, out := start(t, how)
		err := cmd.Wait()
		if ee := (*exec.ExitError)(nil); !errors.As(err, &ee) || ee.ExitCode() == 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: ended with %v; want a failure that systemd sees, and the reason:\n%s", how, err, out)
		}
	}
}

func TestWatchdogOfTheDead(t *testing.T) {
	sd := listen(t)
	env := map[string]string{"NOTIFY_SOCKET": sd.path, "WATCHDOG_USEC": "30000"}
	n := service.NewNotifier(func(k string) string { return env[k] })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := n.Watchdog(ctx, nil, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	n.Ready() // the next message, if none came before it
	sd.want(t, "READY=1")
}

func TestNotifierWithoutSystemd(t *testing.T) {
	for _, env := range []map[string]string{
		{},
		{"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1000"},
		{"WATCHDOG_USEC": "-5"},
		{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, // another process' watchdog
	} {
		n := service.NewNotifier(func(k string) string { return env[k] })
		n.Ready()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := n.Watchdog(ctx, nil, func() bool { return true }); err != nil {
			t.Errorf("%v: Watchdog = %v", env, err)
		}
		cancel()
	}
}
