package release_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release"
	"hausmeister/installer/release/online"
	"hausmeister/platform/layout"
)

// seen is a world whose device has seen a release and a few timestamps more.
func seen(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.release("1.0.0")
	for range 5 {
		w.now = w.now.Add(2 * time.Minute)
		w.must(w.signer.Renew(true))
	}
	_, _, err := w.device()
	w.must(err)
	w.must(w.drafts().Renew("stable"))
	w.sign("stable", "jana", "karl")
	w.must(w.signer.Close())
	return w
}

// TestAttack46LostNumbers: the online process lost its memory, or an older one was put
// back. It signs nothing below what devices have seen, and says what is to be done;
// then it goes on above, and devices follow.
func TestAttack46LostNumbers(t *testing.T) {
	for what, lose := range map[string]func(w *world, old map[string][]byte){
		"numbers are gone": func(w *world, _ map[string][]byte) { w.must(os.Remove(w.path("online/numbers"))) },
		"only the seeds are left": func(w *world, _ map[string][]byte) {
			for _, name := range []string{"numbers", "root.json", "lock"} {
				w.must(os.Remove(w.path("online/" + name)))
			}
		},
		"older numbers, and roles went on": func(w *world, old map[string][]byte) { w.put("online", old) },
		"older numbers, and timestamps went on": func(w *world, _ map[string][]byte) {
			data, err := os.ReadFile(w.path("online/numbers"))
			w.must(err)
			w.must(os.WriteFile(w.path("online/numbers"), []byte(strings.Replace(string(data), `"timestamp":7`, `"timestamp":2`, 1)), 0o600))
		},
		"numbers older by one timestamp": func(w *world, _ map[string][]byte) {
			data, err := os.ReadFile(w.path("online/numbers"))
			w.must(err)
			w.must(os.WriteFile(w.path("online/numbers"), []byte(strings.Replace(string(data), `"timestamp":7`, `"timestamp":6`, 1)), 0o600))
			w.now = w.now.Add(2 * time.Minute) // at the same moment it would be the same file
		},
	} {
		w := newWorld(t)
		old := readAll(t, w.path("online"))
		w.must(w.signer.Close())
		w = seen(t)
		for name := range old { // the seeds are this world's own
			if strings.HasSuffix(name, ".seed") || name == "root.json" {
				delete(old, name)
			}
		}
		lose(w, old)
		before := readAll(t, w.path("repo/metadata"))
		w.signer = w.open()
		if err := w.publish(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "online trust") {
			t.Errorf("%s: publish: %v, want a refusal that names online trust", what, err)
		}
		if err := w.signer.Renew(true); !errors.Is(err, release.ErrRefused) && !errors.Is(err, online.ErrEmpty) {
			t.Errorf("%s: renew: %v, want a refusal", what, err)
		}
		for name, data := range readAll(t, w.path("repo/metadata")) {
			if string(before[name]) != string(data) {
				t.Errorf("%s: %s was written", what, name)
			}
		}
		w.must(w.signer.Trust(w.root1))
		w.must(w.publish())
		if st := w.signer.State(); st.Timestamp != 8 || st.Snapshot != 3 || st.Roles["stable"] != 3 {
			t.Errorf("%s: goes on at timestamp %d, snapshot %d, stable %d, want 8, 3, 3", what, st.Timestamp, st.Snapshot, st.Roles["stable"])
		}
		if _, _, err := w.device(); err != nil {
			t.Errorf("%s: a device that has seen timestamp 7: %v", what, err)
		}
	}
}

// put files into a folder.
func (w *world) put(dir string, files map[string][]byte) {
	w.t.Helper()
	for name, data := range files {
		w.must(os.WriteFile(filepath.Join(w.path(dir), name), data, 0o600))
	}
}

// TestTrustRefusesWhatIsOlder: not only the numbers, the folder too may be a backup's.
func TestTrustRefusesWhatIsOlder(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	w.must(w.signer.Close())
	w.must(os.Remove(w.path("online/numbers")))
	w.signer = w.open()
	if err := w.signer.Remembers(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("Remembers without numbers: %v, want a refusal", err)
	}
	if err := w.signer.Trust(other.root1); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("Trust with another first root: %v, want ErrUnverified", err)
	}
}

// TestOnlineDiskFull: the process lives on where a restarted one would, and no number
// is used for two things.
func TestOnlineDiskFull(t *testing.T) {
	w := newWorld(t)
	w.must(w.signer.Close())
	full := ""
	cfg := w.config()
	cfg.Write = func(path string, data []byte, mode fs.FileMode) error {
		if full != "" && strings.HasSuffix(path, full) {
			return errors.New("no space left")
		}
		return layout.WriteFile(path, data, mode)
	}
	s, err := online.Open(cfg)
	w.must(err)
	defer s.Close()
	full = "numbers" // the timestamp is out, and not written down
	w.now = w.now.Add(13 * time.Hour)
	if err := s.Renew(false); err == nil {
		t.Fatal("a renewal on a full disk succeeded")
	}
	first := readAll(t, w.path("repo/metadata"))["timestamp.json"]
	full = ""
	w.now = w.now.Add(time.Minute)
	w.must(s.Renew(false))
	if got := readAll(t, w.path("repo/metadata"))["timestamp.json"]; string(got) != string(first) {
		t.Error("timestamp 2 was signed twice, with different bytes")
	}
	if st := s.State(); st.Timestamp != 2 {
		t.Errorf("the timestamp is %d, want 2", st.Timestamp)
	}
}
