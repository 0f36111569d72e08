package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMakeWebLooksForWhatItBuilds: a tree that was copied with its marker, but without
// what was built, gets the pages' scripts anew: a collector without them would be built
// without a word.
func TestMakeWebLooksForWhatItBuilds(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	builds := func() bool {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "make", "-n", "web")
		cmd.Dir = dir
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("make -n web: %v\n%s", err, out)
		}
		return strings.Contains(string(out), "npm run build")
	}
	write("Makefile", string(makefile))
	write("collector/web/package.json", "{}")
	write("collector/web/assets/app.ts", "")
	write("collector/web/static/README", "")
	write("collector/web/node_modules/.hausmeister-built", "")
	for _, name := range []string{"app.js", "chart.js"} {
		if !builds() {
			t.Errorf("without static/%s make web builds nothing", name)
		}
		write("collector/web/static/"+name, "")
	}
	if builds() {
		t.Error("make web builds what is there")
	}
}
