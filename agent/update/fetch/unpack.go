package fetch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// Want is what something must be.
type Want struct {
	SHA256 []byte
	Length int64
}

// Bounds of unpacking.
const (
	// maxProgram bounds the programs that are packed and the ones they are packed
	// against; ours has 12 MB.
	maxProgram = 256 << 20
	// leastWindow is what even a small file may be packed with: zstd -19 uses 8 MB.
	leastWindow = 8 << 20
)

// Unpack writes what packed holds, zstd, to out. With base it is a patch against
// that, made by zstd --patch-from=BASE. Whatever packed holds, no more than
// want.Length bytes are written and no more memory is taken than base and the
// result have together, rounded up. The error is ErrBytes when packed does not hold
// what is wanted, and out's own otherwise; then what was written is worth nothing.
func Unpack(packed io.Reader, base []byte, want Want, out io.Writer) error {
	if want.Length < 0 || want.Length > maxProgram || len(base) > maxProgram {
		return fmt.Errorf("%w: %d bytes against %d", ErrBytes, want.Length, len(base))
	}
	window := uint64(max(leastWindow, int64(1)<<bits.Len64(uint64(want.Length)+uint64(len(base)))))
	options := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), // by whoever reads, without goroutines
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(max(want.Length, 1)) + window),
		zstd.WithDecoderMaxWindow(min(window, 512<<20)),
	}
	if base != nil {
		options = append(options, zstd.WithDecoderDictRaw(0, base))
	}
	d, err := zstd.NewReader(packed, options...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBytes, err)
	}
	defer d.Close()
	hash, buf := sha256.New(), make([]byte, 128<<10)
	for left := want.Length; ; {
		n, err := d.Read(buf)
		if int64(n) > left {
			return fmt.Errorf("%w: longer than %d", ErrBytes, want.Length)
		}
		left -= int64(n)
		hash.Write(buf[:n])
		if _, err := out.Write(buf[:n]); err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
		switch {
		case errors.Is(err, io.EOF) && left > 0:
			return fmt.Errorf("%w: shorter than %d", ErrBytes, want.Length)
		case errors.Is(err, io.EOF) && !bytes.Equal(hash.Sum(nil), want.SHA256):
			return fmt.Errorf("%w: another hash", ErrBytes)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrBytes, err)
		}
	}
}
