package link_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/agent/link"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

// in runs a test in a world of its own.
func in(outer *testing.T, f func(*world)) {
	synctest.Test(outer, func(t *testing.T) {
		w := newWorld(t)
		w.outer = outer
		defer w.close()
		f(w)
	})
}

func TestReportsArriveOnceInOrder(t *testing.T) {
	in(t, func(w *world) {
		var sent []int
		w.config.Sent = func(b *hmpb.Batch) { w.collector.set(func() { sent = append(sent, len(b.GetEntries())) }) }
		w.add(1000) // as after a weekend without network
		w.collector.start()
		w.run()
		w.until("backlog told", 30*time.Second, w.toldAll)
		for range 20 {
			time.Sleep(time.Minute)
			w.add(1)
		}
		w.until("all told", 5*time.Second, w.toldAll)
		if d := cmp.Diff(w.all(), w.collector.texts()); d != "" {
			t.Errorf("stored (-want +got):\n%s", d)
		}
		n, hello := w.collector.lastHello()
		if n != 1 || w.collector.doubled != 0 {
			t.Errorf("%d sessions, %d reports told twice; want 1 and 0", n, w.collector.doubled)
		}
		if backlog := sent[0]; backlog < 100 || backlog == 1000 {
			t.Errorf("first batch has %d entries, want a good part of the backlog but not all", backlog)
		}
		if hello.GetConnectionEpoch() != 1 || hello.GetSpoolFirst() != 1 || hello.GetSpoolLast() != 1000 || hello.GetAgentVersion() != "1.2.3" || len(hello.GetStoreId()) != 0 {
			t.Errorf("Hello = %v", hello)
		}
		w.until("acknowledged", time.Second, func() bool { return w.spool.Acked() == 1020 })
	})
}

func TestGoodbye(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		if took := w.stop(); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
		if w.collector.byes != 1 {
			t.Errorf("collector heard %d goodbyes, want 1", w.collector.byes)
		}
		// The next session: epoch raised, store known.
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		if n, h := w.collector.lastHello(); n != 2 || h.GetConnectionEpoch() != 2 || string(h.GetStoreId()) != string(w.collector.storeID) {
			t.Errorf("hello %d = %v", n, h)
		}
	})
}

func TestStopsAlthoughTheNetworkIsDead(t *testing.T) {
	for _, state := range []link.State{link.Dialing, link.Greeting, link.Connected, link.Waiting} {
		t.Run(string(state), func(t *testing.T) {
			in(t, func(w *world) {
				w.collector.set(func() {
					if state == link.Greeting {
						w.collector.greet = func(int, wire.Session, *hmpb.Hello) *hmpb.ControlDown { time.Sleep(time.Minute); return nil }
					}
				})
				if state == link.Connected || state == link.Greeting {
					w.collector.start()
				}
				w.add(1)
				w.run()
				w.until("in this state", 2*time.Minute, func() bool { return w.link.Status().State == state })
				w.device.Set(netsim.Weather{CutUp: true, CutDown: true})
				w.add(1)
				time.Sleep(100 * time.Millisecond)
				if took := w.stop(); took > 2*time.Second {
					t.Errorf("stopping took %v", took)
				}
			})
		})
	}
}

// TestBackoff: hours without collector cost few packets, and it is found soon
// after it is back.
func TestBackoff(t *testing.T) {
	in(t, func(w *world) {
		w.add(3)
		w.run()
		time.Sleep(8 * time.Hour)
		var dials []time.Time
		w.collector.set(func() { dials = slices.Clone(w.dials) })
		// Each try lasts 20 s, the waits are 60 s in the mean.
		if n := len(dials); n < 8*3600/140 || n > 8*3600/50 {
			t.Errorf("%d tries in 8 hours", n)
		}
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(dials); i++ {
			gap := dials[i].Sub(dials[i-1])
			if gap > 2*time.Minute+25*time.Second {
				t.Errorf("a gap of %v between tries", gap)
			}
			gaps[gap] = true
		}
		if len(gaps) < len(dials)/2 {
			t.Errorf("%d different gaps of %d: no jitter", len(gaps), len(dials))
		}
		if first := dials[1].Sub(dials[0]); first > 22*time.Second {
			t.Errorf("first gap %v, want at most a second after the try", first)
		}
		if st := w.link.Status(); st.Problem != link.Unreachable {
			t.Errorf("status %+v, want %s", st, link.Unreachable)
		}
		w.collector.start()
		w.until("told", 2*time.Minute+25*time.Second, w.toldAll)
		if st := w.link.Status(); st.Problem != link.NoProblem || st.State != link.Connected || st.Transport != "quic" {
			t.Errorf("status %+v", st)
		}
	})
}

func TestEndings(t *testing.T) {
	refused := func(code hmpb.Code, after uint32) func(int, wire.Session, *hmpb.Hello) *hmpb.ControlDown {
		return func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n > 1 {
				return nil
			}
			return hmpb.ControlDown_builder{Refused: hmpb.Refused_builder{Code: &code, RetryAfterS: &after}.Build()}.Build()
		}
	}
	closed := func(code hmpb.Code) func(int, wire.Session, *hmpb.Hello) *hmpb.ControlDown {
		return func(n int, s wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n == 1 {
				s.Close(code, "told so")
			}
			return nil
		}
	}
	tests := []struct {
		name        string
		greet       func(int, wire.Session, *hmpb.Hello) *hmpb.ControlDown
		problem     link.Problem
		state       link.State
		least, most time.Duration // until the next session
	}{
		{"come back in 300 s", refused(hmpb.Code_CODE_COME_BACK, 300), link.Busy, link.Waiting, 300 * time.Second, 380 * time.Second},
		{"come back in a year", refused(hmpb.Code_CODE_COME_BACK, 31536000), link.Busy, link.Waiting, time.Hour, 76 * time.Minute},
		{"as a frame of its own", func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n > 1 {
				return nil
			}
			return hmpb.ControlDown_builder{ComeBack: hmpb.ComeBack_builder{RetryAfterS: proto.Uint32(60)}.Build()}.Build()
		}, link.Busy, link.Waiting, time.Minute, 76 * time.Second},
		{"closed with come back", closed(hmpb.Code_CODE_COME_BACK), link.Busy, link.Waiting, 0, 2 * time.Second},
		{"shutting down", closed(hmpb.Code_CODE_SHUTTING_DOWN), link.Busy, link.Waiting, 0, 2 * time.Second},
		{"store unavailable", refused(hmpb.Code_CODE_STORE_UNAVAILABLE, 20), link.Busy, link.Waiting, 20 * time.Second, 26 * time.Second},
		{"revoked", refused(hmpb.Code_CODE_REVOKED, 0), link.Revoked, link.Refused, 15 * time.Minute, time.Hour},
		{"closed as revoked", closed(hmpb.Code_CODE_REVOKED), link.Revoked, link.Refused, 15 * time.Minute, time.Hour},
		{"unknown device", refused(hmpb.Code_CODE_UNKNOWN_DEVICE, 0), link.UnknownDevice, link.Refused, 15 * time.Minute, time.Hour},
		{"foreign certificate", closed(hmpb.Code_CODE_FOREIGN_CERTIFICATE), link.Foreign, link.Refused, 15 * time.Minute, time.Hour},
		{"copied disk", refused(hmpb.Code_CODE_EPOCH_REPLAY, 0), link.Copied, link.Refused, 15 * time.Minute, time.Hour},
		{"version too old", refused(hmpb.Code_CODE_VERSION_TOO_OLD, 0), link.VersionRefused, link.Refused, 15 * time.Minute, time.Hour},
		{"version too new", refused(hmpb.Code_CODE_VERSION_TOO_NEW, 0), link.VersionRefused, link.Refused, 15 * time.Minute, time.Hour},
		{"replaced", closed(hmpb.Code_CODE_REPLACED), link.Elsewhere, link.Waiting, 0, 2 * time.Second},
		{"a code of the future", refused(hmpb.Code(999), 0), link.OutOfOrder, link.Waiting, 0, 2 * time.Second},
		{"welcome of another version", func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n > 1 {
				return nil
			}
			return hmpb.ControlDown_builder{Welcome: hmpb.Welcome_builder{Version: proto.Uint32(9), StoreId: []byte("x")}.Build()}.Build()
		}, link.OutOfOrder, link.Waiting, 0, 2 * time.Second},
		{"neither nor", func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n > 1 {
				return nil
			}
			return hmpb.ControlDown_builder{Settings: &hmpb.Settings{}}.Build()
		}, link.OutOfOrder, link.Waiting, 0, 2 * time.Second},
		{"silence", func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
			if n == 1 {
				time.Sleep(time.Minute)
			}
			return nil
		}, link.Lost, link.Waiting, 0, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(w *world) {
				if tt.least == 0 { // else it may come again before anybody has looked
					w.config.Random = func() float64 { return 0.5 }
				}
				w.collector.greet = tt.greet
				w.collector.start()
				w.add(2)
				w.run()
				w.until("ended", time.Minute, func() bool { return w.link.Status().Problem != link.NoProblem })
				st := w.link.Status()
				if st.Problem != tt.problem || st.State != tt.state {
					t.Errorf("status %+v, want %s, %s", st, tt.problem, tt.state)
				}
				if wait := time.Until(st.RetryAt); wait > tt.most || wait < tt.least-100*time.Millisecond {
					t.Errorf("next try in %v, want %v to %v", wait, tt.least, tt.most)
				}
				// What the network does is no reason to come sooner than asked.
				w.link.Notice(wake.Event{Network: true})
				waited := w.until("in after all", tt.most+time.Minute, w.connected)
				if waited < tt.least-100*time.Millisecond {
					t.Errorf("came back after %v, want %v at least", waited, tt.least)
				}
				w.until("told", 5*time.Second, w.toldAll)
			})
		})
	}
}

// TestComeBackIsSpread: those who were told the same come over a quarter more.
func TestComeBackIsSpread(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 300 * time.Second, 0.5: 337500 * time.Millisecond} {
		in(t, func(w *world) {
			w.config.Random = func() float64 { return random }
			w.collector.greet = func(int, wire.Session, *hmpb.Hello) *hmpb.ControlDown {
				return hmpb.ControlDown_builder{ComeBack: hmpb.ComeBack_builder{RetryAfterS: proto.Uint32(300)}.Build()}.Build()
			}
			w.collector.start()
			w.run()
			w.until("sent away", 5*time.Second, func() bool { return w.link.Status().Problem == link.Busy })
			if wait := time.Until(w.link.Status().RetryAt); (wait - want).Abs() > 50*time.Millisecond {
				t.Errorf("with a random number of %v the next try is in %v, want %v", random, wait, want)
			}
		})
	}
}

// TestMisbehavingCollector: whatever it answers, the link neither hangs nor
// spins nor believes it.
func TestMisbehavingCollector(t *testing.T) {
	tests := []struct {
		name    string
		onBatch func(n int, s wire.Session, f *wire.Framed, b *hmpb.Batch) bool
	}{
		{"acknowledges the future", func(_ int, _ wire.Session, f *wire.Framed, _ *hmpb.Batch) bool {
			return f.WriteMsg(ack(1<<40)) == nil
		}},
		{"never moves on", func(_ int, _ wire.Session, f *wire.Framed, _ *hmpb.Batch) bool {
			return f.WriteMsg(ack(0)) == nil
		}},
		{"asks for sequence 0", func(_ int, _ wire.Session, f *wire.Framed, _ *hmpb.Batch) bool {
			return f.WriteMsg(hmpb.ReportDown_builder{Resend: &hmpb.Resend{}}.Build()) == nil
		}},
		{"asks for the same again and again", func(_ int, _ wire.Session, f *wire.Framed, b *hmpb.Batch) bool {
			return f.WriteMsg(hmpb.ReportDown_builder{Resend: hmpb.Resend_builder{FromSeq: proto.Uint64(b.GetFirstSeq())}.Build()}.Build()) == nil
		}},
		{"answers with nothing", func(_ int, _ wire.Session, f *wire.Framed, _ *hmpb.Batch) bool {
			return f.WriteMsg(&hmpb.ReportDown{}) == nil
		}},
		{"answers with noise", func(_ int, _ wire.Session, f *wire.Framed, _ *hmpb.Batch) bool {
			f.Write([]byte{3, 0xff, 0xff, 0xff})
			return true
		}},
		{"does not answer", func(int, wire.Session, *wire.Framed, *hmpb.Batch) bool { return true }},
		{"ends the stream", func(_ int, _ wire.Session, f *wire.Framed, _ *hmpb.Batch) bool {
			f.CloseWrite()
			return true
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(w *world) {
				w.collector.onBatch = tt.onBatch
				w.collector.start()
				w.add(3)
				w.run()
				time.Sleep(time.Hour)
				w.collector.set(func() {
					if w.collector.batches > 3600/15 {
						t.Errorf("%d batches in an hour", w.collector.batches)
					}
					if w.collector.batches < 5 {
						t.Errorf("%d batches in an hour: it gave up", w.collector.batches)
					}
					w.collector.onBatch = nil
				})
				if got := w.spool.Acked(); got != 0 {
					t.Errorf("spool believes %d acknowledged", got)
				}
				w.until("told in the end", 5*time.Minute, w.toldAll)
			})
		})
	}
}

func TestClockOffset(t *testing.T) {
	for _, off := range []time.Duration{0, -56 * 365 * 24 * time.Hour, 73 * 365 * 24 * time.Hour, 90 * time.Second} {
		in(t, func(w *world) {
			w.config.Now = func() time.Time { return time.Now().Add(off) }
			w.collector.start()
			w.add(1)
			w.run()
			w.until("told", 5*time.Second, w.toldAll)
			time.Sleep(time.Second)
			if got := w.link.Status().ClockOffset; (got + off).Abs() > 100*time.Millisecond {
				t.Errorf("clock is off by %v, measured %v", off, -got)
			}
			if w.identity.trusted.Before(time.Now().Add(-time.Minute)) {
				t.Errorf("trusted time %v", w.identity.trusted)
			}
		})
	}
}

func TestRenewal(t *testing.T) {
	t.Run("from half-life", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.start()
			w.run()
			w.until("connected", 5*time.Second, w.connected)
			w.identity.mu.Lock()
			w.identity.due = true
			fails := 2
			w.identity.renew = func() error {
				if fails--; fails >= 0 {
					return errors.New("collector is busy")
				}
				return nil
			}
			w.identity.mu.Unlock()
			w.until("renewed", 4*time.Hour, func() bool { return !w.identity.NeedsRenewal() })
			if n := w.collector.renewed(); n != 3 {
				t.Errorf("%d tries, want 3", n)
			}
			if n, _ := w.collector.lastHello(); n != 1 {
				t.Errorf("%d sessions, want 1: the old certificate still holds", n)
			}
		})
	})
	t.Run("asked for", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.welcome = func(m *hmpb.Welcome) { m.SetRenew(true) }
			w.collector.start()
			w.run()
			w.until("renewed", 2*time.Minute, func() bool { return w.collector.renewed() == 1 })
		})
	})
	t.Run("expired", func(t *testing.T) {
		in(t, func(w *world) {
			w.collector.greet = func(int, wire.Session, *hmpb.Hello) *hmpb.ControlDown {
				if w.collector.renewed() > 0 {
					return nil
				}
				return hmpb.ControlDown_builder{Refused: hmpb.Refused_builder{Code: hmpb.Code_CODE_CERTIFICATE_EXPIRED.Enum()}.Build()}.Build()
			}
			w.collector.start()
			w.add(1)
			w.run()
			w.until("told after renewal", 10*time.Second, w.toldAll)
			if w.identity.renewed != 1 {
				t.Errorf("renewed %d times, want once", w.identity.renewed)
			}
		})
	})
	t.Run("expired too long ago", func(t *testing.T) {
		in(t, func(w *world) {
			expired := hmpb.Code_CODE_CERTIFICATE_EXPIRED
			w.collector.greet = func(int, wire.Session, *hmpb.Hello) *hmpb.ControlDown {
				return hmpb.ControlDown_builder{Refused: hmpb.Refused_builder{Code: &expired}.Build()}.Build()
			}
			w.identity.renew = func() error { return &wire.Error{Code: expired, Remote: true} }
			w.collector.start()
			w.run()
			w.until("refused", time.Minute, func() bool { return w.link.Status().Problem == link.TooOld })
			if st := w.link.Status(); st.State != link.Refused {
				t.Errorf("status %+v", st)
			}
		})
	})
}

func TestComeBackAtTheCollectorsStop(t *testing.T) {
	in(t, func(w *world) {
		c := w.collector
		c.start()
		w.add(1)
		w.run()
		w.until("told", 5*time.Second, w.toldAll)
		c.onBatch = func(_ int, s wire.Session, f *wire.Framed, b *hmpb.Batch) bool {
			s.Close(hmpb.Code_CODE_SHUTTING_DOWN, "")
			return true
		}
		w.add(1)
		w.until("noticed", 5*time.Second, func() bool { return !w.connected() })
		if p := w.link.Status().Problem; p != link.Busy {
			t.Errorf("problem %q, want %q", p, link.Busy)
		}
		c.set(func() { c.onBatch = nil })
		w.until("told", time.Minute, w.toldAll)
	})
}

// TestRoots: what a Welcome wants trusted reaches the identity, with the session
// that it came on; a Welcome without any changes nothing.
func TestRoots(t *testing.T) {
	in(t, func(w *world) {
		roots := [][]byte{[]byte("this root"), []byte("next root")}
		w.collector.welcome = func(m *hmpb.Welcome) {
			if len(w.collector.hellos) > 1 {
				m.SetTrustRoots(roots)
			}
		}
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		if n := len(w.identity.announced()); n != 0 {
			t.Errorf("a Welcome without roots set %d", n)
		}
		w.stop()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		got := w.identity.announced()
		if len(got) != 1 || !slices.EqualFunc(got[0].roots, roots, bytes.Equal) || len(got[0].cs.PeerCertificates) == 0 {
			t.Errorf("announced %v, want the two roots once, on a session with a certificate", got)
		}
	})
}

// TestReconnect: another identity gets its session at once, whatever the one of
// before has been told.
func TestReconnect(t *testing.T) {
	in(t, func(w *world) {
		w.collector.start()
		w.run()
		w.until("connected", 5*time.Second, w.connected)
		hellos := func() int { n, _ := w.collector.lastHello(); return n }
		w.link.Reconnect()
		w.until("second session", 3*time.Second, func() bool { return hellos() == 2 && w.connected() })
		w.collector.set(func() {
			w.collector.greet = func(n int, _ wire.Session, _ *hmpb.Hello) *hmpb.ControlDown {
				if n != 3 {
					return nil
				}
				return hmpb.ControlDown_builder{Refused: hmpb.Refused_builder{Code: hmpb.Code_CODE_REVOKED.Enum()}.Build()}.Build()
			}
		})
		w.link.Reconnect()
		w.until("refused", 3*time.Second, func() bool { return w.link.Status().State == link.Refused })
		w.link.Reconnect()
		w.until("fourth session", 3*time.Second, func() bool { return hellos() == 4 && w.connected() })
		time.Sleep(time.Hour)
		if n := hellos(); n != 4 {
			t.Errorf("%d sessions, want 4: each was asked for once", n)
		}
	})
}

func TestSettings(t *testing.T) {
	in(t, func(w *world) {
		got := make(chan uint32, 2)
		w.config.Settings = func(s *hmpb.Settings) { got <- s.GetStateIntervalS() }
		w.collector.welcome = func(m *hmpb.Welcome) {
			m.SetSettings(hmpb.Settings_builder{StateIntervalS: proto.Uint32(30)}.Build())
		}
		w.collector.start()
		w.run()
		if s := <-got; s != 30 {
			t.Errorf("settings say %d s, want 30", s)
		}
	})
}

func TestNotEnrolled(t *testing.T) {
	in(t, func(w *world) {
		w.identity.none = true
		w.run()
		time.Sleep(time.Second)
		if st := w.link.Status(); st.State != link.Refused || st.Problem != link.NotEnrolled {
			t.Errorf("status %+v", st)
		}
	})
}
