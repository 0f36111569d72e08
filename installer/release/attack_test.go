package release_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// stolen is the key of an online role, as a thief reads it from the disk.
func (w *world) stolen(role string) ed25519.PrivateKey {
	w.t.Helper()
	_, keys, err := w.repo().Root().Keys(role)
	w.must(err)
	id, err := manifest.KeyID(keys[0])
	w.must(err)
	text, err := os.ReadFile(w.path("online/" + id + ".seed"))
	w.must(err)
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	w.must(err)
	return ed25519.NewKeyFromSeed(seed)
}

// rotateOnline replaces the keys of snapshot and timestamp by a new root.
func (w *world) rotateOnline() {
	w.t.Helper()
	next := w.path(fmt.Sprintf("next-%d", w.repo().Root().Version()))
	w.must(os.MkdirAll(next, 0o755))
	now, err := release.ReadPeople(w.path("people"))
	w.must(err)
	made, err := w.signer.NewKeys(newRandom{}, next)
	w.must(err)
	for _, p := range made {
		i := slices.IndexFunc(now, func(o release.Public) bool { return o.Roles[0] == p.Roles[0] })
		_, err := w.drafts().Replace(now[i], &p)
		w.must(err)
		w.must(p.Write(w.path("people/" + p.Person + ".pub")))
	}
	w.sign("root", "anna", "dirk", "emma")
	w.must(w.publish())
}

// TestAttack05FastForward: a thief of the online keys raises the versions to
// their end; a new root without his keys brings devices back.
func TestAttack05FastForward(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	key, shotKey := w.stolen("timestamp"), w.stolen("snapshot")
	honest := readAll(t, w.path("repo/metadata"))

	repo := w.repo()
	shot := draft.NewSnapshot(w.now.Add(7 * 24 * time.Hour))
	for role, raw := range repo.Raw {
		if role != "root" && role != "snapshot" && role != "timestamp" {
			w.must(shot.SetMeta(role, raw))
		}
	}
	const end = 1 << 31
	w.must(shot.SetVersion(end))
	w.must(shot.Sign(shotKey))
	forged, err := shot.Bytes()
	w.must(err)
	stamp := draft.NewTimestamp(w.now.Add(48 * time.Hour))
	w.must(stamp.SetMeta("snapshot", forged))
	w.must(stamp.SetVersion(end))
	w.must(stamp.Sign(key))
	forgedStamp, err := stamp.Bytes()
	w.must(err)
	w.must(os.WriteFile(w.path(fmt.Sprintf("repo/metadata/%d.snapshot.json", int64(end))), forged, 0o644))
	w.must(os.WriteFile(w.path("repo/metadata/timestamp.json"), forgedStamp, 0o644))
	if _, st, err := w.device(); err != nil || st.Timestamp != end {
		t.Fatalf("the device takes the thief's timestamp %d, %v, want %d", st.Timestamp, err, int64(end))
	}
	for name, data := range honest {
		w.must(os.WriteFile(filepath.Join(w.path("repo/metadata"), name), data, 0o644))
	}
	if _, _, err := w.device(); !errors.Is(err, manifest.ErrRollback) {
		t.Fatalf("the honest repository after the theft: %v, want ErrRollback", err)
	}

	w.rotateOnline()
	targets, st, err := w.device()
	if err != nil || st.Root != 2 || st.Timestamp >= end {
		t.Fatalf("after the new root: root %d, timestamp %d, %v", st.Root, st.Timestamp, err)
	}
	if got := versions(t, targets); !slices.Equal(got, []string{"1.0.0"}) {
		t.Errorf("the device finds %v, want 1.0.0", got)
	}
	w.release("1.1.0")
	if targets, _, err := w.device(); err != nil || len(versions(t, targets)) != 2 {
		t.Errorf("after the next release: %v, %v", versions(t, targets), err)
	}
}

// TestAttack06RootsAreKept: five new roots over 14 months; every one stays
// published, and a device with the first catches up in one look.
func TestAttack06RootsAreKept(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	for range 5 {
		w.now = w.now.Add(85 * 24 * time.Hour)
		w.must(w.drafts().Renew("stable"))
		w.must(w.drafts().Renew("targets"))
		w.signAll("jana", "karl", "lena")
		w.must(w.publish())
		w.rotateOnline()
	}
	for v := 1; v <= 6; v++ {
		if _, err := os.Stat(w.path(fmt.Sprintf("repo/metadata/%d.root.json", v))); err != nil {
			t.Errorf("root %d: %v", v, err)
		}
	}
	targets, st, err := w.device()
	if err != nil || st.Root != 6 || !slices.Equal(versions(t, targets), []string{"1.0.0"}) {
		t.Errorf("a device with root 1 gets to root %d, %v, %v", st.Root, versions(t, targets), err)
	}
	w.must(os.Remove(w.path("repo/metadata/3.root.json")))
	if _, err := release.OpenRepository(w.path("repo")); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("a repository without root 3: %v, want ErrUnverified", err)
	}
}

// TestAttack08Countdown: the end of each role is told at each step, with alarm
// from 30 days on; online roles are told when they are not renewed.
func TestAttack08Countdown(t *testing.T) {
	w := newWorld(t)
	step := func(at time.Time, role string) release.Expiry {
		for _, e := range w.repo().Expiries(at) {
			if e.Role == role {
				return e
			}
		}
		t.Fatalf("no expiry of %s", role)
		return release.Expiry{}
	}
	end := w.repo().Files["targets"].Expires()
	for _, c := range []struct {
		left  time.Duration
		step  int
		alarm bool
	}{
		{200 * 24 * time.Hour, 0, false}, {180 * 24 * time.Hour, 180, false}, {90*24*time.Hour + time.Second, 180, false},
		{90 * 24 * time.Hour, 90, false}, {30 * 24 * time.Hour, 30, true}, {14 * 24 * time.Hour, 14, true}, {time.Hour, 7, true}, {-time.Hour, 7, true},
	} {
		e := step(end.Add(-c.left), "targets")
		if e.Step != c.step || e.Alarm != c.alarm {
			t.Errorf("%s before the end: step %d, alarm %v, want %d, %v", c.left, e.Step, e.Alarm, c.step, c.alarm)
		}
	}
	if e := step(w.now.Add(23*time.Hour), "timestamp"); e.Alarm {
		t.Errorf("timestamp with 25 h left: alarm")
	}
	if e := step(w.now.Add(25*time.Hour), "timestamp"); !e.Alarm {
		t.Errorf("timestamp with 23 h left: no alarm")
	}
	w.now = end.Add(time.Hour)
	if _, _, err := w.device(); !errors.Is(err, manifest.ErrStale) {
		t.Errorf("a device after the end: %v, want ErrStale and nothing else", err)
	}
}

// TestAttack09PublisherRefuses: nothing of an equal or lower version goes out,
// whoever hands it in and whatever was restored.
func TestAttack09PublisherRefuses(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	before := readAll(t, w.path("repo"))
	w.release("1.1.0")

	if _, err := w.staging("stable", "1.1.0").Stage(t.Context()); !errors.Is(err, release.ErrRefused) {
		t.Errorf("1.1.0 again: %v, want ErrRefused", err)
	}
	if _, err := w.staging("stable", "1.0.9").Stage(t.Context()); !errors.Is(err, release.ErrRefused) {
		t.Errorf("1.0.9 after 1.1.0: %v, want ErrRefused", err)
	}
	old := before["metadata/2.stable.json"]
	w.must(os.WriteFile(w.path("drafts/stable.json"), old, 0o644))
	if err := w.publish(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("stable 2 after 3: %v, want ErrRefused", err)
	}
	w.must(w.drafts().Drop("stable"))
	if err := w.signer.Publish(t.Context(), map[string][]byte{"stable": old}); !errors.Is(err, release.ErrRefused) {
		t.Errorf("the online process takes stable 2 after 3: %v", err)
	}

	w.must(w.signer.Close())
	w.must(os.RemoveAll(w.path("repo")))
	for name, data := range before {
		w.must(os.MkdirAll(filepath.Dir(w.path("repo/"+name)), 0o755))
		w.must(os.WriteFile(w.path("repo/"+name), data, 0o644))
	}
	if s, err := openSigner(w); err == nil {
		s.Close()
		t.Error("the online process signs on top of a restored repository")
	}
}

// TestAttack15OneEngineer: one key alone publishes nothing, however often it
// signs; taken out, it counts for nothing any more, also under what was signed before.
func TestAttack15OneEngineer(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	_, err := w.staging("stable", "6.6.6").Stage(t.Context())
	w.must(err)
	w.sign("stable", "jana", "jana")
	if err := w.publish(); !errors.Is(err, release.ErrRefused) {
		t.Fatalf("one engineer, twice: %v, want ErrRefused", err)
	}
	raw, err := os.ReadFile(w.path("drafts/stable.json"))
	w.must(err)
	if err := w.signer.Publish(t.Context(), map[string][]byte{"stable": raw}); !errors.Is(err, release.ErrUnverified) {
		t.Errorf("the online process takes one signature: %v", err)
	}
	// A key of another group counts for nothing, and is not even let sign.
	if _, err := w.signing("stable", "frieda").Sign(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a key of targets signs stable: %v, want ErrRefused", err)
	}
	w.must(w.drafts().Drop("stable"))

	next := w.person("mia", engineer)
	w.must(next.Write(w.path("people/mia.pub")))
	_, err = w.drafts().Replace(w.keys["jana"].Public, &next.Public)
	w.must(err)
	w.sign("targets", "hanna", "ivo")
	if err := w.publish(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "signed anew") {
		t.Errorf("jana is out while stable stands on her signature: %v, want to be told", err)
	}
	for _, role := range engineer {
		w.must(w.drafts().Renew(role))
	}
	for _, role := range engineer {
		w.sign(role, "karl", "lena", "mia")
	}
	w.must(w.publish())
	if targets, _, err := w.device(); err != nil || !slices.Equal(versions(t, targets), []string{"1.0.0"}) {
		t.Errorf("a device after the revocation: %v, %v", versions(t, targets), err)
	}
	if _, err := w.staging("stable", "1.1.0").Stage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.signing("stable", "jana").Sign(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("jana signs after her revocation: %v, want ErrRefused", err)
	}
}

// TestAttack46OperatorErrors: who signs sees how much changes and what is odd
// about it, and has to say the digest of just that.
func TestAttack46OperatorErrors(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	s := w.staging("stable", "1.1.0")
	friday := time.Date(2026, 12, 4, 15, 0, 0, 0, time.UTC) // 16:00 in Hesse
	s.Release.Ramp = manifest.Ramp{T0MS: friday.UnixMilli(), PermillePerHour: 1000}
	_, err := s.Stage(t.Context())
	w.must(err)
	d := w.drafts()
	f, err := d.Read("stable")
	w.must(err)
	diff, err := d.Repo.Compare("stable", f)
	w.must(err)
	if diff.Added != 6 || diff.Removed != 0 || diff.Changed != 0 { // program, packed, patch for two systems
		t.Errorf("diff counts %d more, %d fewer, %d changed, want 6, 0, 0\n%s", diff.Added, diff.Removed, diff.Changed, diff)
	}
	text := diff.String()
	for _, want := range []string{
		"stable 2 -> 3", "+ agent/stable/1.1.0/linux-amd64/hausmeister-agent ", "WARNING: agent 1.1.0: the whole fleet may begin within a day",
		"it begins on Friday 16:00", "to 0.5 % in", "digest " + diff.Digest,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the diff does not say %q:\n%s", want, text)
		}
	}
	sg := w.signing("stable", "jana")
	sg.Digest = strings.Repeat("0", 8)
	if _, err := sg.Sign(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("signing what was not looked at: %v, want ErrRefused", err)
	}
	// The wrong channel does not fit the role, and cannot be staged.
	s = w.staging("canary", "1.1.0")
	if _, err := s.Stage(t.Context()); !errors.Is(err, release.ErrRefused) {
		t.Errorf("stable's program in canary's file: %v, want ErrRefused", err)
	}
	// A missing platform.
	s = w.staging("stable", "1.1.0")
	s.Programs[1].OS, s.Programs[1].Arch, s.Programs[1].Name = "linux", "arm64", "hausmeister-agent"
	_, err = s.Stage(t.Context())
	w.must(err)
	w.sign("stable", "jana", "karl")
	p := w.publication()
	p.Roles = []string{"stable"}
	if _, err := p.Check(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "windows/amd64") {
		t.Errorf("without windows: %v, want ErrRefused", err)
	}
}

// TestAttackOnePersonWithTwoKeys: a threshold counts persons, on whatever sticks their
// keys are.
func TestAttackOnePersonWithTwoKeys(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	w.must(os.MkdirAll(w.path("j2"), 0o755))
	second, err := release.NewKey(w.path("j2"), "jana", []string{"stable"}, passphrase, release.Cost{Passes: 1, MemoryKiB: 8, Threads: 1}, rand.Reader, w.now)
	w.must(err)
	if _, err := w.drafts().Add(second.Public); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "jana has a key of stable already") {
		t.Fatalf("a second key of jana for stable: %v, want ErrRefused", err)
	}
	if _, err := w.drafts().Add(w.keys["jana"].Public); !errors.Is(err, release.ErrRefused) {
		t.Errorf("jana's key again: %v, want ErrRefused", err)
	}
	// Another person's is taken, and who signs for it sees a name.
	nina := w.person("nina", []string{"stable"})
	_, err = w.drafts().Add(nina.Public)
	w.must(err)
	d := w.drafts()
	f, err := d.Read("targets")
	w.must(err)
	diff, err := d.Repo.Compare("targets", f)
	w.must(err)
	if !strings.Contains(diff.String(), "stable: + key "+release.Short(nina.ID)+" of nina\n") || len(diff.Warnings) != 0 {
		t.Errorf("the diff does not name who comes:\n%s", diff)
	}
	// A draft that was edited by hand: the name changed, or taken out.
	for name, lie := range map[string]struct{ person, want string }{"two keys": {"jana", "jana has two keys"}, "nobody's": {"", "nobody says whose"}} {
		people := f.People()
		people[nina.ID] = lie.person
		w.must(f.SetPeople(people))
		w.must(release.WriteDraft(d.Path("targets"), f))
		if diff, err := d.Repo.Compare("targets", f); err != nil || !strings.Contains(diff.String(), "WARNING: ") || !strings.Contains(diff.String(), lie.want) {
			t.Errorf("%s: the diff does not warn: %v\n%s", name, err, diff)
		}
		if _, err := w.signing("targets", "hanna").Sign(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), lie.want) {
			t.Errorf("%s: Sign = %v, want ErrRefused", name, err)
		}
		for _, person := range []string{"hanna", "ivo"} { // with another tool
			w.must(f.Sign(w.keys[person].Private))
		}
		w.must(release.WriteDraft(d.Path("targets"), f))
		if err := w.publish(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), lie.want) {
			t.Errorf("%s: publish = %v, want ErrRefused", name, err)
		}
	}
	// Whatever targets says: two signatures of one person are one.
	people := f.People()
	people[nina.ID] = "jana"
	w.must(f.SetPeople(people))
	w.must(d.Drop("targets"))
	w.must(w.drafts().Renew("stable"))
	stable, err := w.drafts().Read("stable")
	w.must(err)
	for _, k := range []release.Key{w.keys["jana"], nina} {
		w.must(stable.Sign(k.Private))
	}
	if err := release.Approve(w.repo().Root(), f, "stable", stable); !errors.Is(err, release.ErrUnverified) || !strings.Contains(err.Error(), "1 persons, 2 are needed") {
		t.Errorf("stable signed by two keys of jana: %v, want ErrUnverified", err)
	}
	w.must(stable.Sign(w.keys["karl"].Private))
	w.must(release.Approve(w.repo().Root(), f, "stable", stable))
}
