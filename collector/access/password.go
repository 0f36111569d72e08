package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// ErrPassword: the new password is no good; the text says why.
var ErrPassword = errors.New("password refused")

const (
	minPassword = 12   // characters; length is what helps, kinds of characters are not asked for (NIST SP 800-63B-4, 3.1.1)
	maxPassword = 1024 // bytes, so that nobody has us hash a film
)

func checkPassword(login, password string) error {
	lower := strings.ToLower(password)
	distinct := map[rune]bool{}
	for _, r := range lower {
		distinct[r] = true
	}
	switch {
	case !utf8.ValidString(password):
		return fmt.Errorf("%w: not valid text", ErrPassword)
	case utf8.RuneCountInString(password) < minPassword:
		return fmt.Errorf("%w: want at least %d characters", ErrPassword, minPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("%w: want at most %d bytes", ErrPassword, maxPassword)
	case len(distinct) < 5:
		return fmt.Errorf("%w: want at least 5 different characters", ErrPassword)
	case len(login) >= 3 && strings.Contains(lower, login):
		return fmt.Errorf("%w: it contains the login", ErrPassword)
	}
	return nil
}

// GeneratePassword makes one of 100 random bits that can be read out loud.
func GeneratePassword() string {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789#" // 32, none mistaken for another
	raw := make([]byte, 20)
	rand.Read(raw)
	var b strings.Builder
	for i, r := range raw {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[r%32])
	}
	return b.String()
}

// cost of a hash: OWASP's second choice, t=2 m=19 MiB p=1, 35 ms of a core on
// the machine of November 2026.
type cost struct {
	memoryKiB, passes uint32
	threads           uint8
}

var todaysCost = cost{memoryKiB: 19 * 1024, passes: 2, threads: 1}

// hasher computes password hashes, a few at a time: a flood of sign-ins takes
// turns instead of all memory and cores.
type hasher struct {
	working chan struct{}
	waiting chan struct{}
	cost    cost         // of new hashes
	looked  atomic.Int64 // passwords compared with a hash
}

// maxWaiting bounds those who wait for a hash: two seconds' worth and more.
const maxWaiting = 64

func newHasher(parallel int) *hasher {
	if parallel <= 0 {
		parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	return &hasher{working: make(chan struct{}, parallel), waiting: make(chan struct{}, parallel+maxWaiting), cost: todaysCost}
}

// dummy is a hash that fits no password, for accounts that do not exist.
func (h *hasher) dummy() string {
	never := make([]byte, 48)
	rand.Read(never)
	return encodeHash(h.cost, never[:16], never[16:])
}

// turn waits for a place to compute a hash.
func (h *hasher) turn(ctx context.Context) (done func(), err error) {
	select {
	case h.waiting <- struct{}{}:
	default:
		return nil, &SlowDown{RetryAfter: 5 * time.Second}
	}
	select {
	case h.working <- struct{}{}:
		return func() { <-h.working; <-h.waiting }, nil
	case <-ctx.Done():
		<-h.waiting
		return nil, context.Cause(ctx)
	}
}

func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	done, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	salt := make([]byte, 16)
	rand.Read(salt)
	return encodeHash(h.cost, salt, derive(password, salt, h.cost, 32)), nil
}

// verify compares in constant time. stale says that the hash was made at
// another cost than today's.
func (h *hasher) verify(ctx context.Context, encoded, password string) (ok, stale bool, err error) {
	c, salt, want, err := decodeHash(encoded)
	if err != nil {
		return false, false, err
	}
	done, err := h.turn(ctx)
	if err != nil {
		return false, false, err
	}
	defer done()
	h.looked.Add(1)
	if len(password) > maxPassword {
		password = "" // longer than any that was ever set
	}
	got := derive(password, salt, c, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, c != h.cost, nil
}

// derive folds the text first: macOS and Windows keyboards write an ä in
// different ways.
func derive(password string, salt []byte, c cost, length uint32) []byte {
	return argon2.IDKey([]byte(norm.NFKC.String(password)), salt, c.passes, c.memoryKiB, c.threads, length)
}

// encodeHash writes the PHC string format, so that the cost may change and old
// hashes still verify.
func encodeHash(c cost, salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memoryKiB, c.passes, c.threads,
		b64.EncodeToString(salt), b64.EncodeToString(key))
}

func decodeHash(encoded string) (c cost, salt, key []byte, err error) {
	parts := strings.Split(encoded, "$")
	bad := func() (cost, []byte, []byte, error) {
		return cost{}, nil, nil, errors.New("stored password hash is not readable")
	}
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad()
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memoryKiB, &c.passes, &c.threads); err != nil {
		return bad()
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	// The bounds keep a damaged row from asking for gigabytes.
	if saltErr != nil || keyErr != nil || len(key) < 16 || c.memoryKiB > 1<<20 || c.passes < 1 || c.passes > 100 || c.threads < 1 {
		return bad()
	}
	return c, salt, key, nil
}
