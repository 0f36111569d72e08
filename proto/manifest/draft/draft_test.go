package draft_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
)

var expires = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func keys(t *testing.T, n int) (priv []ed25519.PrivateKey, pub []ed25519.PublicKey) {
	t.Helper()
	for range n {
		p, k, err := ed25519.GenerateKey(nil)
		ok(t, err)
		priv, pub = append(priv, k), append(pub, p)
	}
	return priv, pub
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ids in the order in which they are listed everywhere.
func ids(t *testing.T, pub ...ed25519.PublicKey) []string {
	t.Helper()
	out := []string{}
	for _, p := range pub {
		id, err := manifest.KeyID(p)
		ok(t, err)
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func newRoot(t *testing.T, rootKeys []ed25519.PublicKey, need int) *draft.File {
	t.Helper()
	r := draft.NewRoot(expires)
	_, other := keys(t, 1)
	for _, role := range []string{manifest.Targets, manifest.Snapshot, manifest.Timestamp} {
		ok(t, r.SetKeys(role, 1, other...))
	}
	ok(t, r.SetKeys(manifest.Root, need, rootKeys...))
	return r
}

func approval(t *testing.T, by *draft.File, f *draft.File) draft.Approval {
	t.Helper()
	a, err := draft.Approve(by, manifest.Root, f)
	ok(t, err)
	return a
}

func TestCeremony(t *testing.T) {
	priv, pub := keys(t, 6)
	v1 := newRoot(t, pub[:5], 3)
	unsigned, err := v1.Bytes()
	ok(t, err)
	digest, err := v1.Digest()
	ok(t, err)

	// Each person signs a copy of his own, on another machine.
	for i, want := range []int{1, 2, 3} {
		copyOf, err := draft.Parse(unsigned)
		ok(t, err)
		if d, _ := copyOf.Digest(); d != digest {
			t.Fatalf("the copy's digest is %s, want %s", d, digest)
		}
		ok(t, copyOf.Sign(priv[i]))
		ok(t, copyOf.Sign(priv[i])) // pressed twice
		ok(t, v1.Merge(copyOf))
		ok(t, v1.Merge(copyOf)) // the stick was handed in twice
		a := approval(t, v1, v1)
		if len(a.Signed) != want || a.Enough() != (want == 3) || len(v1.SignedBy()) != want {
			t.Fatalf("after %d persons: %+v, signed by %v", want, a, v1.SignedBy())
		}
	}
	if a := approval(t, v1, v1); !cmp.Equal(a.Missing, ids(t, pub[3], pub[4])) {
		t.Fatalf("missing: got %v, want the other two", a.Missing)
	}
	if d, _ := v1.Digest(); d != digest {
		t.Fatal("the digest changed by signing")
	}

	// A copy that says something else is not merged.
	other, err := draft.Parse(unsigned)
	ok(t, err)
	other.SetExpires(expires.AddDate(9, 0, 0))
	ok(t, other.Sign(priv[3]))
	if err := v1.Merge(other); err == nil {
		t.Fatal("Merge of a file that says something else succeeded")
	}

	// Handing over: the new root needs three of the old and three of the new.
	data, err := v1.Bytes()
	ok(t, err)
	v2, err := draft.Parse(data)
	ok(t, err)
	ok(t, v2.SetKeys(manifest.Root, 3, pub[1:]...))
	if len(v2.SignedBy()) != 0 {
		t.Fatal("signatures stand under what their owners have not seen")
	}
	ok(t, v2.SetVersion(2))
	for _, i := range []int{0, 5, 1} {
		ok(t, v2.Sign(priv[i]))
	}
	if old, now := approval(t, v1, v2), approval(t, v2, v2); old.Enough() || now.Enough() {
		t.Fatalf("two of each are enough: %+v, %+v", old, now)
	}
	if a := approval(t, v2, v2); !cmp.Equal(a.Foreign, ids(t, pub[0])) {
		t.Fatalf("foreign: got %v, want who left", a.Foreign)
	}
	ok(t, v2.Sign(priv[2]))
	if old, now := approval(t, v1, v2), approval(t, v2, v2); !old.Enough() || !now.Enough() {
		t.Fatalf("three of each are not enough: %+v, %+v", old, now)
	}
}

func TestEditsClearSignatures(t *testing.T) {
	priv, pub := keys(t, 2)
	root := newRoot(t, pub, 1)
	targets := draft.NewTargets(expires)
	snapshot, timestamp := draft.NewSnapshot(expires), draft.NewTimestamp(expires)
	tb, err := targets.Bytes()
	ok(t, err)
	ok(t, snapshot.SetMeta(manifest.Targets, tb))
	sb, err := snapshot.Bytes()
	ok(t, err)
	ok(t, timestamp.SetMeta(manifest.Snapshot, sb))
	for name, c := range map[string]struct {
		f    *draft.File
		edit func(f *draft.File) error
	}{
		"root keys":    {root, func(f *draft.File) error { return f.SetKeys(manifest.Root, 2, pub...) }},
		"root expires": {root, func(f *draft.File) error { f.SetExpires(expires.Add(time.Hour)); return nil }},
		"root version": {root, func(f *draft.File) error { return f.SetVersion(f.Version() + 1) }},
		"target":       {targets, func(f *draft.File) error { return f.SetTarget("a", 1, strings.Repeat("ab", 32), nil) }},
		"target gone":  {targets, func(f *draft.File) error { return f.RemoveTarget("a") }},
		"delegation":   {targets, func(f *draft.File) error { return f.Delegate(manifest.Delegations()[0], pub...) }},
		"rules": {targets, func(f *draft.File) error {
			return f.SetRules(manifest.Rules{Blocked: []string{strings.Repeat("ab", 32)}})
		}},
		"snapshot meta": {snapshot, func(f *draft.File) error { return f.SetMeta(manifest.Targets, tb) }},
		"timestamp":     {timestamp, func(f *draft.File) error { return f.SetMeta(manifest.Snapshot, sb) }},
	} {
		ok(t, c.f.Sign(priv[0]))
		if !cmp.Equal(c.f.SignedBy(), ids(t, pub[0])) {
			t.Fatalf("%s: signed by %v", name, c.f.SignedBy())
		}
		ok(t, c.edit(c.f))
		if len(c.f.SignedBy()) != 0 {
			t.Errorf("%s: an edit left signatures", name)
		}
		data, err := c.f.Bytes()
		ok(t, err)
		again, err := draft.Parse(data)
		ok(t, err)
		more, err := again.Bytes()
		if err != nil || !bytes.Equal(data, more) {
			t.Errorf("%s: Parse and Bytes do not give the same: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	priv, pub := keys(t, 3)
	root := newRoot(t, pub, 2)
	targets := draft.NewTargets(expires)
	snapshot := draft.NewSnapshot(expires)
	tb, err := targets.Bytes()
	ok(t, err)
	newer := draft.NewTargets(expires)
	ok(t, newer.SetVersion(5))
	nb, err := newer.Bytes()
	ok(t, err)
	ok(t, snapshot.SetMeta(manifest.Targets, nb))
	for name, err := range map[string]error{
		"threshold 0":             root.SetKeys(manifest.Root, 0, pub...),
		"threshold 4 of 3":        root.SetKeys(manifest.Root, 4, pub...),
		"a key twice":             root.SetKeys(manifest.Root, 2, pub[0], pub[0]),
		"unknown role":            root.SetKeys("stable", 1, pub...),
		"delegation of nobody":    targets.Delegate(manifest.Delegations()[0]),
		"role name":               targets.Delegate(manifest.Delegation{Role: "../x", Threshold: 1}, pub...),
		"keys of targets":         targets.SetKeys(manifest.Root, 1, pub...),
		"delegation by root":      root.Delegate(manifest.Delegations()[0], pub...),
		"target of root":          root.SetTarget("a", 1, strings.Repeat("ab", 32), nil),
		"hash":                    targets.SetTarget("a", 1, "ab", nil),
		"version down":            newer.SetVersion(4),
		"older meta":              snapshot.SetMeta(manifest.Targets, tb),
		"root in a snapshot":      snapshot.SetMeta(manifest.Root, mustBytes(t, root)),
		"snapshot in a snapshot":  snapshot.SetMeta(manifest.Snapshot, mustBytes(t, snapshot)),
		"targets in a timestamp":  draft.NewTimestamp(expires).SetMeta(manifest.Targets, tb),
		"floor that is none":      targets.SetRules(manifest.Rules{Floors: map[string]string{"agent": "1"}}),
		"blocked that is no hash": targets.SetRules(manifest.Rules{Blocked: []string{"x"}}),
	} {
		if err == nil {
			t.Errorf("%s: succeeded", name)
		}
	}
	// What no device would read is not signed: half a number in custom data.
	ok(t, targets.SetTarget("a", 1, strings.Repeat("ab", 32), map[string]any{"half": 0.5}))
	if err := targets.Sign(priv[0]); !errors.Is(err, manifest.ErrMalformed) {
		t.Errorf("Sign of a float: got %v, want ErrMalformed", err)
	}
	// A timestamp that names no snapshot.
	if err := draft.NewTimestamp(expires).Sign(priv[0]); !errors.Is(err, manifest.ErrMalformed) {
		t.Errorf("Sign of an empty timestamp: got %v, want ErrMalformed", err)
	}
	for _, bad := range []string{"", "null", "{}", `{"signed":{"_type":"mirrors"}}`} {
		if _, err := draft.Parse([]byte(bad)); !errors.Is(err, manifest.ErrMalformed) {
			t.Errorf("Parse(%q): got %v, want ErrMalformed", bad, err)
		}
	}
}

func mustBytes(t *testing.T, f *draft.File) []byte {
	t.Helper()
	data, err := f.Bytes()
	ok(t, err)
	return data
}

func TestReadingBack(t *testing.T) {
	_, pub := keys(t, 4)
	f := draft.NewTargets(expires)
	for _, d := range manifest.Delegations() {
		ok(t, f.Delegate(d, pub...))
	}
	ok(t, f.SetRules(manifest.Rules{Floors: map[string]string{"agent": "1.2.0"}}))
	ok(t, f.SetTarget("policy/agent/1", 3, strings.Repeat("ab", 32), map[string]any{"größe": "groß <&>"}))
	f, err := draft.Parse(mustBytes(t, f))
	ok(t, err)
	if diff := cmp.Diff(manifest.Delegations(), f.Delegations()); diff != "" {
		t.Errorf("Delegations (-want +got):\n%s", diff)
	}
	if r, err := f.Rules(); err != nil || r.Floors["agent"] != "1.2.0" {
		t.Errorf("Rules: got %+v, %v", r, err)
	}
	need, got, err := f.Keys("emergency")
	if err != nil || need != 3 || !cmp.Equal(ids(t, got...), ids(t, pub...)) {
		t.Errorf("Keys: got %d of %d, %v", need, len(got), err)
	}
	ts := f.Targets("targets")
	if len(ts) != 1 || ts[0].Length != 3 || ts[0].SHA256 != strings.Repeat("ab", 32) || !strings.Contains(string(ts[0].Custom), "groß") {
		t.Errorf("Targets: got %+v", ts)
	}
	if f.Kind() != manifest.Targets || f.Version() != 1 || !f.Expires().Equal(expires) {
		t.Errorf("%s version %d expires %v", f.Kind(), f.Version(), f.Expires())
	}
	// A role is changed where it stands: the order decides who is asked first.
	d := manifest.Delegations()[0]
	d.Threshold = 4
	ok(t, f.Delegate(d, pub...))
	if got := f.Delegations(); len(got) != 5 || got[0].Threshold != 4 {
		t.Errorf("Delegations after a change: got %+v", got)
	}
}
