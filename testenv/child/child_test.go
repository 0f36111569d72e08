package child_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/testenv/child"
	"hausmeister/testenv/need"
)

// TestMain lets this program be a parent that is killed.
func TestMain(m *testing.M) {
	if log := os.Getenv("HAUSMEISTER_PARENT"); log != "" {
		c, err := child.Start(child.Config{Program: "sleep", Args: []string{"60"}, Log: log})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(c.PID())
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	os.Exit(m.Run())
}

func shell(t *testing.T, script string) *child.Child {
	t.Helper()
	c, err := child.Start(child.Config{Program: "sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

func TestStop(t *testing.T) {
	polite := shell(t, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
	waitFor(t, func() bool { return polite.LogTail() == "up" })
	if err := polite.Stop(10 * time.Second); err != nil {
		t.Errorf("Stop of a polite child: %v", err)
	}
	if got := polite.LogTail(); got != "up\nbye" {
		t.Errorf("its log is %q, want up and bye", got)
	}

	deaf := shell(t, "trap '' TERM; echo up; while :; do sleep 0.01; done")
	waitFor(t, func() bool { return deaf.LogTail() == "up" })
	if err := deaf.Stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("Stop of a deaf child = %v, want that it was killed", err)
	}

	bad := shell(t, "exit 3")
	<-bad.Done()
	if bad.Err() == nil {
		t.Error("Err of exit code 3 is nil")
	}
	if err := bad.Stop(time.Second); err != nil {
		t.Errorf("Stop of a child that had ended: %v", err)
	}
}

// TestLogTail: a second program on the same log does not speak for the first.
func TestLogTail(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, script := range []string{"echo first; exit 1", "echo second", "true"} {
		c, err := child.Start(child.Config{Program: "sh", Args: []string{"-c", script}, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		want, _, _ := strings.Cut(strings.TrimPrefix(script, "echo "), ";")
		if script == "true" {
			want = ""
		}
		if got := c.LogTail(); got != want {
			t.Errorf("LogTail of %q = %q, want %q", script, got, want)
		}
	}
}

func TestDiesWithItsParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "HAUSMEISTER_PARENT="+filepath.Join(t.TempDir(), "log"))
	out, _ := cmd.Output()
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatalf("the parent wrote %q", out)
	}
	waitFor(t, func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(status), ") Z ")
	})
}

func TestOutput(t *testing.T) {
	out, err := child.Output(t.Context(), "in", "sh", "-c", "cat; echo seen >&2; exit 1")
	if string(out) != "in" || err == nil || !strings.Contains(err.Error(), "seen") {
		t.Errorf("Output = %q, %v; want what it wrote and an error that says seen", out, err)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not within 20 s")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestInOwnNetwork: the second run has a network of its own, which works, and its exit
// code is ours.
func TestInOwnNetwork(t *testing.T) {
	if os.Getenv("CHILD_TEST_NETWORK") != "" {
		code, ran, err := child.InOwnNetwork()
		if err != nil {
			t.Fatal(err)
		}
		if ran {
			os.Exit(code)
		}
		all, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range all {
			if i.Flags&net.FlagUp != 0 {
				fmt.Println("up:", i.Name)
			}
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
		os.Exit(7)
	}
	if runtime.GOOS != "linux" {
		need.Skip(t, "network namespaces")
	}
	need.Root(t)
	need.Programs(t, "ip")
	cmd := exec.Command(os.Args[0], "-test.run=^TestInOwnNetwork$")
	cmd.Env = append(os.Environ(), "CHILD_TEST_NETWORK=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || string(out) != "up: lo\nup: plug\nup: cable\n" {
		t.Errorf("%v: %q; want exit code 7 and no other network", err, out)
	}
}
