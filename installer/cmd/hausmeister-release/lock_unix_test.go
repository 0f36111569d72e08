//go:build unix

package main

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hausmeister/testenv/need"
)

// TestTwoUsersOfOneDesk: engineers are OS users of one group, and drafts and record are
// the group's. Who changes a draft, be it root once, locks nobody else out.
func TestTwoUsersOfOneDesk(t *testing.T) {
	need.Root(t)
	const group = 54300
	d := newDesk(t)
	d.founded() // as root
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(d.dir, "program") // users reach no folder of go's
	copyFile(t, self, program)
	for path, mode := range map[string]fs.FileMode{"": 0o775 | fs.ModeSetgid, "drafts": 0o775 | fs.ModeSetgid, "record": 0o664} {
		path = filepath.Join(d.dir, path)
		if err := os.Chown(path, 0, group); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(d.dir), 0o755); err != nil { // of t.TempDir
		t.Fatal(err)
	}
	for i, uid := range []uint32{0, 54301, 54302, 54301} {
		sum := strings.Repeat(string("abcd"[i]), 64)
		cmd := exec.Command(program, "-test.run=^TestVerbOfAnotherUser$")
		cmd.Env = append(os.Environ(), "RELEASE_TEST_DESK="+d.dir, "RELEASE_TEST_VERB=block "+sum+" --reason=testing")
		cmd.Dir = d.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: group}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("block by user %d: %v\n%s", uid, err, out)
		}
		if got := d.must(0, "--json diff DIR/drafts/targets.json"); !strings.Contains(got, sum) {
			t.Errorf("the draft has no block by user %d: %s", uid, got)
		}
	}
	d.must(0, "audit verify")
}

// TestVerbOfAnotherUser is one verb, as a process of TestTwoUsersOfOneDesk.
func TestVerbOfAnotherUser(t *testing.T) {
	line := os.Getenv("RELEASE_TEST_VERB")
	if line == "" {
		t.Skip("only as a process of TestTwoUsersOfOneDesk")
	}
	syscall.Umask(0o002)
	d := newDesk(t)
	d.dir = os.Getenv("RELEASE_TEST_DESK")
	if code, _, said := d.run(line); code != 0 {
		t.Fatalf("exit %d, %s", code, said)
	}
}

// TestLocksLeaveNothing: neither beside drafts and record nor on the stick of who signs.
func TestLocksLeaveNothing(t *testing.T) {
	d := newDesk(t)
	d.founded()
	d.must(0, "block "+strings.Repeat("a", 64)+" --reason=testing")
	stick := filepath.Join(d.dir, "stick")
	if err := os.Mkdir(stick, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(d.dir, "drafts/targets.json"), filepath.Join(stick, "targets.json"))
	digest := strings.TrimSpace(d.must(0, "digest DIR/stick/targets.json"))
	d.must(0, "sign DIR/stick/targets.json --digest "+digest+" --key DIR/people/ivo.key --passphrase-file DIR/pass --reason=testing")
	err := filepath.WalkDir(d.dir, func(path string, _ fs.DirEntry, err error) error {
		if name := filepath.Base(path); strings.HasSuffix(name, "lock") && path != filepath.Join(d.dir, "online/lock") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecordAmongTheDrafts: who holds the folder adds to a record in it.
func TestRecordAmongTheDrafts(t *testing.T) {
	d := newDesk(t)
	d.patience = 1
	d.founded()
	d.must(0, "--record DIR/drafts/record.jsonl block "+strings.Repeat("a", 64)+" --reason=testing")
	d.must(0, "--record DIR/drafts/record.jsonl audit verify")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
