package manifest_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"hausmeister/proto/manifest"
	"hausmeister/proto/manifest/draft"
	"hausmeister/testenv/tufrepo"
)

func TestAttack01Signatures(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{root, timestamp, snapshot, targets, "stable"} {
		for name, signers := range map[string]func(keys []ed25519.PrivateKey) []ed25519.PrivateKey{
			"unsigned":          func([]ed25519.PrivateKey) []ed25519.PrivateKey { return nil },
			"foreign":           func([]ed25519.PrivateKey) []ed25519.PrivateKey { return []ed25519.PrivateKey{stranger} },
			"one too few":       func(k []ed25519.PrivateKey) []ed25519.PrivateKey { return k[:len(k)-1] },
			"one and a foreign": func(k []ed25519.PrivateKey) []ed25519.PrivateKey { return append(k[:len(k)-1:len(k)-1], stranger) },
		} {
			t.Run(role+" "+name, func(t *testing.T) {
				r := newRig(t)
				rel := r.release("stable", "1.3.0", nil)
				if _, err := r.lookup(rel.Path); err != nil {
					t.Fatal(err)
				}
				need := map[string]int{root: 3, timestamp: 1, snapshot: 1, targets: 2, "stable": 2}[role]
				r.release("stable", "1.4.0", nil)
				r.fleet.Publish(root, targets)
				before := r.fileOf(role)
				r.resign(role, signers(r.fleet.Keys[role][:need])...)
				_, err := r.lookup(rel.Path)
				if !errors.Is(err, manifest.ErrRefused) {
					t.Fatalf("Lookup: got %v, want a refusal", err)
				}
				if r.fileOf(role) != before {
					t.Fatalf("%s was replaced by a file that was refused", role)
				}
				// What was trusted goes on as soon as the repository is right again.
				r.fleet.Publish(targets, "stable")
				r.resignAll(role)
				if _, err := r.lookup(rel.Path); err != nil {
					t.Fatalf("after the repair: %v", err)
				}
			})
		}
	}
	t.Run("one key twice", func(t *testing.T) {
		r := newRig(t)
		r.mustRefresh()
		r.fleet.Publish(targets)
		r.resign(targets, r.fleet.Keys[targets][0])
		files := r.fleet.Files()
		name := fmt.Sprintf("%d.targets.json", r.fleet.Drafts[targets].Version())
		var v map[string]any
		if err := json.Unmarshal(files[name], &v); err != nil {
			t.Fatal(err)
		}
		sigs := v["signatures"].([]any)
		v["signatures"] = append(sigs, sigs[0])
		files[name], _ = json.Marshal(v)
		r.fleet.SetFiles(files)
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrRefused) {
			t.Fatalf("Refresh: got %v, want a refusal", err)
		}
	})
}

func TestAttack02Rollback(t *testing.T) {
	r := newRig(t)
	rel := r.release("stable", "1.3.0", nil)
	old := r.fleet.Files()
	r.release("stable", "1.4.0", nil)
	r.fleet.Publish(targets)
	if _, err := r.lookup(rel.Path); err != nil {
		t.Fatal(err)
	}

	t.Run("the whole repository of before", func(t *testing.T) {
		r.fleet.SetFiles(old)
		r.t = t
		r.wantKind(manifest.ErrRollback)
	})
	t.Run("and the local files too", func(t *testing.T) {
		r.t = t
		back := newRig(t)
		back.fleet, back.cfg.Fetch, back.cfg.Root = r.fleet, r.fleet, r.cfg.Root
		back.mustRefresh() // a device that only knows the old ones
		stolen := back.store.Copy()
		for name, data := range stolen {
			if strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".copy") {
				r.store.Files[name] = data
			}
		}
		r.wantKind(manifest.ErrRollback)
	})
	// Where the local files are gone, the floor alone knows.
	for name, attack := range map[string]func(repo *tufrepo.Repo){
		"an old timestamp": func(repo *tufrepo.Repo) {
			repo.Published[timestamp] = repo.Published[timestamp][:1]
		},
		"an old timestamp of the same snapshot": func(repo *tufrepo.Repo) {
			repo.Published[timestamp] = repo.Published[timestamp][:2]
		},
		"a new timestamp, an old snapshot": func(repo *tufrepo.Repo) {
			tufrepo.At(repo.Docs[timestamp], "meta", "snapshot.json")["version"] = int64(1)
			repo.Publish(timestamp)
		},
		"a new snapshot, old targets": func(repo *tufrepo.Repo) {
			tufrepo.At(repo.Docs[snapshot], "meta", "targets.json")["version"] = int64(1)
			repo.Publish(snapshot, timestamp)
		},
		"a new snapshot without a role": func(repo *tufrepo.Repo) {
			delete(tufrepo.At(repo.Docs[snapshot], "meta"), "a.json")
			repo.Publish(snapshot, timestamp)
		},
	} {
		t.Run(name+", and no local files", func(t *testing.T) {
			now := time.Now()
			repo, store := tufrepo.New(now), tufrepo.NewMem()
			repo.Delegate(targets, tufrepo.Delegation{Role: "a", Paths: []string{"a/*"}})
			repo.Publish("a", targets, snapshot, timestamp)
			repo.Publish(timestamp)
			c, err := manifest.New(manifest.Config{Fetch: repo, Store: store, Root: repo.Last(root), Now: func() time.Time { return now }})
			must(t, err)
			_, err = c.Refresh(t.Context())
			must(t, err)
			maps.DeleteFunc(store.Files, func(name string, _ []byte) bool { return !strings.HasPrefix(name, "floor") })
			attack(repo)
			if _, err := c.Refresh(t.Context()); !errors.Is(err, manifest.ErrRollback) {
				t.Fatalf("Refresh: got %v, want ErrRollback", err)
			}
			if strings.HasSuffix(name, "snapshot") && store.Copy()["timestamp.json"] != nil {
				t.Fatal("the timestamp was kept although its snapshot is older")
			}
		})
	}
	t.Run("an old snapshot in a new timestamp", func(t *testing.T) {
		// The timestamp's key alone names an older snapshot.
		now := newRig(t)
		now.release("stable", "1.3.0", nil)
		before := now.fleet.Files()
		now.fleet.Publish()
		now.mustRefresh()
		ts := draft.NewTimestamp(now.now.Add(day))
		must(t, ts.SetMeta(snapshot, before[fmt.Sprintf("%d.snapshot.json", now.fleet.Drafts[snapshot].Version()-1)]))
		must(t, ts.SetVersion(100))
		must(t, ts.Sign(now.fleet.Keys[timestamp][0]))
		data, err := ts.Bytes()
		must(t, err)
		files := now.fleet.Files()
		files["timestamp.json"] = data
		now.fleet.SetFiles(files)
		now.wantKind(manifest.ErrRollback)
	})
}

func TestAttack04MixAndMatch(t *testing.T) {
	t.Run("targets of another version", func(t *testing.T) {
		r := newRig(t)
		r.fleet.Publish(targets)
		fs := r.fleet.Files()
		fs["2.targets.json"] = fs["1.targets.json"]
		r.fleet.SetFiles(fs)
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrRefused) {
			t.Fatalf("Refresh: got %v, want a refusal", err)
		}
	})
	t.Run("a role is gone", func(t *testing.T) {
		r := newRig(t)
		r.mustRefresh()
		s := draft.NewSnapshot(r.now.Add(day))
		fs := r.fleet.Files()
		for role, v := range r.fleet.Drafts[snapshot].Meta() {
			if role != "emergency" {
				must(t, s.SetMeta(role, fs[fmt.Sprintf("%d.%s.json", v, role)]))
			}
		}
		must(t, s.SetVersion(r.fleet.Drafts[snapshot].Version()))
		r.fleet.Drafts[snapshot] = s
		r.fleet.Publish()
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrRefused) {
			t.Fatalf("Refresh: got %v, want a refusal", err)
		}
	})
	t.Run("canary speaks for stable", func(t *testing.T) {
		r := newRig(t)
		rel := r.release("canary", "1.3.0", func(rel *manifest.Release) { rel.Channel = "stable" })
		if _, err := r.lookup(rel.Path); !errors.Is(err, manifest.ErrNoTarget) {
			t.Fatalf("Lookup: got %v, want ErrNoTarget", err)
		}
		list, _, err := r.client().List(t.Context())
		if err != nil || len(list) != 0 {
			t.Fatalf("List: got %v, %v, want nothing", list, err)
		}
	})
}

// A file that one role's keys would also do for as another's: the persons of one
// role may hold keys of another, and the specification's files do not say whose
// they are.
func TestAttack04FileOfAnotherRole(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(d *draft.File) error
		want   bool
	}{
		"its own":       {func(d *draft.File) error { return d.SetRole("stable") }, true},
		"another's":     {func(d *draft.File) error { return d.SetRole("canary") }, false},
		"the top one's": {func(d *draft.File) error { return d.SetRole(targets) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			rel := r.release("stable", "1.3.0", nil)
			if _, err := r.lookup(rel.Path); err != nil {
				t.Fatal(err)
			}
			before := r.fileOf("stable")
			must(t, tc.change(r.fleet.Drafts["stable"]))
			r.fleet.Publish("stable")
			_, err := r.lookup(rel.Path)
			if tc.want {
				must(t, err)
				return
			}
			if !errors.Is(err, manifest.ErrRefused) {
				t.Fatalf("Lookup: got %v, want a refusal", err)
			}
			if r.fileOf("stable") != before {
				t.Fatal("stable was replaced by a file of another role")
			}
			if _, _, err := r.client().List(t.Context()); !errors.Is(err, manifest.ErrRefused) {
				t.Fatalf("List: got %v, want a refusal", err)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		r := newRig(t)
		r.release("stable", "1.3.0", nil)
		kept := r.fleet.Drafts["stable"]
		bare := draft.NewTargets(r.now)
		for _, f := range kept.Targets("stable") {
			must(t, bare.SetTarget(f.Path, f.Length, f.SHA256, f.Custom))
		}
		must(t, bare.SetVersion(kept.Version()))
		r.fleet.Drafts["stable"] = bare
		r.fleet.Publish("stable")
		if _, _, err := r.client().List(t.Context()); !errors.Is(err, manifest.ErrRefused) {
			t.Fatalf("List: got %v, want a refusal", err)
		}
	})
	t.Run("in the store", func(t *testing.T) {
		r := newRig(t)
		rel := r.release("stable", "1.3.0", nil)
		if _, err := r.lookup(rel.Path); err != nil {
			t.Fatal(err)
		}
		right := r.fileOf("stable")
		must(t, r.fleet.Drafts["stable"].SetRole("canary"))
		r.fleet.Publish("stable")
		r.store.Files["stable.json"] = r.fleet.Files()[fmt.Sprintf("%d.stable.json", r.fleet.Drafts["stable"].Version())]
		must(t, r.fleet.Drafts["stable"].SetRole("stable"))
		r.fleet.Publish("stable")
		if _, err := r.lookup(rel.Path); err != nil {
			t.Fatal(err)
		}
		if now := r.fileOf("stable"); now == right || !strings.Contains(now, `"x-role":"stable"`) {
			t.Fatalf("the store holds %.300s", now)
		}
	})
}

func TestAttack05FastForward(t *testing.T) {
	// The online keys are stolen; the thief goes as far as the numbers go.
	r := newRig(t)
	rel := r.release("stable", "1.3.0", nil)
	r.mustRefresh()
	const far = int64(1) << 31
	must(t, r.fleet.Drafts[snapshot].SetVersion(far))
	must(t, r.fleet.Drafts[timestamp].SetVersion(far))
	r.fleet.Publish()
	if st := r.mustRefresh(); st.Timestamp < far || st.Snapshot < far {
		t.Fatalf("state is %+v, want the far versions", st)
	}
	// Three of five replace the keys: the device follows from 1 on.
	r.fleet.RotateOnline()
	r.release("stable", "1.4.0", nil)
	st := r.mustRefresh()
	if st.Root != 2 || st.Timestamp >= far || st.Snapshot >= far {
		t.Fatalf("state after the rotation is %+v, want low versions under root 2", st)
	}
	if _, err := r.lookup(rel.Path); err != nil {
		t.Fatalf("Lookup after the rotation: %v", err)
	}
	// From here on nothing falls again.
	old := r.fleet.Files()
	r.fleet.Publish()
	r.mustRefresh()
	r.fleet.SetFiles(old)
	r.wantKind(manifest.ErrRollback)

	t.Run("the time too", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Fresh = func(_ context.Context, n manifest.Nonce, _ int64) ([]byte, error) {
			return manifest.SignFresh(r.fleet.Keys[timestamp][0], n, r.fleet.Files()["timestamp.json"], r.now.AddDate(73, 0, 0))
		}
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrStale) {
			t.Fatalf("Refresh in 2099: got %v, want ErrStale", err)
		}
		// What the thief can leave behind ends with the root.
		if got := manifest.TrustedTime(r.store, r.cfg.Build, r.now); got.After(r.now.Add(1096 * day)) {
			t.Fatalf("TrustedTime: got %v, want at most the root's end", got)
		}
		r.cfg.Fresh = nil
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrStale) {
			t.Fatalf("Refresh before the rotation: got %v, want ErrStale", err)
		}
		r.fleet.RotateOnline()
		r.mustRefresh()
		if got := manifest.TrustedTime(r.store, r.cfg.Build, r.now); !got.Equal(r.now) {
			t.Fatalf("TrustedTime after the rotation: got %v, want %v", got, r.now)
		}
	})
	t.Run("not by a key that is added", func(t *testing.T) {
		r := newRig(t)
		must(t, r.fleet.Drafts[timestamp].SetVersion(50))
		r.fleet.Publish()
		r.mustRefresh()
		old := r.fleet.Files()
		r.fleet.Publish()
		r.mustRefresh()
		// A new root with one more key, and the old timestamp.
		_, extra, err := ed25519.GenerateKey(nil)
		must(t, err)
		keys := append(tufrepo.Public(r.fleet.Keys[timestamp]), extra.Public().(ed25519.PublicKey))
		must(t, r.fleet.Drafts[root].SetKeys(timestamp, 1, keys...))
		r.fleet.Publish(root)
		old["2.root.json"] = r.fleet.Files()["2.root.json"]
		r.fleet.SetFiles(old)
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrRollback) {
			t.Fatalf("Refresh: got %v, want ErrRollback", err)
		}
	})
}

func TestAttack07RootWithheld(t *testing.T) {
	r := newRig(t)
	first := r.fleet.Files()
	r.mustRefresh()
	r.fleet.RotateOnline()
	if st := r.mustRefresh(); st.Root != 2 {
		t.Fatalf("root is %d, want 2", st.Root)
	}
	t.Run("the stored one stays", func(t *testing.T) {
		r.t = t
		// Root 2 is withheld and the old online keys sign on. The program still
		// embeds root 1.
		r.fleet.SetFiles(first)
		st := r.wantKind(manifest.ErrRefused)
		if st.Root != 2 {
			t.Fatalf("root is %d, want 2", st.Root)
		}
	})
	t.Run("also when the stored one is lost", func(t *testing.T) {
		r.t = t
		delete(r.store.Files, "root.json")
		delete(r.store.Files, "root.copy")
		_, err := r.refresh()
		if !errors.Is(err, manifest.ErrRollback) {
			t.Fatalf("Refresh from the embedded root: got %v, want ErrRollback", err)
		}
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrRollback) {
			t.Fatalf("and again: got %v, want ErrRollback", err)
		}
	})
	t.Run("it is told which root the device has", func(t *testing.T) {
		r := newRig(t)
		r.fleet.Publish(root)
		var told int64
		r.cfg.Fresh = func(ctx context.Context, n manifest.Nonce, v int64) ([]byte, error) {
			told = v
			return r.fleet.Fresh(ctx, n, v)
		}
		r.mustRefresh()
		if told != 2 {
			t.Fatalf("the repository was told root %d, want 2", told)
		}
	})
	t.Run("a newer program brings a newer root", func(t *testing.T) {
		r := newRig(t)
		r.mustRefresh()
		r.fleet.Publish(root)
		r.fleet.Publish(root)
		r.cfg.Root = r.fleet.Root()
		if st := r.mustRefresh(); st.Root != 3 {
			t.Fatalf("root is %d, want 3", st.Root)
		}
		if !strings.Contains(string(r.store.Copy()["root.json"]), `"version":3`) {
			t.Fatal("the newer root was not kept")
		}
	})
}

func TestAttack09LowerVersionPublished(t *testing.T) {
	r := newRig(t)
	backup := r.fleet.Files()
	r.fleet.Publish()
	r.mustRefresh()
	now := r.fleet.Files()
	r.fleet.SetFiles(backup) // an edge that fell back, a restore
	r.wantKind(manifest.ErrRollback)
	r.fleet.SetFiles(now)
	r.mustRefresh()

	t.Run("the publisher cannot", func(t *testing.T) {
		d := r.fleet.Drafts[timestamp]
		if err := d.SetVersion(d.Version() - 1); err == nil {
			t.Fatal("SetVersion to a lower one succeeded")
		}
		s := r.fleet.Drafts[snapshot]
		r.fleet.Publish("stable")
		if err := s.SetMeta("stable", backup["1.stable.json"]); err == nil {
			t.Fatal("SetMeta of an older file succeeded")
		}
	})
}
