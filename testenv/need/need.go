// Package need lets a test say what this machine lacks for it, so that nobody
// takes a green run for a complete one: go test hides the skips of a package
// that passes, therefore they are also written to the file that make test
// prints at its end.
package need

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// listVar names the file that testenv/gotest.sh collects skips in.
const listVar = "HAUSMEISTER_SKIPPED"

// Programs skips the test unless all programs are found, and returns their
// paths in the order asked for.
func Programs(t testing.TB, names ...string) []string {
	t.Helper()
	var paths []string
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			Skip(t, "the program %s", name)
		}
		paths = append(paths, path)
	}
	return paths
}

// Root skips the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "root's rights")
	}
}

// Skip skips the test and says loudly that the machine lacks what.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	if path := os.Getenv(listVar); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatalf("noting a skipped test: %v", err)
		}
		// One write of one line: several test programs append at once.
		_, err = fmt.Fprintf(f, "%s: this machine lacks %s\n", t.Name(), what)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatalf("noting a skipped test: %v", err)
		}
	}
	t.Skipf("NOT TESTED: this machine lacks %s", what)
}
