package manifest_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

func TestVersions(t *testing.T) {
	// In ascending order; the chain of pre-releases is the one of semver.org.
	ordered := []string{
		"", "0.0.0", "0.0.1", "0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
		"1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1-0", "1.0.1", "1.2.0", "1.10.0", "2.0.0", "99999999999999999999.0.0",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			want := 0
			if i != j {
				want = map[bool]int{true: -1, false: 1}[i < j]
			}
			if got := manifest.Compare(a, b); got != want {
				t.Errorf("Compare(%q, %q): got %d, want %d", a, b, got, want)
			}
		}
		if got := manifest.ValidVersion(a); got != (a != "") {
			t.Errorf("ValidVersion(%q): got %t", a, got)
		}
	}
	for _, bad := range []string{
		"1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.02.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+build", "1.2.3-a+b", " 1.2.3", "1.2.3 ",
		"1.2.x", "-1.2.3", "1.2.3-ä", "1,2,3", strings.Repeat("9", 70) + ".0.0",
	} {
		if manifest.ValidVersion(bad) {
			t.Errorf("ValidVersion(%q) is true", bad)
		}
		if manifest.Compare(bad, "0.0.0-0") != -1 {
			t.Errorf("Compare(%q, 0.0.0-0): what is no version is not below", bad)
		}
	}
}

func good() manifest.Release {
	r := manifest.Release{
		Product: "agent", Version: "1.4.0", OS: "linux", Arch: "amd64", Channel: "stable", Floor: "1.2.0", MinFrom: "1.0.0", LauncherMin: "1.0.0",
		Commit: strings.Repeat("0f", 20), Role: "stable", SHA256: strings.Repeat("ab", 32),
		Ramp: manifest.Ramp{T0MS: 1_800_000_000_000, PermillePerHour: 100, SoakH: []int{1, 4, 24, 24}},
	}
	r.Path = r.Dir() + "hausmeister-agent"
	return r
}

func target(r manifest.Release) manifest.Target {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return manifest.Target{Path: r.Path, Role: r.Role, Length: 7, SHA256: r.SHA256, Custom: raw}
}

func TestRelease(t *testing.T) {
	r, err := target(good()).Release()
	if err != nil {
		t.Fatal(err)
	}
	if r.SHA256 != good().SHA256 || r.Length != 7 || r.Path != good().Path || r.Role != "stable" {
		t.Fatalf("Release: got %+v", r)
	}
	for name, change := range map[string]func(*manifest.Release){
		"product unknown":         func(r *manifest.Release) { r.Product = "game" },
		"product in capitals":     func(r *manifest.Release) { r.Product = "Agent" },
		"version":                 func(r *manifest.Release) { r.Version = "1.4" },
		"no os":                   func(r *manifest.Release) { r.OS = "" },
		"arch goes up":            func(r *manifest.Release) { r.Arch = "../x" },
		"channel of another role": func(r *manifest.Release) { r.Channel = "canary" },
		"channel unknown":         func(r *manifest.Release) { r.Channel, r.Role = "beta", "beta" },
		"floor":                   func(r *manifest.Release) { r.Floor = "x" },
		"floor above itself":      func(r *manifest.Release) { r.Floor = "1.5.0" },
		"min_from":                func(r *manifest.Release) { r.MinFrom = "1" },
		"launcher_min":            func(r *manifest.Release) { r.LauncherMin = "v1.0.0" },
		"commit":                  func(r *manifest.Release) { r.Commit = "main" },
		"rollback of an older":    func(r *manifest.Release) { r.RollbackOf = "1.3.0" },
		"rollback of itself":      func(r *manifest.Release) { r.RollbackOf = "1.4.0" },
		"urgent by stable":        func(r *manifest.Release) { r.Urgent = true; r.Path = r.Dir() + "x" },
		"urgent by targets":       func(r *manifest.Release) { r.Urgent, r.Role = true, "targets"; r.Path = r.Dir() + "x" },
		"by policy":               func(r *manifest.Release) { r.Role = "policy" },
		"by targets":              func(r *manifest.Release) { r.Role = "targets" },
		"launcher by stable":      func(r *manifest.Release) { r.Product = "launcher"; r.Path = r.Dir() + "x" },
		"path of another version": func(r *manifest.Release) { r.Path = strings.Replace(r.Path, "1.4.0", "1.3.0", 1) },
		"path too deep":           func(r *manifest.Release) { r.Path = r.Dir() + "x/y" },
		"no start of the ramp":    func(r *manifest.Release) { r.Ramp.T0MS = 0 },
		"ramp stands still":       func(r *manifest.Release) { r.Ramp.PermillePerHour = 0 },
		"ramp goes back":          func(r *manifest.Release) { r.Ramp.PermillePerHour = -1 },
		"soak below nothing":      func(r *manifest.Release) { r.Ramp.SoakH = []int{-1} },
		"too many rings":          func(r *manifest.Release) { r.Ramp.SoakH = make([]int, 7) },
		"two hashes":              nil,
		"no sha256":               nil,
		"floats":                  nil,
	} {
		r := good()
		if change != nil {
			change(&r)
		}
		tg := target(r)
		switch name {
		case "two hashes":
			tg.SHA512 = strings.Repeat("ab", 64)
		case "no sha256":
			tg.SHA256, tg.SHA512 = "", strings.Repeat("ab", 64)
		case "floats":
			tg.Custom = json.RawMessage(strings.Replace(string(tg.Custom), `"permille_per_hour":100`, `"permille_per_hour":100.5`, 1))
		}
		if _, err := tg.Release(); !errors.Is(err, manifest.ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	for name, change := range map[string]func(*manifest.Release){
		"urgent by emergency":  func(r *manifest.Release) { r.Urgent, r.Role = true, "emergency"; r.Path = r.Dir() + "x" },
		"launcher":             func(r *manifest.Release) { r.Product, r.Role = "launcher", "launcher"; r.Path = r.Dir() + "x" },
		"canary":               func(r *manifest.Release) { r.Channel, r.Role = "canary", "canary"; r.Path = r.Dir() + "x" },
		"commit of sha256 git": func(r *manifest.Release) { r.Commit = strings.Repeat("0f", 32) },
		"rollback":             func(r *manifest.Release) { r.RollbackOf = "1.5.0" },
	} {
		r := good()
		change(&r)
		if _, err := target(r).Release(); err != nil {
			t.Errorf("%s: got %v, want success", name, err)
		}
	}
	// A newer publisher may say more.
	tg := target(good())
	tg.Custom = json.RawMessage(strings.Replace(string(tg.Custom), "{", `{"colour":{"r":1},`, 1))
	if _, err := tg.Release(); err != nil {
		t.Errorf("unknown fields: got %v, want success", err)
	}
	for _, c := range []string{"", "{}", `{"note":"a delta"}`} {
		if _, err := (manifest.Target{Path: "x", Custom: json.RawMessage(c)}).Release(); !errors.Is(err, manifest.ErrNoRelease) {
			t.Errorf("custom %q: got %v, want ErrNoRelease", c, err)
		}
	}
}

func TestRamp(t *testing.T) {
	t0 := time.UnixMilli(1_800_000_000_000)
	at := func(r manifest.Ramp, bucket int) time.Duration { return r.Earliest(bucket).Sub(t0) }
	ramp := manifest.Ramp{T0MS: t0.UnixMilli(), PermillePerHour: 100} // all in ten hours
	for _, c := range []struct {
		bucket int
		want   time.Duration
	}{{0, 0}, {-5, 0}, {1000, time.Hour}, {5000, 5 * time.Hour}, {9999, 10*time.Hour - 3600*time.Millisecond}, {20000, 10*time.Hour - 3600*time.Millisecond}} {
		if got := at(ramp, c.bucket); got != c.want {
			t.Errorf("Earliest(%d): got t0+%v, want t0+%v", c.bucket, got, c.want)
		}
	}
	// A ring waits for those before it, however fast the ramp is.
	ramp = manifest.Ramp{T0MS: t0.UnixMilli(), PermillePerHour: 1_000_000, SoakH: []int{1, 4, 24, 24}}
	for i, want := range []time.Duration{0, 1, 5, 29, 53} {
		first := 0
		if i > 0 {
			first = manifest.Rings[i-1]
		}
		if got := at(ramp, first).Truncate(time.Minute); got != want*time.Hour {
			t.Errorf("ring %d begins at t0+%v, want t0+%v", i, got, want*time.Hour)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		r := manifest.Ramp{
			T0MS: rapid.Int64Range(1, 1<<43).Draw(t, "t0"), PermillePerHour: rapid.Int64Range(1, 1_000_000).Draw(t, "rate"),
			SoakH: rapid.SliceOfN(rapid.IntRange(0, 1440), 0, 5).Draw(t, "soak"),
		}
		a, b := rapid.IntRange(0, manifest.Buckets-1).Draw(t, "a"), rapid.IntRange(0, manifest.Buckets-1).Draw(t, "b")
		if a <= b && r.Earliest(b).Before(r.Earliest(a)) {
			t.Fatalf("bucket %d may begin before %d", b, a)
		}
		if r.Earliest(a).UnixMilli() < r.T0MS {
			t.Fatalf("bucket %d may begin before t0", a)
		}
	})
}

func TestBucket(t *testing.T) {
	// The number is part of the protocol: both ends and later versions must agree.
	key := bytes.Repeat([]byte{7}, 32)
	if got := manifest.Bucket(key, strings.Repeat("ab", 32)); got != bucketOf7 {
		t.Errorf("Bucket: got %d, want %d", got, bucketOf7)
	}
	counts := make([]int, 10)
	for i := range 70_000 {
		k := sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
		counts[manifest.Bucket(k[:], strings.Repeat("ab", 32))/1000]++
	}
	if least, most := slices.Min(counts), slices.Max(counts); least < 6700 || most > 7300 {
		t.Errorf("70,000 devices fall into tenths of %v", counts)
	}
}

const bucketOf7 = 4301 // by another implementation

func TestVerifier(t *testing.T) {
	data := make([]byte, 300_000)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	h := sha256.Sum256(data)
	tg := manifest.Target{Path: "x", Length: int64(len(data)), SHA256: hex.EncodeToString(h[:])}
	for _, cut := range []int{0, 1, 65_536, len(data) - 1, len(data)} {
		v, err := manifest.NewVerifier(tg)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = v.Write(data[:10]) // an attempt that was given up
		off, err := v.Resume(bytes.NewReader(data[:cut]))
		if err != nil || off != int64(cut) || v.Offset() != off {
			t.Fatalf("Resume at %d: got %d, %v", cut, off, err)
		}
		if cut < len(data) {
			if err := v.Verified(); !errors.Is(err, manifest.ErrBytes) {
				t.Fatalf("Verified after %d bytes: got %v, want ErrBytes", cut, err)
			}
		}
		if _, err := io.Copy(v, bytes.NewReader(data[cut:])); err != nil {
			t.Fatal(err)
		}
		if err := v.Verified(); err != nil {
			t.Fatalf("Verified, resumed at %d: %v", cut, err)
		}
		if _, err := v.Write([]byte{0}); !errors.Is(err, manifest.ErrBytes) {
			t.Fatalf("Write beyond the end: got %v, want ErrBytes", err)
		}
	}
	v, _ := manifest.NewVerifier(tg)
	if _, err := v.Resume(bytes.NewReader(append(bytes.Clone(data), 1))); err == nil || v.Offset() != 0 {
		t.Fatalf("Resume with too long a part: got %v at %d, want an error and 0", err, v.Offset())
	}
	// The part on disk is another file's.
	other := bytes.Clone(data[:1000])
	other[5] ^= 1
	_, _ = v.Resume(bytes.NewReader(other))
	_, _ = v.Write(data[1000:])
	if err := v.Verified(); !errors.Is(err, manifest.ErrBytes) {
		t.Fatalf("Verified of a mixture: got %v, want ErrBytes", err)
	}
	if _, err := manifest.NewVerifier(manifest.Target{Path: "x", Length: 3}); !errors.Is(err, manifest.ErrRefused) {
		t.Fatalf("NewVerifier without a hash: got %v, want a refusal", err)
	}
}

func TestStatement(t *testing.T) {
	r := newRig(t)
	rootFile, ts := r.fleet.Root(), r.fleet.Files()["timestamp.json"]
	nonce := manifest.Nonce{1, 2, 3}
	raw, err := manifest.SignFresh(r.fleet.Keys[timestamp][0], nonce, ts, r.now)
	must(t, err)
	st, err := manifest.VerifyFresh(rootFile, raw, nonce)
	want := manifest.Statement{Nonce: nonce, Timestamp: sha256.Sum256(ts), Time: r.now}
	if err != nil || st != want {
		t.Fatalf("VerifyFresh: got %+v, %v, want %+v", st, err, want)
	}
	// No byte of it may differ.
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		if _, err := manifest.VerifyFresh(rootFile, bad, nonce); !errors.Is(err, manifest.ErrRefused) {
			t.Fatalf("byte %d changed: got %v, want a refusal", i, err)
		}
	}
	for n := range raw {
		if _, err := manifest.VerifyFresh(rootFile, raw[:n], nonce); !errors.Is(err, manifest.ErrRefused) {
			t.Fatalf("cut to %d: got %v, want a refusal", n, err)
		}
	}
	// After the key was rotated its word counts no more.
	r.fleet.RotateOnline()
	if _, err := manifest.VerifyFresh(r.fleet.Root(), raw, nonce); !errors.Is(err, manifest.ErrRefused) {
		t.Fatalf("by a rotated key: got %v, want a refusal", err)
	}
	id, err := manifest.KeyID(r.fleet.Keys[root][0].Public().(ed25519.PublicKey))
	if err != nil || len(id) != 64 {
		t.Fatalf("KeyID: got %q, %v", id, err)
	}
}

func TestList(t *testing.T) {
	r := newRig(t)
	r.release("canary", "1.4.0", nil)
	r.release("stable", "1.3.0", nil)
	urgent := r.fleet.Release("emergency", manifest.Release{Version: "1.3.1", Urgent: true}, []byte("agent 1.3.1"))
	r.fleet.Release("launcher", manifest.Release{Product: "launcher", Version: "1.0.0"}, []byte("launcher"))
	r.fleet.File("policy", "policy/agent/3", []byte("{}"))
	r.fleet.File("stable", "agent/stable/1.3.0/linux-amd64/from-x.zst", []byte("patch"))
	list, st, err := r.client().List(t.Context())
	must(t, err)
	var got []string
	for _, tg := range list {
		got = append(got, tg.Role+" "+tg.Path)
	}
	want := []string{
		"canary agent/canary/1.4.0/linux-amd64/hausmeister-agent",
		"stable agent/stable/1.3.0/linux-amd64/from-x.zst",
		"stable agent/stable/1.3.0/linux-amd64/hausmeister-agent",
		"emergency " + urgent.Path,
		"launcher launcher/stable/1.0.0/linux-amd64/hausmeister-launcher",
		"policy policy/agent/3",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("List: got %q, want %q", got, want)
	}
	if len(st.Expires) != 9 {
		t.Fatalf("Expires: got %v, want nine roles", st.Expires)
	}
	for _, tg := range list {
		one, err := r.lookup(tg.Path)
		if err != nil || one.SHA256 != tg.SHA256 || one.Role != tg.Role {
			t.Errorf("Lookup(%s): got %+v, %v, want what List says", tg.Path, one, err)
		}
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*manifest.Config){
		"fetch": func(c *manifest.Config) { c.Fetch = nil }, "store": func(c *manifest.Config) { c.Store = nil }, "now": func(c *manifest.Config) { c.Now = nil },
	} {
		cfg := r.cfg
		change(&cfg)
		if _, err := manifest.New(cfg); err == nil {
			t.Errorf("New without %s succeeded", name)
		}
	}
	r.cfg.Root = nil
	if _, err := r.refresh(); !errors.Is(err, manifest.ErrRefused) {
		t.Errorf("Refresh without any root: got %v, want a refusal", err)
	}
}

// TestEachLookupByItself: that one delegator vouches for a role says nothing
// about another delegator's, however often both are asked.
func TestEachLookupByItself(t *testing.T) {
	now := time.Now()
	repo := tufrepo.New(now)
	for _, by := range []string{"a", "b"} {
		repo.Delegate(targets, tufrepo.Delegation{Role: by, Paths: []string{by + "/*"}})
	}
	repo.Delegate("b", tufrepo.Delegation{Role: "c", Paths: []string{"b/*"}})
	repo.Signers["c"] = nil // whom b trusts does not sign
	repo.Delegate("a", tufrepo.Delegation{Role: "c", Paths: []string{"a/*"}})
	repo.AddTarget("c", "a/x", []byte("a"), nil)
	repo.AddTarget("c", "b/x", []byte("b"), nil)
	repo.Publish("c", "b", "a", targets, snapshot, timestamp)
	c, err := manifest.New(manifest.Config{Fetch: repo, Store: tufrepo.NewMem(), Root: repo.Last(root), Now: func() time.Time { return now }})
	must(t, err)
	for range 2 {
		if tg, _, err := c.Lookup(t.Context(), "a/x"); err != nil || tg.Role != "c" {
			t.Fatalf("Lookup(a/x): got %+v, %v, want c's word", tg, err)
		}
		if _, _, err := c.Lookup(t.Context(), "b/x"); !errors.Is(err, manifest.ErrRefused) {
			t.Fatalf("Lookup(b/x): got %v, want a refusal", err)
		}
	}
	if _, _, err := c.List(t.Context()); !errors.Is(err, manifest.ErrRefused) {
		t.Fatalf("List: got %v, want a refusal: c is delegated to twice", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	r := newRig(t)
	rel := r.release("stable", "1.3.0", nil)
	c := r.client()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i%4 == 0 {
				r.fleet.Publish()
			}
			if _, _, err := c.Lookup(t.Context(), rel.Path); err != nil {
				t.Errorf("Lookup: %v", err)
			}
		})
	}
	wg.Wait()
}
