package update_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/update"
	"hausmeister/platform/layout"
)

// wishFolder is one as it is installed.
func wishFolder(t *testing.T) (f update.WishFolder, dir string) {
	l := layout.Layout{Root: t.TempDir()}
	if err := l.Create(); err != nil {
		t.Fatal(err)
	}
	return update.WishFolder(l.Wishes()), l.Wishes()
}

func TestWishFolder(t *testing.T) {
	f, dir := wishFolder(t)
	if f.Wish("1.1.0") != "" || f.Waits("1.1.0") {
		t.Error("a wish that nobody made")
	}
	if err := f.Make("1.1.0"); err != nil {
		t.Fatal(err)
	}
	if err := f.Make("1.1.0"); !errors.Is(err, fs.ErrExist) || !f.Waits("1.1.0") {
		t.Errorf("a second wish: %v, want it to be there already", err)
	}
	before := time.Now().Add(-time.Minute) // two in the same moment would be one
	if err := os.Chtimes(filepath.Join(dir, "postpone-update-1.1.0"), before, before); err != nil {
		t.Fatal(err)
	}
	first := f.Wish("1.1.0")
	if again := f.Wish("1.1.0"); first == "" || again != first {
		t.Errorf("the same wish is %q, then %q", first, again)
	}
	f.Heard("1.1.0")
	if got := f.Wish("1.1.0"); got != "" || f.Waits("1.1.0") {
		t.Errorf("after it was heard: %q", got)
	}
	if err := f.Make("1.1.0"); err != nil {
		t.Fatal(err)
	}
	if next := f.Wish("1.1.0"); next == "" || next == first {
		t.Errorf("the next wish is %q, as the one before", next)
	}
	if f.Wish("1.2.0") != "" || f.Waits("1.1.0") {
		t.Error("a wish for another version stays")
	}
	for _, version := range []string{"", "..", "../x", "a/b"} {
		if err := f.Make(version); err == nil || f.Wish(version) != "" || f.Waits(version) {
			t.Errorf("Make(%q) = %v", version, err)
		}
	}
	if f := update.WishFolder(filepath.Join(t.TempDir(), "none")); f.Wish("1.1.0") != "" || !errors.Is(f.Make("1.1.0"), fs.ErrNotExist) {
		t.Error("a wish without a folder")
	}
}

// TestAttack17_PlantedWishes: whatever a user puts there is one wish, or none, and keeps
// nobody's next one away.
func TestAttack17_PlantedWishes(t *testing.T) {
	const version = "1.1.0"
	for name, plant := range map[string]func(path string) error{
		"a folder with something in it": func(path string) error { return os.MkdirAll(filepath.Join(path, "in", "it"), 0o700) },
		"a folder":                      func(path string) error { return os.Mkdir(path, 0o700) },
		"a link to nothing":             func(path string) error { return os.Symlink("nothing", path) },
		"a link to the folder":          func(path string) error { return os.Symlink(".", path) },
		"a file with much in it":        func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o000) },
	} {
		for _, at := range []string{"postpone-update-" + version, "postpone-update-9.9.9", "postpone-update"} {
			f, dir := wishFolder(t)
			if err := plant(filepath.Join(dir, at)); err != nil {
				t.Fatal(err)
			}
			wish := f.Wish(version)
			if mine := strings.HasSuffix(at, version); mine != (wish != "") {
				t.Errorf("%s as %s: Wish = %q", name, at, wish)
			}
			f.Heard(version)
			if err := f.Make(version); err != nil || f.Wish(version) == "" {
				t.Errorf("%s as %s: the next wish: %v", name, at, err)
			}
			f.Heard(version)
			if f.Wish(version) != "" {
				t.Errorf("%s as %s: it counts again", name, at)
			}
		}
	}
}
