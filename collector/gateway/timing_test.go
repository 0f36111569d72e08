package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/gateway"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

func TestSilentPeers(t *testing.T) {
	tests := []struct {
		name string
		may  enroll.May
		say  func(b *bubble, s wire.Session)
		end  time.Duration
	}{
		{"no stream", enroll.MayAll, func(*bubble, wire.Session) {}, 10 * time.Second},
		{"a stream that does not say its type", enroll.MayAll, func(b *bubble, s wire.Session) { s.OpenStream(context.Background()) }, 10 * time.Second},
		{"half a Hello", enroll.MayAll, func(b *bubble, s wire.Session) {
			st, err := s.OpenStream(context.Background())
			if err == nil {
				_, err = st.Write([]byte{byte(hmpb.StreamType_STREAM_TYPE_CONTROL), 200, 1, 8})
			}
			if err != nil {
				b.t.Error(err)
			}
		}, 10 * time.Second},
		{"no enrolment", enroll.MayEnroll, func(*bubble, wire.Session) {}, time.Minute},
		{"no renewal", enroll.MayRenew, func(*bubble, wire.Session) {}, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, &subjects{may: test.may}, nil, func(t *testing.T, b *bubble) {
				s := b.dial()
				test.say(b, s)
				b.wantEnd(s, test.end, time.Second, hmpb.Code_CODE_TIMEOUT)
				synctest.Wait()
				if n := b.Live(); n != 0 {
					t.Errorf("%d sessions live on", n)
				}
			})
		})
	}
}

// A welcomed session may be silent for hours; half a frame may not.
func TestSilenceAfterWelcome(t *testing.T) {
	inBubble(t, &subjects{}, nil, func(t *testing.T, b *bubble) {
		s, _ := b.in()
		f, err := wire.Open(context.Background(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		if err := f.WriteBatch(batch(1, 1)); err != nil {
			t.Fatalf("sending after three hours: %v", err)
		}
		if err := f.ReadMsg(&hmpb.ReportDown{}); err != nil {
			t.Fatalf("ack after three hours: %v", err)
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
	})
}

// Stopping tells each device when to come back and waits for it a moment.
func TestFarewell(t *testing.T) {
	for _, polite := range []bool{true, false} {
		inBubble(t, &subjects{}, nil, func(t *testing.T, b *bubble) {
			s, control := b.in()
			begin := time.Now()
			b.stop()
			var down hmpb.ControlDown
			if err := control.ReadMsg(&down); err != nil || down.WhichKind() != hmpb.ControlDown_ComeBack_case {
				t.Fatalf("last frame %v, %v, want ComeBack", &down, err)
			}
			if n := down.GetComeBack().GetRetryAfterS(); n < 1 || n > 4 {
				t.Errorf("one device is told to come back in %d s, want 1 to 4", n)
			}
			if polite {
				s.Close(hmpb.Code_CODE_NORMAL, "")
			} else {
				b.wantEnd(s, time.Second, time.Second, hmpb.Code_CODE_SHUTTING_DOWN)
			}
			b.wg.Wait()
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("stopping took %v", took)
			}
		})
	}
}

// A store that does not answer: nobody gets in, all are told to come back at
// different times.
func TestStoreUnavailableAtHello(t *testing.T) {
	waits := map[uint32]bool{}
	inBubble(t, &subjects{begin: db.ErrUnavailable}, nil, func(t *testing.T, b *bubble) {
		for range 6 {
			s, control, down := b.open()
			r := down.GetRefused()
			if r.GetCode() != hmpb.Code_CODE_STORE_UNAVAILABLE || r.GetRetryAfterS() < 5 || r.GetRetryAfterS() > 30 {
				t.Errorf("refused with %v, want CODE_STORE_UNAVAILABLE in 5 to 30 s", r)
			}
			waits[r.GetRetryAfterS()] = true
			control.CloseWrite()
			b.wantEnd(s, 0, time.Second, hmpb.Code_CODE_STORE_UNAVAILABLE)
		}
	})
	if len(waits) == 1 {
		t.Errorf("all are told the same time: %v", waits)
	}
}

func TestStoreFailsUnderReports(t *testing.T) {
	for _, test := range []struct {
		err  error
		want hmpb.Code
	}{
		{db.ErrUnavailable, hmpb.Code_CODE_STORE_UNAVAILABLE},
		{db.ErrFull, hmpb.Code_CODE_STORE_UNAVAILABLE},
		{errors.New("a fault of ours"), hmpb.Code_CODE_INTERNAL},
	} {
		f := &subjects{ingest: func(n int) error {
			if n == 1 {
				return test.err
			}
			return nil
		}}
		inBubble(t, f, nil, func(t *testing.T, b *bubble) {
			s, _ := b.in()
			for i, want := range []hmpb.Code{test.want, hmpb.Code_CODE_UNSPECIFIED} {
				f, err := wire.Open(context.Background(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
				if err != nil {
					t.Fatal(err)
				}
				if err := f.WriteBatch(batch(1, 1)); err != nil {
					t.Fatal(err)
				}
				var down hmpb.ReportDown
				if err := f.ReadMsg(&down); wire.CodeOf(err) != want {
					t.Errorf("%v, stream %d: answer %v, %v, want %s", test.err, i, &down, err, want)
				}
			}
			s.Close(hmpb.Code_CODE_NORMAL, "")
		})
	}
}

// A panic in one session ends that one and no other.
func TestPanicStaysInItsSession(t *testing.T) {
	f := &subjects{
		device: func(n int) string { return string(rune('a' + n)) },
		ingest: func(n int) error {
			if n == 1 {
				panic("planted")
			}
			return nil
		},
	}
	inBubble(t, f, nil, func(t *testing.T, b *bubble) {
		bad, _ := b.in()
		good, _ := b.in()
		report := func(s wire.Session) error {
			f, err := wire.Open(context.Background(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
			if err != nil {
				return err
			}
			if err := f.WriteBatch(batch(1, 1)); err != nil {
				return err
			}
			return f.ReadMsg(&hmpb.ReportDown{})
		}
		if err := report(bad); err == nil {
			t.Error("a report that panicked was acknowledged")
		}
		b.wantEnd(bad, 0, time.Second, hmpb.Code_CODE_INTERNAL)
		if err := report(good); err != nil {
			t.Errorf("the other session's report: %v", err)
		}
		good.Close(hmpb.Code_CODE_NORMAL, "")
	})
}

// More come at once than are let in: those who wait as they are told get in,
// at the rate, and nobody is sent away twice.
func TestHerd(t *testing.T) {
	const herd, burst, perSecond = 60, 10, 5
	ids := make(chan string, 1)
	f := &subjects{device: func(int) string { return <-ids }}
	inBubble(t, f, func(c *gateway.Config) { c.AdmitRate, c.AdmitBurst = perSecond, burst }, func(t *testing.T, b *bubble) {
		type told struct {
			device string
			at     time.Time
		}
		var waiting []told
		in := map[int]int{} // by second
		begin := time.Now()
		come := func(device string) uint32 {
			ids <- device
			s, control, down := b.open()
			if r := down.GetRefused(); r != nil && r.GetCode() == hmpb.Code_CODE_COME_BACK {
				control.CloseWrite()
				<-s.Context().Done()
				return r.GetRetryAfterS()
			}
			if down.WhichKind() != hmpb.ControlDown_Welcome_case {
				t.Errorf("answer %v", down)
			}
			in[int(time.Since(begin)/time.Second)]++
			return 0
		}
		for i := range herd {
			device := string(rune('a'+i/26)) + string(rune('a'+i%26))
			if wait := come(device); wait > 0 {
				waiting = append(waiting, told{device, time.Now().Add(time.Duration(wait) * time.Second)})
			}
		}
		if n := len(waiting); n > herd-burst || n < herd-burst-perSecond { // it took them some round trips to come
			t.Errorf("%d were sent away, want about %d", n, herd-burst)
		}
		for _, w := range waiting {
			time.Sleep(time.Until(w.at))
			if wait := come(w.device); wait > 0 {
				t.Errorf("%s was sent away twice", w.device)
			}
		}
		for second, n := range in {
			if second > 0 && n > 2*perSecond {
				t.Errorf("%d came in second %d, want about %d", n, second, perSecond)
			}
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("the herd was in after %v, want about %d s", took, (herd-burst)/perSecond)
		}
	})
}

// Revocations that the bus had no room for are found by looking.
func TestMissedRevocations(t *testing.T) {
	f := &subjects{device: func(n int) string { return string(rune('a' + n)) }, revoked: map[string]bool{}}
	inBubble(t, f, nil, func(t *testing.T, b *bubble) {
		s, _ := b.in()
		device := "b"
		f.mu.Lock()
		f.revoked[device] = true
		f.device = func(int) string { return device }
		f.mu.Unlock()
		// More than a subscription holds, by several at once and again: a reader
		// that keeps up with one burst misses nothing.
		for begin := time.Now(); s.Context().Err() == nil && time.Since(begin) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
			var burst sync.WaitGroup
			for range 4 {
				burst.Go(func() {
					for range 1000 {
						b.bus.Publish(bus.Event{Kind: bus.Revoked, Device: "another"})
					}
				})
			}
			burst.Wait()
		}
		b.wantEnd(s, 0, 2*time.Second, hmpb.Code_CODE_REVOKED)
	})
}

// A flood of reports is read more slowly, not refused; what an agent has after
// eight hours without network passes at once.
func TestReportFlood(t *testing.T) {
	f := &subjects{}
	inBubble(t, f, nil, func(t *testing.T, b *bubble) {
		s, _ := b.in()
		r, err := wire.Open(context.Background(), s, hmpb.StreamType_STREAM_TYPE_REPORT, &hmpb.ReportHeader{})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		send := func(entries int) {
			t.Helper()
			if err := r.WriteBatch(batch(1, entries)); err != nil {
				t.Fatal(err)
			}
			if err := r.ReadMsg(&hmpb.ReportDown{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			send(48)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("480 reports took %v, want no wait", took)
		}
		for range 2000 {
			send(1)
		}
		if took := time.Since(begin); took < 20*time.Second || took > 2*time.Minute {
			t.Errorf("2,000 batches took %v, want them slowed to about %v", took, 35*time.Second)
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
	})
}

// The control stream's end is the session's.
func TestControlStreamEnds(t *testing.T) {
	inBubble(t, &subjects{}, nil, func(t *testing.T, b *bubble) {
		s, control := b.in()
		if err := control.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := control.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("other side of the control stream = %v, want its end too", err)
		}
		b.wantEnd(s, time.Second, time.Second, hmpb.Code_CODE_NORMAL) // the peer had its moment to do it
	})
}

// A Ping is answered at once, a flood of them at the pace of this stream, and
// also when the deadline of the Welcome has long passed.
func TestPing(t *testing.T) {
	inBubble(t, &subjects{}, nil, func(t *testing.T, b *bubble) {
		s, control := b.in()
		time.Sleep(time.Hour)
		const pings = 92
		begin := time.Now()
		for id := range uint64(pings) {
			if err := control.WriteMsg(hmpb.ControlUp_builder{Ping: hmpb.Ping_builder{Id: &id}.Build()}.Build()); err != nil {
				t.Fatal(err)
			}
		}
		for id := range uint64(pings) {
			var down hmpb.ControlDown
			if err := control.ReadMsg(&down); err != nil || !down.HasPong() || down.GetPong().GetId() != id {
				t.Fatalf("answer to Ping %d = %v, %v, want its Pong", id, &down, err)
			}
			if took := time.Since(begin); id == 0 && took > 50*time.Millisecond {
				t.Errorf("first Pong after %v, want a round trip", took)
			}
		}
		if took := time.Since(begin); took < 58*time.Second || took > time.Minute+time.Second {
			t.Errorf("%d Pongs after %v, want 32 at once and then one a second", pings, took)
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
	})
}

// TestPingAfterOtherFrames: what else was said on the control stream, with a deadline,
// leaves none for the Pongs after it.
func TestPingAfterOtherFrames(t *testing.T) {
	inBubble(t, &subjects{}, nil, func(t *testing.T, b *bubble) {
		s, control := b.in()
		for id := range uint64(3) {
			control.SetReadDeadline(time.Now().Add(2 * time.Minute))
			b.bus.Publish(bus.Event{Kind: bus.Settings})
			var down hmpb.ControlDown
			if err := control.ReadMsg(&down); err != nil || !down.HasSettings() {
				t.Fatalf("frame after new settings = %v, %v", &down, err)
			}
			time.Sleep(time.Minute)
			if err := control.WriteMsg(hmpb.ControlUp_builder{Ping: hmpb.Ping_builder{Id: &id}.Build()}.Build()); err != nil {
				t.Fatal(err)
			}
			if err := control.ReadMsg(&down); err != nil || !down.HasPong() || down.GetPong().GetId() != id {
				t.Fatalf("answer to Ping %d = %v, %v, want its Pong", id, &down, err)
			}
		}
		s.Close(hmpb.Code_CODE_NORMAL, "")
	})
}

// What the store does not take at a session's end it gets later, once, and the
// pages are told then: the device shall not stay "connected".
func TestEndsAreStoredLater(t *testing.T) {
	away := true
	f := &subjects{device: func(n int) string { return fmt.Sprint("device ", n) }}
	f.end = func() error {
		if away {
			return fmt.Errorf("%w: locked", db.ErrUnavailable)
		}
		return nil
	}
	inBubble(t, f, nil, func(t *testing.T, b *bubble) {
		const devices = 3
		for range devices {
			s, _ := b.in()
			s.Close(hmpb.Code_CODE_NORMAL, "")
		}
		time.Sleep(time.Minute)
		f.mu.Lock()
		if len(f.begun) != devices || len(f.ended) != 0 {
			t.Errorf("%d sessions begun, %d ended, want %d and none while the store is away", len(f.begun), len(f.ended), devices)
		}
		away = false
		f.mu.Unlock()
		told := b.bus.Subscribe(bus.Disconnected)
		defer told.Close()
		time.Sleep(time.Minute)
		f.mu.Lock()
		ended := slices.Clone(f.ended)
		begun := slices.Clone(f.begun)
		f.mu.Unlock()
		slices.Sort(ended)
		if !slices.Equal(ended, begun) {
			t.Errorf("ended %v within a minute of the store's return, want %v, each once", ended, begun)
		}
		if len(told.C) != devices {
			t.Errorf("%d devices told to the pages, want %d", len(told.C), devices)
		}
	})
}

// Every session that began ends, in the store too.
func TestEveryBeginHasItsEnd(t *testing.T) {
	f := &subjects{}
	inBubble(t, f, nil, func(t *testing.T, b *bubble) {
		var sessions []wire.Session
		for range 5 { // each replaces the one before
			s, _ := b.in()
			sessions = append(sessions, s)
		}
		for _, s := range sessions {
			s.Close(hmpb.Code_CODE_NORMAL, "")
		}
		time.Sleep(time.Second)
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.begun) != 5 || len(f.ended) != 5 {
			t.Errorf("%d begun, %d ended, want 5 and 5", len(f.begun), len(f.ended))
		}
		if st := b.Stats(); st.Welcomed != 5 || st.Replaced != 4 || st.Live != 0 {
			t.Errorf("stats %+v, want 5 welcomed, 4 replaced, 0 live", st)
		}
	})
}
