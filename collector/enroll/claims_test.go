package enroll_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/enroll"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
)

// refusals are all the claims that must look alike from outside. Each gives the
// machine that asks and the secret that it asks with.
func refusals(t testing.TB, s *site) map[string]func() (*machine, string) {
	secret := func(c ident.Claim) string { return ident.FormatSecret(c.Secret) }
	_, usedUp := s.claim(t, enroll.NewClaim{Cap: 1})
	s.machine(t, "USEDUP01").mustEnroll(t, usedUp)
	_, expired := s.claim(t, enroll.NewClaim{Expires: s.clock.Now().Add(time.Hour)})
	s.clock.Add(2 * time.Hour)
	c, revoked := s.claim(t, enroll.NewClaim{})
	if err := s.RevokeClaim(context.Background(), operator, c.ID); err != nil {
		t.Fatal(err)
	}
	other := s.addOwner(t, "Landkreis Birke")
	_, foreign := s.claim(t, enroll.NewClaim{Owner: other})
	_, own := s.claim(t, enroll.NewClaim{})
	theirs := s.machine(t, "THEIRS01")
	theirs.mustEnroll(t, own)
	_, listed := s.claim(t, enroll.NewClaim{Serials: []string{"LISTED01", "LISTED02"}})
	s.machine(t, "listed 01").mustEnroll(t, listed)
	spent := s.machine(t, "SPENT001")
	spent.mustEnroll(t, own)
	if err := s.RevokeDevice(context.Background(), operator, spent.device, "lost"); err != nil {
		t.Fatal(err)
	}
	theirs.chain, spent.chain = nil, nil // they ask without their certificates
	fresh := func(serial string, c ident.Claim) func() (*machine, string) {
		return func() (*machine, string) { return s.machine(t, serial), secret(c) }
	}
	return map[string]func() (*machine, string){
		"unknown":                  func() (*machine, string) { return s.machine(t, "PF300001"), ident.FormatSecret(ident.NewSecret()) },
		"unreadable":               func() (*machine, string) { return s.machine(t, "PF300002"), "' OR 1=1 --" },
		"empty":                    func() (*machine, string) { return s.machine(t, "PF300003"), "" },
		"used up":                  fresh("PF300004", usedUp),
		"expired":                  fresh("PF300005", expired),
		"revoked":                  fresh("PF300006", revoked),
		"of another owner":         fresh("THEIRS01", foreign),
		"serial not listed":        fresh("PF300007", listed),
		"listed serial used":       fresh("LISTED01", listed),
		"no serial, listed claim":  fresh("To be filled by O.E.M.", listed),
		"key of a revoked device":  func() (*machine, string) { return spent, secret(own) },
		"known key, another claim": func() (*machine, string) { return theirs, secret(foreign) },
		"machine without identity": func() (*machine, string) {
			m := s.machine(t, "")
			m.hardware.InstallID = [16]byte{}
			return m, secret(own)
		},
	}
}

// One and the same frame, after one and the same time: nobody learns from a
// refusal whether a secret exists.
func TestRefusedClaimsAreAllAlike(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		cases := refusals(t, s)
		devices := s.count(t, `SELECT COUNT(*) FROM devices`)
		used := s.count(t, `SELECT SUM(used) FROM claims`)
		var first []byte
		for name, make := range cases {
			m, secret := make()
			// A loaded machine can only make an answer late: of some tries the
			// best one counts.
			const step, slack = 250 * time.Millisecond, 100 * time.Millisecond
			var took time.Duration
			for range 5 {
				var frame []byte
				frame, took = m.refusal(t, name, secret)
				if first == nil {
					first = frame
				}
				if !bytes.Equal(frame, first) {
					t.Errorf("%s: the answer %x differs from %x", name, frame, first)
				}
				if took < step || took%step < slack {
					break
				}
			}
			if took < step || took%step > slack {
				t.Errorf("%s: answered after %v, which is no multiple of %v", name, took, step)
			}
		}
		if got := s.count(t, `SELECT COUNT(*) FROM devices`); got != devices {
			t.Errorf("refusals made %d devices", got-devices)
		}
		if got := s.count(t, `SELECT SUM(used) FROM claims`); got != used {
			t.Errorf("refusals used up %d", got-used)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit WHERE action = 'device.refused_other_owner'`); n < 1 {
			t.Error("no audit entry of the other owner's claim")
		}
	})
}

// refusal asks once and returns the answer's bytes and how long it took.
func (m *machine) refusal(t testing.TB, name, secret string) ([]byte, time.Duration) {
	t.Helper()
	ws := m.dial(t)
	defer ws.Close(hmpb.Code_CODE_NORMAL, "")
	var asked, answered time.Time
	down, err := exchange(ws, hmpb.StreamType_STREAM_TYPE_ENROLL, enrollHeader, func(challenge string) (proto.Message, error) {
		csr, err := ident.CreateCSR(m.key, challenge)
		asked = time.Now()
		return hmpb.EnrollRequest_builder{ClaimSecret: &secret, Hardware: m.hardware.Message(), Csr: csr}.Build(), err
	}, func() { answered = time.Now() })
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got := down.GetRefused().GetCode(); got != hmpb.Code_CODE_CLAIM_REFUSED {
		t.Errorf("%s: got %s", name, said(down))
	}
	frame, err := proto.MarshalOptions{Deterministic: true}.Marshal(down)
	if err != nil {
		t.Fatal(err)
	}
	return frame, answered.Sub(asked)
}

func TestPerSerialClaims(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		c, claim := s.claim(t, enroll.NewClaim{Serials: []string{"PF3ABCDE", "pf3 abcdf", "PF3ABCDE"}})
		if c.Cap != 2 || !c.PerSerial {
			t.Errorf("claim: got %+v, want cap 2 per serial", c)
		}
		m := s.machine(t, "PF3ABCDF")
		m.mustEnroll(t, claim)
		if again := m.mustEnroll(t, claim); again != m.device {
			t.Error("lost answer: another record")
		}
		s.machine(t, "PF3ABCDE").mustEnroll(t, claim)
	})
}

func TestClaimsThatCannotBeMade(t *testing.T) {
	s := newSiteOnSQLite(t)
	ctx := context.Background()
	soon := s.clock.Now().Add(day)
	birke := s.addOwner(t, "Landkreis Birke")
	admin := access.Caller{Kind: access.KindUser, ID: "u", Role: access.RoleAdmin, Owners: []string{s.owner}}
	for name, test := range map[string]struct {
		caller access.Caller
		claim  enroll.NewClaim
		want   error
	}{
		"cap 0":               {admin, enroll.NewClaim{Owner: s.owner, Expires: soon}, enroll.ErrInvalid},
		"cap too large":       {admin, enroll.NewClaim{Owner: s.owner, Cap: enroll.MaxCap + 1, Expires: soon}, enroll.ErrInvalid},
		"no owner":            {admin, enroll.NewClaim{Cap: 1, Expires: soon}, enroll.ErrInvalid},
		"no expiry":           {admin, enroll.NewClaim{Owner: s.owner, Cap: 1}, enroll.ErrInvalid},
		"expired":             {admin, enroll.NewClaim{Owner: s.owner, Cap: 1, Expires: s.clock.Now()}, enroll.ErrInvalid},
		"too long":            {admin, enroll.NewClaim{Owner: s.owner, Cap: 1, Expires: s.clock.Now().Add(401 * day)}, enroll.ErrInvalid},
		"placeholder serial":  {admin, enroll.NewClaim{Owner: s.owner, Expires: soon, Serials: []string{"Default string"}}, enroll.ErrInvalid},
		"long note":           {admin, enroll.NewClaim{Owner: s.owner, Cap: 1, Expires: soon, Note: strings.Repeat("x", 201)}, enroll.ErrInvalid},
		"another's owner":     {admin, enroll.NewClaim{Owner: birke, Cap: 1, Expires: soon}, access.ErrNotFound},
		"unknown owner":       {operator, enroll.NewClaim{Owner: ident.NewID(soon), Cap: 1, Expires: soon}, access.ErrNotFound},
		"unknown school":      {admin, enroll.NewClaim{Owner: s.owner, School: ident.NewID(soon), Cap: 1, Expires: soon}, access.ErrNotFound},
		"reader":              {access.Caller{Kind: access.KindUser, Role: access.RoleRead}, enroll.NewClaim{Owner: s.owner, Cap: 1, Expires: soon}, access.ErrForbidden},
		"device":              {access.ForDevice("d", s.owner), enroll.NewClaim{Owner: s.owner, Cap: 1, Expires: soon}, access.ErrForbidden},
		"nobody":              {access.Caller{}, enroll.NewClaim{Owner: s.owner, Cap: 1, Expires: soon}, access.ErrForbidden},
		"good (control case)": {admin, enroll.NewClaim{Owner: s.owner, Cap: 1, Expires: soon}, nil},
	} {
		_, text, err := s.CreateClaim(ctx, test.caller, test.claim)
		if !errors.Is(err, test.want) || (err == nil) != (text != "") {
			t.Errorf("%s: got %q, %v, want %v", name, text, err, test.want)
		}
	}
	// What one owner's admin sees, and may end.
	theirs, _ := s.claim(t, enroll.NewClaim{Owner: birke})
	claims, err := s.Claims(ctx, admin, "", 500)
	if err != nil || slices.ContainsFunc(claims, func(c enroll.Claim) bool { return c.Owner != s.owner }) || len(claims) != 1 {
		t.Errorf("Claims of one owner: got %+v, %v", claims, err)
	}
	for what, c := range map[string]struct {
		caller access.Caller
		want   int64
	}{"one owner's": {admin, 1}, "all": {operator, 2}} {
		if n, err := s.CountClaims(ctx, c.caller); err != nil || n != c.want {
			t.Errorf("CountClaims of %s: got %d, %v, want %d", what, n, err, c.want)
		}
	}
	if err := s.RevokeClaim(ctx, admin, theirs.ID); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("revoking another's claim: got %v, want not found", err)
	}
	if _, err := s.Claims(ctx, access.ForDevice("d", s.owner), "", 1); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("a device lists claims: got %v", err)
	}
	if _, err := s.SomeClaims(ctx, access.ForDevice("d", s.owner), []string{theirs.ID}); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("a device reads claims: got %v", err)
	}
	if _, err := s.CountClaims(ctx, access.ForDevice("d", s.owner)); !errors.Is(err, access.ErrForbidden) {
		t.Errorf("a device counts claims: got %v", err)
	}
	// Keyset pages.
	first, err := s.Claims(ctx, operator, "", 1)
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	second, err := s.Claims(ctx, operator, first[0].ID, 1)
	if err != nil || len(second) != 1 || second[0].ID <= first[0].ID {
		t.Errorf("second page: got %v, %v", second, err)
	}
}
