package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// decoder is shared and holds nothing between calls. It is made when the
// program starts: made later inside a synctest bubble, its channels would
// belong to that bubble.
var decoder = newDecoder()

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxSize), zstd.WithDecoderMaxWindow(MaxSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(fmt.Sprintf("block: zstd decoder: %v", err))
	}
	return d
}

// ReadHead tells what an encoded block covers. It unpacks nothing and does not
// promise that the rest is sound.
func ReadHead(data []byte) (Head, error) {
	h, _, _, err := readHead(data)
	if err != nil {
		return Head{}, fmt.Errorf("reading a block's head: %w", err)
	}
	return h, nil
}

// Decode unpacks a block. Its errors are ErrFormat, ErrVersion, ErrLimit,
// ErrOrder and ErrRange.
func Decode(data []byte) (Block, error) {
	return decode(data, func(Key) bool { return true })
}

// DecodeKey is Decode that keeps one series, or none where there is no such.
func DecodeKey(data []byte, key Key) (Block, error) {
	return decode(data, func(k Key) bool { return k == key })
}

func decode(data []byte, wanted func(Key) bool) (Block, error) {
	h, packing, body, err := readHead(data)
	if err != nil {
		return Block{}, fmt.Errorf("decoding a block: %w", err)
	}
	if packing == packedZstd {
		if body, err = decompress(body); err != nil {
			return Block{}, fmt.Errorf("decoding a block: %w", err)
		}
	}
	d := bodyReader{Head: h, r: bitReader{data: body}, at: -1}
	b, err := d.block(wanted)
	if err != nil {
		return Block{}, fmt.Errorf("decoding a block: %w", err)
	}
	return b, nil
}

func readHead(data []byte) (h Head, packing byte, body []byte, err error) {
	fail := func(err error) (Head, byte, []byte, error) { return Head{}, 0, nil, err }
	if len(data) > MaxSize {
		return fail(fmt.Errorf("%w: %d bytes", ErrLimit, len(data)))
	}
	if len(data) < 4 || data[0] != 'h' || data[1] != 'B' {
		return fail(fmt.Errorf("%w: no magic", ErrFormat))
	}
	if data[2] != version {
		return fail(fmt.Errorf("%w: %d", ErrVersion, data[2]))
	}
	packing, body = data[3], data[4:]
	if packing > packedZstd {
		return fail(fmt.Errorf("%w: packing %d", ErrFormat, packing))
	}
	var n [4]uint64
	for i := range n {
		u, size := binary.Uvarint(body)
		if size <= 0 || u > year10000 {
			return fail(fmt.Errorf("%w: head", ErrFormat))
		}
		n[i], body = u, body[size:]
	}
	// Each below 2^48 by now; products are looked at before they are made.
	if n[1] > MaxStep/MinStep || n[1] == 0 || n[0] > year10000/(n[1]*MinStep) {
		return fail(fmt.Errorf("%w: start %d, step %d", ErrRange, n[0], n[1]))
	}
	if n[2] > MaxSteps || n[3] > MaxSeries {
		return fail(fmt.Errorf("%w: %d series of %d steps", ErrLimit, n[3], n[2]))
	}
	step := int64(n[1]) * MinStep
	h = Head{Start: int64(n[0]) * step, Step: step, Count: int(n[2]), Series: int(n[3])}
	if err := h.check(); err != nil {
		return fail(err)
	}
	return h, packing, body, nil
}

// decompress wants exactly one frame: the library would step over frames that
// carry nothing.
func decompress(frame []byte) ([]byte, error) {
	var zh zstd.Header
	if err := zh.Decode(frame); err != nil || zh.Skippable || zh.HasCheckSum || zh.DictionaryID != 0 {
		return nil, fmt.Errorf("%w: zstd frame", ErrFormat)
	}
	rest := frame[zh.HeaderSize:]
	for last := false; !last; {
		if len(rest) < 3 {
			return nil, fmt.Errorf("%w: zstd frame is cut", ErrFormat)
		}
		head := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
		size := head >> 3
		if head>>1&3 == 1 { // one byte, repeated size times
			size = 1
		}
		if size > len(rest)-3 {
			return nil, fmt.Errorf("%w: zstd frame is cut", ErrFormat)
		}
		last, rest = head&1 != 0, rest[3+size:]
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes after the zstd frame", ErrFormat, len(rest))
	}
	body, err := decoder.DecodeAll(frame, nil)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), err == nil && len(body) > MaxSize:
		return nil, fmt.Errorf("%w: unpacks to more than %d bytes", ErrLimit, MaxSize)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return body, nil
}

// bodyReader reads the bits of a block.
type bodyReader struct {
	Head
	r         bitReader
	awake     []int // numbers of the steps at which anything has a value
	where     []int // the same of the series at hand
	instances []string
	at        int        // last used instance
	slab      []Value    // values for series to come, so that not each allocates
	col       [4][]int64 // columns of the series at hand: means, mean-min, max-mean, n
}

func (d *bodyReader) block(wanted func(Key) bool) (Block, error) {
	b := Block{Start: d.Start, Step: d.Step, Count: d.Count}
	all := make([]int, d.Count)
	for i := range all {
		all[i] = i
	}
	d.awake = all
	if d.r.take(1) == 0 {
		var err error
		if d.awake, err = d.runs(nil, all); err != nil {
			return Block{}, err
		}
	}
	// The shortest series takes two bytes: do not believe more.
	if d.Series > 0 {
		b.Series = make([]Series, 0, min(d.Series, len(d.r.data)/2+1))
	}
	var before Key
	for i := range d.Series {
		s, err := d.series(before, i == 0, wanted)
		if err != nil {
			return Block{}, err
		}
		before = s.Key
		if s.Values != nil {
			b.Series = append(b.Series, s)
		}
	}
	if !d.r.done() {
		return Block{}, fmt.Errorf("%w: more or less bits than values", ErrFormat)
	}
	return b, nil
}

func (d *bodyReader) series(before Key, first bool, wanted func(Key) bool) (Series, error) {
	key, err := d.key(before)
	if err != nil {
		return Series{}, err
	}
	if !first && before.Compare(key) >= 0 {
		return Series{}, fmt.Errorf("%w: %v after %v", ErrOrder, key, before)
	}
	s := Series{Key: key}
	form := d.r.take(2)
	s.Code = form&formCode != 0
	if err := d.readWhere(first); err != nil {
		return Series{}, err
	}
	columns := 1
	if form&formThinned != 0 {
		columns = 4
	}
	for i := range columns {
		d.col[i] = slices.Grow(d.col[i][:0], len(d.where))[:len(d.where)]
		if err := readColumn(&d.r, d.col[i]); err != nil {
			return Series{}, err
		}
	}
	if d.r.overrun() {
		return Series{}, fmt.Errorf("%w: cut", ErrFormat)
	}
	if !wanted(key) {
		return s, nil
	}
	s.Values = d.values()
	for i, at := range d.where {
		mean := d.col[0][i]
		if columns == 1 {
			s.Values[at] = Sample(mean)
			continue
		}
		n := d.col[3][i]
		if n < 1 || n > MaxN {
			return Series{}, fmt.Errorf("%w: %d samples", ErrRange, n)
		}
		v := Value{Min: mean - d.col[1][i], Mean: mean, Max: mean + d.col[2][i], N: int(n)}
		if err := v.check(); err != nil {
			return Series{}, err
		}
		s.Values[at] = v
	}
	return s, nil
}

func (d *bodyReader) key(before Key) (Key, error) {
	ahead := d.r.rice(1)
	if ahead > MaxID {
		return Key{}, fmt.Errorf("%w: number of a reading", ErrRange)
	}
	key := Key{ID: before.ID + uint32(ahead)}
	u := d.r.rice(0)
	if u > 0 {
		i := uint64(d.at + 1)
		if u > 1 {
			i = u - 2
		}
		if i > uint64(len(d.instances)) {
			return Key{}, fmt.Errorf("%w: instance %d of %d", ErrFormat, i, len(d.instances))
		}
		if i == uint64(len(d.instances)) {
			if err := d.newInstance(); err != nil {
				return Key{}, err
			}
		}
		d.at = int(i)
		key.Instance = d.instances[i]
	}
	if d.r.overrun() {
		return Key{}, fmt.Errorf("%w: cut", ErrFormat)
	}
	return key, key.check()
}

func (d *bodyReader) newInstance() error {
	size := d.r.take(6)
	if size < 1 || size > MaxInstance {
		return fmt.Errorf("%w: instance of %d bytes", ErrRange, size)
	}
	s := make([]byte, size)
	for i := range s {
		s[i] = byte(d.r.take(8))
	}
	if d.r.overrun() || !utf8.Valid(s) {
		return fmt.Errorf("%w: instance", ErrFormat)
	}
	d.instances = append(d.instances, string(s))
	return nil
}

func (d *bodyReader) readWhere(first bool) error {
	switch where := d.r.take(2); {
	case where == whereAwake:
		d.where = append(d.where[:0], d.awake...)
	case where == whereAsBefore && !first:
	case where == whereRuns && len(d.awake) > 0:
		var err error
		if d.where, err = d.runs(d.where[:0], d.awake); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: where a series has values", ErrFormat)
	}
	if len(d.where) == 0 {
		return fmt.Errorf("%w: a series without values", ErrFormat)
	}
	return nil
}

// runs appends those of steps, at least one, that have a value.
func (d *bodyReader) runs(dst, steps []int) ([]int, error) {
	f := newFollower(2)
	for has := d.r.take(1) != 0; len(steps) > 0; has = !has {
		u := d.r.rice(f.k())
		f.saw(u)
		if u >= uint64(len(steps)) {
			return nil, fmt.Errorf("%w: run of %d", ErrFormat, u)
		}
		run := steps[:u+1]
		steps = steps[u+1:]
		if has {
			dst = append(dst, run...)
		}
	}
	return dst, nil
}

// values gives room for one series. Each was paid for by bits that were read.
func (d *bodyReader) values() []Value {
	if len(d.slab) < d.Count {
		d.slab = make([]Value, max(1, 1024/d.Count)*d.Count)
	}
	v := d.slab[:d.Count:d.Count]
	d.slab = d.slab[d.Count:]
	return v
}
