package block

import (
	"encoding/binary"
	"math/bits"
)

const (
	// maxZeros before a rice code gives up and a plain number follows.
	maxZeros = 24
	// maxK is the highest rice parameter: more would overflow the mean.
	maxK = 56
)

// bitWriter appends bits to buf, least significant first.
type bitWriter struct {
	buf  []byte
	acc  uint64
	held uint // bits in acc, below 8 between calls
}

// put appends the lowest n bits of v, n <= 56.
func (w *bitWriter) put(v uint64, n uint) {
	w.acc |= v & (1<<n - 1) << w.held
	w.held += n
	for w.held >= 8 {
		w.buf = append(w.buf, byte(w.acc))
		w.acc >>= 8
		w.held -= 8
	}
}

// flush fills the last byte with zeros.
func (w *bitWriter) flush() []byte {
	if w.held > 0 {
		w.buf = append(w.buf, byte(w.acc))
		w.acc, w.held = 0, 0
	}
	return w.buf
}

func (w *bitWriter) number(u uint64) {
	n := uint(bits.Len64(u))
	if n >= 63 {
		w.put(63, 6)
		w.put(u, 32)
		w.put(u>>32, 32)
		return
	}
	w.put(uint64(n), 6)
	if n > 1 {
		n--
		w.put(u, n%32)
		if n >= 32 {
			w.put(u>>(n%32), 32)
		}
	}
}

func numberBits(u uint64) int {
	n := bits.Len64(u)
	if n >= 63 {
		return 6 + 64
	}
	return 6 + max(n-1, 0)
}

func (w *bitWriter) rice(u uint64, k uint) {
	q := u >> k
	if q >= maxZeros {
		w.put(0, maxZeros)
		w.number(u)
		return
	}
	w.put(1<<q, uint(q)+1)
	w.put(u, k)
}

func riceBits(u uint64, k uint) int {
	q := u >> k
	if q >= maxZeros {
		return maxZeros + numberBits(u)
	}
	return int(q) + 1 + int(k)
}

// follower chooses the rice parameter from the values before: sum is 16 times
// their mean, with older ones fading. Both ends keep it alike.
type follower struct {
	sum uint64
}

func newFollower(k uint) follower { return follower{sum: 16 << k} }

// k is the best parameter for the mean: that of mean times ln 2, which 11/16 is near.
func (f follower) k() uint { return uint(bits.Len64(f.sum * 11 >> 8)) }

func (f *follower) saw(u uint64) { f.sum += min(u, 1<<maxK) - f.sum>>4 }

// bitReader reads what bitWriter wrote. Past the end it gives zeros and is
// overrun; callers have loops that end anyway and look at the end of them.
type bitReader struct {
	data []byte
	pos  uint // in bits
}

// peek gives at least 56 bits from pos on, zeros past the end.
func (r *bitReader) peek() uint64 {
	at := r.pos >> 3
	if at+8 <= uint(len(r.data)) {
		return binary.LittleEndian.Uint64(r.data[at:]) >> (r.pos & 7)
	}
	var v uint64
	for i := uint(0); at+i < uint(len(r.data)); i++ {
		v |= uint64(r.data[at+i]) << (8 * i)
	}
	return v >> (r.pos & 7)
}

func (r *bitReader) overrun() bool { return r.pos > 8*uint(len(r.data)) }

// take reads n bits, n <= 56.
func (r *bitReader) take(n uint) uint64 {
	v := r.peek() & (1<<n - 1)
	r.pos += n
	return v
}

func (r *bitReader) number() uint64 {
	n := uint(r.take(6))
	switch {
	case n == 0:
		return 0
	case n == 63:
		low := r.take(32)
		return low | r.take(32)<<32
	}
	n--
	v := r.take(n % 32)
	if n >= 32 {
		v |= r.take(32) << (n % 32)
	}
	return v | 1<<n
}

func (r *bitReader) rice(k uint) uint64 {
	v := r.peek()
	q := uint(bits.TrailingZeros64(v | 1<<maxZeros))
	if q == maxZeros {
		r.pos += maxZeros
		return r.number()
	}
	if q+1+k <= 56 {
		r.pos += q + 1 + k
		return uint64(q)<<k | v>>(q+1)&(1<<k-1)
	}
	r.pos += q + 1
	return uint64(q)<<k | r.take(k)
}

// done says whether all was read: nothing is left but the zeros of the last byte.
func (r *bitReader) done() bool {
	return !r.overrun() && (r.pos+7)/8 == uint(len(r.data)) && r.peek() == 0
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
