package need_test

import (
	"os"
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
