package block

import (
	"fmt"
	"math"
)

// Methods of a column, as on disk.
const (
	constant = iota
	delta
	change
)

// scales are the divisors that have an index of their own: decimal ones of our
// units, sectors, kilobytes, pages. On disk, so append only, up to scaleFollows.
var scales = [...]uint64{1, 10, 100, 1000, 512, 1024, 4096}

const scaleFollows = 7

// column writes the values, at least one, in the shortest of the ways.
func (e *Encoder) column(v []int64) {
	div, same := divisor(v)
	if same {
		e.w.put(constant, 2)
		e.w.number(zigzag(v[0]))
		return
	}
	if div > 1 {
		for i := range v {
			v[i] /= int64(div)
		}
	}
	var method int
	var k uint
	best := math.MaxInt
	for m := delta; m <= change; m++ {
		nums, u := e.residuals(v, m)
		mk, size := bestK(u)
		for _, n := range nums {
			size += numberBits(n)
		}
		if size < best {
			best, method, k = size, m, mk
		}
	}
	e.w.put(uint64(method), 2)
	e.scale(div)
	e.w.put(uint64(k), 6)
	nums, u := e.residuals(v, method)
	for _, n := range nums {
		e.w.number(n)
	}
	f := newFollower(k)
	for _, x := range u {
		e.w.rice(x, f.k())
		f.saw(x)
	}
}

func (e *Encoder) scale(div uint64) {
	for i, s := range scales {
		if s == div {
			e.w.put(uint64(i), 3)
			return
		}
	}
	e.w.put(scaleFollows, 3)
	e.w.number(div)
}

// residuals gives the plain numbers and the rice coded ones of v for a method.
// They are good until the next call.
func (e *Encoder) residuals(v []int64, method int) (head, u []uint64) {
	head, u = e.head[:0], e.u[:0]
	switch method {
	case delta:
		head = append(head, zigzag(v[0]))
		for i := 1; i < len(v); i++ {
			u = append(u, zigzag(v[i]-v[i-1]))
		}
	case change:
		d := v[1] - v[0]
		head = append(head, zigzag(v[0]), zigzag(d))
		for i := 2; i < len(v); i++ {
			was := d
			d = v[i] - v[i-1]
			u = append(u, zigzag(d-was))
		}
	}
	e.head, e.u = head, u
	return head, u
}

// bestK is the parameter to begin with, and how many bits u takes with it.
func bestK(u []uint64) (k uint, size int) {
	// What it begins with matters for the first few only.
	first := u[:min(len(u), 32)]
	var sum uint64
	for _, x := range first {
		sum += min(x, 1<<maxK) / uint64(len(first))
	}
	guess := follower{sum: sum * 16}.k()
	size = math.MaxInt
	for try := max(guess, 1) - 1; try <= min(guess+1, maxK); try++ {
		if s := riceSize(first, try); s < size {
			k, size = try, s
		}
	}
	if len(first) < len(u) {
		size = riceSize(u, k)
	}
	return k, size
}

func riceSize(u []uint64, k uint) int {
	size := 0
	f := newFollower(k)
	for _, x := range u {
		size += riceBits(x, f.k())
		f.saw(x)
	}
	return size
}

// divisor is the greatest that divides all of v, 1 where it does not fit into
// an int64 or all are zero; same says that all are equal.
func divisor(v []int64) (div uint64, same bool) {
	same = true
	for _, x := range v {
		if x != v[0] {
			same = false
		}
		if div == 1 {
			if !same {
				return 1, false
			}
			continue
		}
		a := uint64(x)
		if x < 0 {
			a = -a
		}
		for a != 0 {
			div, a = a, div%a
		}
	}
	if div == 0 || div > math.MaxInt64 {
		div = 1
	}
	return div, same
}

// readColumn fills v.
func readColumn(r *bitReader, v []int64) error {
	method := r.take(2)
	if method == constant {
		x := unzigzag(r.number())
		for i := range v {
			v[i] = x
		}
		return nil
	}
	div, ok := readScale(r)
	k := uint(r.take(6))
	if method > change || !ok || k > maxK || method == change && len(v) < 2 {
		return fmt.Errorf("%w: column of method %d", ErrFormat, method)
	}
	f := newFollower(k)
	next := func() int64 {
		u := r.rice(f.k())
		f.saw(u)
		return unzigzag(u)
	}
	x := unzigzag(r.number())
	switch method {
	case delta:
		v[0] = x * div
		for i := range v[1:] {
			x += next()
			v[i+1] = x * div
		}
	case change:
		v[0] = x * div
		d := unzigzag(r.number())
		x += d
		v[1] = x * div
		for i := range v[2:] {
			d += next()
			x += d
			v[i+2] = x * div
		}
	}
	return nil
}

func readScale(r *bitReader) (int64, bool) {
	i := r.take(3)
	if i == scaleFollows {
		u := r.number()
		return int64(u), u > 0 && u <= math.MaxInt64
	}
	return int64(scales[i]), true
}
