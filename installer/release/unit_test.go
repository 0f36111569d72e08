package release_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hausmeister/testenv/need"
)

// TestOnlineUnit has systemd itself read the unit of the online process, and judge
// how little of the machine it reaches.
func TestOnlineUnit(t *testing.T) {
	analyze := need.Programs(t, "systemd-analyze")[0]
	text, err := os.ReadFile("hausmeister-online.service")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The program need not be installed here.
	file := filepath.Join(t.TempDir(), "hausmeister-online.service")
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "/usr/bin/hausmeister-release", self, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "hausmeister-online.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", file).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out[max(0, len(out)-400):])
	}
}
