package enroll_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/enroll"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

func parseChain(ders [][]byte) (chain []*x509.Certificate, err error) {
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

func TestFromClaimToSession(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		c, claim := s.claim(t, enroll.NewClaim{Cap: 2, Note: "Lieferung 7"})
		m := s.machine(t, "PF3ABCDE")
		id := m.mustEnroll(t, claim)
		if !ident.ValidID(id) {
			t.Errorf("device id %q", id)
		}
		p, err := m.peer(t)
		if err != nil || p.May != enroll.MayAll || p.Device != id || p.Owner != s.owner || p.RenewDue {
			t.Errorf("Authenticate: got %+v, %v", p, err)
		}
		if code := m.connect(1); code != hmpb.Code_CODE_NORMAL {
			t.Errorf("connecting: got %v", code)
		}
		d, err := s.fleet.Owners(context.Background(), operator)
		if err != nil || len(d) != 1 {
			t.Fatal(d, err)
		}
		claims, err := s.Claims(context.Background(), operator, "", 10)
		c.Used = 1
		if err != nil || len(claims) != 1 {
			t.Fatalf("Claims: got %v, %v", claims, err)
		}
		if diff := cmp.Diff(c, claims[0], cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
			t.Errorf("Claims (-made +listed):\n%s", diff)
		}
		for _, test := range []struct {
			caller access.Caller
			want   int
		}{{operator, 1}, {access.Caller{Kind: access.KindUser, Role: access.RoleSupport, Owners: []string{s.owner}}, 1},
			{access.Caller{Kind: access.KindUser, Role: access.RoleSupport, Owners: []string{ident.NewID(time.Now())}}, 0}} {
			if some, err := s.SomeClaims(context.Background(), test.caller, []string{ident.NewID(time.Now()), c.ID}); err != nil || len(some) != test.want {
				t.Errorf("SomeClaims of %+v: got %v, %v, want %d", test.caller, some, err, test.want)
			}
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit WHERE action = 'device.enrolled' AND subject = $1`, "device:"+id); n != 1 {
			t.Errorf("%d audit entries of the enrolment, want 1", n)
		}
		if _, err := audit.Verify(context.Background(), s.db); err != nil {
			t.Error(err)
		}
	})
}

func TestSecretIsNotKept(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		_, claim := s.claim(t, enroll.NewClaim{})
		s.machine(t, "PF3ABCDE").mustEnroll(t, claim)
		hash := claim.Secret.Hash()
		if n := s.count(t, `SELECT COUNT(*) FROM claims WHERE secret_hash = $1`, hash[:]); n != 1 {
			t.Errorf("%d claims with the hash, want 1", n)
		}
		text := ident.FormatSecret(claim.Secret)
		for _, column := range []string{"id", "note", "created_by", "school"} {
			if n := s.count(t, `SELECT COUNT(*) FROM claims WHERE `+column+` LIKE $1`, "%"+text[:9]+"%"); n != 0 {
				t.Errorf("the secret stands in claims.%s", column)
			}
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit WHERE details LIKE $1`, "%"+text[:9]+"%"); n != 0 {
			t.Error("the secret stands in the audit record")
		}
	})
}

func TestConcurrentEnrolmentAtTheCap(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		const limit, asking = 7, 30
		c, claim := s.claim(t, enroll.NewClaim{Cap: limit})
		var mu sync.Mutex
		codes := map[hmpb.Code]int{}
		var all sync.WaitGroup
		for range asking {
			m := s.machine(t, "")
			all.Go(func() {
				down, err := m.enroll(ident.FormatSecret(claim.Secret))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case down.GetIssued() != nil:
					codes[hmpb.Code_CODE_NORMAL]++
				default:
					codes[down.GetRefused().GetCode()]++
				}
			})
		}
		all.Wait()
		want := map[hmpb.Code]int{hmpb.Code_CODE_NORMAL: limit, hmpb.Code_CODE_CLAIM_REFUSED: asking - limit}
		if diff := cmp.Diff(want, codes); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		if n := s.count(t, `SELECT used FROM claims WHERE id = $1`, c.ID); n != limit {
			t.Errorf("used %d, want %d", n, limit)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM devices`); n != limit {
			t.Errorf("%d devices, want %d", n, limit)
		}
	})
}

func TestLostAnswerLeadsToTheSameRecord(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		c, claim := s.claim(t, enroll.NewClaim{Cap: 1})
		m := s.machine(t, "PF3ABCDE")
		first := m.mustEnroll(t, claim)
		for range 3 {
			if again := m.mustEnroll(t, claim); again != first {
				t.Errorf("the same key with the same claim got device %s, want %s", again, first)
			}
		}
		if n := s.count(t, `SELECT used FROM claims WHERE id = $1`, c.ID); n != 1 {
			t.Errorf("used %d, want 1", n)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM credentials`); n != 1 {
			t.Errorf("%d credentials, want 1", n)
		}
		// The same at once, as when an agent's retry meets its first try.
		var all sync.WaitGroup
		for range 8 {
			twin := *m
			all.Go(func() {
				if down, err := twin.enroll(ident.FormatSecret(claim.Secret)); err != nil || down.GetIssued().GetDeviceId() != first {
					t.Errorf("at once: got %s, %v", said(down), err)
				}
			})
		}
		all.Wait()
	})
}

func TestReplayedAndForeignRequests(t *testing.T) {
	s := newSiteOnSQLite(t)
	_, claim := s.claim(t, enroll.NewClaim{})
	secret := ident.FormatSecret(claim.Secret)
	m := s.machine(t, "PF3ABCDE")
	var overheard []byte
	ask := func(csr func(challenge string) ([]byte, error)) hmpb.Code {
		t.Helper()
		ws := m.dial(t)
		defer ws.Close(hmpb.Code_CODE_NORMAL, "")
		down, err := exchange(ws, hmpb.StreamType_STREAM_TYPE_ENROLL, enrollHeader, func(challenge string) (proto.Message, error) {
			der, err := csr(challenge)
			return hmpb.EnrollRequest_builder{ClaimSecret: &secret, Hardware: m.hardware.Message(), Csr: der}.Build(), err
		})
		if err != nil {
			t.Fatal(err)
		}
		if down.GetIssued() != nil {
			return hmpb.Code_CODE_NORMAL
		}
		return down.GetRefused().GetCode()
	}
	other := m.dial(t)
	defer other.Close(hmpb.Code_CODE_NORMAL, "")
	for _, test := range []struct {
		name string
		csr  func(challenge string) ([]byte, error)
		want hmpb.Code
	}{
		{"good, and overheard", func(c string) (_ []byte, err error) {
			overheard, err = ident.CreateCSR(m.key, c)
			return overheard, err
		}, hmpb.Code_CODE_NORMAL},
		{"replayed", func(string) ([]byte, error) { return overheard, nil }, hmpb.Code_CODE_CSR_REFUSED},
		{"made for another session", func(string) ([]byte, error) {
			c, err := ident.Challenge(make([]byte, ident.NonceLen), other.ConnectionState())
			if err != nil {
				return nil, err
			}
			return ident.CreateCSR(m.key, c)
		}, hmpb.Code_CODE_CSR_REFUSED},
		{"no challenge", func(string) ([]byte, error) { return ident.CreateCSR(m.key, "") }, hmpb.Code_CODE_CSR_REFUSED},
		{"nothing", func(string) ([]byte, error) { return nil, nil }, hmpb.Code_CODE_CSR_REFUSED},
		{"garbage", func(string) ([]byte, error) { return bytes.Repeat([]byte{0x30, 0x80}, 200), nil }, hmpb.Code_CODE_CSR_REFUSED},
	} {
		if got := ask(test.csr); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestVersionsAndOrderOnTheStream(t *testing.T) {
	s := newSiteOnSQLite(t)
	m := s.machine(t, "PF3ABCDE")
	for _, test := range []struct {
		min, max uint32
		want     hmpb.Code
	}{
		{0, 0, hmpb.Code_CODE_MALFORMED_FRAME},
		{3, 2, hmpb.Code_CODE_MALFORMED_FRAME},
		{wire.VersionMax + 1, wire.VersionMax + 9, hmpb.Code_CODE_VERSION_TOO_NEW},
	} {
		ws := m.dial(t)
		header := hmpb.EnrollHeader_builder{VersionMin: &test.min, VersionMax: &test.max}.Build()
		down, err := exchange(ws, hmpb.StreamType_STREAM_TYPE_ENROLL, header, nil)
		if err != nil || down.GetRefused().GetCode() != test.want {
			t.Errorf("versions %d to %d: got %s, %v, want %v", test.min, test.max, said(down), err, test.want)
		}
		ws.Close(hmpb.Code_CODE_NORMAL, "")
	}
	// A stream that ends where the request should come.
	ws := m.dial(t)
	defer ws.Close(hmpb.Code_CODE_NORMAL, "")
	f, err := wire.Open(context.Background(), ws, hmpb.StreamType_STREAM_TYPE_ENROLL, enrollHeader)
	if err != nil {
		t.Fatal(err)
	}
	var down hmpb.EnrollDown
	if err := f.ReadMsg(&down); err != nil {
		t.Fatal(err)
	}
	if err := f.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The answer, or the end of the session that follows it: who ends its side
	// before the answer is not waited for.
	if err := f.ReadMsg(&down); down.GetRefused().GetCode() != hmpb.Code_CODE_WRONG_ORDER && wire.CodeOf(err) != hmpb.Code_CODE_WRONG_ORDER {
		t.Errorf("end in the middle: got %s, %v", said(&down), err)
	}
	// A device without certificate that wants to renew.
	naked := s.machine(t, "PF3ABCDF")
	if down, err := naked.renew(newKey(t)); err != nil || down.GetRefused().GetCode() != hmpb.Code_CODE_NO_CERTIFICATE {
		t.Errorf("renewal without certificate: got %s, %v", said(down), err)
	}
}

func TestStrangersCertificates(t *testing.T) {
	s := newSiteOnSQLite(t)
	now := s.clock.Now()
	stranger, err := ident.NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	m := s.machine(t, "PF3ABCDE")
	leaf, err := stranger.IssueDevice(m.key.Public(), ident.NewID(now), now)
	if err != nil {
		t.Fatal(err)
	}
	m.chain = stranger.Chain(leaf)
	if code := m.connect(1); code != hmpb.Code_CODE_FOREIGN_CERTIFICATE {
		t.Errorf("stranger's certificate: got %v", code)
	}
	// Wrong authority the other way round: the machine pins another root.
	m.chain, m.pin = nil, ident.FingerprintOf(stranger.Root)
	_, err = m.tryDial()
	var inspected *ident.InspectionError
	if !errors.As(err, &inspected) {
		t.Errorf("collector of another root: got %v, want an InspectionError", err)
	}
}

func TestExpiredCertificates(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		_, claim := s.claim(t, enroll.NewClaim{})
		begin := s.clock.Now()
		for _, test := range []struct {
			days    int // after the end
			connect hmpb.Code
			renew   hmpb.Code
		}{
			{-91, hmpb.Code_CODE_NORMAL, hmpb.Code_CODE_STREAM_NOT_ALLOWED}, // before the half-life
			{-90, hmpb.Code_CODE_NORMAL, hmpb.Code_CODE_NORMAL},
			{0, hmpb.Code_CODE_NORMAL, hmpb.Code_CODE_NORMAL},
			{44, hmpb.Code_CODE_STREAM_NOT_ALLOWED, hmpb.Code_CODE_NORMAL},
			{399, hmpb.Code_CODE_STREAM_NOT_ALLOWED, hmpb.Code_CODE_NORMAL},
			{401, hmpb.Code_CODE_CERTIFICATE_EXPIRED, hmpb.Code_CODE_CERTIFICATE_EXPIRED},
		} {
			s.clock.Set(begin)
			m := s.machine(t, "")
			id := m.mustEnroll(t, claim)
			s.clock.Add(180*day + time.Duration(test.days)*day)
			if got := m.connect(1); got != test.connect {
				t.Errorf("%d days after the end: connecting got %v, want %v", test.days, got, test.connect)
			}
			old := *m
			down, err := m.renew(newKey(t))
			got := down.GetRefused().GetCode()
			switch {
			case err != nil:
				got = wire.CodeOf(err)
			case down.GetIssued() != nil:
				got = hmpb.Code_CODE_NORMAL
			}
			if got != test.renew {
				t.Errorf("%d days after the end: renewing got %v, want %v", test.days, got, test.renew)
				continue
			}
			if got != hmpb.Code_CODE_NORMAL {
				continue
			}
			if m.device != id {
				t.Errorf("%d days: renewed as device %s, want %s", test.days, m.device, id)
			}
			if got := m.connect(2); got != hmpb.Code_CODE_NORMAL {
				t.Errorf("%d days: connecting with the new certificate got %v", test.days, got)
			}
			if got := old.connect(3); got != hmpb.Code_CODE_REVOKED {
				t.Errorf("%d days: connecting with the replaced certificate got %v, want revoked", test.days, got)
			}
		}
	})
}

func TestRenewalWhoseAnswerWasLost(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		_, claim := s.claim(t, enroll.NewClaim{})
		m := s.machine(t, "PF3ABCDE")
		id := m.mustEnroll(t, claim)
		m.connect(1)
		s.clock.Add(100 * day)
		old, next := *m, newKey(t)
		for range 2 { // the first answer is lost
			*m = old
			if down, err := m.renew(next); err != nil || m.device != id || down.GetIssued() == nil {
				t.Fatalf("renewing: got %s, %v", said(down), err)
			}
			if got := old.connect(2); got != hmpb.Code_CODE_NORMAL {
				t.Errorf("the old certificate before the new one was used: got %v", got)
			}
		}
		// A device that makes a new key each time does not fill the table.
		for range 5 {
			try := old
			if _, err := try.renew(newKey(t)); err != nil {
				t.Fatal(err)
			}
			*m = try
		}
		if n := s.count(t, `SELECT COUNT(*) FROM credentials WHERE device = $1`, id); n != 2 {
			t.Errorf("%d credentials, want 2", n)
		}
		if got := m.connect(3); got != hmpb.Code_CODE_NORMAL {
			t.Errorf("the last one: got %v", got)
		}
		// With the same key, as a device does whose key cannot be replaced.
		s.clock.Add(100 * day)
		if down, err := m.renew(m.key); err != nil || down.GetIssued() == nil {
			t.Errorf("renewing with the same key: got %s, %v", said(down), err)
		}
		if got := m.connect(4); got != hmpb.Code_CODE_NORMAL {
			t.Errorf("after renewing with the same key: got %v", got)
		}
		// With another device's key.
		_, claim = s.claim(t, enroll.NewClaim{})
		other := s.machine(t, "PF3ABCDF")
		other.mustEnroll(t, claim)
		s.clock.Add(100 * day)
		if down, err := m.renew(other.key); err != nil || down.GetRefused().GetCode() != hmpb.Code_CODE_CSR_REFUSED {
			t.Errorf("renewing with another device's key: got %s, %v", said(down), err)
		}
	})
}

func TestRevocation(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		ctx := context.Background()
		_, claim := s.claim(t, enroll.NewClaim{})
		m := s.machine(t, "PF3ABCDE")
		id := m.mustEnroll(t, claim)
		sub := s.bus.Subscribe(bus.Revoked)
		defer sub.Close()

		other := access.Caller{Kind: access.KindUser, ID: "u", Role: access.RoleAdmin, Owners: []string{s.addOwner(t, "Landkreis Birke")}}
		if err := s.RevokeDevice(ctx, other, id, "x"); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("another owner's admin: got %v, want not found", err)
		}
		reader := access.Caller{Kind: access.KindUser, ID: "u", Role: access.RoleSupport}
		if err := s.RevokeDevice(ctx, reader, id, "x"); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("support: got %v, want forbidden", err)
		}
		if err := s.RevokeDevice(ctx, operator, ident.NewID(time.Now()), "x"); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("no such device: got %v, want not found", err)
		}
		if got := m.connect(1); got != hmpb.Code_CODE_NORMAL {
			t.Fatalf("connecting before: got %v", got)
		}
		if err := s.RevokeDevice(ctx, operator, id, "stolen"); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-sub.C:
			if e.Kind != bus.Revoked || e.Device != id || e.Owner != s.owner || e.Credential != "" {
				t.Errorf("event: got %+v, want the whole device revoked", e)
			}
		default:
			t.Error("nothing published: live sessions would go on")
		}
		if got := m.connect(2); got != hmpb.Code_CODE_REVOKED {
			t.Errorf("connecting: got %v, want revoked", got)
		}
		s.clock.Add(100 * day)
		if _, err := m.renew(newKey(t)); wire.CodeOf(err) != hmpb.Code_CODE_REVOKED {
			t.Errorf("renewing: got %v, want revoked", err)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM enroll_devices WHERE device = $1 AND revoked_ms IS NOT NULL`, id); n != 1 {
			t.Error("enroll_devices does not say revoked")
		}
		if err := s.RevokeDevice(ctx, operator, id, "again"); err != nil {
			t.Errorf("revoking twice: %v", err)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit WHERE action = 'device.revoked'`); n != 1 {
			t.Errorf("%d audit entries, want 1", n)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit WHERE action = 'device.revoked' AND details LIKE '%"days":"30"%'`); n != 1 {
			t.Error("the record does not say how long what the device told is kept")
		}
		// Found again: a new claim of the owner, a new key, the same record.
		_, claim = s.claim(t, enroll.NewClaim{})
		again := s.machine(t, "PF3ABCDE")
		if got := again.mustEnroll(t, claim); got != id {
			t.Errorf("enrolled again as %s, want %s", got, id)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM enroll_devices WHERE device = $1 AND revoked_ms IS NULL`, id); n != 1 {
			t.Error("enroll_devices still says revoked")
		}
		if got := m.connect(3); got != hmpb.Code_CODE_REVOKED {
			t.Errorf("the revoked key: got %v, want revoked for good", got)
		}
	})
}

// A revocation that comes between authentication and connection still bites.
func TestRevokedBetweenAuthenticationAndConnection(t *testing.T) {
	s := newSiteOnSQLite(t)
	ctx := context.Background()
	_, claim := s.claim(t, enroll.NewClaim{})
	m := s.machine(t, "PF3ABCDE")
	m.mustEnroll(t, claim)
	p, err := m.peer(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeDevice(ctx, operator, m.device, "stolen"); err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(ctx, p, 1); wire.CodeOf(err) != hmpb.Code_CODE_REVOKED {
		t.Errorf("Connect: got %v, want revoked", err)
	}
}

func TestReimage(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		_, claim := s.claim(t, enroll.NewClaim{})
		before := s.machine(t, "PF3ABCDE")
		id := before.mustEnroll(t, claim)
		before.connect(1)
		sub := s.bus.Subscribe(bus.Revoked)
		defer sub.Close()

		if got := s.reimaged.Load(); got != nil {
			t.Errorf("the first enrolment was told as a re-image of %s", *got)
		}
		after := s.machine(t, "pf3 abcde") // as another firmware spells it
		if got := after.mustEnroll(t, claim); got != id {
			t.Errorf("same owner: got record %s, want %s", got, id)
		}
		if got := s.reimaged.Load(); got == nil || *got != id {
			t.Errorf("told as re-imaged: %v, want %s", got, id)
		}
		if got := before.connect(2); got != hmpb.Code_CODE_REVOKED {
			t.Errorf("the old key: got %v, want revoked", got)
		}
		if got := after.connect(1); got != hmpb.Code_CODE_NORMAL {
			t.Errorf("the new key: got %v", got)
		}
		p, err := after.peer(t)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-sub.C:
			if e.Device != id || e.Credential == "" || e.Credential == p.Credential.String() {
				t.Errorf("event: got %+v, want the old key of %s", e, id)
			}
		default:
			t.Error("the old key's live session was not told")
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit WHERE action = 'device.reimaged' AND subject = $1`, "device:"+id); n != 1 {
			t.Errorf("%d audit entries of the re-image, want 1", n)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM devices`); n != 1 {
			t.Errorf("%d records, want 1", n)
		}

		// Another owner's claim is refused, and the device stays whose it was.
		_, foreign := s.claim(t, enroll.NewClaim{Owner: s.addOwner(t, "Landkreis Birke")})
		thief := s.machine(t, "PF3ABCDE")
		down, err := thief.enroll(ident.FormatSecret(foreign.Secret))
		if err != nil || down.GetRefused().GetCode() != hmpb.Code_CODE_CLAIM_REFUSED {
			t.Errorf("other owner: got %s, %v", said(down), err)
		}
		if got := after.connect(2); got != hmpb.Code_CODE_NORMAL {
			t.Errorf("the device after another owner's try: got %v", got)
		}
	})
}

// Two machines of one model whose maker wrote no serial are two devices, and a
// re-image that keeps the state folder's install id is one.
func TestMachinesWithoutSerial(t *testing.T) {
	s := newSiteOnSQLite(t)
	_, claim := s.claim(t, enroll.NewClaim{})
	one, two := s.machine(t, "To be filled by O.E.M."), s.machine(t, "To be filled by O.E.M.")
	if a, b := one.mustEnroll(t, claim), two.mustEnroll(t, claim); a == b {
		t.Errorf("two machines without serial are one record %s", a)
	}
	again := s.machine(t, "Default string")
	again.hardware.InstallID = one.hardware.InstallID
	if got := again.mustEnroll(t, claim); got != one.device {
		t.Errorf("same install id: got record %s, want %s", got, one.device)
	}
}

func TestConnectionEpochs(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		_, claim := s.claim(t, enroll.NewClaim{})
		m := s.machine(t, "PF3ABCDE")
		m.mustEnroll(t, claim)
		for _, test := range []struct {
			epoch uint64
			want  hmpb.Code
		}{
			{5, hmpb.Code_CODE_NORMAL}, // first sight
			{6, hmpb.Code_CODE_NORMAL},
			{6, hmpb.Code_CODE_NORMAL},       // n
			{5, hmpb.Code_CODE_NORMAL},       // n-1
			{4, hmpb.Code_CODE_EPOCH_REPLAY}, // still n = 6
			{9, hmpb.Code_CODE_NORMAL},       // tries that never got through
			{7, hmpb.Code_CODE_EPOCH_REPLAY},
			{0, hmpb.Code_CODE_EPOCH_REPLAY},
			{1 << 63, hmpb.Code_CODE_MALFORMED_FRAME},
			{1<<63 - 1, hmpb.Code_CODE_NORMAL},
			{1<<63 - 2, hmpb.Code_CODE_NORMAL},
			{10, hmpb.Code_CODE_EPOCH_REPLAY},
		} {
			if got := m.connect(test.epoch); got != test.want {
				t.Errorf("epoch %d: got %v, want %v", test.epoch, got, test.want)
			}
		}
	})
}

func newSiteOnSQLite(t testing.TB) *site {
	t.Helper()
	return newSite(t, openSQLite(t))
}

func TestAuthenticateNeedsNoStoreForStrangers(t *testing.T) {
	s := newSiteOnSQLite(t)
	if p, err := s.Authenticate(context.Background(), tls.ConnectionState{}); err != nil || p.May != enroll.MayEnroll {
		t.Errorf("no certificate: got %+v, %v", p, err)
	}
}
