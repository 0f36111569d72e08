package swap_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hausmeister/platform/layout"
	"hausmeister/platform/swap"
	"hausmeister/testenv/need"
)

// giveCapability gives a file one, if this file system and user may.
func giveCapability(t *testing.T, name string) string {
	t.Helper()
	value := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_bind_service, effective
	if err := unix.Setxattr(name, "security.capability", value, 0); err != nil {
		need.Skip(t, "a file system with capabilities: %v", err)
	}
	return capability(t, name)
}

func capability(t *testing.T, name string) string {
	t.Helper()
	b := make([]byte, 100)
	n, err := unix.Getxattr(name, "security.capability", b)
	if err != nil {
		t.Errorf("capabilities: %v", err)
		return ""
	}
	return string(b[:n])
}

// TestMain lets this program be the one that is ended in the middle.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SWAP_TEST_DIR"); dir != "" {
		if err := swapIn(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func swapIn(dir string) error {
	s, err := swap.New(swap.Config{Target: filepath.Join(dir, "bin/agent"), Disk: layout.Plain()})
	if err != nil {
		return err
	}
	open := func() (layout.File, error) { return layout.Plain().Open(filepath.Join(dir, "copy")) }
	if _, err := s.Sum(); err != nil || os.Getenv("SWAP_TEST_RESTORE") != "" {
		return s.Restore(context.Background(), open, sum(newText))
	}
	return s.Swap(context.Background(), open, 10, sum(newText))
}

// calls are those that change a disk, as strace's regular expressions name them.
var calls = []string{"/^rename", "/^unlink", "/^fsync", "/^write", "/^close"}

// traced runs the swap under strace, which sees what is done to these files only.
func traced(t *testing.T, dir string, restore bool, options ...string) (log string, ended error) {
	t.Helper()
	strace := need.Programs(t, "strace")[0]
	out := filepath.Join(dir, "strace")
	args := []string{"-f", "-q", "-o", out}
	for _, f := range []string{"bin", "bin/agent", "bin/.agent.new", "bin/.agent.old-1", "bin/.agent.old-2"} {
		args = append(args, "-P", filepath.Join(dir, f))
	}
	args = append(append(args, options...), os.Args[0])
	cmd := exec.Command(strace, args...)
	cmd.Env = append(os.Environ(), "SWAP_TEST_DIR="+dir, "GOCOVERDIR=")
	if restore {
		cmd.Env = append(cmd.Env, "SWAP_TEST_RESTORE=1")
	}
	_, ended = cmd.CombinedOutput()
	b, err := os.ReadFile(out)
	must(t, err)
	return string(b), ended
}

func prepared(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/agent"), []byte(oldText), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "copy"), []byte(newText), 0o755))
	return dir
}

// whole puts together the lines that strace breaks where another thread has something
// to tell while a call goes on.
func whole(log string) string {
	var out strings.Builder
	begun := map[string]string{} // by thread
	for line := range strings.Lines(log) {
		thread, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		if start, broken := strings.CutSuffix(call, "<unfinished ...>"); broken {
			begun[thread] = strings.TrimSpace(start)
			continue
		}
		if _, rest, resumed := strings.Cut(call, " resumed>"); resumed {
			call = begun[thread] + rest
		}
		out.WriteString(call + "\n")
	}
	return out.String()
}

// TestModelIsTheLibrary: what the model in testenv/fault does to files is what
// the real library does, in the same order, as the kernel saw it.
func TestModelIsTheLibrary(t *testing.T) {
	dir := prepared(t)
	log, err := traced(t, dir, false, "-e", "trace=/^(rename|unlink|fsync|write)")
	must(t, err)
	line := regexp.MustCompile(`(rename|unlink|fsync|write)[a-z0-9]*\((.*)\) += (\d+|\?)`)
	name := regexp.MustCompile(`"([^"]*)"`)
	var got []string
	for _, m := range line.FindAllStringSubmatch(whole(log), -1) {
		what := m[1]
		if names := name.FindAllStringSubmatch(m[2], -1); what != "write" && len(names) > 0 {
			what += " " + filepath.Base(names[len(names)-1][1])
		}
		got = append(got, what)
	}
	d, s := model(t, swap.Config{})
	d.Plan(nil)
	must(t, s.Swap(t.Context(), from(d, "/x/copy"), 10, sum(newText)))
	var want []string
	for _, op := range d.Ops() {
		switch op.Kind {
		case "rename", "unlink":
			want = append(want, op.Kind+" "+filepath.Base(op.Name))
		case "fsync":
			want = append(want, op.Kind)
		case "write":
			if n := len(want); n == 0 || want[n-1] != "write" { // a model's program is written in two
				want = append(want, op.Kind)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the kernel saw   %s\nthe model has    %s\n%s", strings.Join(got, ", "), strings.Join(want, ", "), log)
	}
}

// TestAttack23_RealLibraryCutAnywhere ends the real program, with the real
// library on a real disk, at its system calls, and again in the repair.
func TestAttack23_RealLibraryCutAnywhere(t *testing.T) {
	need.Plain(t) // its processes are this program again, and slow under the detector
	need.Programs(t, "strace")
	points, missing, repairs := 0, 0, 0
	for _, call := range calls {
		for _, how := range []string{"signal=KILL", "error=EIO", "error=ENOSPC"} {
			if call == "/^close" && how != "signal=KILL" && testing.Short() {
				continue
			}
			for n := 1; n < 40; n++ {
				dir := prepared(t)
				log, err := traced(t, dir, false, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, how, n))
				hit := strings.Contains(log, "(INJECTED)") || strings.Contains(log, "killed by SIGKILL")
				if !hit {
					if err != nil {
						t.Errorf("%s %s %d: not hit, and %v", call, how, n, err)
					}
					break
				}
				points++
				known(t, dir, fmt.Sprintf("%s %s at %d", call, how, n), &missing)
				// The repair, cut at the first of the same calls, then whole.
				log, _ = traced(t, dir, true, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, how, 1+n%3))
				if strings.Contains(log, "(INJECTED)") || strings.Contains(log, "killed by SIGKILL") {
					repairs++
				}
				if err := swapInChild(dir); err != nil {
					t.Errorf("%s %s at %d, repaired: %v", call, how, n, err)
				}
				if b, _ := os.ReadFile(filepath.Join(dir, "bin/agent")); string(b) != newText {
					t.Errorf("%s %s at %d, repaired: %q", call, how, n, b)
				}
				if os.Getenv("HAUSMEISTER_LONG") != "1" && n >= 3 {
					break // a sample; make test-long has all
				}
			}
		}
	}
	if points == 0 || missing == 0 || repairs == 0 {
		t.Errorf("%d points, %d without a target, %d in repairs", points, missing, repairs)
	}
	t.Logf("%d points, %d of them without a target, %d in repairs", points, missing, repairs)
}

func swapInChild(dir string) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SWAP_TEST_DIR="+dir, "SWAP_TEST_RESTORE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// known says that the target is the old program, the new one, or missing with
// the old one beside it.
func known(t *testing.T, dir, when string, missing *int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "bin/agent"))
	switch {
	case err == nil && (string(b) == oldText || string(b) == newText):
	case os.IsNotExist(err):
		*missing++
		if b, _ := os.ReadFile(filepath.Join(dir, "bin/.agent.old-1")); string(b) != oldText {
			t.Errorf("%s: no target, and beside it %q", when, b)
		}
	default:
		t.Errorf("%s: %q, %v", when, b, err)
	}
}

// TestAttack20_RealFullDisk: a real file system without room.
func TestAttack20_RealFullDisk(t *testing.T) {
	need.Root(t) // to mount one
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		need.Skip(t, "the right to mount: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/agent"), []byte(oldText), 0o755))
	big := strings.Repeat("x", 100<<10)
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, os.WriteFile(copied, []byte(big), 0o755))
	s, err := swap.New(swap.Config{Target: filepath.Join(dir, "bin/agent"), Disk: layout.Plain()})
	must(t, err)
	open := func() (layout.File, error) { return layout.Plain().Open(copied) }
	for size, want := range map[uint64]func(error) bool{
		uint64(len(big)): func(err error) bool { return strings.Contains(err.Error(), swap.ErrSpace.Error()) },
		10:               layout.IsFull, // as if somebody else had filled it meanwhile
	} {
		if err := s.Swap(t.Context(), open, size, sum(big)); err == nil || !want(err) {
			t.Errorf("Swap = %v", err)
		}
		entries, _ := os.ReadDir(filepath.Join(dir, "bin"))
		if b, _ := os.ReadFile(filepath.Join(dir, "bin/agent")); string(b) != oldText || len(entries) != 1 {
			t.Errorf("left %v, the target holds %q", entries, b)
		}
	}
}

// TestAttack28_AttributesKept: the umask of a service takes nothing from the mode, and
// capabilities come along.
func TestAttack28_AttributesKept(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	r := newReal(t, swap.Config{})
	must(t, os.Chmod(r.target, 0o755))
	caps := giveCapability(t, r.target)
	must(t, r.swap(t.Context()))
	info, err := os.Stat(r.target)
	must(t, err)
	if info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, want 0755", info.Mode())
	}
	if got := capability(t, r.target); caps != "" && got != caps {
		t.Errorf("capabilities %x, want %x", got, caps)
	}
	// A new inode: macOS kills what runs from a file that is written over, and
	// Linux refuses to.
	before := info
	must(t, os.WriteFile(r.copy, []byte(oldText), 0o755))
	must(t, r.Swap(t.Context(), r.open, 10, sum(oldText)))
	if info, err := os.Stat(r.target); err != nil || os.SameFile(info, before) {
		t.Errorf("the same file was written over (%v)", err)
	}
}
