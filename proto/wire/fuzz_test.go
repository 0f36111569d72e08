package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// bytesSession gives one stream that carries given bytes, and keeps how it was
// closed.
type bytesSession struct {
	wire.Session // nil: what is not overridden is not called
	stream       *bytesStream
	closed       hmpb.Code
}

func (s *bytesSession) AcceptStream(ctx context.Context) (wire.Stream, error) {
	if s.stream.taken {
		return nil, io.EOF
	}
	s.stream.taken = true
	return s.stream, nil
}
func (s *bytesSession) OpenStream(context.Context) (wire.Stream, error) { return s.stream, nil }
func (s *bytesSession) Close(code hmpb.Code, _ string) error            { s.closed = code; return nil }
func (s *bytesSession) Context() context.Context                        { return context.Background() }
func (s *bytesSession) ConnectionState() tls.ConnectionState            { return tls.ConnectionState{} }
func (s *bytesSession) RemoteAddr() net.Addr                            { return nil }

type bytesStream struct {
	in    *bytes.Reader
	out   bytes.Buffer
	reset hmpb.Code
	taken bool
}

func (s *bytesStream) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *bytesStream) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *bytesStream) CloseWrite() error                { return nil }
func (s *bytesStream) Reset(code hmpb.Code)             { s.reset = code }
func (s *bytesStream) SetDeadline(time.Time) error      { return nil }
func (s *bytesStream) SetReadDeadline(time.Time) error  { return nil }
func (s *bytesStream) SetWriteDeadline(time.Time) error { return nil }

// messages are all that may be a frame.
func messages() []proto.Message {
	return []proto.Message{
		&hmpb.Hello{}, &hmpb.ControlUp{}, &hmpb.ControlDown{}, &hmpb.ReportHeader{}, &hmpb.ReportUp{}, &hmpb.ReportDown{},
		&hmpb.EnrollHeader{}, &hmpb.RenewHeader{}, &hmpb.EnrollRequest{}, &hmpb.RenewRequest{}, &hmpb.EnrollDown{},
	}
}

// FuzzStream feeds a whole stream to whoever accepts it: type, then frames of
// every kind. Nothing panics, and each way to end has its code.
func FuzzStream(f *testing.F) {
	for _, bad := range badFrames {
		if len(bad.bytes) < 4<<10 {
			f.Add(append([]byte{2, 0}, bad.bytes...), uint8(4))
		}
	}
	hello := hmpb.Hello_builder{VersionMin: ptr(uint32(1)), VersionMax: ptr(uint32(1)), AgentVersion: ptr("1.2.3")}.Build()
	f.Add(append([]byte{1}, frame(encode(hello))...), uint8(0))
	f.Add([]byte{99, 1, 2, 3}, uint8(0))
	f.Add([]byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		s := &bytesSession{stream: &bytesStream{in: bytes.NewReader(data)}}
		typ, fr, err := wire.Accept(t.Context(), s)
		if err != nil {
			if s.stream.reset == 0 || s.closed != 0 {
				t.Fatalf("stream that is none: reset with %v, session closed with %v", s.stream.reset, s.closed)
			}
			return
		}
		if _, ok := hmpb.StreamType_name[int32(typ)]; !ok || typ == 0 {
			t.Fatalf("type %d was accepted", typ)
		}
		all := messages()
		m := all[int(which)%len(all)]
		for {
			if _, isReport := m.(*hmpb.ReportUp); isReport {
				_, err = fr.ReadBatch()
			} else {
				err = fr.ReadMsg(m)
			}
			if err != nil {
				break
			}
			if size := proto.Size(m); size > 2*wire.Limit(m) {
				t.Fatalf("%T of %d bytes passed its limit", m, size)
			}
		}
		if (err == io.EOF) != (s.closed == 0) {
			t.Fatalf("ended with %v, session closed with %v", err, s.closed)
		}
		if code := wire.CodeOf(err); code != s.closed {
			t.Fatalf("error says %v, session was closed with %v", code, s.closed)
		}
	})
}

// FuzzBatch: what a compressed batch may do to us is bounded.
func FuzzBatch(f *testing.F) {
	f.Add(zstdOf(encode(hmpb.Batch_builder{SpoolEpoch: make([]byte, 16), FirstSeq: ptr(uint64(9))}.Build())))
	f.Add(zstdOf(make([]byte, 1<<20)))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, z []byte) {
		b, err := wire.DecodeBatch(hmpb.ReportUp_builder{BatchZstd: z}.Build())
		if err != nil {
			if c := wire.CodeOf(err); c != hmpb.Code_CODE_FRAME_TOO_LONG && c != hmpb.Code_CODE_MALFORMED_FRAME {
				t.Fatalf("code %v", c)
			}
			return
		}
		up, err := wire.EncodeBatch(b)
		if err != nil {
			var e *wire.Error
			if !errors.As(err, &e) { // a longer form than ours may shrink or grow past the limit
				t.Fatalf("encoding what was decoded: %v", err)
			}
			return
		}
		again, err := wire.DecodeBatch(up)
		if err != nil || !proto.Equal(again, b) {
			t.Fatalf("not the same after a round trip: %v", err)
		}
	})
}

// What a frame announces is not allocated before it comes.
func TestAnnouncedIsNotAllocated(t *testing.T) {
	announce := append(frame(nil)[:0], 0x80, 0x80, 0x10) // 256 KiB
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s := &bytesSession{stream: &bytesStream{in: bytes.NewReader(append([]byte{2}, announce...))}}
			_, fr, err := wire.Accept(b.Context(), s)
			if err != nil {
				b.Fatal(err)
			}
			if err := fr.ReadMsg(&hmpb.ReportUp{}); wire.CodeOf(err) != hmpb.Code_CODE_MALFORMED_FRAME {
				b.Fatal(err)
			}
		}
	})
	if got.AllocedBytesPerOp() > 8<<10 {
		t.Errorf("an announced frame of 256 KiB cost %d bytes", got.AllocedBytesPerOp())
	}
}

func TestLimits(t *testing.T) {
	for _, m := range messages() {
		if n := wire.Limit(m); n < 1<<10 || n > 256<<10 {
			t.Errorf("limit of %T is %d", m, n)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a message that is no frame has a limit")
		}
	}()
	wire.Limit(&hmpb.Entry{})
}
