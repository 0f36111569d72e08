package manifest_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

func TestAttack03Freeze(t *testing.T) {
	r := newRig(t)
	r.release("stable", "1.3.0", nil)
	r.mustRefresh()
	frozen := r.fleet.Files()
	r.release("stable", "1.4.0", nil)
	r.fleet.SetFiles(frozen)

	t.Run("until it expires", func(t *testing.T) {
		r.t = t
		r.mustRefresh()
		r.now = r.now.Add(49 * time.Hour)
		st := r.wantKind(manifest.ErrStale)
		if st.Timestamp == 0 || st.Expires[timestamp].IsZero() {
			t.Fatalf("the state of a stale refresh is %+v, want what is trusted", st)
		}
	})
	t.Run("seen at once by the nonce", func(t *testing.T) {
		live := newRig(t)
		live.release("stable", "1.3.0", nil)
		live.cfg.Fresh = live.fleet.Fresh
		if st := live.mustRefresh(); !st.Fresh {
			t.Fatal("a fresh repository is not Fresh")
		}
		old := live.fleet.Files()
		live.release("stable", "1.4.0", nil)
		// Somebody on the way serves old files, but cannot sign for them.
		live.cfg.Fetch = files(old)
		if _, err := live.refresh(); !errors.Is(err, manifest.ErrStale) {
			t.Fatalf("Refresh: got %v, want ErrStale", err)
		}
	})
	t.Run("published between two questions", func(t *testing.T) {
		live := newRig(t)
		once := false
		live.cfg.Fresh = func(ctx context.Context, n manifest.Nonce, v int64) ([]byte, error) {
			if !once {
				once = true
				live.fleet.Publish()
			}
			return live.fleet.Fresh(ctx, n, v)
		}
		if st := live.mustRefresh(); !st.Fresh || st.Timestamp != 2 {
			t.Fatalf("state is %+v, want fresh and timestamp 2", st)
		}
	})
}

func TestAttack06FourteenMonthsOffline(t *testing.T) {
	r := newRig(t)
	r.mustRefresh()
	first := slices.Clone(r.fleet.Keys[root])
	for range 5 {
		// Each time one person hands over, until all five are others.
		r.now = r.now.Add(85 * day)
		_, next, err := ed25519.GenerateKey(nil)
		must(t, err)
		r.fleet.Keys[root] = append(r.fleet.Keys[root][1:], next)
		must(t, r.fleet.Drafts[root].SetKeys(root, 3, tufrepo.Public(r.fleet.Keys[root])...))
		r.fleet.Publish(root, targets, "stable", "canary", "emergency", "launcher", "policy")
	}
	if slices.ContainsFunc(r.fleet.Keys[root], func(k ed25519.PrivateKey) bool {
		return slices.ContainsFunc(first, func(o ed25519.PrivateKey) bool { return k.Equal(o) })
	}) {
		t.Fatal("one of the first five is still there")
	}
	// The ones in the middle have expired: they were valid for three years from
	// 2026, and it is 2031.
	r.now = r.now.Add(1100 * day)
	r.fleet.Publish(root, targets, "stable", "canary", "emergency", "launcher", "policy")
	st := r.mustRefresh()
	if st.Root != 7 {
		t.Fatalf("root is version %d, want 7 after one refresh", st.Root)
	}
}

func TestAttack08Expired(t *testing.T) {
	for role, life := range map[string]time.Duration{root: 1096 * day, targets: 366 * day, snapshot: 8 * day, timestamp: 49 * time.Hour, "stable": 183 * day} {
		t.Run(role, func(t *testing.T) {
			r := newRig(t)
			rel := r.release("stable", "1.3.0", nil)
			if _, err := r.lookup(rel.Path); err != nil {
				t.Fatal(err)
			}
			r.now = r.now.Add(life)
			for _, other := range []string{root, targets, "stable"} {
				if other != role {
					r.fleet.Publish(other)
				}
			}
			if role == snapshot || role == timestamp {
				// All but this one are new; this one is as it was.
				d := r.fleet.Drafts[role]
				d.SetExpires(r.now.Add(-time.Hour))
				must(t, d.SetVersion(d.Version()+1))
				r.serveAgain(role)
			}
			for range 3 { // again and again, without harm
				_, err := r.lookup(rel.Path)
				if !errors.Is(err, manifest.ErrStale) {
					t.Fatalf("Lookup with an expired %s: got %v, want ErrStale", role, err)
				}
				if errors.Is(err, manifest.ErrRefused) || errors.Is(err, manifest.ErrTransport) {
					t.Fatalf("Lookup with an expired %s: %v is something else than stale", role, err)
				}
			}
			r.fleet.Publish(root, targets, "stable")
			if _, err := r.lookup(rel.Path); err != nil {
				t.Fatalf("after it was renewed: %v", err)
			}
		})
	}
	t.Run("a role that nobody needs stops nothing", func(t *testing.T) {
		r := newRig(t)
		rel := r.release("stable", "1.3.0", nil)
		r.now = r.now.Add(183 * day)
		r.fleet.Publish(root, targets, "stable")
		if _, err := r.lookup(rel.Path); err != nil {
			t.Fatalf("Lookup with an expired emergency role: %v", err)
		}
		list, st, err := r.client().List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("List: got %v, %v, want the one release", list, err)
		}
		if diff := cmp.Diff([]string{"canary", "launcher", "emergency", "policy"}, st.Stale); diff != "" {
			t.Fatalf("Stale (-want +got):\n%s", diff)
		}
	})
	t.Run("the countdown", func(t *testing.T) {
		r := newRig(t)
		st := r.mustRefresh()
		want := map[string]time.Time{
			root: r.now.Add(1095 * day), targets: r.now.Add(365 * day), snapshot: r.now.Add(7 * day), timestamp: r.now.Add(48 * time.Hour),
		}
		if diff := cmp.Diff(want, st.Expires); diff != "" {
			t.Fatalf("Expires (-want +got):\n%s", diff)
		}
	})
}

func TestAttack13Clock(t *testing.T) {
	t.Run("1970", func(t *testing.T) {
		r := newRig(t)
		r.clock = time.Unix(0, 0)
		if st := r.mustRefresh(); !st.RefTime.Equal(r.cfg.Build) {
			t.Fatalf("judged by %v, want the time of the build", st.RefTime)
		}
		// Expired before this program was built is expired.
		r.cfg.Build = r.now.Add(3 * day)
		r.wantKind(manifest.ErrStale)
	})
	t.Run("1970, but a signed time was seen", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Fresh = r.fleet.Fresh
		r.mustRefresh()
		frozen := r.fleet.Files()
		r.now = r.now.Add(3 * day)
		r.fleet.Publish()
		r.mustRefresh()
		r.cfg.Fresh, r.clock = nil, time.Unix(0, 0)
		st := r.mustRefresh()
		if !st.RefTime.Equal(r.now) {
			t.Fatalf("judged by %v, want the highest time that was signed, %v", st.RefTime, r.now)
		}
		if got := manifest.TrustedTime(r.store, r.cfg.Build, r.clock); !got.Equal(r.now) {
			t.Fatalf("TrustedTime: got %v, want %v", got, r.now)
		}
		r.fleet.SetFiles(frozen)
		if _, err := r.refresh(); err == nil {
			t.Fatal("files that expired before that time were accepted")
		}
	})
	t.Run("an earlier time is signed than one before", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Fresh = r.fleet.Fresh
		r.mustRefresh()
		highest := r.now
		r.now = r.now.Add(-time.Hour) // the repository's clock was set
		if st := r.mustRefresh(); !st.RefTime.Equal(r.now) {
			t.Fatalf("judged by %v, want what was signed for us now, %v", st.RefTime, r.now)
		}
		if got := manifest.TrustedTime(r.store, r.cfg.Build, time.Unix(0, 0)); !got.Equal(highest) {
			t.Fatalf("TrustedTime: got %v, want %v, which was signed before", got, highest)
		}
	})
	t.Run("2099", func(t *testing.T) {
		r := newRig(t)
		r.clock = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
		if _, err := r.refresh(); !errors.Is(err, manifest.ErrStale) {
			t.Fatalf("Refresh: got %v, want ErrStale", err)
		}
		r.cfg.Fresh = r.fleet.Fresh
		st := r.mustRefresh()
		if !st.RefTime.Equal(r.now) || !st.Fresh {
			t.Fatalf("judged by %v, want the repository's %v", st.RefTime, r.now)
		}
		// The wrong clock left nothing behind.
		r.cfg.Fresh, r.clock = nil, time.Time{}
		r.mustRefresh()
	})
	t.Run("jumps during the refresh", func(t *testing.T) {
		r := newRig(t)
		good := r.cfg.Fetch
		r.cfg.Fetch = fetchFunc(func(ctx context.Context, name string) (io.ReadCloser, error) {
			r.clock = r.now.Add(1000 * day)
			return good.Fetch(ctx, name)
		})
		if st := r.mustRefresh(); !st.RefTime.Equal(r.now) {
			t.Fatalf("judged by %v, want the time at the start", st.RefTime)
		}
	})
	t.Run("a signed time for another nonce, or by another key", func(t *testing.T) {
		r := newRig(t)
		r.clock = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
		fs := r.fleet.Files()
		for name, fresh := range map[string]func(context.Context, manifest.Nonce, int64) ([]byte, error){
			"nonce": func(_ context.Context, n manifest.Nonce, _ int64) ([]byte, error) {
				n[0] ^= 1
				return manifest.SignFresh(r.fleet.Keys[timestamp][0], n, fs["timestamp.json"], r.now)
			},
			"key": func(_ context.Context, n manifest.Nonce, _ int64) ([]byte, error) {
				return manifest.SignFresh(r.fleet.Keys[snapshot][0], n, fs["timestamp.json"], r.now)
			},
			"cut": func(_ context.Context, n manifest.Nonce, _ int64) ([]byte, error) {
				b, err := manifest.SignFresh(r.fleet.Keys[timestamp][0], n, fs["timestamp.json"], r.now)
				return b[:len(b)-1], err
			},
			"flip": func(_ context.Context, n manifest.Nonce, _ int64) ([]byte, error) {
				b, err := manifest.SignFresh(r.fleet.Keys[timestamp][0], n, fs["timestamp.json"], r.now)
				b[75] ^= 1
				return b, err
			},
			"none": func(context.Context, manifest.Nonce, int64) ([]byte, error) { return nil, errors.New("no line") },
		} {
			r.cfg.Fresh = fresh
			if _, err := r.refresh(); !errors.Is(err, manifest.ErrStale) {
				t.Errorf("%s: got %v, want ErrStale by the wrong clock", name, err)
			}
		}
		if got := manifest.TrustedTime(r.store, r.cfg.Build, time.Unix(0, 0)); !got.Equal(r.cfg.Build) {
			t.Errorf("a time that nobody signed was kept: %v", got)
		}
	})
}
