package manifest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Nonce is what a device has drawn for one question.
type Nonce [32]byte

// Statement is the answer: this is the newest timestamp, and it is now so late.
type Statement struct {
	Nonce     Nonce
	Timestamp [32]byte // SHA-256 of timestamp.json
	Time      time.Time
}

// A statement is 8 bytes of magic, nonce, hash, milliseconds of Unix time as 8
// bytes big endian, then the key's id (32) and its ed25519 signature over all
// before the id. Signed metadata begins with a brace, so that neither can be
// taken for the other although one key signs both.
const (
	freshMagic = "HMfresh1"
	freshBody  = len(freshMagic) + 32 + 32 + 8
	freshSize  = freshBody + 32 + ed25519.SignatureSize
)

var errFresh = errors.New("no statement of freshness")

// SignFresh signs a statement with the key of the timestamp role.
func SignFresh(key ed25519.PrivateKey, nonce Nonce, timestamp []byte, now time.Time) ([]byte, error) {
	id, err := KeyID(key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	rawID, err := hex.DecodeString(id)
	if err != nil {
		return nil, err
	}
	h := sum(timestamp)
	b := append([]byte(freshMagic), nonce[:]...)
	b = append(b, h[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMilli()))
	sig := ed25519.Sign(key, b)
	return append(append(b, rawID...), sig...), nil
}

// VerifyFresh reads a statement that a key of the root's timestamp role has
// signed for this nonce. The root must be one that is trusted already.
func VerifyFresh(root, raw []byte, nonce Nonce) (st Statement, err error) {
	t, err := newTrusted(root)
	if err != nil {
		return Statement{}, err
	}
	return verifyFresh(t.Root, raw, nonce)
}

func verifyFresh(root *metadata.Metadata[metadata.RootType], raw []byte, nonce Nonce) (Statement, error) {
	if len(raw) != freshSize || !bytes.HasPrefix(raw, []byte(freshMagic)) {
		return Statement{}, fmt.Errorf("%w: %w: %d bytes", ErrMalformed, errFresh, len(raw))
	}
	body, id, sig := raw[:freshBody], hex.EncodeToString(raw[freshBody:freshBody+32]), raw[freshBody+32:]
	key, ok := root.Signed.Keys[id]
	if root.Signed.Roles[Timestamp].Threshold != 1 {
		return Statement{}, fmt.Errorf("%w: one signature is too few", ErrRefused)
	}
	if !ok || !slices.Contains(root.Signed.Roles[Timestamp].KeyIDs, id) || key.Type != metadata.KeyTypeEd25519 {
		return Statement{}, fmt.Errorf("%w: not the timestamp's key", ErrRefused)
	}
	pub, err := hex.DecodeString(key.Value.PublicKey)
	if err != nil || len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, body, sig) {
		return Statement{}, fmt.Errorf("%w: the signature is wrong", ErrRefused)
	}
	var st Statement
	rest := body[len(freshMagic):]
	copy(st.Nonce[:], rest)
	copy(st.Timestamp[:], rest[32:])
	if st.Nonce != nonce {
		return Statement{}, fmt.Errorf("%w: the answer to another question", ErrRefused)
	}
	ms := binary.BigEndian.Uint64(rest[64:])
	if ms > 1<<53 {
		return Statement{}, fmt.Errorf("%w: %d is no time", ErrMalformed, ms)
	}
	st.Time = time.UnixMilli(int64(ms)).UTC()
	return st, nil
}

// KeyID is the name of a key in metadata.
func KeyID(pub ed25519.PublicKey) (string, error) {
	k, err := metadata.KeyFromPublicKey(pub)
	if err != nil {
		return "", err
	}
	return k.ID()
}

func sum(data []byte) [32]byte { return sha256.Sum256(data) }
