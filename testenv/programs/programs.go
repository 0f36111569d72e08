// Package programs gives tests the real programs: built from this tree as a
// release is, without the race detector, once per test run.
package programs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// Version is that of the programs that Build makes.
const Version = "0.0.1-test.1"

var built = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	// In a folder of the system's, not of one test: other tests use it too.
	dir, err := os.MkdirTemp("", "hausmeister-programs-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+Version, "-o", dir+"/",
		"./agent/cmd/hausmeister-agent", "./agent/cmd/hausmeister-launcher", "./collector/cmd/hausmeister-collector", "./installer/cmd/hausmeister-release", "./testenv/cmd/hausmeister-demo", "./testenv/cmd/hausmeister-read")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return dir, nil
})

// Build returns the folder with hausmeister-agent, hausmeister-launcher,
// hausmeister-collector, hausmeister-release, hausmeister-demo and hausmeister-read.
// Main removes it.
func Build(t testing.TB) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	used.Store(dir)
	return dir
}

var used atomic.Value

// Main is TestMain of a package that calls Build.
func Main(m *testing.M) {
	code := m.Run()
	if dir, ok := used.Load().(string); ok {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// Root is the folder of go.mod above the current one, where go test starts a
// package's tests.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above the current folder")
		}
		dir = parent
	}
}
