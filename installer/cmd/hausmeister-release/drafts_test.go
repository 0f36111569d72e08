package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hausmeister/installer/release/online"
)

// TestSignedDraftGoes: who drops or changes what persons have signed is told, and a root
// is signed again on purpose, with a transcript beside the draft.
func TestSignedDraftGoes(t *testing.T) {
	d := newDesk(t)
	d.founded()
	pass := " --passphrase-file DIR/pass --reason=testing"
	if got := d.must(0, "renew stable --reason=testing"); !strings.Contains(got, "WARNING: the signatures of jana, karl under stable 1 are dropped") {
		t.Errorf("renew of a signed draft:\n%s", got)
	}
	if got := d.must(0, "drop canary --reason=testing"); !strings.Contains(got, "WARNING: the signatures of jana, karl under canary 1 are dropped") {
		t.Errorf("drop of a signed draft:\n%s", got)
	}
	d.must(0, "keys init gero --role root --out DIR/more"+pass)
	d.must(0, "keys init hugo --role root --out DIR/more"+pass)
	digest := ""
	sign := func() string {
		digest = strings.TrimSpace(d.must(0, "digest DIR/drafts/root.json"))
		return "--record DIR/anna.record root sign --digest " + digest + " --key DIR/people/anna.key" + pass
	}
	if got := d.must(0, "keys rotate DIR/people/emma.pub DIR/more/gero.pub --reason=testing"); strings.Contains(got, "WARNING: the sig") {
		t.Errorf("keys rotate after a root that is published:\n%s", got)
	}
	d.must(0, sign())
	if got := d.must(0, "keys rotate DIR/people/dirk.pub DIR/more/hugo.pub --reason=testing"); !strings.Contains(got, "of anna under root 2 are dropped; to sign another root 2 they say root sign --again") {
		t.Errorf("keys rotate under a signed root:\n%s", got)
	}
	if got := d.must(exitRefused, sign()); !strings.Contains(got, "anna has signed another root 2") {
		t.Errorf("another root 2:\n%s", got)
	}
	if got := d.must(0, sign()+" --again"); !strings.Contains(got, "anna signs root 2 again") || !strings.Contains(got, "signed now: "+digest) {
		t.Errorf("root sign --again:\n%s", got)
	}
	text, err := os.ReadFile(filepath.Join(d.dir, "drafts/again-root-2-anna.txt"))
	if err != nil || !strings.Contains(string(text), "not published and given up: ") || !strings.Contains(string(text), "signed-by: anna ") {
		t.Errorf("the transcript: %v\n%s", err, text)
	}
}

// TestLostNumbersAreTold: serve ends with the sentence, and trust goes on.
func TestLostNumbersAreTold(t *testing.T) {
	d := audited(t)
	if err := os.Remove(filepath.Join(d.dir, "online/numbers")); err != nil {
		t.Fatal(err)
	}
	if got := d.must(exitRefused, "online serve --state DIR/online --socket DIR/s2"); !strings.Contains(got, "numbers is missing") || strings.Contains(got, "signing at") {
		t.Errorf("serve without numbers:\n%s", got)
	}
	want := "goes on above what is published: root 1, snapshot 1, timestamp 1, canary 1, emergency 1, launcher 1, policy 1, stable 1, targets 1"
	if got := d.must(0, "online trust DIR/repo/metadata/1.root.json --state DIR/online --reason=testing"); !strings.Contains(got, want) {
		t.Errorf("trust says:\n%s\nwant %q", got, want)
	}
	if got := stateText(online.State{Root: 1, Roles: map[string]int64{"stable": 2, "canary": 1}}); got != "root 1, snapshot 0, timestamp 0, canary 1, stable 2" {
		t.Errorf("stateText: %s", got)
	}
}

// TestWrongFiles: a file that is not there, and a build of something else.
func TestWrongFiles(t *testing.T) {
	d := newDesk(t)
	d.must(exitNotFound, "digest DIR/nothere")
	d.must(exitNotFound, "diff DIR/stable.json")
	if err := os.Mkdir(filepath.Join(d.dir, "build"), 0o700); err != nil {
		t.Fatal(err)
	}
	build := `{"hausmeister_build":1,"version":"1.0.0","programs":[{"file":"a","name":"hausmeister-agent","os":"linux","arch":"amd64"}]}`
	if err := os.WriteFile(filepath.Join(d.dir, "build/build.json"), []byte(build), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.must(exitRefused, "stage DIR/build --role launcher --reason=testing"); !strings.Contains(got, "has no hausmeister-launcher") {
		t.Errorf("stage of another program:\n%s", got)
	}
}
