package release_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/installer/release"
	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

// record of the desk.
func (w *world) record() release.Record {
	return release.Record{Path: w.path("record.jsonl"), Now: w.clock}
}

func (w *world) noted(verb string, what map[string]string) {
	w.t.Helper()
	_, err := w.record().Add("desk", verb, "test", what)
	w.must(err)
}

// named is what a publication writes down.
func (w *world) named(diffs ...release.Diff) map[string]string {
	what := map[string]string{}
	for _, d := range diffs {
		d.Named(what)
	}
	return what
}

// publishNoted is publish with its entry before it.
func (w *world) publishNoted() {
	w.t.Helper()
	p := w.publication()
	ready, err := p.Check()
	w.must(err)
	w.noted(release.VerbPublish, w.named(slices.Concat(ready.Stand, ready.Diffs)...))
	w.must(p.Publish(w.t.Context(), ready))
}

// recorded is a world whose record names everything that was published: a release,
// new keys of the online process by a second root, and another release.
func recorded(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	var first []release.Diff
	for role, f := range w.repo().Files {
		if role != manifest.Snapshot && role != manifest.Timestamp {
			d, err := w.repo().Compare(role, f)
			w.must(err)
			first = append(first, d)
		}
	}
	w.noted(release.VerbPublish, w.named(first...))
	for _, v := range []string{"1.0.0", "1.1.0"} {
		if v == "1.1.0" {
			w.rotateOnline()
			d, err := w.repo().Compare(manifest.Root, w.repo().Root())
			w.must(err)
			w.noted(release.VerbPublish, w.named(d))
		}
		_, err := w.staging("stable", v).Stage(t.Context())
		w.must(err)
		w.sign("stable", map[string][]string{"1.0.0": {"jana", "karl", "lena"}, "1.1.0": {"jana", "karl"}}[v]...)
		w.publishNoted()
	}
	return w
}

func (w *world) export() release.Export {
	w.t.Helper()
	e, err := w.record().Export(w.repo())
	w.must(err)
	return e
}

// copied by way of its own form.
func copied(t *testing.T, e release.Export) (out release.Export) {
	t.Helper()
	data, err := json.Marshal(e)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func at(t *testing.T, e *release.Export, name string) *release.ExportedRelease {
	t.Helper()
	i := slices.IndexFunc(e.Published, func(p release.ExportedRelease) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("%s is not exported", name)
	}
	return &e.Published[i]
}

// body gives a file of an export another one, with everything that must fit.
func body(t *testing.T, p *release.ExportedRelease, data []byte) {
	t.Helper()
	f, err := draft.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(data)
	p.Body, p.SHA256, p.SignedBy = data, hex.EncodeToString(h[:]), f.SignedBy()
}

// edited is a file as somebody without its keys changes it.
func edited(t *testing.T, p *release.ExportedRelease, change func(f *draft.File) error) {
	t.Helper()
	f, err := draft.Parse(p.Body)
	if err == nil {
		err = change(f)
	}
	data, err2 := f.Bytes()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	body(t, p, data)
}

func dropped(e *release.Export, name string) {
	e.Published = slices.DeleteFunc(e.Published, func(p release.ExportedRelease) bool { return p.Name == name })
}

// TestExport: what is published is in it with its signers, and whoever alters
// anything of it is told where, as far as the record or a signature names it.
func TestExport(t *testing.T) {
	w := recorded(t)
	whole := w.export()
	if p := at(t, &whole, "1.root.json"); len(p.SignedBy) != 3 {
		t.Errorf("root 1 is signed by %v, want three", p.SignedBy)
	}
	data, err := json.Marshal(whole)
	w.must(err)
	for _, head := range []string{"", whole.Head, whole.Entries[0].Hash} {
		seen, err := release.VerifyExport(data, head)
		if err != nil || seen.Entries != 4 || seen.Published != len(whole.Published) || seen.Head != whole.Head {
			t.Fatalf("VerifyExport with head %.8q: %+v, %v, want 4 entries and %d files", head, seen, err, len(whole.Published))
		}
	}
	for _, tt := range []struct {
		what, says string
		alter      func(e *release.Export)
	}{
		{"empty", "no entry", func(e *release.Export) { *e = release.Export{} }},
		{"without entries", "no entry", func(e *release.Export) { e.Entries, e.Head = nil, "" }},
		{"without metadata", "no published metadata", func(e *release.Export) { e.Published = nil }},
		{"an entry changed", "line 1 of the record", func(e *release.Export) { e.Entries[0].Reason = "other" }},
		{"an entry taken out", "line 2 of the record", func(e *release.Export) { e.Entries = slices.Delete(e.Entries, 1, 2) }},
		{"another head", "head is not its last entry", func(e *release.Export) { e.Head = strings.Repeat("0", 64) }},
		{"the last entry cut off, its files left", "3.stable.json is in the export, and no entry", func(e *release.Export) {
			e.Entries = e.Entries[:len(e.Entries)-1]
			e.Head = e.Entries[len(e.Entries)-1].Hash
		}},
		{"an old file dropped", "entry 2 of the record says that 2.stable.json was published", func(e *release.Export) { dropped(e, "2.stable.json") }},
		{"the newest file dropped", "3.stable.json", func(e *release.Export) { dropped(e, "3.stable.json") }},
		{"the timestamp dropped", "timestamp.json is missing", func(e *release.Export) { dropped(e, "timestamp.json") }},
		{"the first root dropped", "of 1 roots number 1", func(e *release.Export) { dropped(e, "1.root.json") }},
		{"the second root dropped", "timestamp", func(e *release.Export) { dropped(e, "2.root.json") }},
		{"a file twice", "is twice", func(e *release.Export) { e.Published = append(e.Published, *at(t, e, "1.canary.json")) }},
		{"another's name", "is 1.canary.json", func(e *release.Export) { at(t, e, "1.canary.json").Name = "2.canary.json" }},
		{"one role as another's", "not for policy", func(e *release.Export) { at(t, e, "1.canary.json").Name = "1.policy.json" }},
		{"a sha256", "its sha256 is another", func(e *release.Export) { at(t, e, "1.canary.json").SHA256 = strings.Repeat("0", 64) }},
		{"a signer's name", "the export says that", func(e *release.Export) { at(t, e, "1.canary.json").SignedBy[0] = strings.Repeat("0", 64) }},
		{"no signers", "the export says that", func(e *release.Export) { at(t, e, "1.canary.json").SignedBy = nil }},
		{"body, sha256 and signers of an old file", "2.stable.json in the export is not signed by enough", func(e *release.Export) {
			edited(t, at(t, e, "2.stable.json"), func(f *draft.File) error { f.SetExpires(w.now); return nil })
		}},
		{"an old snapshot changed", "1.snapshot.json in the export is not signed by enough", func(e *release.Export) {
			edited(t, at(t, e, "1.snapshot.json"), func(f *draft.File) error { f.SetExpires(w.now); return nil })
		}},
		{"signed by one person", "2.stable.json in the export is not signed by enough", func(e *release.Export) {
			edited(t, at(t, e, "2.stable.json"), func(f *draft.File) error { f.SetExpires(w.now); return f.Sign(w.keys["jana"].Private) })
		}},
		{"signed by enough, but not what the record names", "2.stable.json in the export is not the one that entry 2", func(e *release.Export) {
			edited(t, at(t, e, "2.stable.json"), func(f *draft.File) error {
				f.SetExpires(w.now)
				return errors.Join(f.Sign(w.keys["jana"].Private), f.Sign(w.keys["karl"].Private))
			})
		}},
		{"one of three signatures taken out", "2.stable.json in the export is signed by", func(e *release.Export) {
			edited(t, at(t, e, "2.stable.json"), func(f *draft.File) error {
				f.SetExpires(f.Expires()) // which takes the signatures
				return errors.Join(f.Sign(w.keys["jana"].Private), f.Sign(w.keys["karl"].Private))
			})
		}},
		{"a signature of one more", "3.stable.json", func(e *release.Export) {
			edited(t, at(t, e, "3.stable.json"), func(f *draft.File) error { return f.Sign(w.keys["lena"].Private) })
		}},
		{"a signature of somebody who may not", "2.stable.json has a signature of", func(e *release.Export) {
			edited(t, at(t, e, "2.stable.json"), func(f *draft.File) error { return f.Sign(w.keys["anna"].Private) })
		}},
		{"a root that asks for less", "root is signed by 1 of 5, it takes 3", func(e *release.Export) {
			edited(t, at(t, e, "1.root.json"), func(f *draft.File) error {
				_, keys, err := f.Keys(manifest.Root)
				w.must(err)
				return errors.Join(f.SetKeys(manifest.Root, 1, keys...), f.Sign(w.keys["anna"].Private))
			})
		}},
	} {
		e := copied(t, whole)
		tt.alter(&e)
		data, err := json.Marshal(e)
		w.must(err)
		if _, err := release.VerifyExport(data, ""); !errors.Is(err, release.ErrUnverified) || errors.Is(err, release.ErrRefused) || errors.Is(err, release.ErrNotFound) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want ErrUnverified that says %q", tt.what, err, tt.says)
		}
	}
	for _, raw := range []string{`{}`, `null`, `[]`, ``} {
		if _, err := release.VerifyExport([]byte(raw), ""); !errors.Is(err, release.ErrUnverified) {
			t.Errorf("VerifyExport of %q: %v, want ErrUnverified", raw, err)
		}
	}
}

// TestExportCutOff: an export of yesterday is whole in itself; only a hash that was
// written down since says what it lacks.
func TestExportCutOff(t *testing.T) {
	w := recorded(t)
	yesterday, err := json.Marshal(w.export())
	w.must(err)
	w.noted("block", map[string]string{"sha256": "x"})
	head := w.export().Head
	if _, err := release.VerifyExport(yesterday, ""); err != nil {
		t.Errorf("yesterday's, alone: %v", err)
	}
	if _, err := release.VerifyExport(yesterday, head); !errors.Is(err, release.ErrUnverified) || !strings.Contains(err.Error(), head) {
		t.Errorf("yesterday's with today's head: %v, want ErrUnverified that names it", err)
	}
}

// rechained makes the hashes of all entries anew, as whoever alters them would.
func rechained(t *testing.T, e *release.Export) {
	t.Helper()
	e.Head = ""
	for i := range e.Entries {
		x := &e.Entries[i]
		x.Seq, x.Prev, x.Hash = int64(i+1), e.Head, ""
		data, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.Sum256(data)
		x.Hash = hex.EncodeToString(h[:])
		e.Head = x.Hash
	}
}

// TestExportAlteredWithNewHashes: a chain vouches for the entries up to a hash that was
// written down, and for nothing else; README says so.
func TestExportAlteredWithNewHashes(t *testing.T) {
	w := recorded(t)
	w.noted("block", map[string]string{"sha256": "x"})
	w.noted("keys revoke", map[string]string{"key": "x"})
	whole := w.export()
	early, last := whole.Entries[1].Hash, whole.Head
	n := len(whole.Entries)
	verified := func(what string, e release.Export, head string, proven int) {
		t.Helper()
		data, err := json.Marshal(e)
		w.must(err)
		seen, err := release.VerifyExport(data, head)
		if proven < 0 && !errors.Is(err, release.ErrUnverified) || proven >= 0 && (err != nil || seen.Proven != proven || seen.Entries != len(e.Entries)) {
			t.Errorf("%s, head %.8q: %+v, %v, want %d entries vouched for (-1 = ErrUnverified)", what, head, seen, err, proven)
		}
	}
	verified("unaltered", whole, "", 0)
	verified("unaltered", whole, early, 2)
	verified("unaltered", whole, last, n)
	for _, tt := range []struct {
		what  string
		early int // vouched for by the early head
		alter func(e *release.Export)
	}{
		{"who, when and why of an early entry", -1, func(e *release.Export) {
			x := &e.Entries[1]
			x.Who, x.Reason, x.At = "somebody else", "another reason", x.At.Add(-24*time.Hour)
		}},
		{"who and why of a late entry", 2, func(e *release.Export) { e.Entries[n-2].Who, e.Entries[n-2].Reason = "somebody else", "another reason" }},
		{"an early entry put in", -1, func(e *release.Export) {
			e.Entries = slices.Insert(e.Entries, 1, release.Entry{Who: "desk", Verb: "keys revoke", Reason: "made up"})
		}},
		{"a late entry put in", 2, func(e *release.Export) {
			e.Entries = slices.Insert(e.Entries, n-1, release.Entry{Who: "desk", Verb: "keys revoke", Reason: "made up"})
		}},
		{"a late entry taken out", 2, func(e *release.Export) { e.Entries = slices.Delete(e.Entries, n-2, n-1) }},
		{"the last entry taken out", 2, func(e *release.Export) { e.Entries = e.Entries[:n-1] }},
		{"an early publication taken out with its file", -1, func(e *release.Export) {
			e.Entries = slices.Delete(e.Entries, 1, 2)
			dropped(e, "2.stable.json")
		}},
	} {
		e := copied(t, whole)
		tt.alter(&e)
		rechained(t, &e)
		verified(tt.what, e, "", 0)
		verified(tt.what, e, early, tt.early)
		verified(tt.what, e, last, -1)
	}
}

// TestKeysThatNobodyVerified: what a reader of the file sees and the hashes do not
// cover is refused, with its line.
func TestKeysThatNobodyVerified(t *testing.T) {
	w := recorded(t)
	whole := w.export()
	data, err := json.MarshalIndent(whole, "", "  ")
	w.must(err)
	if _, err := release.VerifyExport(data, whole.Head); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(w.path("record.jsonl"))
	w.must(err)
	says := func(what string, err error, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !errors.Is(err, release.ErrUnverified) || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want ErrUnverified that says %q", what, err, part)
			}
		}
	}
	const reason = `"reason": "test"`
	for _, tt := range []struct{ was, is, says string }{
		{reason, `"reason": "a lie", "reason": "test"`, `the key "reason" stands there twice`},
		{reason, `"re\u0061son": "a lie", "reason": "test"`, `the key "reason" stands there twice`},
		{reason, `"Reason": "a lie", "reason": "test"`, `the key "Reason" is not written "reason"`},
		{reason, `"reason": "test", "approved_by": "a lie"`, `the key "approved_by" is unknown`},
		{`"version_canary": "1"`, `"version_canary": "2", "version_canary": "1"`, `the key "version_canary" stands there twice`},
		{`"name": "1.canary.json"`, `"withdrawn": true, "name": "1.canary.json"`, `the key "withdrawn" is unknown`},
		{`"name": "1.canary.json"`, `"name": "2.canary.json", "name": "1.canary.json"`, `the key "name" stands there twice`},
		{`"entries": [`, `"note": {"a": [1]}, "entries": [`, `the key "note" is unknown`},
		{`"entries": [`, `"Head": "", "entries": [`, `the key "Head" is not written "head"`},
		{reason, `"reason": "test` + "\xff" + `"`, `not UTF-8`},
		{reason, `"reason": 5`, `cannot unmarshal number`},
		{reason, `"reason"; "test"`, `invalid character ';'`},
	} {
		at := strings.Index(string(data), tt.was)
		if at < 0 {
			t.Fatalf("there is no %s in the export", tt.was)
		}
		line := 1 + strings.Count(string(data[:at]), "\n")
		_, err := release.VerifyExport([]byte(strings.Replace(string(data), tt.was, tt.is, 1)), whole.Head)
		says("export with "+tt.is, err, tt.says, fmt.Sprintf("line %d of the export", line))
		// The same in the record.
		lines := strings.SplitAfter(string(record), "\n")
		was, is := strings.ReplaceAll(tt.was, ": ", ":"), strings.ReplaceAll(tt.is, ": ", ":")
		if !strings.Contains(lines[0], was) {
			continue
		}
		lines[0] = strings.Replace(lines[0], was, is, 1)
		w.must(os.WriteFile(w.path("altered.jsonl"), []byte(strings.Join(lines, "")), 0o600))
		_, _, err = release.Record{Path: w.path("altered.jsonl"), Now: w.clock}.Read()
		says("record with "+tt.is, err, tt.says, "line 1 of the record")
	}
}

// TestExportOfWhatFailed: a publication that failed promises nothing, and what went
// out of it must still be what it named.
func TestExportOfWhatFailed(t *testing.T) {
	w := recorded(t)
	verify := func(want string) {
		t.Helper()
		data, err := json.Marshal(w.export())
		w.must(err)
		_, err = release.VerifyExport(data, "")
		if want == "" && err != nil || want != "" && (!errors.Is(err, release.ErrUnverified) || !strings.Contains(err.Error(), want)) {
			t.Errorf("VerifyExport: %v, want %q", err, want)
		}
	}
	what := map[string]string{"version_stable": "4", "digest_stable": strings.Repeat("0", 64)}
	w.noted(release.VerbPublish, what)
	verify("entry 5 of the record says that 4.stable.json was published, and it is not in the export")
	w.noted(release.VerbPublishFailed, nil)
	verify("")
	_, err := w.staging("stable", "1.2.0").Stage(t.Context())
	w.must(err)
	w.sign("stable", "jana", "karl")
	w.must(w.publish()) // past the record
	verify("4.stable.json in the export is not the one that entry 5")
	d, err := w.repo().Compare("stable", w.repo().Files["stable"])
	w.must(err)
	w.noted(release.VerbPublish, w.named(d))
	verify("")
}

// TestExportOfWhatFailedTwice: with one more signature in the second try, each of the two
// may be what went out; of other signatures none is.
func TestExportOfWhatFailedTwice(t *testing.T) {
	w := recorded(t)
	_, err := w.staging("stable", "1.2.0").Stage(t.Context())
	w.must(err)
	w.sign("stable", "jana", "karl")
	try := func() (release.Publication, release.Ready) {
		t.Helper()
		p := w.publication()
		ready, err := p.Check()
		w.must(err)
		w.noted(release.VerbPublish, w.named(ready.Diffs...))
		return p, ready
	}
	try()
	w.noted(release.VerbPublishFailed, nil) // nothing went out
	w.sign("stable", "lena")
	p, ready := try()
	w.must(p.Publish(t.Context(), ready))
	w.noted(release.VerbPublishFailed, nil) // all did, and the last step failed
	verify := func(e release.Export) error {
		t.Helper()
		slices.Reverse(e.Published) // their order says nothing
		data, err := json.Marshal(e)
		w.must(err)
		_, err = release.VerifyExport(data, e.Head)
		return err
	}
	w.must(verify(w.export()))
	signedBy := func(names ...string) error {
		t.Helper()
		e := w.export()
		edited(t, at(t, &e, "4.stable.json"), func(f *draft.File) (err error) {
			f.SetExpires(f.Expires()) // which takes the signatures
			for _, name := range names {
				err = errors.Join(err, f.Sign(w.keys[name].Private))
			}
			return err
		})
		return verify(e)
	}
	w.must(signedBy("jana", "karl"))
	if err := signedBy("jana", "lena"); !errors.Is(err, release.ErrUnverified) || !strings.Contains(err.Error(), "4.stable.json in the export is signed by") {
		t.Errorf("signed by two who never were the only ones: %v", err)
	}
}

// TestRecordTakenAway: no record beside published metadata is no record without entries.
func TestRecordTakenAway(t *testing.T) {
	w := recorded(t)
	gone := func(what string) {
		t.Helper()
		if _, err := w.record().Export(w.repo()); !errors.Is(err, release.ErrUnverified) {
			t.Errorf("Export of a record that is %s: %v, want ErrUnverified", what, err)
		}
		if _, _, err := w.record().Kept(w.path("repo")); !errors.Is(err, release.ErrUnverified) {
			t.Errorf("a record that is %s: %v, want ErrUnverified", what, err)
		}
	}
	w.must(os.Truncate(w.path("record.jsonl"), 0))
	gone("empty")
	w.must(os.Remove(w.path("record.jsonl")))
	gone("missing")
	if _, _, err := w.record().Kept(w.path("nowhere")); !errors.Is(err, release.ErrNotFound) {
		t.Errorf("no record, and nothing is published: %v, want ErrNotFound", err)
	}
	w.noted("publish", nil) // one that is begun anew knows nothing of what was published
	data, err := json.Marshal(w.export())
	w.must(err)
	if _, err := release.VerifyExport(data, ""); !errors.Is(err, release.ErrUnverified) || !strings.Contains(err.Error(), "no entry of the record says") {
		t.Errorf("the export of a new record: %v, want ErrUnverified", err)
	}
}

// FuzzExport: whatever comes is judged without a panic, and what is accepted has entries
// and a first root, without which it would not be.
func FuzzExport(f *testing.F) {
	seed, err := json.Marshal(recorded(f).export())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"entries":[{}]}`))
	f.Add([]byte(`{"published":[{"name":"1.root.json"}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		seen, err := release.VerifyExport(data, "")
		if err != nil {
			return
		}
		var e release.Export
		if err := json.Unmarshal(data, &e); err != nil || seen.Entries == 0 || seen.Entries != len(e.Entries) || seen.Published != len(e.Published) {
			t.Fatalf("accepted: %+v, %v", seen, err)
		}
		dropped(&e, "1.root.json")
		less, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := release.VerifyExport(less, ""); !errors.Is(err, release.ErrUnverified) {
			t.Errorf("accepted without its first root: %v", err)
		}
	})
}
