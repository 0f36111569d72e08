package need_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hausmeister/testenv/need"
)

func TestSkipIsWrittenDown(t *testing.T) {
	list := filepath.Join(t.TempDir(), "skipped")
	t.Setenv("HAUSMEISTER_SKIPPED", list)
	t.Run("inner", func(t *testing.T) {
		need.Programs(t, "sh", "no-such-program-of-ours")
		t.Error("Programs returned although a program is missing")
	})
	got, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	const want = "TestSkipIsWrittenDown/inner: this machine lacks the program no-such-program-of-ours"
	if strings.TrimSpace(string(got)) != want {
		t.Errorf("list of skipped tests is %q, want %q", got, want)
	}
}

func TestProgramsFound(t *testing.T) {
	if got := need.Programs(t, "sh"); len(got) != 1 || !filepath.IsAbs(got[0]) {
		t.Errorf("Programs(sh) = %v, want one path", got)
	}
}

// What gotest.sh says last: go test tells of a race only that there was one,
// unless somebody kept all that the test program wrote.
func TestRaceIsToldLast(t *testing.T) {
	need.Programs(t, "bash", "gcc")
	script, err := filepath.Abs("../gotest.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module planted\n\ngo 1.26\n",
		"planted_test.go": `package planted

import "testing"

func TestPlanted(t *testing.T) {
	n, done := 0, make(chan struct{})
	go func() { n++; close(done) }()
	n++
	<-done
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", script, "-race", "-count=1", "-vet=off", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GORACE=", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("gotest.sh succeeds although there was a race")
	}
	_, last, _ := strings.Cut(string(out), "=== DATA RACES:")
	if !strings.Contains(last, "WARNING: DATA RACE") || !strings.Contains(last, "planted_test.go") {
		t.Errorf("no report of the race at the end:\n%s", out)
	}
}
