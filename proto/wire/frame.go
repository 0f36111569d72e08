package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
)

// Framed is a typed stream: after its type it carries frames, each a varint
// length and a protobuf message. One goroutine may read while one or several
// write. It reads no byte ahead, so raw bytes may follow the last frame.
type Framed struct {
	Stream
	session Session
	one     [1]byte // what Read of a length fills; here, so that it is not allocated for each
	writing sync.Mutex
}

// Open opens a stream of type t and sends its header. The header is its first
// frame. When ctx ends before that is sent, the stream is reset.
func Open(ctx context.Context, s Session, t hmpb.StreamType, header proto.Message) (*Framed, error) {
	st, err := s.OpenStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", t, err)
	}
	f := &Framed{Stream: st, session: s}
	stop := context.AfterFunc(ctx, func() { f.Reset(hmpb.Code_CODE_NORMAL) })
	err = f.write(binary.AppendUvarint(nil, uint64(t)), header, 0)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		f.Reset(hmpb.Code_CODE_NORMAL)
		return nil, fmt.Errorf("opening %s: %w", t, err)
	}
	return f, nil
}

// Accept waits for the next stream of a known type and returns it with its
// header unread. Streams of unknown types and those that do not say their
// type in HeaderTimeout are reset meanwhile.
func Accept(ctx context.Context, s Session) (hmpb.StreamType, *Framed, error) {
	for {
		st, err := s.AcceptStream(ctx)
		if err != nil {
			return 0, nil, err
		}
		f := &Framed{Stream: st, session: s}
		t, err := f.readType(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return 0, nil, context.Cause(ctx)
			}
			continue // only this stream ended; if the session did, AcceptStream says so
		}
		return t, f, nil
	}
}

// readType reads the varint that begins the stream; if it returns an error
// the stream is reset.
func (f *Framed) readType(ctx context.Context) (hmpb.StreamType, error) {
	stop := context.AfterFunc(ctx, func() { f.Reset(hmpb.Code_CODE_NORMAL) })
	defer stop()
	if err := f.SetReadDeadline(time.Now().Add(HeaderTimeout)); err != nil {
		return 0, err
	}
	n, err := f.readVarint()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.Reset(hmpb.Code_CODE_TIMEOUT)
		return 0, err
	}
	if err != nil {
		f.Reset(hmpb.Code_CODE_UNKNOWN_STREAM_TYPE)
		return 0, err
	}
	t := hmpb.StreamType(min(n, 1<<31-1))
	if _, known := hmpb.StreamType_name[int32(t)]; !known || t == hmpb.StreamType_STREAM_TYPE_UNSPECIFIED {
		f.Reset(hmpb.Code_CODE_UNKNOWN_STREAM_TYPE)
		return 0, &Error{Code: hmpb.Code_CODE_UNKNOWN_STREAM_TYPE, Stream: true, Text: fmt.Sprintf("type %d", n)}
	}
	return t, f.SetReadDeadline(time.Time{})
}

// ReadMsg reads the next frame into m. At the end of the peer's bytes it
// returns io.EOF. A frame that is longer than the limit of m's type, cut off
// or no encoding of m ends the session.
func (f *Framed) ReadMsg(m proto.Message) error {
	limit := Limit(m)
	n, err := f.readVarint()
	if err != nil {
		if errors.Is(err, errVarint) || errors.Is(err, io.ErrUnexpectedEOF) {
			return f.bad(hmpb.Code_CODE_MALFORMED_FRAME, err)
		}
		return err
	}
	if n > uint64(limit) {
		return f.bad(hmpb.Code_CODE_FRAME_TOO_LONG, fmt.Errorf("%s of %d bytes, at most %d", name(m), n, limit))
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	// CopyN grows the buffer as bytes come: who announces much and sends
	// little makes us hold little.
	if _, err := io.CopyN(buf, f.Stream, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			return f.bad(hmpb.Code_CODE_MALFORMED_FRAME, io.ErrUnexpectedEOF)
		}
		return err
	}
	// Unknown fields are a newer peer's: legal, and nobody here asks for them.
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(buf.Bytes(), m); err != nil {
		return f.bad(hmpb.Code_CODE_MALFORMED_FRAME, fmt.Errorf("decoding %s: %w", name(m), err))
	}
	return nil
}

// WriteMsg writes m as the next frame. A message longer than its limit is not
// sent: it would end the session.
func (f *Framed) WriteMsg(m proto.Message) error { return f.write(nil, m, 0) }

// WriteMsgWithin is WriteMsg with a deadline for this frame alone. One that is set on
// the stream is that of whoever writes later, too. After an error a part of the frame
// may be on its way, and nothing can follow it.
func (f *Framed) WriteMsgWithin(m proto.Message, within time.Duration) error {
	return f.write(nil, m, within)
}

// write sends prefix and frame by one Write, so that both go into one packet. No time
// within is none of its own.
func (f *Framed) write(prefix []byte, m proto.Message, within time.Duration) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	opts := proto.MarshalOptions{UseCachedSize: true}
	size := proto.Size(m)
	if limit := Limit(m); size > limit {
		return &Error{Code: hmpb.Code_CODE_FRAME_TOO_LONG, Stream: true, Text: fmt.Sprintf("%s of %d bytes, at most %d", name(m), size, limit)}
	}
	buf.Grow(len(prefix) + protowire.SizeVarint(uint64(size)) + size)
	b := append(buf.AvailableBuffer(), prefix...)
	b = binary.AppendUvarint(b, uint64(size))
	b, err := opts.MarshalAppend(b, m)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name(m), err)
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if within > 0 {
		f.SetWriteDeadline(time.Now().Add(within))
		defer f.SetWriteDeadline(time.Time{})
	}
	_, err = f.Stream.Write(b)
	return err
}

// Finish ends the stream well: this side's bytes end, and what the peer had
// to send is read and dropped until it ends too. Without it a session closed
// right after the last frame may take that frame along. After timeout, or
// when the peer keeps sending, the stream is reset.
func (f *Framed) Finish(timeout time.Duration) error {
	err := f.CloseWrite()
	if err == nil {
		err = f.SetReadDeadline(time.Now().Add(timeout))
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, f.Stream, MaxBatch)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	f.Reset(hmpb.Code_CODE_NORMAL)
	return err
}

// bad ends the session because of a frame and returns why.
func (f *Framed) bad(code hmpb.Code, cause error) error {
	f.session.Close(code, cause.Error())
	return &Error{Code: code, Text: cause.Error(), Cause: cause}
}

var errVarint = errors.New("length or type is no varint")

// readVarint reads a varint in its shortest form. io.EOF means that the
// stream ended before it.
func (f *Framed) readVarint() (uint64, error) {
	var n uint64
	for i := range binary.MaxVarintLen64 {
		if _, err := io.ReadFull(f.Stream, f.one[:]); err != nil {
			if i > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		b := f.one[0]
		if bits.Len8(b&0x7f)+7*i > 64 || b == 0 && i > 0 {
			return 0, errVarint
		}
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, errVarint
}

// buffers holds scratch memory between frames; large ones are not kept.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(b *bytes.Buffer) {
	if b.Cap() > 64<<10 {
		return
	}
	b.Reset()
	buffers.Put(b)
}
