package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/wire"
)

// The whole way on both transports and both databases: claim, certificate,
// Welcome, reports, state in the list, end.
func TestFromClaimToReport(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, nil)
		both(t, func(t *testing.T, transport string) {
			dev := w.enrol(t, transport, "DEMO-"+transport)
			state := func(want fleet.State) {
				t.Helper()
				for deadline := time.Now().Add(time.Minute); ; {
					got, err := w.fleet.Device(t.Context(), system, dev.id)
					if err != nil {
						t.Fatal(err)
					}
					if got.State == want {
						return
					}
					if time.Now().After(deadline) {
						t.Fatalf("state %s, want %s", got.State, want)
					}
				}
			}
			state(fleet.StateNew)
			s, _, welcome := dev.in(transport)
			if welcome.GetVersion() != 1 || welcome.GetCursor() != 0 || !bytes.Equal(welcome.GetStoreId(), d.StoreID()) ||
				len(welcome.GetTrustRoots()) != 1 || welcome.GetTimeMs() != w.clock().UnixMilli() || welcome.GetRenew() {
				t.Errorf("welcome %v, want version 1, cursor 0, store id, one root, time, no renewal", welcome)
			}
			state(fleet.StateConnected)
			f := dev.reports(s)
			if ack := dev.send(f, 1, 3); ack != 3 {
				t.Errorf("ack %d, want 3", ack)
			}
			if ack := dev.send(f, 4, 1); ack != 4 {
				t.Errorf("ack %d, want 4", ack)
			}
			s.Close(hmpb.Code_CODE_NORMAL, "")
			state(fleet.StateOK)
			if got := dev.tally(); got != (health.Tally{Reports: 4, Last: 4}) {
				t.Errorf("stored %+v, want 4 reports", got)
			}
			_, _, welcome = dev.in(transport)
			if welcome.GetCursor() != 4 {
				t.Errorf("cursor of the next Welcome = %d, want 4", welcome.GetCursor())
			}
		})
	})
}

func TestRefusedClaim(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	var secret ident.Secret
	if _, code := w.tryEnrol(t, "quic", "DEMO000001", ident.FormatSecret(secret)); code != hmpb.Code_CODE_CLAIM_REFUSED {
		t.Errorf("unknown claim = %s, want CODE_CLAIM_REFUSED", code)
	}
}

// A stranger is told so, before any stream of his is looked at.
func TestStrangersCertificate(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	both(t, func(t *testing.T, transport string) {
		other, err := ident.NewAuthority(w.clock())
		if err != nil {
			t.Fatal(err)
		}
		key, err := ident.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := other.IssueDevice(key.Public(), ident.NewID(w.clock()), w.clock())
		if err != nil {
			t.Fatal(err)
		}
		s := w.dial(t, transport, &tls.Certificate{Certificate: other.Chain(leaf), PrivateKey: key})
		if code := ending(t, s, time.Minute); code != hmpb.Code_CODE_FOREIGN_CERTIFICATE {
			t.Errorf("session ended with %s, want CODE_FOREIGN_CERTIFICATE", code)
		}
	})
	if n := w.gateway.Stats().Refused[hmpb.Code_CODE_FOREIGN_CERTIFICATE]; n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}

func TestHellosThatAreRefused(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	tests := []struct {
		name   string
		change func(*hmpb.Hello)
		want   hmpb.Code
	}{
		{"no version", func(h *hmpb.Hello) { h.SetVersionMin(0); h.SetVersionMax(0) }, hmpb.Code_CODE_MALFORMED_FRAME},
		{"too new", func(h *hmpb.Hello) { h.SetVersionMin(wire.VersionMax + 1); h.SetVersionMax(wire.VersionMax + 3) }, hmpb.Code_CODE_VERSION_TOO_NEW},
		{"no spool epoch", func(h *hmpb.Hello) { h.ClearSpoolEpoch() }, hmpb.Code_CODE_MALFORMED_FRAME},
		{"epoch beyond int64", func(h *hmpb.Hello) { h.SetConnectionEpoch(math.MaxUint64) }, hmpb.Code_CODE_MALFORMED_FRAME},
		{"epoch of long ago", func(h *hmpb.Hello) { h.SetConnectionEpoch(1) }, hmpb.Code_CODE_EPOCH_REPLAY},
	}
	both(t, func(t *testing.T, transport string) {
		dev := w.enrol(t, transport, "DEMO-"+transport)
		dev.epoch = 10
		legit, _, _ := dev.in(transport)
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				hello := dev.hello()
				dev.epoch--
				test.change(hello)
				s, _, down, err := dev.open(transport, hello)
				if err != nil || down.GetRefused().GetCode() != test.want {
					t.Errorf("answer %v, %v, want Refused with %s", down, err, test.want)
				}
				if code := ending(t, s, time.Minute); code != test.want {
					t.Errorf("session ended with %s, want %s", code, test.want)
				}
			})
		}
		if legit.Context().Err() != nil {
			t.Errorf("the good session ended with them: %v", context.Cause(legit.Context()))
		}
	})
}

func TestNewerSessionReplaces(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	dev := w.enrol(t, "quic", "DEMO000001")
	first, _, _ := dev.in("quic")
	second, _, _ := dev.in("tcp")
	if code := ending(t, first, time.Minute); code != hmpb.Code_CODE_REPLACED {
		t.Errorf("older session ended with %s, want CODE_REPLACED", code)
	}
	if ack := dev.send(dev.reports(second), 1, 1); ack != 1 {
		t.Errorf("ack %d on the newer session, want 1", ack)
	}
	if got, err := w.fleet.Device(t.Context(), system, dev.id); err != nil || got.State != fleet.StateConnected {
		t.Errorf("state %s, %v after the replacement, want connected", got.State, err)
	}
}

// Revocation ends live sessions and the device stays out. TestMissedRevocations holds it to two
// seconds.
func TestRevocation(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	both(t, func(t *testing.T, transport string) {
		dev, other := w.enrol(t, transport, "DEMO-1"+transport), w.enrol(t, transport, "DEMO-2"+transport)
		s, _, _ := dev.in(transport)
		stays, _, _ := other.in(transport)
		if err := w.enroll.RevokeDevice(t.Context(), system, dev.id, "lost"); err != nil {
			t.Fatal(err)
		}
		if code := ending(t, s, time.Minute); code != hmpb.Code_CODE_REVOKED {
			t.Errorf("session ended with %s, want CODE_REVOKED", code)
		}
		again := w.dial(t, transport, dev.cert)
		if code := ending(t, again, time.Minute); code != hmpb.Code_CODE_REVOKED {
			t.Errorf("next session ended with %s, want CODE_REVOKED", code)
		}
		if stays.Context().Err() != nil {
			t.Error("another device's session ended with it")
		}
		if got, err := w.fleet.Device(t.Context(), system, dev.id); err != nil || got.State != fleet.StateRevoked {
			t.Errorf("state %s, %v, want revoked", got.State, err)
		}
	})
}

// Half of the validity and its end: a renewal is asked for, then it is all that
// is allowed.
func TestRenewal(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	dev := w.enrol(t, "quic", "DEMO000001")
	w.later(100 * 24 * time.Hour)
	s, _, welcome := dev.in("quic")
	if !welcome.GetRenew() {
		t.Error("welcome asks for no renewal after 100 of 180 days")
	}
	s.Close(hmpb.Code_CODE_NORMAL, "")
	w.later(100 * 24 * time.Hour)
	s, _, down, err := dev.open("quic", dev.hello())
	if err != nil || down.GetRefused().GetCode() != hmpb.Code_CODE_CERTIFICATE_EXPIRED {
		t.Fatalf("hello with an ended certificate = %v, %v, want CODE_CERTIFICATE_EXPIRED", down, err)
	}
	f, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_RENEW, hmpb.RenewHeader_builder{VersionMin: new(uint32(1)), VersionMax: new(uint32(1))}.Build())
	if err != nil {
		t.Fatal(err)
	}
	var answer hmpb.EnrollDown
	if err := f.ReadMsg(&answer); err != nil || answer.WhichKind() != hmpb.EnrollDown_Challenge_case {
		t.Errorf("renewal on the same session = %v, %v, want a challenge", &answer, err)
	}
}

func TestStreamsWithoutCertificate(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	both(t, func(t *testing.T, transport string) {
		s := w.dial(t, transport, nil)
		control, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_CONTROL, &hmpb.Hello{})
		if err != nil {
			t.Fatal(err)
		}
		var down hmpb.ControlDown
		if err := control.ReadMsg(&down); err != nil || down.GetRefused().GetCode() != hmpb.Code_CODE_NO_CERTIFICATE {
			t.Errorf("hello without certificate = %v, %v, want CODE_NO_CERTIFICATE", &down, err)
		}
		reports, err := wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
		if err != nil {
			t.Fatal(err)
		}
		if code := readEnd(t, reports); code != hmpb.Code_CODE_NO_CERTIFICATE {
			t.Errorf("report stream without certificate ended with %s, want CODE_NO_CERTIFICATE", code)
		}
	})
}

// Streams that are wrong end alone; the session goes on.
func TestStreamsThatEndAlone(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	both(t, func(t *testing.T, transport string) {
		dev := w.enrol(t, transport, "DEMO-"+transport)
		s, _, _ := dev.in(transport)
		for name, test := range map[string]struct {
			open func() (*wire.Framed, error)
			want hmpb.Code
		}{
			"second control stream": {func() (*wire.Framed, error) {
				return wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_CONTROL, dev.hello())
			}, hmpb.Code_CODE_STREAM_NOT_ALLOWED},
			"enrolment": {func() (*wire.Framed, error) {
				return wire.Open(t.Context(), s, hmpb.StreamType_STREAM_TYPE_ENROLL, &hmpb.EnrollHeader{})
			}, hmpb.Code_CODE_STREAM_NOT_ALLOWED},
			"unknown type": {func() (*wire.Framed, error) {
				return wire.Open(t.Context(), s, 99, &hmpb.ReportHeader{})
			}, hmpb.Code_CODE_UNKNOWN_STREAM_TYPE},
		} {
			f, err := test.open()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if code := readEnd(t, f); code != test.want {
				t.Errorf("%s ended with %s, want %s", name, code, test.want)
			}
		}
		old := dev.reports(s)
		if ack := dev.send(old, 1, 1); ack != 1 {
			t.Fatalf("ack %d, want 1", ack)
		}
		f := dev.reports(s)
		if code := readEnd(t, old); code != hmpb.Code_CODE_REPLACED {
			t.Errorf("older report stream ended with %s, want CODE_REPLACED", code)
		}
		if ack := dev.send(f, 1, 2); ack != 2 {
			t.Errorf("ack %d after all that, want 2", ack)
		}
	})
}

// Frames that are wrong end the session with their code, and nothing of them is
// stored.
func TestFramesThatEndTheSession(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	raw := func(b []byte) func(*wire.Framed) { return func(f *wire.Framed) { f.Stream.Write(b) } }
	message := func(m proto.Message) func(*wire.Framed) { return func(f *wire.Framed) { f.WriteMsg(m) } }
	tests := []struct {
		name string
		send func(*wire.Framed)
		want hmpb.Code
	}{
		{"too long", raw([]byte{0xff, 0xff, 0xff, 0x7f}), hmpb.Code_CODE_FRAME_TOO_LONG},
		{"no protobuf", raw([]byte{3, 0xff, 0xff, 0xff}), hmpb.Code_CODE_MALFORMED_FRAME},
		{"truncated", func(f *wire.Framed) { f.Stream.Write([]byte{100, 1, 2}); f.CloseWrite() }, hmpb.Code_CODE_MALFORMED_FRAME},
		{"no batch", message(&hmpb.ReportUp{}), hmpb.Code_CODE_MALFORMED_FRAME},
		{"no zstd", message(hmpb.ReportUp_builder{BatchZstd: []byte("this is no zstd")}.Build()), hmpb.Code_CODE_MALFORMED_FRAME},
		{"bomb", message(hmpb.ReportUp_builder{BatchZstd: bomb(t)}.Build()), hmpb.Code_CODE_FRAME_TOO_LONG},
		{"empty batch", message(hmpb.ReportUp_builder{Batch: batch(1, 0)}.Build()), hmpb.Code_CODE_MALFORMED_FRAME},
	}
	both(t, func(t *testing.T, transport string) {
		for i, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				dev := w.enrol(t, transport, fmt.Sprintf("DEMO-%s%d", transport, i))
				s, _, _ := dev.in(transport)
				f := dev.reports(s)
				dev.send(f, 1, 1)
				test.send(f)
				if code := ending(t, s, time.Minute); code != test.want {
					t.Errorf("session ended with %s, want %s", code, test.want)
				}
				if got := dev.tally(); got != (health.Tally{Reports: 1, Last: 1}) {
					t.Errorf("stored %+v, want the one good report", got)
				}
			})
		}
	})
}

// bomb is 5 MB of zeros in some hundred bytes, made by the zstd program once:
// the library has its home elsewhere.
func bomb(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/zeros-5mb.zst")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// One stream after the other, each a legal one.
func TestStreamFlood(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	both(t, func(t *testing.T, transport string) {
		dev := w.enrol(t, transport, "DEMO-"+transport)
		s, _, _ := dev.in(transport)
		for range 10_000 {
			f, err := wire.Open(t.Context(), s, 99, &hmpb.ReportHeader{})
			if err != nil {
				break
			}
			f.Reset(hmpb.Code_CODE_NORMAL)
		}
		code := ending(t, s, time.Minute)
		// Over TCP a peer that goes on writing may lose the code to a reset.
		if code != hmpb.Code_CODE_TOO_MANY_STREAMS && (transport != "tcp" || code != hmpb.Code_CODE_LOST) {
			t.Errorf("session ended with %s, want CODE_TOO_MANY_STREAMS", code)
		}
		dev.in(transport) // and is let in again
	})
}

// A device that connects again and again is told to wait; another one is not.
func TestReconnectFlood(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	dev := w.enrol(t, "quic", "DEMO000001")
	for range 20 {
		_, _, down, err := dev.open("quic", dev.hello())
		if err != nil {
			t.Fatal(err)
		}
		if down.WhichKind() == hmpb.ControlDown_Welcome_case {
			continue
		}
		if r := down.GetRefused(); r.GetCode() != hmpb.Code_CODE_COME_BACK || r.GetRetryAfterS() == 0 || r.GetRetryAfterS() > 10 {
			t.Errorf("refused with %v, want CODE_COME_BACK in 1 to 10 s", r)
		}
		w.enrol(t, "quic", "DEMO000002").in("quic")
		return
	}
	t.Error("20 connections in a row were all let in")
}

// A full database: the report stream ends with its code, the session lives,
// newcomers are told to come back, and with space again nothing is missing.
func TestFullStore(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	dev := w.enrol(t, "quic", "DEMO000001")
	s, _, _ := dev.in("quic")
	f := dev.reports(s)
	dev.send(f, 1, 1)
	w.limitPages(t, 1)
	next := uint64(2)
	code := hmpb.Code_CODE_UNSPECIFIED
	for ; next < 100_000; next += 100 {
		if err := f.WriteBatch(batch(next, 100)); err != nil {
			code = wire.CodeOf(err)
			break
		}
		var down hmpb.ReportDown
		if err := f.ReadMsg(&down); err != nil {
			code = wire.CodeOf(err)
			break
		}
	}
	if code != hmpb.Code_CODE_STORE_UNAVAILABLE {
		t.Fatalf("report stream ended with %s, want CODE_STORE_UNAVAILABLE", code)
	}
	if s.Context().Err() != nil {
		t.Fatalf("session ended too: %v", context.Cause(s.Context()))
	}
	if !strings.Contains(w.log.String(), "reports are not stored") {
		t.Error("the log does not say that reports are not stored")
	}
	w.limitPages(t, 1_000_000)
	if ack := dev.send(dev.reports(s), next, 100); ack != next+99 {
		t.Errorf("ack %d with space again, want %d", ack, next+99)
	}
	if got := dev.tally(); got != (health.Tally{Reports: next + 99, Last: next + 99}) {
		t.Errorf("stored %+v, want %d reports", got, next+99)
	}
}

// limitPages makes the database full at once, or not any more.
func (w *world) limitPages(t *testing.T, pages int) {
	t.Helper()
	err := w.db.Write(t.Context(), func(tx *db.Tx) error {
		var n int64
		return tx.QueryRow(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Nothing that names a person or a secret is in the log, at any level.
func TestLogIsClean(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations), nil)
	dev := w.enrol(t, "quic", "DEMO000001")
	s, control, _ := dev.in("quic")
	dev.send(dev.reports(s), 1, 1)
	control.WriteMsg(hmpb.ControlUp_builder{Goodbye: hmpb.Goodbye_builder{Reason: hmpb.Goodbye_REASON_STOPPING.Enum()}.Build()}.Build())
	s.Close(hmpb.Code_CODE_NORMAL, "")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(w.log.String(), "session ends"); {
		if time.Now().After(deadline) {
			t.Fatalf("log has no end of the session:\n%s", w.log)
		}
	}
	text := w.log.String()
	for _, bad := range []string{ident.FormatSecret(w.claim.Secret), "127.0.0.1", "DEMO000001"} {
		if strings.Contains(text, bad) {
			t.Errorf("log has %q:\n%s", bad, text)
		}
	}
	for _, good := range []string{"device=" + dev.id, "tenant=", "session="} {
		if !strings.Contains(text, good) {
			t.Errorf("log lacks %q:\n%s", good, text)
		}
	}
}
