package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release"
	"hausmeister/installer/release/online"
)

// audited is a desk whose first metadata is out, by the online process itself.
func audited(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	d.founded()
	s, err := online.Open(online.Config{State: d.dir + "/online", Repo: d.dir + "/repo", Now: func() time.Time { return d.now }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := online.Listen(d.dir+"/s", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	d.must(0, "publish --socket DIR/s --reason=testing")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return d
}

// TestAuditVerify is what the State types each day: code 5 and a sentence for whatever
// is not as it was, and the head for what an export cannot say of itself.
func TestAuditVerify(t *testing.T) {
	d := audited(t)
	d.must(0, "audit export --out DIR/e.json")
	data, err := os.ReadFile(d.dir + "/e.json")
	if err != nil {
		t.Fatal(err)
	}
	var whole release.Export
	if err := json.Unmarshal(data, &whole); err != nil {
		t.Fatal(err)
	}
	if last := whole.Entries[len(whole.Entries)-1]; last.Verb != release.VerbPublish || last.What["version_root"] != "1" || last.What["digest_root"] == "" {
		t.Errorf("the first publication names %v, want the root that was carried by hand, too", last.What)
	}
	code, out, said := d.run("--json audit verify DIR/e.json --head " + whole.Head)
	var seen struct {
		Entries, Proven, Published int
		Head                       string
	}
	if err := json.Unmarshal([]byte(out), &seen); err != nil || code != 0 || seen.Entries != len(whole.Entries) || seen.Proven != seen.Entries || seen.Published != 9 || seen.Head != whole.Head {
		t.Errorf("--json audit verify: exit %d, %s%s, %v", code, out, said, err)
	}
	for _, of := range []string{"audit verify", "audit verify DIR/e.json"} {
		const anew = "can have been changed, put in or taken out, with all hashes made anew"
		last := len(whole.Entries)
		for _, tt := range []struct{ head, has, hasNot string }{
			{"", "without --head entries " + anew, "unaltered"},
			{whole.Entries[1].Hash, "unaltered are the first 2, up to the hash given; those after it " + anew, "metadata, unaltered"},
			{whole.Entries[last-1].Hash, ", unaltered; head " + whole.Head, anew},
		} {
			line := of
			if tt.head != "" {
				line += " --head " + tt.head
			}
			if got := d.must(0, line); !strings.Contains(got, tt.has) || strings.Contains(got, tt.hasNot) {
				t.Errorf("%s: %s, want %q and not %q", line, got, tt.has, tt.hasNot)
			}
		}
	}
	for head, want := range map[string]int{"": 0, " --head " + whole.Entries[1].Hash: 2, " --head " + whole.Head: len(whole.Entries)} {
		_, out, _ := d.run("--json audit verify" + head)
		var seen struct{ Proven *int }
		if err := json.Unmarshal([]byte(out), &seen); err != nil || seen.Proven == nil || *seen.Proven != want {
			t.Errorf("--json audit verify%s: %s, %v, want %d entries proven", head, out, err, want)
		}
	}
	d.must(exitNotFound, "audit verify DIR/none.json")
	for _, line := range []string{"audit verify --head=", "audit verify DIR/e.json --head="} { // of a file of heads that is empty
		d.must(exitUsage, line)
	}

	altered := func(what, line, says string, alter func(e *release.Export)) {
		t.Helper()
		var e release.Export
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		alter(&e)
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.dir+"/a.json", raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := d.must(exitUnverified, line); !strings.Contains(got, says) {
			t.Errorf("%s: %s, want %q", what, got, says)
		}
		code, out, said := d.run("--json " + line)
		var told struct {
			Error, Text string
			Exit        int
		}
		if err := json.Unmarshal([]byte(said), &told); err != nil || code != exitUnverified || out != "" || told.Error != "unverified" || !strings.Contains(told.Text, says) || told.Exit != exitUnverified {
			t.Errorf("%s, --json: exit %d, %s%s, %v", what, code, out, said, err)
		}
	}
	verify := "audit verify DIR/a.json"
	d.must(0, "keys init zoe --role stable --out DIR/more --passphrase-file DIR/pass --reason=a_later_entry")
	d.must(0, "audit export --out DIR/later.json")
	later, err := os.ReadFile(d.dir + "/later.json")
	if err != nil {
		t.Fatal(err)
	}
	var next release.Export
	if err := json.Unmarshal(later, &next); err != nil {
		t.Fatal(err)
	}
	altered("the last entry cut off", verify+" --head "+next.Head, "no entry of the record has the hash "+next.Head, func(*release.Export) {})
	altered("{}", verify, "no entry", func(e *release.Export) { *e = release.Export{} })
	altered("all files dropped", verify, "no published metadata", func(e *release.Export) { e.Published = nil })
	altered("a file dropped", verify, "1.stable.json", func(e *release.Export) {
		e.Published = slices.DeleteFunc(e.Published, func(p release.ExportedRelease) bool { return p.Name == "1.stable.json" })
	})
	altered("signers replaced", verify, "1.canary.json: the export says that", func(e *release.Export) {
		e.Published[slices.IndexFunc(e.Published, func(p release.ExportedRelease) bool { return p.Name == "1.canary.json" })].SignedBy = []string{"somebody"}
	})

	if err := os.Remove(filepath.Join(d.dir, "record")); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"audit verify", "audit verify --head " + whole.Head, "audit export --out DIR/gone.json"} {
		if got := d.must(exitUnverified, line); !strings.Contains(got, "is missing or has no entry") {
			t.Errorf("%s without the record: %s", line, got)
		}
	}
	if _, err := os.Stat(d.dir + "/gone.json"); err == nil {
		t.Error("an export without a record was written")
	}
}
