package question

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// set is a set of device numbers, a bit each.
type set []uint64

func newSet(numbers int) set { return make(set, (numbers+63)/64) }
func (s set) add(n int)      { s[n/64] |= 1 << (n % 64) }

// grow makes room for a number.
func (s *set) grow(n int) {
	if need := n/64 + 1; need > len(*s) {
		*s = append(*s, make(set, need-len(*s))...)
	}
}
func (s set) has(n int) bool { return n/64 < len(s) && s[n/64]>>(n%64)&1 == 1 }
func (s set) clone() set     { return append(set(nil), s...) }
func (s set) keep(other set) { s.each2(other, func(a, b uint64) uint64 { return a & b }) }
func (s set) each2(other set, f func(a, b uint64) uint64) {
	for i := range s {
		var b uint64
		if i < len(other) {
			b = other[i]
		}
		s[i] = f(s[i], b)
	}
}

func (s set) count() (n int64) {
	for _, word := range s {
		n += int64(bits.OnesCount64(word))
	}
	return n
}

// each gives the numbers in their order until f returns false.
func (s set) each(f func(n int) bool) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			if !f(i*64 + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}

// column is one reading of all devices, by their numbers. Of a text, values are
// places in words.
type column struct {
	known  set
	values []int64 // as long as the highest number needs; 0 where not known
	words  []string
}

func newColumn(numbers int) *column {
	return &column{known: newSet(numbers), values: make([]int64, numbers)}
}

// under fills what c does not know from an older column.
func (c *column) under(old *column) {
	if len(c.values) == 0 {
		c.known, c.values, c.words = old.known.clone(), slices.Clone(old.values), slices.Clone(old.words)
		return
	}
	place := make([]int64, len(old.words))
	for i, word := range old.words {
		place[i] = c.place(word)
	}
	if len(old.values) > len(c.values) {
		c.values = append(c.values, make([]int64, len(old.values)-len(c.values))...)
		c.known = append(c.known, newSet(len(old.values))[len(c.known):]...)
	}
	old.known.each(func(n int) bool {
		if !c.known.has(n) {
			c.known.add(n)
			c.values[n] = old.values[n]
			if old.words != nil {
				c.values[n] = place[old.values[n]]
			}
		}
		return true
	})
}

// place finds a word, or adds it. There are few of them.
func (c *column) place(word string) int64 {
	for i, w := range c.words {
		if w == word {
			return int64(i)
		}
	}
	c.words = append(c.words, word)
	return int64(len(c.words) - 1)
}

const (
	columnMagic   = 'C'
	columnVersion = 1
	// maxNumbers bounds what is allocated for a column that says how long it is.
	maxNumbers = 1 << 24
)

var errColumn = errors.New("not a column of this version")

// encode packs a column: magic, version, how many numbers, the words, which are
// known, and of those the distance to the least value, all in as many bytes as
// the greatest needs.
//
//	'C' 1 numbers:uvarint words:uvarint {length:uvarint bytes} known:(numbers+7)/8 least:int64 width:byte {value:width}
func (c *column) encode() []byte {
	out := []byte{columnMagic, columnVersion}
	out = binary.AppendUvarint(out, uint64(len(c.values)))
	out = binary.AppendUvarint(out, uint64(len(c.words)))
	for _, word := range c.words {
		out = binary.AppendUvarint(out, uint64(len(word)))
		out = append(out, word...)
	}
	var low, high int64
	first := true
	c.known.each(func(n int) bool {
		v := c.values[n]
		if first {
			low, high, first = v, v, false
		}
		low, high = min(low, v), max(high, v)
		return true
	})
	for i := range (len(c.values) + 7) / 8 {
		out = append(out, byte(c.known[i/8]>>(i%8*8)))
	}
	out = binary.LittleEndian.AppendUint64(out, uint64(low))
	// Unsigned, since the distance of two int64 need not fit into one.
	width := (bits.Len64(uint64(high)-uint64(low)) + 7) / 8
	out = append(out, byte(width))
	c.known.each(func(n int) bool {
		v := uint64(c.values[n]) - uint64(low)
		for range width {
			out = append(out, byte(v))
			v >>= 8
		}
		return true
	})
	return out
}

// decode takes a column apart.
func decode(body []byte) (*column, error) {
	if len(body) < 2 || body[0] != columnMagic || body[1] != columnVersion {
		return nil, errColumn
	}
	body = body[2:]
	uvarint := func(most uint64) (int, bool) {
		v, n := binary.Uvarint(body)
		if n <= 0 || v > most {
			return 0, false
		}
		body = body[n:]
		return int(v), true
	}
	numbers, ok := uvarint(maxNumbers)
	if !ok || len(body) < (numbers+7)/8 {
		return nil, errColumn
	}
	words, ok := uvarint(uint64(len(body)))
	if !ok {
		return nil, errColumn
	}
	c := newColumn(numbers)
	for range words {
		n, ok := uvarint(uint64(len(body)))
		if !ok || n > len(body) {
			return nil, errColumn
		}
		c.words = append(c.words, string(body[:n]))
		body = body[n:]
	}
	size := (numbers + 7) / 8
	if len(body) < size+9 {
		return nil, errColumn
	}
	for i, b := range body[:size] {
		c.known[i/8] |= uint64(b) << (i % 8 * 8)
	}
	low, width := binary.LittleEndian.Uint64(body[size:]), int(body[size+8])
	body = body[size+9:]
	if numbers%8 != 0 && c.known.beyond(numbers) || width > 8 || int64(len(body)) != c.known.count()*int64(width) {
		return nil, errColumn
	}
	c.unpack(body, low, width)
	fits := true
	if words > 0 {
		c.known.each(func(n int) bool {
			fits = c.values[n] >= 0 && c.values[n] < int64(words)
			return fits
		})
	}
	if !fits {
		return nil, errColumn
	}
	return c, nil
}

// unpack is what a question does most: eight bytes at once, of which width count.
func (c *column) unpack(body []byte, low uint64, width int) {
	mask := ^uint64(0) >> (64 - 8*width)
	for i, word := range c.known {
		for ; word != 0; word &= word - 1 {
			var eight [8]byte
			if len(body) >= len(eight) {
				eight = [8]byte(body)
			} else {
				copy(eight[:], body)
			}
			c.values[i*64+bits.TrailingZeros64(word)] = int64(low + binary.LittleEndian.Uint64(eight[:])&mask)
			body = body[width:]
		}
	}
}

// beyond says whether s holds a number that is not below limit.
func (s set) beyond(limit int) bool {
	found := false
	for n := limit; n < len(s)*64; n++ {
		found = found || s.has(n)
	}
	return found
}
