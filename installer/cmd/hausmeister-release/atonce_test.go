package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"hausmeister/installer/release"
)

// TestTwoAtOnce: engineers at one desk at the same time. What a verb said was done is in
// the draft and in the record, whoever was there beside it.
func TestTwoAtOnce(t *testing.T) {
	d := newDesk(t)
	d.founded()
	const many = 12
	atOnce := func(line func(i int) string) {
		t.Helper()
		var all sync.WaitGroup
		codes, said := [many]int{}, [many]string{}
		for i := range many {
			all.Go(func() { codes[i], _, said[i] = d.run(line(i)) })
		}
		all.Wait()
		for i, code := range codes {
			if code != 0 {
				t.Errorf("%s: exit %d, %s", line(i), code, said[i])
			}
		}
	}
	sum := func(i int) string { return fmt.Sprintf("%064x", i+1) }
	atOnce(func(i int) string { return "block " + sum(i) + " --reason=testing" })
	draft := d.must(0, "--json diff DIR/drafts/targets.json")
	entries, _, err := (release.Record{Path: d.dir + "/record"}).Read()
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		noted := 0
		for _, e := range entries {
			if e.What["sha256"] == sum(i) {
				noted++
			}
		}
		if !strings.Contains(draft, sum(i)) || noted != 1 {
			t.Errorf("block %d is in the draft: %v, and %d times in the record", i, strings.Contains(draft, sum(i)), noted)
		}
	}

	// The record alone, as verbs do that change no draft.
	atOnce(func(i int) string {
		return fmt.Sprintf("keys init new%d --role stable --out DIR/more --passphrase-file DIR/pass --reason=testing", i)
	})

	people := []string{"frieda", "georg", "hanna", "ivo"}
	digest := strings.TrimSpace(d.must(0, "digest DIR/drafts/targets.json"))
	atOnce(func(i int) string {
		p := people[i%len(people)]
		return "--record DIR/" + p + ".record sign DIR/drafts/targets.json --digest " + digest + " --key DIR/people/" + p + ".key --passphrase-file DIR/pass --reason=testing"
	})
	if got := d.must(0, "--json verify"); !strings.Contains(got, `"role": "targets"`) {
		t.Fatalf("verify: %s", got)
	}
	f, err := release.ReadDraft(d.dir+"/drafts/targets.json", "targets")
	if err != nil || len(f.SignedBy()) != len(people) {
		t.Errorf("signed by %v, %v; want %v", f.SignedBy(), err, people)
	}
}

// TestDraftsAreHeld: a verb that another one keeps waiting too long changes nothing, and says so.
func TestDraftsAreHeld(t *testing.T) {
	d := newDesk(t)
	d.founded()
	before := d.must(0, "digest DIR/drafts/targets.json")
	l, err := release.LockDrafts(d.dir+"/drafts", release.Waiting{})
	if err != nil {
		t.Fatal(err)
	}
	d.patience = 1
	pass := " --key DIR/people/ivo.key --passphrase-file DIR/pass --reason=testing"
	for _, line := range []string{
		"block " + strings.Repeat("a", 64) + " --reason=testing", "floor set agent 1.0.0 --reason=testing", "renew stable --reason=testing",
		"drop targets --reason=testing", "collect DIR/stable.jana.json --reason=testing", "publish --socket DIR/none --reason=testing",
		"keys revoke DIR/people/ivo.pub --reason=testing", "sign DIR/drafts/targets.json --digest " + strings.TrimSpace(before) + pass,
	} {
		if got := d.must(exitFailed, line); !strings.Contains(got, "nothing was changed: another hausmeister-release is still at work") {
			t.Errorf("%s: %s", line, got)
		}
	}
	d.must(0, "verify --repo DIR/drafts") // who only looks does not wait
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if after := d.must(0, "digest DIR/drafts/targets.json"); after != before {
		t.Errorf("the draft was changed: %s", after)
	}
	d.must(0, "block "+strings.Repeat("a", 64)+" --reason=testing")
}
