//go:build unix

package layout_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hausmeister/platform/layout"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sum(text string) layout.Sum {
	s, _ := layout.SumOf(strings.NewReader(text))
	return s
}

// installed is a real folder with its programs.
func installed(t *testing.T) (layout.Layout, *layout.Versions) {
	t.Helper()
	l := layout.Layout{Root: filepath.Join(t.TempDir(), "hausmeister")}
	must(t, l.Create())
	must(t, l.Check())
	return l, l.VersionsOn(layout.Plain(), layout.AgentName())
}

func TestVersions(t *testing.T) {
	old := syscall.Umask(0o077) // the service's
	defer syscall.Umask(old)
	l, v := installed(t)
	for _, version := range []string{"1.9.0", "1.10.0", "1.10.0-rc.2"} {
		must(t, v.Put(version, sum(version), strings.NewReader(version)))
		must(t, v.Put(version, sum(version), strings.NewReader("is not read"))) // the same again
	}
	if info, err := os.Stat(v.Path("1.9.0")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program has mode %v, %v; everybody may ask it", info.Mode(), err)
	}
	must(t, v.SetGood("1.9.0"))
	kept, err := v.Kept()
	must(t, err)
	var got []string
	for _, k := range kept {
		got = append(got, k.Version)
	}
	if want := []string{"1.9.0", "1.10.0", "1.10.0-rc.2"}; !slices.Equal(got, want) || !kept[0].Good || kept[1].Good {
		t.Errorf("kept %v, want %v: settled first, then the newest", kept, want)
	}
	if err := v.Put("1.11.0", sum("right"), strings.NewReader("wrong")); !errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("Put of other bytes = %v", err)
	}
	if err := v.Check("1.11.0", sum("right")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after that, Check = %v", err)
	}
	for _, bad := range []string{"", "..", "1.2", "1.2.3/../../x", "v1.2.3", "1.2.3-" + strings.Repeat("x", 100)} {
		if err := v.Put(bad, sum("x"), strings.NewReader("x")); !errors.Is(err, layout.ErrVersion) {
			t.Errorf("Put(%q) = %v", bad, err)
		}
	}
	// Other bytes under a name that is there replace it, whole.
	must(t, v.Put("1.10.0", sum("again"), strings.NewReader("again")))
	must(t, v.Check("1.10.0", sum("again")))
	// One that rots is not offered as whole.
	must(t, os.WriteFile(v.Path("1.9.0"), []byte("1.9.1"), 0o755))
	if kept, _ := v.Kept(); slices.ContainsFunc(kept, func(k layout.Kept) bool { return k.Version == "1.9.0" }) {
		t.Error("a damaged copy counts as kept")
	}
	must(t, os.WriteFile(v.Path("1.10.0")+".tmp-new", nil, 0o600))
	must(t, v.Prune("1.10.0"))
	names, _ := os.ReadDir(l.Versions())
	files, _ := os.ReadDir(filepath.Dir(v.Path("1.10.0")))
	if len(names) != 1 || len(files) != 2 {
		t.Errorf("after Prune: %v, in it %v", names, files)
	}
}

// TestPutCut ends Put at each operation: what was there stays whole, and the
// next Put succeeds.
func TestPutCut(t *testing.T) {
	l := layout.Layout{Root: "/opt/x"}
	points := 0
	for _, f := range []fault.Fault{fault.Fail, fault.Torn, fault.Late, fault.Kill, fault.Full} {
		for n := 0; ; n++ {
			d := fault.NewTree(l.Versions())
			v := l.VersionsOn(d, "agent")
			must(t, v.Put("1.0.0", sum("old"), strings.NewReader("old")))
			d.Plan(fault.At(n, f))
			err := v.Put("2.0.0", sum("new and longer"), strings.NewReader("new and longer"))
			reached := n < len(d.Ops())
			d.Plan(nil)
			d.PowerCut(rand.New(rand.NewPCG(uint64(n), uint64(f))))
			must(t, v.Check("1.0.0", sum("old")))
			if got := v.Check("2.0.0", sum("new and longer")); err == nil && got != nil {
				t.Fatalf("%v at %d: after nil and a power cut: %v", f, n, got)
			}
			must(t, v.Put("2.0.0", sum("new and longer"), strings.NewReader("new and longer")))
			if !reached {
				break
			}
			points++
		}
	}
	if points == 0 {
		t.Fatal("no points")
	}
	t.Logf("%d points", points)
}

// TestAttack17_Planted: what somebody else could have put there or could change
// is not opened, and nothing is run from where others may write.
func TestAttack17_Planted(t *testing.T) {
	need.Root(t) // to be somebody else
	l, v := installed(t)
	must(t, v.Put("1.0.0", sum("good"), strings.NewReader("good")))
	elsewhere := filepath.Join(t.TempDir(), "evil")
	must(t, os.WriteFile(elsewhere, []byte("good"), 0o755)) // even with the right bytes: they may change
	path := v.Path("1.0.0")
	for name, plant := range map[string]func() error{
		"a symbolic link": func() error { return os.Symlink(elsewhere, path) },
		"a hard link":     func() error { return os.Link(elsewhere, path) },
		"a pipe":          func() error { return syscall.Mkfifo(path, 0o755) },
		"a folder":        func() error { return os.Mkdir(path, 0o755) },
		"another user's": func() error {
			return errors.Join(os.WriteFile(path, []byte("good"), 0o755), os.Chown(path, 65534, 65534))
		},
		"open for all": func() error { return errors.Join(os.WriteFile(path, []byte("good"), 0o755), os.Chmod(path, 0o777)) },
	} {
		must(t, os.RemoveAll(path))
		must(t, plant())
		if f, err := v.Open("1.0.0"); !errors.Is(err, layout.ErrForeign) {
			t.Errorf("%s: Open = %v, %v; want ErrForeign", name, f, err)
		}
		if err := v.Check("1.0.0", sum("good")); !errors.Is(err, layout.ErrForeign) {
			t.Errorf("%s: Check = %v", name, err)
		}
	}
	// Folders: Check refuses, Create mends what is ours, and refuses the rest.
	for _, dir := range []string{l.Root, l.Bin(), l.Versions(), l.Launchers(), l.State(), l.Update()} {
		must(t, os.Chmod(dir, 0o777))
		if err := l.Check(); !errors.Is(err, layout.ErrForeign) {
			t.Errorf("%s open for all: Check = %v", dir, err)
		}
		must(t, l.Create())
		must(t, l.Check())
		must(t, os.Chown(dir, 65534, 65534))
		if err := errors.Join(l.Check(), l.Create()); !errors.Is(err, layout.ErrForeign) {
			t.Errorf("%s of another user: Check = %v", dir, err)
		}
		must(t, os.Chown(dir, 0, 0))
	}
	// The folder above decides too: who may rename ours away puts his own there.
	must(t, os.Chmod(filepath.Dir(l.Root), 0o777))
	if err := l.Check(); !errors.Is(err, layout.ErrForeign) {
		t.Errorf("with a folder above that is open for all, Check = %v", err)
	}
}

// TestAttack17_BetweenCheckAndUse: a file that is put in the place of an open one
// is not what is read.
func TestAttack17_BetweenCheckAndUse(t *testing.T) {
	_, v := installed(t)
	must(t, v.Put("1.0.0", sum("good"), strings.NewReader("good")))
	f, err := v.Open("1.0.0")
	must(t, err)
	defer f.Close()
	must(t, os.WriteFile(v.Path("1.0.0")+".evil", []byte("evil"), 0o755))
	must(t, os.Rename(v.Path("1.0.0")+".evil", v.Path("1.0.0")))
	if b, err := io.ReadAll(f); err != nil || string(b) != "good" {
		t.Errorf("read %q, %v", b, err)
	}
}

// TestAttack41_LauncherPointer: a launcher is never changed in place; the one
// before stays where it was.
func TestAttack41_LauncherPointer(t *testing.T) {
	l, _ := installed(t)
	if _, err := l.Launcher(); err == nil {
		t.Error("Launcher without one = nil")
	}
	if err := l.PointLauncher(layout.Plain(), "1.0.0"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("PointLauncher to none = %v", err)
	}
	must(t, l.PutLauncher(layout.Plain(), "1.0.0", sum("first"), strings.NewReader("first")))
	must(t, l.PointLauncher(layout.Plain(), "1.0.0"))
	path, err := l.Launcher()
	must(t, err)
	if err := l.PutLauncher(layout.Plain(), "1.1.0", sum("second"), strings.NewReader("torn")); !errors.Is(err, layout.ErrOtherBytes) {
		t.Errorf("PutLauncher of other bytes = %v", err)
	}
	if err := l.PointLauncher(layout.Plain(), "1.1.0"); err == nil {
		t.Error("PointLauncher to one that was refused = nil")
	}
	if b, _ := os.ReadFile(path); string(b) != "first" {
		t.Errorf("the launcher is %q", b)
	}
	must(t, l.PutLauncher(layout.Plain(), "1.1.0", sum("second"), strings.NewReader("second")))
	must(t, l.PointLauncher(layout.Plain(), "1.1.0"))
	if b, _ := os.ReadFile(path); string(b) != "second" {
		t.Errorf("through the pointer lies %q", b)
	}
	must(t, l.PointLauncher(layout.Plain(), "1.0.0")) // and back
	if got, err := l.LauncherVersion(layout.Plain()); got != "1.0.0" || err != nil {
		t.Errorf("LauncherVersion = %s, %v", got, err)
	}
	if b, _ := os.ReadFile(path); string(b) != "first" {
		t.Errorf("back, it is %q", b)
	}
}

func TestCompareVersions(t *testing.T) {
	order := []string{"0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0"}
	for i, a := range order {
		for k, b := range order {
			if got := layout.CompareVersions(a, b); got < 0 != (i < k) || got > 0 != (i > k) {
				t.Errorf("CompareVersions(%s, %s) = %d", a, b, got)
			}
		}
	}
	if layout.CompareVersions("1.0.0+a", "1.0.0+b") != 0 {
		t.Error("what stands behind + counts")
	}
}
