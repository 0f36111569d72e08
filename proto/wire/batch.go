package wire

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
)

// compressAbove is the size from which a batch is worth compressing: one State
// of all readings has 620 bytes and becomes a fifth shorter (measured), and a
// device in use sends 480 of them in a day of 8 hours.
const compressAbove = 256

// WriteBatch sends b up the report stream, compressed where that is shorter.
func (f *Framed) WriteBatch(b *hmpb.Batch) error {
	up, err := EncodeBatch(b)
	if err != nil {
		return err
	}
	return f.WriteMsg(up)
}

// ReadBatch reads the next batch of the report stream. A batch that is too
// long after decompression, or none, ends the session like any bad frame.
func (f *Framed) ReadBatch() (*hmpb.Batch, error) {
	var up hmpb.ReportUp
	if err := f.ReadMsg(&up); err != nil {
		return nil, err
	}
	b, err := DecodeBatch(&up)
	if err != nil {
		return nil, f.bad(CodeOf(err), err)
	}
	return b, nil
}

// EncodeBatch packs a batch into the frame that carries it.
func EncodeBatch(b *hmpb.Batch) (*hmpb.ReportUp, error) {
	up := &hmpb.ReportUp{}
	size := proto.Size(b)
	if size > MaxBatch {
		return nil, &Error{Code: hmpb.Code_CODE_FRAME_TOO_LONG, Stream: true, Text: fmt.Sprintf("batch of %d bytes, at most %d", size, MaxBatch)}
	}
	if size > compressAbove {
		raw, err := proto.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("encoding a batch: %w", err)
		}
		if z := encoder.EncodeAll(raw, nil); len(z) < len(raw) {
			up.SetBatchZstd(z)
			return up, nil
		}
	}
	up.SetBatch(b)
	return up, nil
}

// DecodeBatch unpacks the batch of a frame. Its error is an *Error with
// CODE_FRAME_TOO_LONG when it would decompress to more than MaxBatch, which
// is noticed before that much is held, and CODE_MALFORMED_FRAME otherwise.
func DecodeBatch(up *hmpb.ReportUp) (*hmpb.Batch, error) {
	switch up.WhichKind() {
	case hmpb.ReportUp_Batch_case:
		return up.GetBatch(), nil
	case hmpb.ReportUp_BatchZstd_case:
		raw, err := decoder.DecodeAll(up.GetBatchZstd(), nil)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
			return nil, batchError(hmpb.Code_CODE_FRAME_TOO_LONG, err)
		}
		if err != nil {
			return nil, batchError(hmpb.Code_CODE_MALFORMED_FRAME, err)
		}
		b := &hmpb.Batch{}
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, b); err != nil {
			return nil, batchError(hmpb.Code_CODE_MALFORMED_FRAME, err)
		}
		return b, nil
	}
	return nil, batchError(hmpb.Code_CODE_MALFORMED_FRAME, errors.New("no batch in the frame"))
}

func batchError(code hmpb.Code, cause error) error {
	return &Error{Code: code, Text: "batch: " + cause.Error(), Cause: cause}
}

// The library's coders are made to be shared and hold no state between calls.
// They are made, and the encoder used once, when the program starts: made
// later inside a synctest bubble, their channels would belong to that bubble.
var (
	encoder = newEncoder()
	decoder = newDecoder()
)

// The fastest level takes 256 kB for its tables, the next one 1.3 MB for
// 2 % less of one State and 6 % of a backlog.
func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(fmt.Sprintf("wire: zstd encoder: %v", err))
	}
	e.EncodeAll([]byte{0}, nil)
	return e
}

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxBatch), zstd.WithDecoderMaxWindow(MaxBatch), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(fmt.Sprintf("wire: zstd decoder: %v", err))
	}
	return d
}
