package enroll_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/platform/keystore"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
)

// use is the collector's restart on another database.
func (s *site) use(t testing.TB, d *db.DB) {
	t.Helper()
	f, err := fleet.New(fleet.Config{DB: d, Now: s.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	s.serving.Lock()
	s.db, s.fleet = d, f
	s.serving.Unlock()
	s.reopen(t)
}

func TestAfterARestore(t *testing.T) {
	dbtest.Each(t, migrations, func(t *testing.T, cfg db.Config) {
		ctx := context.Background()
		open := func() *db.DB {
			d, err := db.Open(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		d := open()
		s := newSite(t, d)
		_, claim := s.claim(t, enroll.NewClaim{Expires: s.clock.Now().Add(390 * day)})
		renewed, steady, stolen := s.machine(t, "RENEWED1"), s.machine(t, "STEADY01"), s.machine(t, "STOLEN01")
		for _, m := range []*machine{renewed, steady, stolen} {
			m.mustEnroll(t, claim)
			m.connect(10)
		}
		if err := s.RevokeDevice(ctx, operator, stolen.device, "stolen"); err != nil {
			t.Fatal(err)
		}
		s.clock.Add(100 * day)
		backup := filepath.Join(t.TempDir(), "backup")
		if err := d.Backup(ctx, backup); err != nil {
			t.Fatal(err)
		}

		// What happens between backup and restore is forgotten by the store only.
		s.clock.Add(day)
		if _, err := renewed.renew(newKey(t)); err != nil {
			t.Fatal(err)
		}
		renewed.connect(11)
		steady.connect(20)
		late := s.machine(t, "LATE0001")
		late.mustEnroll(t, claim)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		s.clock.Add(day)
		if err := db.Restore(ctx, cfg, backup, func(*db.DB) error { return nil }); err != nil {
			t.Fatal(err)
		}
		d = open()
		t.Cleanup(func() { d.Close() })
		s.use(t, d)

		if got := renewed.connect(12); got != hmpb.Code_CODE_NORMAL {
			t.Errorf("renewed since the backup: got %v, want adopted", got)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit WHERE action = 'credential.adopted'`); n != 1 {
			t.Errorf("%d audit entries of an adoption, want 1", n)
		}
		if got := renewed.connect(3); got != hmpb.Code_CODE_EPOCH_REPLAY {
			t.Errorf("the adopted key's epoch went back: got %v", got)
		}
		if got := steady.connect(4); got != hmpb.Code_CODE_NORMAL {
			t.Errorf("first epoch after the restore: got %v, want accepted without suspicion", got)
		}
		if got := steady.connect(2); got != hmpb.Code_CODE_EPOCH_REPLAY {
			t.Errorf("second epoch after the restore: got %v, want judged", got)
		}
		if got := stolen.connect(11); got != hmpb.Code_CODE_REVOKED {
			t.Errorf("revoked before the backup: got %v", got)
		}
		if got := late.connect(1); got != hmpb.Code_CODE_UNKNOWN_DEVICE {
			t.Errorf("enrolled since the backup: got %v", got)
		}
		// Who stole our signing key cannot make keys for devices of ours: what
		// was issued after the restore is known.
		forged := s.machine(t, "STEADY01")
		s.clock.Add(day)
		forged.device, forged.chain = steady.device, s.forge(t, forged, steady.device)
		if got := forged.connect(1); got != hmpb.Code_CODE_UNKNOWN_DEVICE {
			t.Errorf("signed by us, never issued: got %v", got)
		}
		// A device that was revoked meanwhile is not adopted.
		if err := s.RevokeDevice(ctx, operator, steady.device, "lost"); err != nil {
			t.Fatal(err)
		}
		s.clock.Add(-10 * day)
		forged.chain = s.forge(t, forged, steady.device)
		if got := forged.connect(1); got != hmpb.Code_CODE_REVOKED {
			t.Errorf("unknown key of a revoked device: got %v", got)
		}
	})
}

// forge signs with the key of the intermediate, as who stole it would.
func (s *site) forge(t *testing.T, m *machine, device string) [][]byte {
	t.Helper()
	read := func(name string) *x509.Certificate {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a := ident.Authority{Root: read("root.crt"), Intermediate: read("intermediate.crt")}
	keys := keystore.Open(s.dir)
	names, err := keys.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name == "root" {
			continue
		}
		if a.Key, err = keys.Signer(name); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := a.IssueDevice(m.key.Public(), device, s.clock.Now().Truncate(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return a.Chain(leaf)
}
