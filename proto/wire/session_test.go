package wire_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
	"hausmeister/testenv/netsim"
)

// codes are all codes that a peer may send.
func codes() []hmpb.Code {
	var all []hmpb.Code
	for n := range hmpb.Code_name {
		if c := hmpb.Code(n); c != hmpb.Code_CODE_UNSPECIFIED && c != hmpb.Code_CODE_LOST {
			all = append(all, c)
		}
	}
	slices.Sort(all)
	return append(all, 999) // and one that only a newer peer knows
}

func TestFramesAndHalfClose(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		a, c := p.open(t)
		batch := hmpb.Batch_builder{FirstSeq: ptr(uint64(7)), SpoolEpoch: []byte("0123456789abcdef")}.Build()
		if err := a.WriteBatch(batch); err != nil {
			t.Fatalf("WriteBatch: %v", err)
		}
		if err := a.CloseWrite(); err != nil {
			t.Fatalf("CloseWrite: %v", err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Write after CloseWrite: got %v, want %v", err, io.ErrClosedPipe)
		}
		got, err := c.ReadBatch()
		if err != nil || got.GetFirstSeq() != 7 {
			t.Fatalf("ReadBatch = %v, %v, want first_seq 7", got, err)
		}
		if err := c.ReadMsg(&hmpb.ReportUp{}); err != io.EOF {
			t.Fatalf("ReadMsg at the end: got %v, want io.EOF", err)
		}
		// The other direction lives on.
		down := hmpb.ReportDown_builder{Ack: hmpb.Ack_builder{ThroughSeq: ptr(uint64(7))}.Build()}.Build()
		for range 3 {
			if err := c.WriteMsg(down); err != nil {
				t.Fatalf("WriteMsg after the peer's CloseWrite: %v", err)
			}
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			var msg hmpb.ReportDown
			if err := a.ReadMsg(&msg); err != nil || msg.GetAck().GetThroughSeq() != 7 {
				t.Fatalf("acknowledgement %d: %v, %v", i, &msg, err)
			}
		}
		if err := a.ReadMsg(&hmpb.ReportDown{}); err != io.EOF {
			t.Errorf("after the last acknowledgement: got %v, want io.EOF", err)
		}
	})
}

func TestCloseCodes(t *testing.T) {
	for _, code := range codes() {
		t.Run(code.String(), func(t *testing.T) {
			onBoth(t, func(t *testing.T, p *pair) {
				closer, peer := p.agent, p.collector
				if code%2 == 0 {
					closer, peer = peer, closer
				}
				a, c := p.open(t)
				errs := make(chan error, 3)
				go func() { _, err := peer.AcceptStream(t.Context()); errs <- err }()
				for _, f := range []*wire.Framed{a, c} {
					go func() { errs <- f.ReadMsg(&hmpb.ReportDown{}) }()
				}
				if err := closer.Close(code, "why: "+strings.Repeat("ü", 300)); err != nil {
					t.Fatalf("Close: %v", err)
				}
				wantError(t, "closing end", ended(t, closer), code, false, false)
				e := ended(t, peer)
				wantError(t, "other end", e, code, true, false)
				if peer.Transport() == "quic" && !strings.HasPrefix(e.Text, "why: ü") || len(e.Text) > wire.MaxCloseText {
					t.Errorf("text at the other end: %q", e.Text)
				}
				for range 3 {
					if got := wire.CodeOf(<-errs); got != code {
						t.Errorf("a waiting call: got %v, want %v", got, code)
					}
				}
				for _, s := range []wire.Session{closer, peer} {
					_, err := s.OpenStream(t.Context())
					wantError(t, "OpenStream", err, code, s == peer, false)
					if err := s.Close(hmpb.Code_CODE_INTERNAL, "again"); err != nil {
						t.Errorf("second Close: %v", err)
					}
					wantError(t, "after a second Close", ended(t, s), code, s == peer, false)
				}
			})
		})
	}
}

func TestResetCodes(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		for _, code := range codes() {
			a, c := p.open(t)
			resetter, peer := a, c
			if code%2 == 0 {
				resetter, peer = c, a
			}
			resetter.Reset(code)
			_, err := peer.Read(make([]byte, 1))
			wantError(t, "peer's Read", err, code, true, true)
			_, err = peer.Write([]byte("x"))
			wantError(t, "peer's Write", err, code, true, true)
			_, err = resetter.Read(make([]byte, 1))
			wantError(t, "own Read", err, code, false, true)
			_, err = resetter.Write([]byte("x"))
			wantError(t, "own Write", err, code, false, true)
			peer.Reset(hmpb.Code_CODE_NORMAL)
		}
		p.open(t) // the session lives, and all places are free
	})
}

func TestResetAfterEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		a, c := p.open(t)
		if _, err := a.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		if err := a.Finish(0); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Finish with a silent peer: got %v, want %v", err, os.ErrDeadlineExceeded)
		}
		_, err := c.Write(make([]byte, 1))
		for err == nil { // until the reset arrives
			_, err = c.Write(make([]byte, 1))
		}
		wantError(t, "Write", err, hmpb.Code_CODE_NORMAL, true, true)
	})
}

func TestDeadlines(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		a, c := p.open(t)
		a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if err := a.ReadMsg(&hmpb.ReportDown{}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("ReadMsg past its deadline: got %v, want %v", err, os.ErrDeadlineExceeded)
		}
		a.SetReadDeadline(time.Time{})
		if err := c.WriteMsg(&hmpb.ReportDown{}); err != nil {
			t.Fatal(err)
		}
		if err := a.ReadMsg(&hmpb.ReportDown{}); err != nil {
			t.Fatalf("ReadMsg after the deadline was taken away: %v", err)
		}
		// Nobody reads: the windows fill, and the writer waits until its deadline.
		a.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := a.Write(make([]byte, 16<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Write past its deadline: got %v, want %v", err, os.ErrDeadlineExceeded)
		}
		if n > 4<<20 {
			t.Errorf("a peer that reads nothing took %d bytes", n)
		}
		a.SetDeadline(time.Now().Add(-time.Second))
		if _, err := a.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write with a past deadline: got %v", err)
		}
	})
}

func TestContexts(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		stop := errors.New("stopped by the test")
		ctx, cancel := context.WithCancelCause(t.Context())
		got := make(chan error, 1)
		go func() { _, err := p.collector.AcceptStream(ctx); got <- err }()
		cancel(stop)
		if err := <-got; !errors.Is(err, stop) {
			t.Fatalf("AcceptStream: got %v, want %v", err, stop)
		}
		if _, _, err := wire.Accept(ctx, p.collector); !errors.Is(err, stop) {
			t.Errorf("Accept: got %v, want %v", err, stop)
		}
		if _, err := wire.Open(ctx, p.agent, hmpb.StreamType_STREAM_TYPE_CONTROL, &hmpb.Hello{}); !errors.Is(err, stop) {
			t.Errorf("Open: got %v, want %v", err, stop)
		}
		p.open(t) // no stream was lost to the accept that gave up
		if p.agent.Context().Err() != nil || p.collector.Context().Err() != nil {
			t.Error("a call's context ended the session")
		}
	})
}

func TestStreamLimit(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		var agents, collectors []*wire.Framed
		for range wire.MaxStreams {
			a, c := p.open(t)
			agents, collectors = append(agents, a), append(collectors, c)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := p.agent.OpenStream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("stream %d: got %v, want to wait", wire.MaxStreams+1, err)
		}
		// Each way to end a stream makes room.
		agents[0].Reset(hmpb.Code_CODE_NORMAL)
		collectors[0].Read(make([]byte, 1))
		collectors[1].Reset(hmpb.Code_CODE_NORMAL)
		agents[1].Read(make([]byte, 1))
		agents[2].CloseWrite()
		collectors[2].Finish(time.Second)
		readAll(t, agents[2])
		for range 3 {
			p.open(t)
		}
	})
}

// Each side may open streams, also at once, and they do not disturb each other.
func TestManyStreamsBothWays(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		var wg sync.WaitGroup
		talk := func(opener, accepter wire.Session, salt int) {
			for i := range 100 {
				wg.Add(2)
				go func() {
					defer wg.Done()
					st, err := opener.OpenStream(t.Context())
					if err != nil {
						t.Errorf("OpenStream: %v", err)
						return
					}
					want := fmt.Sprintf("%d/%d", salt, i)
					io.WriteString(st, want)
					st.CloseWrite()
					if got, err := io.ReadAll(st); err != nil || string(got) != want {
						t.Errorf("echo: got %q, %v, want %q", got, err, want)
					}
				}()
				go func() {
					defer wg.Done()
					st, err := accepter.AcceptStream(t.Context())
					if err != nil {
						t.Errorf("AcceptStream: %v", err)
						return
					}
					if _, err := io.Copy(st, st); err != nil {
						t.Errorf("echoing: %v", err)
					}
					st.CloseWrite()
				}()
			}
		}
		talk(p.agent, p.collector, 1)
		talk(p.collector, p.agent, 2)
		wg.Wait()
	})
}

func TestBigTransfer(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		a, c := p.open(t)
		data := make([]byte, 6<<20)
		rand.NewChaCha8([32]byte{1}).Read(data)
		want := sha256.Sum256(data)
		var wg sync.WaitGroup
		for _, f := range []*wire.Framed{a, c} {
			wg.Go(func() {
				if _, err := io.Copy(f, bytes.NewReader(data)); err != nil {
					t.Errorf("writing: %v", err)
				}
				f.CloseWrite()
			})
			wg.Go(func() {
				h := sha256.New()
				if _, err := io.Copy(h, f); err != nil {
					t.Errorf("reading: %v", err)
				}
				if !bytes.Equal(h.Sum(nil), want[:]) {
					t.Error("other bytes arrived than were sent")
				}
			})
		}
		wg.Wait()
	})
}

// A refusal with "come back in n seconds" reaches the agent though the
// collector ends the session right after it.
func TestComeBack(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		go func() {
			_, f, err := wire.Accept(t.Context(), p.collector)
			if err != nil {
				t.Errorf("Accept: %v", err)
				return
			}
			var hello hmpb.Hello
			if err := f.ReadMsg(&hello); err != nil {
				t.Errorf("reading Hello: %v", err)
			}
			refused := hmpb.Refused_builder{Code: ptr(hmpb.Code_CODE_COME_BACK), RetryAfterS: ptr(uint32(7))}.Build()
			if _, err := wire.Negotiate(hello.GetVersionMin(), hello.GetVersionMax()); err != nil {
				refused.SetCode(wire.CodeOf(err))
			}
			if err := f.WriteMsg(hmpb.ControlDown_builder{Refused: refused}.Build()); err != nil {
				t.Errorf("writing Refused: %v", err)
			}
			if err := f.Finish(5 * time.Second); err != nil {
				t.Errorf("Finish: %v", err)
			}
			p.collector.Close(refused.GetCode(), "")
		}()
		f, err := wire.Open(t.Context(), p.agent, hmpb.StreamType_STREAM_TYPE_CONTROL,
			hmpb.Hello_builder{VersionMin: ptr(wire.VersionMin), VersionMax: ptr(wire.VersionMax)}.Build())
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		var down hmpb.ControlDown
		if err := f.ReadMsg(&down); err != nil {
			t.Fatalf("reading the answer: %v", err)
		}
		if r := down.GetRefused(); r.GetCode() != hmpb.Code_CODE_COME_BACK || r.GetRetryAfterS() != 7 {
			t.Errorf("got %v, want come back in 7 s", r)
		}
		if err := f.ReadMsg(&down); err != io.EOF {
			t.Errorf("after the refusal: got %v, want io.EOF", err)
		}
		f.CloseWrite()
		wantError(t, "session", ended(t, p.agent), hmpb.Code_CODE_COME_BACK, true, false)
	})
}

// A session without traffic lives for hours, and costs little.
func TestKeepAlive(t *testing.T) {
	simulated(t, func(t *testing.T, p *pair) {
		time.Sleep(8 * time.Hour)
		p.open(t)
	})
}

// A peer that dies without a word is noticed at both ends.
func TestPeerDies(t *testing.T) {
	simulated(t, func(t *testing.T, p *pair) {
		a, c := p.open(t)
		reads := make(chan error, 2)
		for _, f := range []*wire.Framed{a, c} {
			go func() { reads <- f.ReadMsg(&hmpb.ReportUp{}) }()
		}
		p.agentHost.Set(offline)
		start := time.Now()
		wantError(t, "agent", ended(t, p.agent), hmpb.Code_CODE_LOST, false, false)
		if d := time.Since(start); d > wire.Idle*3/2+time.Second {
			t.Errorf("agent noticed after %v", d)
		}
		wantError(t, "collector", ended(t, p.collector), hmpb.Code_CODE_LOST, false, false)
		if d := time.Since(start); d > wire.MaxIdle+time.Minute {
			t.Errorf("collector noticed after %v", d)
		}
		for range 2 {
			if code := wire.CodeOf(<-reads); code != hmpb.Code_CODE_LOST {
				t.Errorf("a waiting read: got %v", code)
			}
		}
	})
}

// A short outage costs a pause and no byte.
func TestShortOutage(t *testing.T) {
	simulated(t, func(t *testing.T, p *pair) {
		a, c := p.open(t)
		for i := range 5 {
			p.agentHost.Set(offline)
			if err := a.WriteBatch(hmpb.Batch_builder{FirstSeq: ptr(uint64(i))}.Build()); err != nil {
				t.Fatalf("writing while offline: %v", err)
			}
			time.Sleep(10 * time.Second)
			p.agentHost.Set(netsim.Weather{})
			if b, err := c.ReadBatch(); err != nil || b.GetFirstSeq() != uint64(i) {
				t.Fatalf("batch %d after an outage: %v, %v", i, b, err)
			}
		}
	})
}

// Closing a session whose peer reads nothing does not hang.
func TestCloseTowardsDeafPeer(t *testing.T) {
	simulated(t, func(t *testing.T, p *pair) {
		a, _ := p.open(t)
		p.agentHost.Set(offline)
		go a.Write(make([]byte, 16<<20))
		synctest.Wait()
		start := time.Now()
		p.agent.Close(hmpb.Code_CODE_NORMAL, "")
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("Close took %v", d)
		}
		p.collector.Close(hmpb.Code_CODE_NORMAL, "")
	})
}

// A session that is closed while its peer opens streams waits for the peer all the same:
// what they bring is read and not answered, for an answer to a half that is closed would
// end the connection with a reset, which overtakes the code.
func TestCloseTowardsPeerThatGoesOn(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	served := make(chan wire.Session, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			tc := tls.Server(conn, serverTLS(t))
			if err = tc.Handshake(); err == nil {
				var s wire.Session
				if s, err = wire.ServeTCP(tc); err == nil {
					served <- s
				}
			}
		}
		if err != nil {
			t.Errorf("serving: %v", err)
			close(served)
		}
	}()
	conf := clientTLS(t)
	conf.NextProtos = []string{wire.ALPN}
	peer := must(tls.Dial("tcp", ln.Addr().String(), conf))(t)
	defer peer.Close()
	s, ok := <-served
	if !ok {
		return
	}
	took := make(chan time.Duration, 1)
	go func() {
		begin := time.Now()
		s.Close(hmpb.Code_CODE_REVOKED, "")
		took <- time.Since(begin)
	}()
	away := make([]byte, 12)
	for away[1] != 3 { // yamux may ping before
		if _, err := io.ReadFull(peer, away); err != nil {
			t.Fatalf("waiting for the GoAway: %v", err)
		}
	}
	if got := binary.BigEndian.Uint32(away[8:]); got != 0x100+uint32(hmpb.Code_CODE_REVOKED) {
		t.Errorf("the GoAway says %#x", got)
	}
	for id := uint32(1); id < 20; id += 2 {
		open := make([]byte, 12) // version 0, window update, SYN
		open[1], open[3] = 1, 1
		binary.BigEndian.PutUint32(open[4:], id)
		if _, err := peer.Write(open); err != nil {
			t.Errorf("opening stream %d after the GoAway: %v", id, err)
			break
		}
	}
	if d := <-took; d < 500*time.Millisecond {
		t.Errorf("Close waited %v for a peer that has not closed, want half a second", d)
	}
}

// The peer's code is heard though our next write fails before it is read.
func TestCodeIsHeardAfterAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := netsim.New(netsim.Config{Seed: 1, Latency: 10 * time.Millisecond})
		defer n.Close()
		host, far := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		ln := must(far.ListenTCP(port))(t)
		defer ln.Close()
		torn := &tornConn{failed: make(chan struct{}), closed: make(chan struct{})}
		agent, collector := connectTCP(t, ln, func() (net.Conn, error) {
			var err error
			torn.Conn, err = host.DialTCP(t.Context(), far.Addr(port).AddrPort())
			return torn, err
		})
		defer agent.Close(hmpb.Code_CODE_NORMAL, "")
		synctest.Wait()
		torn.torn.Store(true)
		collector.Close(hmpb.Code_CODE_REVOKED, "") // by the end of its patience it resets
		_, err := agent.OpenStream(t.Context())
		if err != nil {
			t.Fatalf("OpenStream before the code is read: %v", err)
		}
		wantError(t, "agent's session", ended(t, agent), hmpb.Code_CODE_REVOKED, true, false)
	})
}

// tornConn is a connection that was reset while what came before is still to be read:
// it is handed out late, and only as long as the reader has not closed.
type tornConn struct {
	net.Conn
	torn           atomic.Bool
	failing, close sync.Once
	failed, closed chan struct{}
}

func (c *tornConn) Write(b []byte) (int, error) {
	if !c.torn.Load() {
		return c.Conn.Write(b)
	}
	c.failing.Do(func() { close(c.failed) })
	return 0, syscall.ECONNRESET
}

func (c *tornConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.torn.Load() {
		return n, err
	}
	select {
	case <-c.failed:
	case <-c.closed:
		return 0, net.ErrClosed
	}
	select {
	case <-time.After(100 * time.Millisecond): // virtual
		return n, err
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *tornConn) Close() error {
	c.close.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

var offline = netsim.Weather{CutUp: true, CutDown: true}

func ptr[T any](v T) *T { return &v }

// TestStateIsCompressed: one State of many readings, which most batches are, goes
// compressed and comes out as it was; what is too short for that goes as it is.
func TestStateIsCompressed(t *testing.T) {
	batch := func(readings int) *hmpb.Batch {
		var rs []*hmpb.Reading
		for i := range readings {
			rs = append(rs, hmpb.Reading_builder{Id: ptr(uint32(i + 1)), Instance: ptr("processor"), Number: ptr(int64(i * i))}.Build())
		}
		e := hmpb.Entry_builder{DeviceMs: ptr(int64(1796000000000)), State: hmpb.State_builder{Readings: rs}.Build()}.Build()
		return hmpb.Batch_builder{SpoolEpoch: []byte("0123456789abcdef"), FirstSeq: ptr(uint64(7)), Entries: []*hmpb.Entry{e}}.Build()
	}
	for _, c := range []struct {
		readings   int
		compressed bool
	}{{4, false}, {60, true}} {
		b := batch(c.readings)
		up := must(wire.EncodeBatch(b))(t)
		if got := up.HasBatchZstd(); got != c.compressed {
			t.Errorf("%d readings in %d bytes: compressed %v, want %v", c.readings, proto.Size(b), got, c.compressed)
		}
		if c.compressed && proto.Size(up) > proto.Size(b)*9/10 {
			t.Errorf("%d readings in %d bytes became %d", c.readings, proto.Size(b), proto.Size(up))
		}
		if got := must(wire.DecodeBatch(up))(t); !proto.Equal(got, b) {
			t.Errorf("%d readings came out as %v, want %v", c.readings, got, b)
		}
	}
}
