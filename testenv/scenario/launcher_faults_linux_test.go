package scenario

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
	"hausmeister/testenv/need"
	"hausmeister/testenv/programs"
)

// TestAttack25_FoldersTakenAway: whatever folder is taken away below a launcher that runs,
// the agent runs again, and the next update can be armed.
func TestAttack25_FoldersTakenAway(t *testing.T) {
	for _, gone := range []string{"bin", "state/update", "bin state/update"} {
		r := newLaunched(t, 1000)
		p := r.keep("1.0.0", `echo alive 1; echo checked ok; echo reached; echo heard $VERSION $(sha256sum "$0" | cut -d' ' -f1)
while [ ! -e "`+r.Root+`/end" ]; do sleep 0.1; done; rm "`+r.Root+`/end"; exit 1`, 1000)
		must(t, os.WriteFile(r.Packaged(), []byte(launcher.Note(p)), 0o644))
		taken := false
		_, log := r.run(20*time.Second, nil, func() bool {
			starts, _ := r.starts()
			j, _ := r.store.Load()
			if len(starts) == 1 && j.Reached && !taken {
				taken = true
				for _, dir := range strings.Fields(gone) {
					must(t, os.RemoveAll(filepath.Join(r.Root, dir)))
				}
				must(t, os.WriteFile(filepath.Join(r.Root, "end"), nil, 0o600))
			}
			return len(starts) > 1 && j.Reached && j.Good.Known()
		})
		if starts, _ := r.starts(); len(starts) != 2 {
			t.Errorf("without %s: started %v\n%s", gone, starts, log)
			continue
		}
		must(t, r.Check())
		r.arm(r.keep("1.1.0", wellScript, 1000))
	}
}

// TestAttack32_ChildrenEatTheMachine: an agent that takes nothing itself, but whose children
// do, is gone back from.
func TestAttack32_ChildrenEatTheMachine(t *testing.T) {
	r := newLaunched(t, 1000)
	const settings = `{"again": "100ms", "bound_for": "2s", "cpu_permille": 100, "stop_within": "2s", "alive_within": "10s"}`
	must(t, os.WriteFile(filepath.Join(r.State(), launcher.SettingsFile), []byte(settings), 0o600))
	r.run(10*time.Second, nil, func() bool { j, _ := r.store.Load(); return j.Reached })
	r.arm(r.keep("1.1.0", `(while :; do :; done) & (while :; do :; done) &
echo alive 1; echo checked ok; echo reached; echo heard $VERSION $(sha256sum "$0" | cut -d' ' -f1)
i=1; while :; do sleep 0.2; i=$((i+1)); echo alive $i; done`, 1000))
	_, log := r.run(40*time.Second, nil, func() bool { s := r.state(); return s == journal.RolledBack || s == journal.Committed })
	j, err := r.store.Load()
	if err != nil || j.State != journal.RolledBack || len(j.Barred) != 1 || j.Barred[0].Reason != journal.CPU {
		t.Errorf("%s, barred %v, %v; want rolled back for CPU\n%s", j.State, j.Barred, err, log)
	}
}

// TestAttack20_ReadOnlyDisk: on a disk that takes nothing, as a system makes it after an
// error, the agent that was there runs, and whoever asks is told of the disk.
func TestAttack20_ReadOnlyDisk(t *testing.T) {
	need.Root(t) // to mount
	r := newLaunched(t, 1000)
	out := filepath.Join(t.TempDir(), "out")
	p := r.keep("1.0.0", "echo here >>"+out+"\n"+wellScript, 1000)
	must(t, os.WriteFile(r.Packaged(), []byte(launcher.Note(p)), 0o644))
	runs := func() bool { b, _ := os.ReadFile(out); return len(b) > 0 }
	r.run(10*time.Second, nil, func() bool { j, _ := r.store.Load(); return j.Reached && runs() })
	must(t, os.Remove(out))
	must(t, syscall.Mount(r.Root, r.Root, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { must(t, syscall.Unmount(r.Root, syscall.MNT_DETACH)) })
	must(t, syscall.Mount("", r.Root, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	if ended, log := r.run(20*time.Second, nil, runs); ended || !runs() {
		t.Errorf("the launcher ended: %t, an agent was started: %t\n%s", ended, runs(), log)
	}
	for verb, says := range map[string]string{"status": "The disk is read-only", "doctor": "The disk takes nothing, it is read-only."} {
		text, _ := exec.CommandContext(t.Context(), filepath.Join(programs.Build(t), "hausmeister-agent"), verb, "--lang", "en", "--dir", r.Root).CombinedOutput()
		if !strings.Contains(string(text), says) || strings.Contains(string(text), "The agent runs") {
			t.Errorf("%s says\n%s\nwant %q, and no agent that runs", verb, text, says)
		}
	}
}
