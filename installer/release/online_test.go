package release_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release"
	"hausmeister/installer/release/online"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

type newRandom struct{}

func (newRandom) Read(p []byte) (int, error) { return rand.Read(p) }

func readAll(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		out[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func openSigner(w *world) (*online.Signer, error) { return online.Open(w.config()) }

// TestOnlineRestarts kills the process at each of its writes, before and in the
// right after it, in a publication that also changes its own keys: the restarted
// process ends what was begun, and no number is ever used for two things.
func TestOnlineRestarts(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	if _, _, err := w.device(); err != nil {
		t.Fatal(err)
	}
	// The next step: root 2 with other online keys, and a release.
	_, err := w.signer.NewKeys(rand.Reader, mkdir(t, w.path("next")))
	w.must(err)
	next, err := release.ReadPeople(w.path("next"))
	w.must(err)
	now, err := release.ReadPeople(w.path("people"))
	w.must(err)
	for _, p := range next {
		i := slices.IndexFunc(now, func(o release.Public) bool { return o.Roles[0] == p.Roles[0] })
		_, err := w.drafts().Replace(now[i], &p)
		w.must(err)
	}
	_, err = w.staging("stable", "1.1.0").Stage(t.Context())
	w.must(err)
	w.sign("root", "anna", "bert", "carla")
	w.sign("stable", "jana", "karl")
	ready, err := w.publication().Check()
	w.must(err)
	w.must(w.signer.Close())
	start := readAll(t, w.dir)

	died := errors.New("killed")
	cuts := 0
	for cut := 0; ; cut++ {
		restore(t, w.dir, start)
		seen := map[string][]byte{} // every file that was ever there
		remember := func() {
			for name, data := range readAll(t, w.path("repo/metadata")) {
				if old, ok := seen[name]; ok && name != "timestamp.json" && !bytes.Equal(old, data) {
					t.Fatalf("cut %d: %s had other bytes before", cut, name)
				}
				seen[name] = data
			}
		}
		remember()
		writes, before := 0, true
		cfg := w.config()
		cfg.Write = func(path string, data []byte, mode fs.FileMode) error {
			writes++
			if writes-1 == cut/2 {
				if before = cut%2 == 0; !before {
					if err := layout.WriteFile(path, data, mode); err != nil {
						return err
					}
				}
				return died
			}
			if writes-1 > cut/2 {
				return died // dead is dead
			}
			return layout.WriteFile(path, data, mode)
		}
		s, err := online.Open(cfg)
		w.must(err)
		err = s.Publish(t.Context(), ready.Files)
		w.must(s.Close())
		remember()
		if err == nil {
			break
		}
		if !errors.Is(err, died) {
			t.Fatalf("cut %d: %v", cut, err)
		}
		cuts++
		// The restarted process makes it whole, and a new device believes that.
		w.store.Files = map[string][]byte{}
		s, err = online.Open(w.config())
		w.must(err)
		remember()
		w.must(s.Publish(t.Context(), ready.Files))
		remember()
		if _, st, err := w.device(); err != nil || st.Root != 2 {
			t.Fatalf("cut %d: after the restart a device has root %d, %v", cut, st.Root, err)
		}
		if _, err := w.repo().Verify(t.Context(), w.now); err != nil && !errors.Is(err, release.ErrNotFound) {
			t.Fatalf("cut %d: %v", cut, err)
		}
		w.must(s.Close())
	}
	if cuts < 14 { // pending, stable, root, root.json, snapshot, timestamp, numbers; before and after each
		t.Errorf("only %d cuts were made", cuts)
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name := range readAll(t, dir) {
		if _, ok := files[name]; !ok {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, data := range files {
		mode := fs.FileMode(0o600)
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOnlineRenews: the timestamp each twelve hours, the snapshot in half its
// life, and nothing in between; a year later devices still find it fresh.
func TestOnlineRenews(t *testing.T) {
	w := newWorld(t)
	first := w.signer.State()
	for range 4 * 24 {
		w.now = w.now.Add(time.Hour)
		w.must(w.signer.Renew(false))
		if _, _, err := w.device(); err != nil {
			t.Fatalf("at %s: %v", w.now, err)
		}
	}
	st := w.signer.State()
	if got := st.Timestamp - first.Timestamp; got != 8 {
		t.Errorf("in four days the timestamp was signed %d times, want 8", got)
	}
	if got := st.Snapshot - first.Snapshot; got != 1 {
		t.Errorf("in four days the snapshot was signed %d times, want 1", got)
	}
	w.now = w.now.Add(60 * 24 * time.Hour) // the machine was off
	w.must(w.signer.Close())
	w.signer = w.open()
	w.must(w.signer.Renew(false))
	if _, _, err := w.device(); err != nil {
		t.Errorf("after two months without it: %v", err)
	}
}

// TestAttack13OnlineClockAhead: what was signed while this machine's clock ran ahead is
// signed anew once it has been right for a day, for it would be believed as long as the
// clock was ahead. Who asks has a new timestamp at once.
func TestAttack13OnlineClockAhead(t *testing.T) {
	w := newWorld(t)
	right := w.now
	w.now = right.Add(400 * 24 * time.Hour)
	w.must(w.signer.Renew(false))
	w.now = w.now.Add(2 * time.Minute)
	w.must(w.signer.Renew(true))
	ahead := w.signer.State()

	w.now = right.Add(5 * time.Minute)
	w.must(w.signer.Renew(false))
	if st := w.signer.State(); st.Timestamp != ahead.Timestamp {
		t.Errorf("timestamp %d as soon as the clock went back, want still %d: nobody knows which was right", st.Timestamp, ahead.Timestamp)
	}
	if err := w.signer.Renew(true); err != nil {
		t.Errorf("asked, with the clock right again: %v", err)
	}
	st := w.signer.State()
	if left := st.Expires["timestamp"].Sub(w.now); st.Timestamp != ahead.Timestamp+1 || left <= 0 || left > online.TimestampLife {
		t.Errorf("asked: timestamp %d, which ends in %v; want %d, %v at most", st.Timestamp, left, ahead.Timestamp+1, online.TimestampLife)
	}
	tick := func(n int) {
		for range n {
			w.now = w.now.Add(time.Hour)
			w.must(w.signer.Renew(false))
		}
	}
	tick(23)
	w.now = w.now.Add(-2 * time.Second) // the day begins anew
	w.must(w.signer.Renew(false))
	tick(23)
	if got := w.signer.State().Snapshot; got != ahead.Snapshot {
		t.Errorf("snapshot %d before the clock went steadily for a day, want %d", got, ahead.Snapshot)
	}
	tick(1)
	st = w.signer.State()
	for role, life := range map[string]time.Duration{"timestamp": online.TimestampLife, "snapshot": online.SnapshotLife} {
		if left := st.Expires[role].Sub(w.now); left <= 0 || left > life {
			t.Errorf("%s ends in %v after a day, want %v at most", role, left, life)
		}
	}
	if st.Snapshot != ahead.Snapshot+1 {
		t.Errorf("snapshot %d after a day, want %d", st.Snapshot, ahead.Snapshot+1)
	}
	if _, _, err := w.device(); err != nil {
		t.Errorf("a device after it: %v", err)
	}
}

// TestAttack13OnlineClockAheadUnasked: nobody asks, and the timestamp is right after a
// day, too.
func TestAttack13OnlineClockAheadUnasked(t *testing.T) {
	w := newWorld(t)
	right := w.now
	w.now = right.Add(400 * 24 * time.Hour)
	w.must(w.signer.Renew(false))
	w.now = right
	for range 25 {
		w.must(w.signer.Renew(false))
		w.now = w.now.Add(time.Hour)
	}
	st := w.signer.State()
	for role, life := range map[string]time.Duration{"timestamp": online.TimestampLife, "snapshot": online.SnapshotLife} {
		if left := st.Expires[role].Sub(w.now); left <= 0 || left > life {
			t.Errorf("%s ends in %v after a day, want %v at most", role, left, life)
		}
	}
}

// TestAttack13OnlineClockBehind: a machine that starts with its clock behind signs nothing
// that has ended for devices, neither at once nor when its clock is set.
func TestAttack13OnlineClockBehind(t *testing.T) {
	w := newWorld(t)
	right := w.now
	before := w.signer.State()
	w.must(w.signer.Close())
	w.signer = w.open()
	for _, behind := range []time.Duration{30 * 24 * time.Hour, 30*24*time.Hour - 2*time.Hour, 72 * time.Hour, 0} {
		w.now = right.Add(-behind)
		if behind == 72*time.Hour { // begun anew: a clock without the time that a step took
			w.must(w.signer.Close())
			w.signer = w.open()
		}
		w.must(w.signer.Renew(false))
		if st := w.signer.State(); st.Timestamp != before.Timestamp || st.Snapshot != before.Snapshot {
			t.Errorf("behind by %v: timestamp %d and snapshot %d, want %d and %d", behind, st.Timestamp, st.Snapshot, before.Timestamp, before.Snapshot)
		}
	}
	if _, _, err := w.device(); err != nil {
		t.Errorf("a device with the right clock: %v", err)
	}
}

// TestAttack14StolenCollector: whoever holds the socket signs for nothing that
// persons have not signed, goes back nowhere, and gets no statement about
// another timestamp; what he does to the numbers is one at a time.
func TestAttack14StolenCollector(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	old := w.repo().Raw["stable"]
	w.release("1.1.0")
	before := w.signer.State()

	l, err := online.Listen(w.path("s"), "")
	w.must(err)
	info, err := os.Stat(w.path("s"))
	w.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, want 0600", info.Mode().Perm())
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.signer.Run(ctx, l) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	c := online.Client{Socket: w.path("s")}

	thief := release.Key{}
	thief.Private = newKey(t)
	evil := func(role string, f *draft.File) []byte {
		for _, k := range []string{"jana"} { // and one engineer helps him
			w.must(f.Sign(w.keys[k].Private))
		}
		w.must(signAlso(f, thief))
		data, err := f.Bytes()
		w.must(err)
		return data
	}
	own := draft.NewTargets(w.now.Add(100 * 24 * time.Hour))
	w.must(own.SetVersion(99))
	noLauncher := draft.NewTargets(w.now.Add(100 * 24 * time.Hour))
	w.must(noLauncher.SetVersion(99))
	root, err := draft.Parse(w.root1)
	w.must(err)
	w.must(root.SetVersion(2))
	w.must(root.SetKeys("targets", 1, thief.Private.Public().(ed25519Public)))
	for what, files := range map[string]map[string][]byte{
		"one engineer's stable": {"stable": evil("stable", own)},
		"own targets":           {"targets": evil("targets", noLauncher)},
		"own root":              {"root": evil("root", root)},
		"yesterday's stable":    {"stable": old},
		"another role's file":   {"policy": w.repo().Raw["stable"]},
		"an own timestamp":      {"timestamp": w.repo().Raw["timestamp"]},
		"an own snapshot":       {"snapshot": w.repo().Raw["snapshot"]},
		"a role of its own":     {"thief": evil("thief", own)},
		"a path":                {"../../etc/passwd": evil("x", own)},
		"no metadata":           {"stable": []byte("{}")},
	} {
		if err := c.Publish(t.Context(), files); !errors.Is(err, release.ErrRefused) && !errors.Is(err, release.ErrUnverified) {
			t.Errorf("%s: %v, want a refusal", what, err)
		}
	}
	renewed := 0
	for range 100 {
		if _, err := c.Renew(t.Context()); err == nil {
			renewed++
		} else if !errors.Is(err, release.ErrRefused) {
			t.Fatal(err)
		}
	}
	after := w.signer.State()
	if renewed != 1 || after.Timestamp != before.Timestamp+1 || after.Snapshot != before.Snapshot {
		t.Errorf("a hundred renewals in a moment: %d done, timestamp %d -> %d, snapshot %d -> %d; want one", renewed, before.Timestamp, after.Timestamp, before.Snapshot, after.Snapshot)
	}
	// Statements are about what is published, at the time that it is.
	nonce := manifest.Nonce{1, 2, 3}
	raw, err := c.Fresh(t.Context(), nonce)
	w.must(err)
	st, err := manifest.VerifyFresh(w.root1, raw, nonce)
	w.must(err)
	if stamp := w.repo().Raw["timestamp"]; st.Timestamp != sum(stamp) || !st.Time.Equal(w.now) {
		t.Errorf("the statement is about %x at %s", st.Timestamp[:4], st.Time)
	}
	refused := 0
	for range 6000 {
		if _, err := w.signer.Fresh(nonce); errors.Is(err, online.ErrBusy) {
			refused++
		}
	}
	if refused < 900 {
		t.Errorf("of 6000 statements at once %d were refused, want about 1000", refused)
	}
	if targets, _, err := w.device(); err != nil || !slices.Equal(versions(t, targets), []string{"1.0.0", "1.1.0"}) {
		t.Errorf("a device after all that: %v, %v", versions(t, targets), err)
	}
	for _, path := range []string{"/v1/publish", "/v1/fresh"} {
		w2 := statusOf(t, w.signer.Handler(), path, "nonsense")
		if w2 != http.StatusBadRequest {
			t.Errorf("nonsense to %s: %d, want 400", path, w2)
		}
	}
}

func TestOnlineTrustsOnce(t *testing.T) {
	w := newWorld(t)
	if err := w.signer.Trust(w.root1); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a second first root: %v, want ErrRefused", err)
	}
	if _, err := online.Open(w.config()); !errors.Is(err, layout.ErrLocked) {
		t.Errorf("a second process: %v, want ErrLocked", err)
	}
	cfg := w.config()
	cfg.State, cfg.Repo = mkdir(t, w.path("fresh")), w.path("repo2")
	s, err := online.Open(cfg)
	w.must(err)
	defer s.Close()
	if err := s.Publish(t.Context(), map[string][]byte{"root": w.root1}); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a first root through the socket: %v, want ErrRefused", err)
	}
	// Its keys are not in this folder.
	if err := s.Trust(w.root1); err == nil || !strings.Contains(err.Error(), "not here") {
		t.Errorf("a root that names other keys: %v, want a refusal", err)
	}
}
