package ident

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
)

// A Secret is the 160 random bits of a claim.
type Secret [20]byte

// NewSecret makes one.
func NewSecret() Secret {
	var s Secret
	rand.Read(s[:]) // never fails (Go 1.24)
	return s
}

// Hash is what a collector keeps of a secret. One round of SHA-256 is enough:
// nobody searches 160 random bits, so a slow hash would only slow us.
func (s Secret) Hash() [sha256.Size]byte {
	return sha256.Sum256(append([]byte("hausmeister claim v1"), s[:]...))
}

// String and LogValue keep a secret out of messages; FormatSecret writes it.
func (s Secret) String() string       { return "(secret)" }
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Crockford's base32: no I, L, O, U. His check symbols include *, ~, $ and =,
// which survive neither MSI properties nor URLs, so the check character is ours.
const (
	crockford     = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	secretSymbols = 32 // 160 bits by 5
	secretGroup   = 4
)

// FormatSecret writes a secret as 8 groups of 4 symbols; the last has a fifth,
// the check character.
func FormatSecret(s Secret) string {
	symbols := s.symbols()
	var b strings.Builder
	for i, v := range symbols {
		if i > 0 && i%secretGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(crockford[v])
	}
	b.WriteByte(crockford[check(symbols)])
	return b.String()
}

// ParseSecret reads a secret as people type it: lower case, O for 0, I and L for
// 1, dashes missing or elsewhere, spaces. A wrong or missing check character is
// ErrClaimTypo, so that a typo is told at once and is not a refused claim later.
func ParseSecret(text string) (Secret, error) {
	var symbols [secretSymbols + 1]byte
	n := 0
	for _, r := range text {
		if r == '-' || dropInvisible(r) == -1 {
			continue
		}
		v := symbolValue(r)
		if v < 0 || n == len(symbols) {
			return Secret{}, fmt.Errorf("%w: unexpected character %d", ErrClaimTypo, n+1)
		}
		symbols[n] = byte(v)
		n++
	}
	if n != len(symbols) {
		return Secret{}, fmt.Errorf("%w: %d of %d characters", ErrClaimTypo, n, len(symbols))
	}
	data := [secretSymbols]byte(symbols[:secretSymbols])
	if check(data) != symbols[secretSymbols] {
		return Secret{}, fmt.Errorf("%w: check character does not fit", ErrClaimTypo)
	}
	var s Secret
	var acc, bits uint
	i := 0
	for _, v := range data {
		acc, bits = acc<<5|uint(v), bits+5
		if bits >= 8 {
			bits -= 8
			s[i] = byte(acc >> bits)
			i++
		}
	}
	return s, nil
}

func (s Secret) symbols() (out [secretSymbols]byte) {
	var acc, bits uint
	i := 0
	for _, b := range s {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			out[i] = byte(acc>>bits) & 31
			i++
		}
	}
	return out
}

func symbolValue(r rune) int {
	switch r {
	case 'o', 'O':
		return 0
	case 'i', 'I', 'l', 'L':
		return 1
	}
	if r >= 'a' && r <= 'z' {
		r -= 'a' - 'A'
	}
	return strings.IndexRune(crockford, r)
}

// check is a sum over GF(32) in which each position has another power of a
// generator as weight. It finds every wrong symbol and every swap of neighbours
// (Crockford's own mod 37 does the same but needs 37 symbols).
func check(symbols [secretSymbols]byte) byte {
	var sum byte
	for _, v := range symbols {
		sum = double(sum ^ v)
	}
	return sum
}

// double multiplies by x in GF(32) with x^5 + x^2 + 1, which is primitive.
func double(v byte) byte {
	v <<= 1
	if v >= 32 {
		v ^= 0b100101
	}
	return v
}
