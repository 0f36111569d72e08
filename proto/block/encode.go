package block

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

const (
	version = 1

	packedPlain = 0
	packedZstd  = 1
)

// Forms of a series, as on disk.
const (
	formCode    = 1 << 0
	formThinned = 1 << 1
)

// Where a series has values, as on disk.
const (
	whereAwake = iota
	whereAsBefore
	whereRuns
)

// zstdAbove is the body's size in bytes from which zstd is tried. Measured: a
// block of 15 minutes never gets shorter by it, and so the agent as a rule
// never makes the zstd encoder, which takes 250 kB.
const zstdAbove = 2 << 10

// Encode packs b. Series without any value are left out.
func Encode(b Block) ([]byte, error) {
	var e Encoder
	return e.Append(nil, b)
}

// Encoder packs one block after the other in the same memory. The zero Encoder
// is ready; it is not for several goroutines at once.
type Encoder struct {
	w      bitWriter
	z      *zstd.Encoder // made when first wanted
	packed []byte

	awake       []bool // steps at which any series has a value
	where, last []bool // where this and the one before has values, of the awake steps
	instances   map[string]int
	at          int // last used instance

	means, low, high, n []int64
	head, u             []uint64 // see residuals
}

// Append packs b and appends it to dst. Series without any value are left out.
func (e *Encoder) Append(dst []byte, b Block) ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, fmt.Errorf("encoding a block: %w", err)
	}
	h := b.Head()
	for _, s := range b.Series {
		if s.Empty() {
			h.Series--
		}
	}
	body := e.body(b)
	if len(body) > MaxSize {
		return nil, fmt.Errorf("encoding a block: %w: %d bytes unpacked", ErrLimit, len(body))
	}
	packing := byte(packedPlain)
	if len(body) > zstdAbove {
		if z, err := e.compress(body); err != nil {
			return nil, fmt.Errorf("encoding a block: %w", err)
		} else if len(z) < len(body) {
			packing, body = packedZstd, z
		}
	}
	start := len(dst)
	dst = append(dst, 'h', 'B', version, packing)
	dst = binary.AppendUvarint(dst, uint64(h.Start/h.Step))
	dst = binary.AppendUvarint(dst, uint64(h.Step/MinStep))
	dst = binary.AppendUvarint(dst, uint64(h.Count))
	dst = binary.AppendUvarint(dst, uint64(h.Series))
	dst = append(dst, body...)
	if size := len(dst) - start; size > MaxSize {
		return nil, fmt.Errorf("encoding a block: %w: %d bytes", ErrLimit, size)
	}
	return dst, nil
}

// compress gives a frame that is good until the next call.
func (e *Encoder) compress(body []byte) ([]byte, error) {
	if e.z == nil {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(32<<10), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, fmt.Errorf("making the zstd encoder: %w", err)
		}
		e.z = z
	}
	e.packed = e.z.EncodeAll(body, e.packed[:0])
	return e.packed, nil
}

// body gives the bits that are good until the next call.
func (e *Encoder) body(b Block) []byte {
	e.w = bitWriter{buf: e.w.buf[:0]}
	if e.instances == nil {
		e.instances = map[string]int{}
	}
	clear(e.instances)
	e.at = -1
	e.markAwake(b)
	e.last = e.last[:0]
	var id uint32
	for _, s := range b.Series {
		if s.Empty() {
			continue
		}
		e.w.rice(uint64(s.ID-id), 1)
		id = s.ID
		e.instance(s.Instance)
		e.series(s)
	}
	return e.w.flush()
}

func (e *Encoder) markAwake(b Block) {
	e.awake = append(e.awake[:0], make([]bool, b.Count)...)
	for _, s := range b.Series {
		for i, v := range s.Values {
			if v.N != 0 {
				e.awake[i] = true
			}
		}
	}
	if all := !slices.Contains(e.awake, false); all {
		e.w.put(1, 1)
		return
	}
	e.w.put(0, 1)
	e.runs(e.awake)
}

func (e *Encoder) runs(has []bool) {
	f := newFollower(2)
	e.w.put(bit(has[0]), 1)
	for from := 0; from < len(has); {
		to := from + 1
		for to < len(has) && has[to] == has[from] {
			to++
		}
		u := uint64(to - from - 1)
		e.w.rice(u, f.k())
		f.saw(u)
		from = to
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (e *Encoder) instance(s string) {
	if s == "" {
		e.w.rice(0, 0)
		return
	}
	i, known := e.instances[s]
	switch {
	case !known && e.at == len(e.instances)-1, known && i == e.at+1:
		e.w.rice(1, 0)
	case known:
		e.w.rice(uint64(2+i), 0)
	default:
		// A new one, while the last used one is not the newest: name the
		// newest plus one.
		e.w.rice(uint64(2+len(e.instances)), 0)
	}
	if !known {
		i = len(e.instances)
		e.instances[s] = i
		e.w.put(uint64(len(s)), 6)
		for _, c := range []byte(s) {
			e.w.put(uint64(c), 8)
		}
	}
	e.at = i
}

func (e *Encoder) series(s Series) {
	thinned := e.gather(s)
	form := uint64(0)
	if s.Code {
		form |= formCode
	}
	if thinned {
		form |= formThinned
	}
	e.w.put(form, 2)
	switch {
	case !slices.Contains(e.where, false):
		e.w.put(whereAwake, 2)
	case slices.Equal(e.where, e.last):
		e.w.put(whereAsBefore, 2)
	default:
		e.w.put(whereRuns, 2)
		e.runs(e.where)
	}
	e.where, e.last = e.last, e.where
	// Differences to the mean first: column changes what it is given.
	e.column(e.means)
	if thinned {
		e.column(e.low)
		e.column(e.high)
		e.column(e.n)
	}
}

// gather takes the values of s apart, and says whether it is a thinned series.
func (e *Encoder) gather(s Series) (thinned bool) {
	e.where, e.means = e.where[:0], e.means[:0]
	e.low, e.high, e.n = e.low[:0], e.high[:0], e.n[:0]
	for i, v := range s.Values {
		if !e.awake[i] {
			continue
		}
		e.where = append(e.where, v.N != 0)
		if v.N == 0 {
			continue
		}
		thinned = thinned || !v.plain()
		e.means = append(e.means, v.Mean)
		e.low = append(e.low, v.Mean-v.Min)
		e.high = append(e.high, v.Max-v.Mean)
		e.n = append(e.n, int64(v.N))
	}
	return thinned
}
