package enroll_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/platform/keystore"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
)

func (s *site) tryReopen(log *slog.Logger) error {
	e, err := enroll.New(context.Background(), enroll.Config{
		DB: s.db, Bus: s.bus, Records: s.fleet, Dir: s.dir, Address: "localhost:8443", Now: s.clock.Now, Log: log,
	})
	if err == nil {
		s.serving.Lock()
		defer s.serving.Unlock()
		s.Enroll = e
	}
	return err
}

func TestAuthorityIsMadeOnceAndOwnerOnly(t *testing.T) {
	s := newSiteOnSQLite(t)
	first := s.TrustRoots()
	s.reopen(t)
	if again := s.TrustRoots(); len(again) != 1 || !bytes.Equal(first[0], again[0]) {
		t.Error("the second start has another root")
	}
	if info, err := os.Stat(s.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", e.Name(), info.Mode(), err)
		}
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); !strings.HasPrefix(got, "README intermediate-") || !strings.HasSuffix(got, "intermediate.crt root.crt root.key") {
		t.Errorf("files: %s", got)
	}
	readme, err := os.ReadFile(filepath.Join(s.dir, "README"))
	if err != nil || !bytes.Contains(readme, []byte("a medium that lies in a safe")) {
		t.Errorf("README does not say where root.key belongs: %v", err)
	}
}

// Each crash in the first start leaves a folder from which the second one goes on.
func TestAuthorityAfterACrashInTheFirstStart(t *testing.T) {
	for name, gone := range map[string][]string{
		"after root.key":         {"root.crt", "intermediate.crt", "intermediate-*.key"},
		"after root.crt":         {"intermediate.crt", "intermediate-*.key"},
		"after intermediate key": {"intermediate.crt"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSiteOnSQLite(t)
			for _, pattern := range gone {
				found, err := filepath.Glob(filepath.Join(s.dir, pattern))
				if err != nil || len(found) == 0 {
					t.Fatal(pattern, err)
				}
				for _, f := range found {
					if err := os.Remove(f); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.clock.Add(time.Minute)
			s.reopen(t)
			_, claim := s.claim(t, enroll.NewClaim{})
			m := s.machine(t, "PF3ABCDE")
			m.mustEnroll(t, claim)
			if got := m.connect(1); got != hmpb.Code_CODE_NORMAL {
				t.Errorf("connecting: got %v", got)
			}
			if left, _ := filepath.Glob(filepath.Join(s.dir, "intermediate-*.key")); len(left) != 1 {
				t.Errorf("keys of intermediates: %v, want one", left)
			}
		})
	}
}

func TestAuthorityThatCannotBeUsed(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"root.crt gone": {func(dir string) error { return os.Remove(filepath.Join(dir, "root.crt")) }, "put it back"},
		"root.crt damaged": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "root.crt"), []byte("x"), 0o600)
		}, "is no certificate"},
		"intermediate's key gone": {func(dir string) error {
			found, _ := filepath.Glob(filepath.Join(dir, "intermediate-*.key"))
			return os.Remove(found[0])
		}, "key is missing"},
		"intermediate's key readable by others": {func(dir string) error {
			found, _ := filepath.Glob(filepath.Join(dir, "intermediate-*.key"))
			return os.Chmod(found[0], 0o644)
		}, keystore.ErrExposed.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSiteOnSQLite(t)
			if err := test.spoil(s.dir); err != nil {
				t.Fatal(err)
			}
			if err := s.tryReopen(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: got %v, want ... %s", err, test.want)
			}
		})
	}
	t.Run("another authority's intermediate", func(t *testing.T) {
		s, other := newSiteOnSQLite(t), newSiteOnSQLite(t)
		for _, name := range []string{"root.crt"} {
			data, err := os.ReadFile(filepath.Join(other.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.tryReopen(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another root") {
			t.Errorf("New: got %v, want ... another root", err)
		}
	})
	t.Run("first start in 1970", func(t *testing.T) {
		s := newSiteOnSQLite(t)
		s.dir = filepath.Join(t.TempDir(), "ca")
		s.clock.Set(time.Unix(0, 0))
		if err := s.tryReopen(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "set it before the first start") {
			t.Errorf("New: got %v", err)
		}
	})
	t.Run("address", func(t *testing.T) {
		s := newSiteOnSQLite(t)
		for _, address := range []string{"", "localhost", "localhost:0", "local host:1", "localhost:99999"} {
			_, err := enroll.New(context.Background(), enroll.Config{DB: s.db, Bus: s.bus, Records: s.fleet, Dir: s.dir, Address: address})
			if err == nil {
				t.Errorf("New took address %q", address)
			}
		}
	})
}

// The root's key lies in a safe: the collector works without it, asks for it when
// a year is over, and devices notice nothing of the new intermediate.
func TestRootElsewhereAndIntermediateRenewed(t *testing.T) {
	s := newSiteOnSQLite(t)
	_, claim := s.claim(t, enroll.NewClaim{Expires: s.clock.Now().Add(399 * day)})
	root, safe := filepath.Join(s.dir, "root.key"), filepath.Join(t.TempDir(), "root.key")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(root, safe)
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	s.clock.Add(364 * day)
	if err := s.tryReopen(log); err != nil {
		t.Fatal(err)
	}
	m := s.machine(t, "PF3ABCDE")
	m.mustEnroll(t, claim)
	m.connect(1)
	if strings.Contains(out.String(), "root.key") {
		t.Errorf("asked for root.key too early: %s", out.String())
	}
	s.clock.Add(2 * day)
	if err := s.tryReopen(log); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "put root.key back") {
		t.Errorf("root.key not asked for: %s", out.String())
	}
	if got := m.connect(2); got != hmpb.Code_CODE_NORMAL {
		t.Errorf("connecting while root.key is asked for: got %v", got)
	}

	move(safe, root)
	if err := s.tryReopen(log); err != nil {
		t.Fatal(err)
	}
	move(root, safe)
	if !strings.Contains(out.String(), "intermediate renewed") {
		t.Errorf("intermediate not renewed: %s", out.String())
	}
	if err := s.tryReopen(log); err != nil { // the new one is on the disk, alone
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "intermediate-*.key")); len(left) != 1 {
		t.Errorf("keys of intermediates: %v, want one", left)
	}
	if got := m.connect(3); got != hmpb.Code_CODE_NORMAL {
		t.Errorf("a device of the earlier intermediate: got %v", got)
	}
	if p, err := m.peer(t); err != nil || p.May != enroll.MayAll {
		t.Errorf("a device of the earlier intermediate: got %+v, %v", p, err)
	}
	s.clock.Add(100 * day)
	before := m.chain[1]
	if down, err := m.renew(newKey(t)); err != nil || down.GetIssued() == nil {
		t.Fatalf("renewing: got %s, %v", said(down), err)
	}
	if bytes.Equal(before, m.chain[1]) {
		t.Error("renewed under the earlier intermediate")
	}
	if got := m.connect(4); got != hmpb.Code_CODE_NORMAL {
		t.Errorf("after renewal: got %v", got)
	}

	// Another root's key beside root.crt signs nothing.
	s.clock.Add(400 * day)
	if _, err := keystore.Open(s.dir).Create("root"); err != nil {
		t.Fatal(err)
	}
	if err := s.tryReopen(log); err == nil || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("another root's key: got %v", err)
	}
}

// A collector whose clock said 2099 for a while, at its first start even, has an
// authority that works when the clock is right again.
func TestAuthorityMadeByAWrongClock(t *testing.T) {
	s := newSiteOnSQLite(t)
	right := s.clock.Now()
	s.clock.Set(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	s.dir = filepath.Join(t.TempDir(), "ca")
	s.reopen(t)
	s.clock.Set(right)
	_, claim := s.claim(t, enroll.NewClaim{})
	m := s.machine(t, "PF3ABCDE")
	m.mustEnroll(t, claim)
	m.trusted = right
	if got := m.connect(1); got != hmpb.Code_CODE_NORMAL {
		t.Errorf("connecting: got %v", got)
	}
	s.clock.Add(60 * day)
	m.trusted = s.clock.Now()
	if got := m.connect(2); got != hmpb.Code_CODE_NORMAL {
		t.Errorf("connecting 60 days later: got %v", got)
	}
}

// Run renews the collector's own certificate by itself, for years.
func TestServerCertificateStaysFresh(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	synctest.Test(t, func(t *testing.T) {
		d := dbtest.Open(t, migrations)
		f, err := fleet.New(fleet.Config{DB: d, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		e, err := enroll.New(t.Context(), enroll.Config{
			DB: d, Bus: bus.New(), Records: f, Dir: dir, Address: "localhost:8443", Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := e.Run(ctx, func() {}); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		pins, err := ident.Pins(e.TrustRoots())
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			time.Sleep(10 * 24 * time.Hour)
			c, err := e.TLSConfig().GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			chain, err := parseChain(c.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ident.VerifyCollector(chain, pins, "localhost", time.Now()); err != nil {
				t.Fatalf("on %s: %v", time.Now().Format(time.DateOnly), err)
			}
			if left := time.Until(c.Leaf.NotAfter); left < 14*24*time.Hour {
				t.Errorf("on %s the certificate has %v left", time.Now().Format(time.DateOnly), left)
			}
		}
		cancel()
		running.Wait()
	})
}

func TestStoreThatDoesNotAnswer(t *testing.T) {
	s := newSiteOnSQLite(t)
	_, claim := s.claim(t, enroll.NewClaim{})
	m, late := s.machine(t, "PF3ABCDE"), s.machine(t, "PF3ABCDF")
	m.mustEnroll(t, claim)
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	down, err := late.enroll(ident.FormatSecret(claim.Secret))
	if err != nil || down.GetRefused().GetCode() != hmpb.Code_CODE_STORE_UNAVAILABLE || down.GetRefused().GetRetryAfterS() == 0 {
		t.Errorf("enrolling: got %s, %v, want told to come back", said(down), err)
	}
	if got := m.connect(1); got != hmpb.Code_CODE_STORE_UNAVAILABLE {
		t.Errorf("connecting: got %v", got)
	}
	if err := s.RevokeDevice(context.Background(), operator, m.device, "x"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("revoking: got %v", err)
	}
}
