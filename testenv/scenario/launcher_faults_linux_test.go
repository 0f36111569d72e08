package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/agent/update/journal"
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
