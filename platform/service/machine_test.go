//go:build linux

package service_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/platform/sysinfo"
	"hausmeister/testenv/machine"
	"hausmeister/testenv/need"
)

// report is what testdata/example writes down.
type report struct {
	Snapshot sysinfo.Snapshot
	CouldNot map[string]string
	Written  []string
	Watching bool
	Start    int
}

// TestRealSystemd installs a service on a Debian with systemd and looks at it
// from outside: states, repeated verbs, the sandbox, the way back after a kill.
func TestRealSystemd(t *testing.T) {
	if err := machine.Available(); err != nil {
		need.Skip(t, "%v", err)
	}
	exe := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", exe, "./testdata/example")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	m, err := machine.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			// The test's own context has ended here.
			t.Logf("the service's journal:\n%s", m.Journal(context.Background(), "example-agent"))
		}
		_ = m.Stop()
	})
	run := func(args ...string) string {
		t.Helper()
		out, err := m.Exec(t.Context(), args...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(out)
	}
	verb := func(v string) string { t.Helper(); return run("/opt/example/bin/example", v) }
	wantStatus := func(want string) {
		t.Helper()
		if got := verb("status"); got != want {
			t.Errorf("status = %s, want %s", got, want)
		}
	}
	byHand := func(want string) {
		t.Helper()
		if got := verb("by-hand"); got != want {
			t.Errorf("stopped by hand: %s, want %s", got, want)
		}
	}
	run("mkdir", "-p", "/opt/example/bin")
	if err := m.WriteFile("/opt/example/bin/example", program, 0o755); err != nil {
		t.Fatal(err)
	}

	wantStatus("not_installed")
	verb("uninstall") // nothing to do is no error
	verb("stop")
	for range 2 { // each verb may be repeated
		verb("install")
		wantStatus("stopped")
	}
	verb("start")
	verb("start")
	wantStatus("running")
	byHand("false")
	if got := run("systemctl", "is-enabled", "example-agent"); got != "enabled" {
		t.Errorf("is-enabled = %s", got)
	}

	// What repairs it is there, and does not need it.
	run("systemctl", "is-active", "example-agent-mend.timer")
	run("systemctl", "start", "example-agent-mend.service")
	run("test", "-e", "/opt/example/mended")

	var r report
	read := func() {
		t.Helper()
		r = report{}
		if err := json.Unmarshal([]byte(run("cat", "/opt/example/state/report.json")), &r); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if len(r.Written) != 0 {
		t.Errorf("in its sandbox it could write %v", r.Written)
	}
	if !r.Watching {
		t.Error("in its sandbox it could not watch the network")
	}
	if len(r.CouldNot) != 0 || len(r.Snapshot.CutOff) != 0 {
		t.Errorf("in its sandbox it could not read %v, was cut off at %v", r.CouldNot, r.Snapshot.CutOff)
	}
	for what, why := range map[string]sysinfo.Absence{
		"memory": r.Snapshot.Memory.Used.Why, "cores": r.Snapshot.CPU.Cores.Why, "load": r.Snapshot.CPU.Load1.Why,
		"boot": r.Snapshot.BootTime.Why, "os": r.Snapshot.Identity.OSName.Why, "self": r.Snapshot.Self.Memory.Why,
		"power": r.Snapshot.Power.Source.Why,
	} {
		if why != sysinfo.Present {
			t.Errorf("in its sandbox %s is absent: %d", what, why)
		}
	}

	// The clock is that of this machine, which may be up for weeks.
	if took, ok := r.Snapshot.BootDuration.Get(); !ok || took <= 0 || took > 3*time.Minute {
		t.Errorf("it says that the container booted in %v (%d)", took, r.Snapshot.BootDuration.Why)
	}

	run("systemctl", "kill", "-s", "KILL", "example-agent")
	for end := time.Now().Add(30 * time.Second); r.Start < 2; read() {
		if time.Now().After(end) {
			t.Fatal("it did not come back after a kill within 30 s")
		}
	}
	before := run("systemctl", "show", "-P", "MainPID", "example-agent")
	verb("revive")
	if after := run("systemctl", "show", "-P", "MainPID", "example-agent"); after == before || after == "0" {
		t.Errorf("revived, its process is %s, was %s", after, before)
	}
	verb("stop")
	verb("stop")
	wantStatus("stopped")
	verb("revive") // somebody stopped it
	wantStatus("stopped")
	byHand("true")
	run("mv", "/opt/example/bin/example", "/opt/example/bin/example2")
	run("systemctl", "start", "--no-block", "example-agent")
	// A missing program is a failure that is tried again, not a condition.
	for end, got := time.Now().Add(30*time.Second), ""; got != "auto-restart"; {
		if got = run("systemctl", "show", "-P", "SubState", "example-agent"); time.Now().After(end) {
			t.Errorf("with its program gone the service is %s, want auto-restart", got)
			break
		}
	}
	if got := run("/opt/example/bin/example2", "by-hand"); got != "false" {
		t.Errorf("between two starts it is stopped by hand: %s", got)
	}
	run("mv", "/opt/example/bin/example2", "/opt/example/bin/example")
	for end := time.Now().Add(30 * time.Second); r.Start < 4; read() {
		if time.Now().After(end) {
			t.Fatal("it did not come back after its program did within 30 s")
		}
	}
	for range 2 {
		verb("uninstall")
		wantStatus("not_installed")
	}
	if left := run("find", "/etc/systemd/system", "-name", "example-agent*"); left != "" {
		t.Errorf("after uninstall there is %s", left)
	}
}
