package manifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/testenv/need"
	"hausmeister/testenv/tufrepo"
)

// mutants are all trees that differ from v in one node, described.
func mutants(v any, path string, yield func(what string, mutant any)) {
	for name, other := range map[string]any{
		"null": nil, "text": "x", "zero": json.Number("0"), "many": json.Number("4611686018427387904"), "half": json.Number("1.5"),
		"object": map[string]any{}, "object of null": map[string]any{"x": nil}, "list of null": []any{nil},
	} {
		yield(path+" is "+name, other)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			less := maps.Clone(v)
			delete(less, k)
			yield(path+"."+k+" is gone", less)
			mutants(v[k], path+"."+k, func(what string, m any) {
				with := maps.Clone(v)
				with[k] = m
				yield(what, with)
			})
		}
	case []any:
		for i := range v {
			yield(fmt.Sprintf("%s[%d] is gone", path, i), slices.Delete(slices.Clone(v), i, i+1))
			mutants(v[i], fmt.Sprintf("%s[%d]", path, i), func(what string, m any) {
				with := slices.Clone(v)
				with[i] = m
				yield(what, with)
			})
		}
	case string:
		if v != "" {
			yield(path+" differs in one letter", v[:len(v)-1]+string(v[len(v)-1]^1))
		}
	}
}

// small has one of everything, but no hashes of metadata: they would give a
// mutant away before its signature does.
func small(now time.Time) *tufrepo.Repo {
	repo := tufrepo.New(now)
	repo.Delegate(targets, tufrepo.Delegation{Role: "stable", Terminating: true, Paths: []string{"agent/stable/*/*/*"}})
	repo.AddTarget("stable", "agent/stable/1.3.0/linux-amd64/x", []byte("x"), map[string]any{"product": "agent", "ramp": map[string]any{"t0_ms": 1}})
	repo.Docs[targets][manifest.RulesField] = tufrepo.Object{"floors": tufrepo.Object{"agent": "1.0.0"}, "blocked": []any{}}
	repo.Publish("stable", targets, snapshot, timestamp)
	return repo
}

// TestMutations: whatever one node of a signed file is changed to, the file is
// refused, and nothing panics, not even past the net that catches panics.
func TestMutations(t *testing.T) {
	need.Plain(t) // a library without goroutines, thousands of times
	now := time.Now()
	for _, role := range []string{root, timestamp, snapshot, targets, "stable"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			repo := small(now)
			if role == root {
				repo.Publish(root)
			}
			good := repo.Last(role)
			tree := tufrepo.Tree(good)
			n := 0
			mutants(tree, role, func(what string, mutant any) {
				n++
				data, err := json.Marshal(mutant)
				if err != nil {
					t.Fatal(err)
				}
				if string(tufrepo.Canonical(normal(mutant))) == string(tufrepo.Canonical(tree)) {
					return
				}
				repo.ReplaceLast(role, data)
				if err := lookupOnce(t, repo, repo.Published[root][0], now); err == nil {
					t.Errorf("%s: accepted", what)
				} else if errors.Is(err, manifest.ErrNoTarget) {
					t.Errorf("%s: read as if it were signed: %v", what, err)
				} else if strings.Contains(err.Error(), "runtime error") {
					t.Errorf("%s: only the net caught it: %v", what, err)
				}
			})
			t.Logf("%d mutants of %s", n, role)
			repo.ReplaceLast(role, good)
			if err := lookupOnce(t, repo, repo.Published[root][0], now); err != nil {
				t.Fatalf("the good one: %v", err)
			}
		})
	}
}

// normal makes comparable what Canonical cannot write.
func normal(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		return v
	}
	return tufrepo.Tree(data)
}

func lookupOnce(t *testing.T, repo *tufrepo.Repo, first []byte, now time.Time) error {
	t.Helper()
	c, err := manifest.New(manifest.Config{Fetch: repo, Store: tufrepo.NewMem(), Root: first, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Lookup(t.Context(), "agent/stable/1.3.0/linux-amd64/x")
	return err
}

// TestSignedMutations: the same, but signed by who may sign it, as after a
// mistake of the publisher's tool. Some are harmless; none may panic, and none
// that is not refused may leave a state that the next good version cannot leave.
func TestSignedMutations(t *testing.T) {
	need.Plain(t) // a library without goroutines, thousands of times
	now := time.Now()
	for _, role := range []string{root, timestamp, snapshot, targets, "stable"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			repo := small(now)
			repo.Publish(root, "stable", targets, snapshot, timestamp)
			first := repo.Published[root][0]
			good := repo.Last(role)
			refused := 0
			doc := tufrepo.Tree(tufrepo.Canonical(repo.Docs[role]))
			mutants(doc, role, func(what string, mutant any) {
				signed, ok := mutant.(map[string]any)
				if !ok {
					return
				}
				repo.ReplaceLast(role, tufrepo.Envelope(signed, repo.Signers[role]...))
				store := tufrepo.NewMem()
				cfg := manifest.Config{Fetch: repo, Store: store, Root: first, Now: func() time.Time { return now }}
				c, err := manifest.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				path := "agent/stable/1.3.0/linux-amd64/x"
				target, _, err := c.Lookup(t.Context(), path)
				if err != nil {
					if refused++; strings.Contains(err.Error(), "runtime error") {
						t.Errorf("%s: only the net caught it: %v", what, err)
					}
				} else {
					_, _ = target.Release()
					_, _, _ = c.List(t.Context())
				}
				if role == root || role == timestamp || role == snapshot {
					return // what such a mistake needs is a newer version, not this one again
				}
				repo.ReplaceLast(role, good)
				if _, _, err := c.Lookup(t.Context(), path); err != nil && !errors.Is(err, manifest.ErrNoTarget) && !errors.Is(err, manifest.ErrRefused) && !errors.Is(err, manifest.ErrStale) && !errors.Is(err, manifest.ErrTransport) {
					t.Errorf("%s: the good one afterwards: %v", what, err)
				}
			})
			if refused == 0 {
				t.Fatal("none was refused")
			}
		})
	}
}

// FuzzCheck: what Check lets through, the library takes or refuses without a
// panic; what is refused is ErrMalformed.
func FuzzCheck(f *testing.F) {
	repo := small(time.Unix(1_800_000_000, 0))
	kinds := []string{root, timestamp, snapshot, targets}
	for i, kind := range kinds {
		f.Add(byte(i), repo.Last(kind))
		f.Add(byte(i), []byte("null"))
	}
	f.Add(byte(3), repo.Last("stable"))
	f.Add(byte(3), []byte(`{"signed":{"_type":"targets","targets":{"a":null}},"signatures":[]}`))
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		k := kinds[int(kind)%len(kinds)]
		if err := manifest.Check(k, data); err != nil {
			if !errors.Is(err, manifest.ErrMalformed) {
				t.Fatalf("Check(%s): %v is no ErrMalformed", k, err)
			}
			return
		}
		if err := manifest.ParseForTest(k, data); err != nil && err.Error() == "panic" {
			t.Fatalf("the library panics on what Check let through: %s", data)
		}
	})
}
