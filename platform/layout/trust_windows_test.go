package layout_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"hausmeister/platform/layout"
)

// TestWindowsTrust: what Create makes is taken for ours, and what others may
// change is not.
func TestWindowsTrust(t *testing.T) {
	// Not TempDir: Wine cannot remove a folder whose rights were changed.
	dir, err := os.MkdirTemp("", "hausmeister-trust-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l := layout.Layout{Root: filepath.Join(dir, "Hausmeister")}
	for range 2 {
		if err := errors.Join(l.Create(), l.Check()); err != nil {
			t.Fatal(err)
		}
	}
	text := "good"
	sum, err := layout.SumOf(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	v := l.VersionsOn(layout.Plain(), layout.AgentName())
	if err := v.Put("1.0.0", sum, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if kept, err := v.Kept(); err != nil || len(kept) != 1 || kept[0].Sum != sum {
		t.Errorf("Kept = %v, %v", kept, err)
	}
	path := v.Path("1.0.0")
	other := filepath.Join(filepath.Dir(path), "other")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	if err := v.Check("1.0.0", sum); !errors.Is(err, layout.ErrForeign) {
		t.Errorf("with a second name, Check = %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	// Everybody may write: WD is everybody, FA all rights.
	open := func(name string) {
		t.Helper()
		sd, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;WD)")
		if err != nil {
			t.Fatal(err)
		}
		dacl, _, err := sd.DACL()
		if err != nil {
			t.Fatal(err)
		}
		err = windows.SetNamedSecurityInfo(name, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, dacl, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	open(path)
	if err := v.Check("1.0.0", sum); !errors.Is(err, layout.ErrForeign) {
		t.Errorf("open for all, Check = %v", err)
	}
	open(l.Bin())
	if err := l.Check(); !errors.Is(err, layout.ErrForeign) {
		t.Errorf("with bin open for all, Check = %v", err)
	}
	if err := errors.Join(l.Create(), l.Check()); err != nil {
		t.Errorf("mended: %v", err)
	}
	// The pointer is a file here.
	if err := errors.Join(l.PutLauncher(layout.Plain(), "1.0.0", sum, strings.NewReader(text)), l.PointLauncher(layout.Plain(), "1.0.0")); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Launcher(); err != nil || got != filepath.Join(l.Launchers(), "1.0.0", "hausmeister-launcher.exe") {
		t.Errorf("Launcher = %s, %v", got, err)
	}
}
