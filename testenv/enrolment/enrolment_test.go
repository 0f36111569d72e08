package enrolment

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	agent "hausmeister/agent/enroll"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// onEach runs a story over both transports, on both databases.
func onEach(t *testing.T, story func(t *testing.T, w *world, via string)) {
	t.Helper()
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for _, via := range []string{"quic", "tcp"} {
			t.Run(via, func(t *testing.T) { story(t, w, via) })
		}
	})
}

func word(err error) agent.Word {
	var e *agent.Error
	if errors.As(err, &e) {
		return e.Word
	}
	return ""
}

func (v *device) mustEnroll(t testing.TB, claim string) agent.Identity {
	t.Helper()
	id, err := v.Enroll(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// mustConnect comes in: Welcome, with roots that the agent can take over.
func (v *device) mustConnect(t testing.TB) wire.Session {
	t.Helper()
	s, down, err := v.connect(t)
	if err != nil || down.GetWelcome() == nil {
		t.Fatalf("connecting: got %v, %v", down, err)
	}
	v.Trust(time.UnixMilli(down.GetWelcome().GetTimeMs()))
	if err := v.SetRoots(down.GetWelcome().GetTrustRoots(), s.ConnectionState()); err != nil {
		t.Errorf("roots of the Welcome: %v", err)
	}
	t.Cleanup(func() { s.Close(hmpb.Code_CODE_NORMAL, "") })
	return s
}

func TestFromClaimToRevocation(t *testing.T) {
	onEach(t, func(t *testing.T, w *world, via string) {
		v := w.device(t, via, "PF3"+via+"01")
		id := v.mustEnroll(t, w.claim(t, enroll.NewClaim{}))
		s := v.mustConnect(t)

		// Renewal over the live session from half-life on; before it is refused.
		if err := v.Renew(t.Context(), s); err == nil {
			t.Error("renewed before half-life")
		}
		w.advance(90 * day)
		s = v.mustConnect(t)
		if !v.NeedsRenewal() {
			t.Error("at half-life: no renewal needed")
		}
		before := v.TLSConfig()
		if err := v.Renew(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if now, _ := v.Enrolled(); now.Device != id.Device || v.NeedsRenewal() {
			t.Errorf("renewed: %+v, needs renewal %v", now, v.NeedsRenewal())
		}
		s = v.mustConnect(t)
		old, err := v.dial(t.Context(), "", before)
		if err == nil {
			_, err = wire.Open(t.Context(), old, hmpb.StreamType_STREAM_TYPE_CONTROL, &hmpb.Hello{})
			if code := ends(t, old); code != hmpb.Code_CODE_REVOKED {
				t.Errorf("the replaced certificate: got %v, %v", code, err)
			}
		}

		// Revoked: the live session ends, and for good.
		if err := w.enroll.RevokeDevice(t.Context(), operator, id.Device, "stolen"); err != nil {
			t.Fatal(err)
		}
		if code := ends(t, s); code != hmpb.Code_CODE_REVOKED {
			t.Errorf("live session of a revoked device: got %v", code)
		}
		s, _, err = v.connect(t)
		if err == nil {
			t.Error("a revoked device came in")
		} else if s != nil {
			if code := ends(t, s); code != hmpb.Code_CODE_REVOKED {
				t.Errorf("connecting again: got %v", code)
			}
		}
		if got, err := v.Reenroll(t.Context(), w.claim(t, enroll.NewClaim{})); err != nil || got.Device != id.Device {
			t.Errorf("enrolled anew: got %+v, %v, want device %s", got, err, id.Device)
		}
		v.mustConnect(t)
	})
}

// An expired certificate opens nothing but the renewal stream, up to 400 days.
func TestHolidays(t *testing.T) {
	onEach(t, func(t *testing.T, w *world, via string) {
		for _, away := range []int{44, 399, 401} {
			v := w.device(t, via, "")
			v.mustEnroll(t, w.claim(t, enroll.NewClaim{}))
			w.advance(180*day + time.Duration(away)*day)
			err := v.renewAnew(t)
			if away > 400 {
				if err == nil || word(err) != agent.WordTooOld {
					t.Errorf("%d days after the end: got %v, want certificate_too_old", away, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%d days after the end: %v", away, err)
				continue
			}
			v.mustConnect(t)
		}
	})
}

// renewAnew renews on a session of its own.
func (v *device) renewAnew(t testing.TB) error {
	t.Helper()
	s, err := v.dial(t.Context(), "", v.TLSConfig())
	if err != nil {
		return err
	}
	defer s.Close(hmpb.Code_CODE_NORMAL, "")
	return v.Renew(t.Context(), s)
}

func TestReimageAndClone(t *testing.T) {
	onEach(t, func(t *testing.T, w *world, via string) {
		claim := w.claim(t, enroll.NewClaim{})
		v := w.device(t, via, "PF4"+via+"01")
		id := v.mustEnroll(t, claim)
		live := v.mustConnect(t)
		again := w.device(t, via, "PF4"+via+"01") // same machine, empty disk
		if got := again.mustEnroll(t, claim); got.Device != id.Device {
			t.Errorf("re-image: got device %s, want %s", got.Device, id.Device)
		}
		if code := ends(t, live); code != hmpb.Code_CODE_REVOKED {
			t.Errorf("live session of the old key: got %v", code)
		}
		// A copy of the disk that stayed behind by two connections.
		copied := again.disk.copy()
		for range 3 {
			again.mustConnect(t).Close(hmpb.Code_CODE_NORMAL, "")
		}
		clone := w.boot(t, via, "PF4"+via+"01", copied)
		s, down, err := clone.connect(t)
		if err == nil && down.GetRefused().GetCode() != hmpb.Code_CODE_EPOCH_REPLAY {
			t.Errorf("clone: got %v", down)
		}
		if s != nil && err != nil {
			if code := ends(t, s); code != hmpb.Code_CODE_EPOCH_REPLAY {
				t.Errorf("clone: got %v, %v", code, err)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	onEach(t, func(t *testing.T, w *world, via string) {
		used := w.claim(t, enroll.NewClaim{Cap: 1})
		w.device(t, via, "").mustEnroll(t, used)
		c, err := ident.ParseClaim(used)
		if err != nil {
			t.Fatal(err)
		}
		c.Secret = ident.NewSecret()
		for name, claim := range map[string]string{"used up": used, "unknown": ident.FormatClaim(c)} {
			if _, err := w.device(t, via, "").Enroll(t.Context(), claim); word(err) != agent.WordRefused {
				t.Errorf("%s: got %v, want claim_refused", name, err)
			}
		}
		// Another chain than the claim's: the name of who sits between is kept,
		// through both transports' own errors.
		c.CA[0] ^= 1
		var box *ident.InspectionError
		if _, err := w.device(t, via, "").Enroll(t.Context(), ident.FormatClaim(c)); word(err) != agent.WordInspected ||
			!errors.As(err, &box) || box.Issuer != "CN=Hausmeister intermediate" {
			t.Errorf("inspected: got %v", err)
		}
	})
}

// Both ends of a session export the same keying material, or nobody could enrol;
// two sessions do not.
func TestExporterBindsTheSession(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	pins, err := ident.Pins(w.enroll.TrustRoots())
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, ident.NonceLen)
	seen := map[string]bool{}
	for _, via := range []string{"quic", "quic", "tcp", "tcp"} {
		v := w.device(t, via, "")
		s, err := v.dial(context.Background(), "", ident.AgentConfig(ident.AgentTLS{Pins: pins, ServerName: "localhost", Trusted: w.clock}))
		if err != nil {
			t.Fatal(err)
		}
		c, err := ident.Challenge(nonce, s.ConnectionState())
		if err != nil || seen[c] {
			t.Errorf("%s: challenge %q, seen %v, %v", via, c, seen[c], err)
		}
		seen[c] = true
		if s.ConnectionState().Version != tls.VersionTLS13 {
			t.Errorf("%s: not TLS 1.3", via)
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
	}
}
