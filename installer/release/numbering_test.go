package release_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest/draft"
)

// TestSignedThenChanged: a draft that persons have signed is given up, or changed, here
// or before their signatures came back. The next has a number that nobody has signed,
// the desk says whose signatures are for nothing, and devices take the gap.
func TestSignedThenChanged(t *testing.T) {
	w := newWorld(t)
	w.release("1.0.0")
	w.release("1.1.0")
	var said []string
	drafts := func() *release.Drafts {
		d := w.drafts()
		d.Said = func(s string) { said = append(said, s) }
		return d
	}
	w.must(drafts().Renew("stable"))
	w.sign("stable", "karl", "lena")
	w.must(drafts().Drop("stable"))
	w.must(drafts().Renew("stable"))
	if want := "signatures of karl, lena under stable 4 are dropped"; len(said) != 1 || !strings.Contains(said[0], want) {
		t.Errorf("dropping what is signed says %q, want %q", said, want)
	}
	w.sign("stable", "karl", "lena")

	said = nil
	releases, err := release.Releases(w.repo().Files["stable"], "stable")
	w.must(err)
	w.must(drafts().Block(releases[0].SHA256))
	w.sign("targets", "hanna", "ivo")
	w.must(drafts().SetFloor("agent", "1.1.0", platforms))
	if want := "signatures of hanna, ivo under targets 2 are dropped"; len(said) != 1 || !strings.Contains(said[0], want) {
		t.Errorf("changing what is signed says %q, want %q", said, want)
	}
	elsewhere := w.signing("targets", "hanna") // on a stick, and not back yet
	elsewhere.Out = w.path("targets.hanna.json")
	_, err = elsewhere.Sign()
	w.must(err)
	w.must(drafts().Renew("targets"))
	w.sign("targets", "hanna", "ivo")
	w.must(w.publish())
	targets, st, err := w.device()
	if err != nil || st.Floors["agent"] != "1.1.0" || len(st.Rules.Blocked) != 1 {
		t.Fatalf("a device after the block: floors %v, blocked %v, %v", st.Floors, st.Rules.Blocked, err)
	}
	if got := versions(t, targets); len(got) == 0 {
		t.Errorf("a device finds %v", got)
	}
	for role, want := range map[string]int64{"stable": 5, "targets": 4} {
		if got := w.repo().Version(role); got != want {
			t.Errorf("published is %s %d, want %d", role, got, want)
		}
	}
}

// TestRootSignedAgain: a root's number cannot rise, so who has signed one that was then
// changed says on purpose that he signs again. It is in his record, and the number of
// what was published stays his one word.
func TestRootSignedAgain(t *testing.T) {
	w := newWorld(t)
	replace := func(old, by string) {
		t.Helper()
		var next *release.Public
		if by != "" {
			k := w.person(by, []string{"root"})
			next = &k.Public
		}
		_, err := w.drafts().Replace(w.keys[old].Public, next)
		w.must(err)
	}
	replace("emma", "gero")
	w.sign("root", "anna", "bert", "carla")
	again := w.signing("root", "anna")
	again.Again = true
	if _, err := again.Sign(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "no other root 2") {
		t.Errorf("again, and nothing else was signed: %v, want a refusal", err)
	}
	given := w.digest("root")
	replace("dirk", "hugo")
	for _, p := range []string{"anna", "bert", "carla"} {
		s := w.signing("root", p)
		if _, err := s.Sign(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "--again") {
			t.Errorf("another root 2, and nothing said: %v, want a refusal that names --again", err)
		}
		s.Again = true
		signed, err := s.Sign()
		if err != nil || signed.Instead != given {
			t.Fatalf("%s signs again in place of %.8s, %v, want %.8s", p, signed.Instead, err, given)
		}
		w.sign("root", p) // the same once more is no other
		entries, _, err := s.Record.Read()
		w.must(err)
		if !slices.ContainsFunc(entries, func(e release.Entry) bool { return e.What["instead_of"] == given && e.Reason == "test" }) {
			t.Errorf("%s's record does not say what was signed before: %v", p, entries)
		}
	}
	w.must(w.publish())
	if _, st, err := w.device(); err != nil || st.Root != 2 {
		t.Errorf("a device has root %d, %v, want 2", st.Root, err)
	}
	// The root that went out stays the only one of its number.
	other, err := draft.Parse(w.repo().Raw["root"])
	w.must(err)
	other.SetExpires(other.Expires().AddDate(0, 0, 1))
	w.must(release.WriteDraft(w.path("drafts/root.json"), other))
	s := w.signing("root", "anna")
	s.Again = true
	if _, err := s.Sign(); !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "published") {
		t.Errorf("another root 2 after its publication: %v, want a refusal", err)
	}
	w.must(w.drafts().Drop("root"))
	w.must(w.drafts().Renew("stable"))
	s = w.signing("stable", "jana")
	s.Again = true
	if _, err := s.Sign(); !errors.Is(err, release.ErrRefused) {
		t.Errorf("a stable signed again: %v, want a refusal", err)
	}
}

// TestRampOfMinutes: what comes within the hour is read in minutes.
func TestRampOfMinutes(t *testing.T) {
	w := newWorld(t)
	ramp := w.staging("stable", "1.0.0").Release.Ramp
	ramp.PermillePerHour, ramp.SoakH = 50, []int{4, 24, 24, 24}
	if got, want := release.RampText(ramp), "to 0.5 % in 5.9 min"; !strings.Contains(got, want) {
		t.Errorf("RampText: %s, want %q in it", got, want)
	}
}

// TestProgramIsMissing: the role is named once where its channel has the same name.
func TestProgramIsMissing(t *testing.T) {
	w := newWorld(t)
	_, err := w.staging("stable", "1.0.0").Stage(t.Context())
	w.must(err)
	w.sign("stable", "jana", "karl")
	p := w.publication()
	p.Platforms = []string{"linux/arm64"}
	if _, err := p.Check(); err == nil || !strings.Contains(err.Error(), "refused: stable 1.0.0 has no program for linux/arm64") {
		t.Errorf("a release without a program for a system: %v", err)
	}
}
