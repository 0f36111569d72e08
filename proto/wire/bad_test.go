package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/libp2p/go-yamux/v5"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// frame is a frame as it is on the wire.
func frame(body []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(body))), body...) }

func encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// bomb is a small frame that would become size bytes.
func bomb(size int, opts ...zstd.EOption) []byte {
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, opts...)
	if err != nil {
		panic(err)
	}
	if _, err := io.CopyN(w, zeros{}, int64(size)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return encode(hmpb.ReportUp_builder{BatchZstd: z.Bytes()}.Build())
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// badFrames are bytes after a report stream's header, and how the session ends.
var badFrames = []struct {
	name  string
	bytes []byte
	code  hmpb.Code
}{
	{"too long", binary.AppendUvarint(nil, 256<<10+1), hmpb.Code_CODE_FRAME_TOO_LONG},
	{"absurdly long", binary.AppendUvarint(nil, 1<<63), hmpb.Code_CODE_FRAME_TOO_LONG},
	{"length cut off", []byte{0x80}, hmpb.Code_CODE_MALFORMED_FRAME},
	{"length of eleven bytes", bytes.Repeat([]byte{0x80}, 11), hmpb.Code_CODE_MALFORMED_FRAME},
	{"length above 64 bits", append(bytes.Repeat([]byte{0xff}, 9), 0x7f), hmpb.Code_CODE_MALFORMED_FRAME},
	{"length in a longer form", []byte{0x81, 0x00, 0x00}, hmpb.Code_CODE_MALFORMED_FRAME},
	{"body cut off", []byte{10, 1, 2, 3}, hmpb.Code_CODE_MALFORMED_FRAME},
	{"no protobuf", frame([]byte("hello, collector")), hmpb.Code_CODE_MALFORMED_FRAME},
	{"no batch", frame(nil), hmpb.Code_CODE_MALFORMED_FRAME},
	{"no zstd", frame(encode(hmpb.ReportUp_builder{BatchZstd: []byte("no zstd")}.Build())), hmpb.Code_CODE_MALFORMED_FRAME},
	{"zstd of no batch", frame(encode(hmpb.ReportUp_builder{BatchZstd: zstdOf([]byte("no batch"))}.Build())), hmpb.Code_CODE_MALFORMED_FRAME},
	{"bomb", frame(bomb(100 << 20)), hmpb.Code_CODE_FRAME_TOO_LONG},
	{"bomb with a huge window", frame(bomb(100<<20, zstd.WithWindowSize(64<<20))), hmpb.Code_CODE_FRAME_TOO_LONG},
	{"bomb of one byte more", frame(bomb(wire.MaxBatch+1, zstd.WithWindowSize(128<<10))), hmpb.Code_CODE_FRAME_TOO_LONG},
	{"bomb that tells its size", frame(encode(hmpb.ReportUp_builder{BatchZstd: zstdOf(make([]byte, 8<<20))}.Build())), hmpb.Code_CODE_FRAME_TOO_LONG},
}

func zstdOf(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, nil)
}

func TestBadFrames(t *testing.T) {
	for _, bad := range badFrames {
		t.Run(bad.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, p *pair) {
				a, c := p.open(t)
				if _, err := a.Write(bad.bytes); err != nil {
					t.Fatal(err)
				}
				a.CloseWrite()
				_, err := c.ReadBatch()
				wantError(t, "ReadBatch", err, bad.code, false, false)
				wantError(t, "collector's session", ended(t, p.collector), bad.code, false, false)
				wantError(t, "agent's session", ended(t, p.agent), bad.code, true, false)
			})
		})
	}
}

// What is odd but legal must pass: unknown fields of a newer peer, an empty
// batch, one that fills its limit.
func TestOddFrames(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		a, c := p.open(t)
		newer := append(encode(hmpb.ReportUp_builder{Batch: &hmpb.Batch{}}.Build()), 0xfa, 0x01, 3, 'n', 'e', 'w')
		big := hmpb.Batch_builder{SpoolEpoch: make([]byte, wire.MaxBatch-5)}.Build()
		go func() {
			a.Write(frame(newer))
			if err := a.WriteBatch(big); err != nil {
				t.Errorf("WriteBatch: %v", err)
			}
		}()
		if b, err := c.ReadBatch(); err != nil || len(b.GetEntries()) != 0 {
			t.Fatalf("frame with an unknown field: %v, %v", b, err)
		}
		if b, err := c.ReadBatch(); err != nil || !proto.Equal(b, big) {
			t.Fatalf("largest batch: %v", err)
		}
		// Our own mistake is refused before it is sent.
		err := a.WriteMsg(hmpb.ReportUp_builder{BatchZstd: make([]byte, 300<<10)}.Build())
		wantError(t, "WriteMsg above the limit", err, hmpb.Code_CODE_FRAME_TOO_LONG, false, true)
		err = a.WriteBatch(hmpb.Batch_builder{SpoolEpoch: make([]byte, wire.MaxBatch)}.Build())
		wantError(t, "WriteBatch above the limit", err, hmpb.Code_CODE_FRAME_TOO_LONG, false, true)
		if err := c.WriteMsg(&hmpb.ReportDown{}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestUnknownStreamType(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		a, _ := p.open(t)
		for _, typ := range [][]byte{{99}, {0}, binary.AppendUvarint(nil, 1<<62), {0x81, 0x00}, bytes.Repeat([]byte{0xff}, 12)} {
			st := must(p.agent.OpenStream(t.Context()))(t)
			if _, err := st.Write(append(typ, "whatever follows"...)); err != nil {
				t.Fatal(err)
			}
			again, _ := p.open(t) // behind it, and the session lives
			_, err := st.Read(make([]byte, 1))
			wantError(t, fmt.Sprintf("type % x", typ), err, hmpb.Code_CODE_UNKNOWN_STREAM_TYPE, true, true)
			again.Reset(hmpb.Code_CODE_NORMAL)
		}
		if err := a.WriteBatch(&hmpb.Batch{}); err != nil {
			t.Errorf("an older stream: %v", err)
		}
	})
}

// A stream that does not say its type is not waited for longer than
// HeaderTimeout, and the next is served.
func TestSilentStream(t *testing.T) {
	simulated(t, func(t *testing.T, p *pair) {
		silent := must(p.agent.OpenStream(t.Context()))(t)
		silent.Write([]byte{0x81}) // half a varint
		start := time.Now()
		p.open(t)
		if d := time.Since(start); d < wire.HeaderTimeout/2 || d > wire.HeaderTimeout+time.Second {
			t.Errorf("the next stream was served after %v", d)
		}
		_, err := silent.Read(make([]byte, 1))
		wantError(t, "silent stream", err, hmpb.Code_CODE_TIMEOUT, true, true)
	})
}

// A peer that opens streams without end, and is not held back by its own
// library, gets those above the limit reset; the session and the streams below
// the limit live, and what it makes us hold stays small.
func TestStreamFloodOverTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		served := make(chan wire.Session)
		go func() {
			tc := tls.Server(far, serverTLS(t))
			if err := tc.Handshake(); err != nil {
				t.Errorf("handshake: %v", err)
			}
			s, err := wire.ServeTCP(tc)
			if err != nil {
				t.Errorf("ServeTCP: %v", err)
			}
			served <- s
		}()
		conf := clientTLS(t)
		conf.NextProtos = []string{wire.ALPN}
		tc := tls.Client(near, conf)
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		s := <-served
		loose := yamux.DefaultConfig()
		loose.AcceptBacklog, loose.LogOutput = 10_000, io.Discard
		attacker := must(yamux.Client(tc, loose, nil))(t)
		var good, reset int
		for range 1000 {
			st := must(attacker.OpenStream(t.Context()))(t)
			synctest.Wait()
			if _, err := st.Write([]byte{2, 0}); err != nil {
				reset++
				continue
			}
			synctest.Wait()
			if _, err := st.Write([]byte{0}); err != nil {
				reset++
				continue
			}
			good++
		}
		if good != 2*wire.MaxStreams || reset != 1000-2*wire.MaxStreams {
			t.Errorf("%d streams lived and %d were reset, want %d and the rest", good, reset, 2*wire.MaxStreams)
		}
		for range 2 * wire.MaxStreams {
			if _, _, err := wire.Accept(t.Context(), s); err != nil {
				t.Errorf("Accept: %v", err)
			}
		}
		s.Close(hmpb.Code_CODE_TOO_MANY_STREAMS, "")
		attacker.Close()
	})
}

// Over QUIC the transport itself refuses: a peer that ignores the limit breaks
// the protocol. An honest one that floods as fast as it may is only slow.
func TestStreamFlood(t *testing.T) {
	onBoth(t, func(t *testing.T, p *pair) {
		ctx, cancel := context.WithCancel(t.Context())
		flooded := make(chan int, 1)
		go func() {
			n := 0
			defer func() { flooded <- n }()
			for {
				st, err := p.agent.OpenStream(ctx)
				if err != nil {
					return
				}
				st.Write([]byte{99})
				st.Reset(hmpb.Code_CODE_NORMAL)
				n++
			}
		}()
		accepting, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer stop()
		for {
			if _, _, err := wire.Accept(accepting, p.collector); err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Accept: %v", err)
				}
				break
			}
		}
		cancel()
		if n := <-flooded; n < wire.MaxStreams {
			t.Errorf("only %d streams opened: places do not come free", n)
		}
		if p.collector.Context().Err() != nil {
			t.Errorf("the flood ended the session: %v", context.Cause(p.collector.Context()))
		}
	})
}

// A peer that speaks TLS but not our protocol gets no session.
func TestServeTCPRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		protos  []string
		version uint16
	}{
		{"other protocol", []string{"h2"}, tls.VersionTLS13},
		{"no protocol", nil, tls.VersionTLS13},
		{"TLS 1.2", []string{wire.ALPN}, tls.VersionTLS12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				go func() {
					conf := clientTLS(t)
					conf.NextProtos, conf.MinVersion, conf.MaxVersion = tt.protos, tls.VersionTLS12, tt.version
					tc := tls.Client(near, conf)
					tc.Handshake()
					tc.Read(make([]byte, 1))
				}()
				conf := serverTLS(t)
				conf.NextProtos, conf.MinVersion = append(conf.NextProtos, "h2"), tls.VersionTLS12
				tc := tls.Server(far, conf)
				if err := tc.Handshake(); err != nil {
					t.Fatal(err)
				}
				if s, err := wire.ServeTCP(tc); err == nil || !strings.Contains(err.Error(), "not TLS 1.3") {
					t.Errorf("ServeTCP = %v, %v, want an error", s, err)
				}
			})
		})
	}
}

// A collector of another authority is refused by the agent, over both
// transports with the same code and the reason kept.
func TestForeignCollector(t *testing.T) {
	conf := clientTLS(t)
	conf.RootCAs = nil // only the system's
	check := func(t *testing.T, err error) {
		t.Helper()
		wantError(t, "dialling", err, hmpb.Code_CODE_FOREIGN_CERTIFICATE, false, false)
		var verify *tls.CertificateVerificationError
		if !errors.As(err, &verify) {
			t.Errorf("the reason is lost: %v", err)
		}
	}
	t.Run("quic", func(t *testing.T) {
		a := wire.NewEndpoint(loopbackUDP(t), wire.EndpointConfig{})
		c := wire.NewEndpoint(loopbackUDP(t), wire.EndpointConfig{})
		defer a.Close()
		defer c.Close()
		must(c.Listen(serverTLS(t)))(t)
		_, err := a.Dial(t.Context(), c.LocalAddr(), conf)
		check(t, err)
	})
	t.Run("tcp", func(t *testing.T) {
		near, far := net.Pipe()
		go tls.Server(far, serverTLS(t)).Handshake()
		_, err := wire.DialTCP(t.Context(), near, conf)
		check(t, err)
		far.Close()
	})
}

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		min, max uint32
		want     uint32
		code     hmpb.Code
	}{
		{1, 1, 1, 0},
		{1, 900, wire.VersionMax, 0},
		{wire.VersionMax, wire.VersionMax, wire.VersionMax, 0},
		{wire.VersionMax + 1, wire.VersionMax + 5, 0, hmpb.Code_CODE_VERSION_TOO_NEW},
		{0, 0, 0, hmpb.Code_CODE_MALFORMED_FRAME},
		{0, 1, 0, hmpb.Code_CODE_MALFORMED_FRAME},
		{3, 2, 0, hmpb.Code_CODE_MALFORMED_FRAME},
	} {
		got, err := wire.Negotiate(tt.min, tt.max)
		if got != tt.want || wire.CodeOf(err) != tt.code {
			t.Errorf("Negotiate(%d, %d) = %d, %v, want %d, %v", tt.min, tt.max, got, err, tt.want, tt.code)
		}
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("reporting: %w", &wire.Error{Code: hmpb.Code_CODE_REVOKED, Remote: true, Text: "since noon", Cause: cause})
	if got, want := err.Error(), "reporting: session ended by the peer: CODE_REVOKED (since noon)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, cause) || wire.CodeOf(err) != hmpb.Code_CODE_REVOKED || wire.CodeOf(cause) != 0 {
		t.Error("cause or code not found in the chain")
	}
}
