package ident

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ALPN names our protocol in the TLS handshake, over QUIC and over TCP.
const ALPN = "hausmeister/1"

// NewID makes a UUIDv7 (RFC 9562, section 5.7): 48 bits of now in milliseconds,
// the rest random, so that ids made later sort later and indexes stay dense.
func NewID(now time.Time) string {
	var b [16]byte
	rand.Read(b[:]) // never fails (Go 1.24)
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(b[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
	b[6] = 0x70 | b[6]&0x0f
	b[8] = 0x80 | b[8]&0x3f
	return formatUUID(b)
}

// TimeOf is when an id was made that NewID made; false if it is none.
func TimeOf(id string) (time.Time, bool) {
	if !ValidID(id) || id[14] != '7' {
		return time.Time{}, false
	}
	ms, err := strconv.ParseInt(id[0:8]+id[9:13], 16, 64)
	return time.UnixMilli(ms), err == nil
}

// ValidID reports whether s is a UUID in the one spelling that we write: lower
// case, with dashes. Two spellings of one id would be two devices in a map.
func ValidID(s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	var b [16]byte
	if _, err := hex.Decode(b[:], []byte(s[0:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err != nil {
		return false
	}
	return formatUUID(b) == s
}

func formatUUID(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// A Fingerprint is the SHA-256 of a public key (its SubjectPublicKeyInfo). It
// names a root in a claim and a credential in the collector's store; unlike a
// certificate's hash it survives a certificate made anew for the same key.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of a certificate's public key.
func FingerprintOf(c *x509.Certificate) Fingerprint {
	return sha256.Sum256(c.RawSubjectPublicKeyInfo)
}

// String is base64url without padding, 43 characters, as in a claim.
func (f Fingerprint) String() string { return base64.RawURLEncoding.EncodeToString(f[:]) }

// ParseFingerprint is the reverse of String and accepts nothing else.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	// Checked before decoding: the decoder skips line breaks.
	if len(s) != base64.RawURLEncoding.EncodedLen(len(f)) {
		return f, errors.New("fingerprint of wrong length")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(f) {
		return f, errors.New("fingerprint is not base64url")
	}
	return Fingerprint(b), nil
}
