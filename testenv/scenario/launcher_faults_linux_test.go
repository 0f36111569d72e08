package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/agent/launcher"
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
