package access

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"hausmeister/collector/db"
)

var (
	// ErrKey: a key that cannot be, or one that came before with another request.
	ErrKey = errors.New("idempotency key refused")
	// ErrUnderWay: a request with this key has begun and has no answer; it is
	// still under way, or what answered it was cut off.
	ErrUnderWay = errors.New("a request with this key has no answer yet")
)

const (
	minKey, maxKey = 16, 200
	// answersFor is how long an answer is kept for a request that comes again.
	answersFor = 24 * time.Hour
)

// Answer is what a request that made something was answered.
type Answer struct {
	Status   int
	Location string
	Body     []byte
}

// Once answers a request that comes with a key of the sender's choice: the first
// time by do, and for 24 hours after that as the first time, so that a program
// whose connection broke may ask again and nothing is made twice. A failed do
// leaves no trace. The key has 16 to 200 bytes that nobody guesses; answers are
// sealed with it, since they may hold a secret that is stored nowhere else.
func (s *Service) Once(ctx context.Context, caller Caller, key string, request []byte, do func() (Answer, error)) (Answer, error) {
	if len(key) < minKey || len(key) > maxKey {
		return Answer{}, fmt.Errorf("%w: want %d to %d bytes", ErrKey, minKey, maxKey)
	}
	asked := sha256.Sum256(request)
	row := onceRow{caller.Actor(), hashSecret("once " + key), asked[:]}
	known, err := s.reserve(ctx, row, key)
	if err != nil || known.Status != 0 {
		return known, err
	}
	answer, err := do()
	if err != nil {
		if undone := s.db.Write(context.WithoutCancel(ctx), row.forget); undone != nil {
			s.log.Warn("an idempotency key stays reserved", "error", undone)
		}
		return Answer{}, err
	}
	// The answer goes out even where it cannot be kept: what was made is made.
	if err := s.keep(context.WithoutCancel(ctx), row, key, answer); err != nil {
		s.log.Warn("an answer was not kept for a request that comes again", "error", err)
	}
	return answer, nil
}

// onceRow names a row of answers.
type onceRow struct {
	caller        string
	hash, request []byte
}

func (r onceRow) forget(tx *db.Tx) error {
	_, err := tx.Exec(context.Background(), `DELETE FROM answers WHERE caller = $1 AND key_hash = $2`, r.caller, r.hash)
	return err
}

// reserve gives the answer of before, or reserves the key and gives none.
func (s *Service) reserve(ctx context.Context, r onceRow, key string) (known Answer, err error) {
	now := s.now()
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		known = Answer{}
		if _, err := tx.Exec(ctx, `DELETE FROM answers WHERE created_ms < $1`, now.Add(-answersFor).UnixMilli()); err != nil {
			return err
		}
		var request, sealed []byte
		var status int64
		err := tx.QueryRow(ctx, `SELECT request, status, location, sealed FROM answers WHERE caller = $1 AND key_hash = $2`, r.caller, r.hash).
			Scan(&request, &status, &known.Location, &sealed)
		switch {
		case errors.Is(err, db.ErrNoRows):
			_, err := tx.Exec(ctx, `INSERT INTO answers (caller, key_hash, request, created_ms) VALUES ($1, $2, $3, $4)`, r.caller, r.hash, r.request, now.UnixMilli())
			return err
		case err != nil:
			return err
		case !bytes.Equal(request, r.request):
			return fmt.Errorf("%w: it came before with another request", ErrKey)
		case status == 0:
			return ErrUnderWay
		}
		known.Status = int(status)
		known.Body, err = open(key, sealed)
		return err
	})
	if err != nil {
		return Answer{}, fmt.Errorf("looking up an idempotency key: %w", err)
	}
	return known, nil
}

func (s *Service) keep(ctx context.Context, r onceRow, key string, a Answer) error {
	sealed, err := seal(key, a.Body)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE answers SET status = $3, location = $4, sealed = $5 WHERE caller = $1 AND key_hash = $2`,
			r.caller, r.hash, int64(a.Status), a.Location, sealed)
		return err
	})
}

// sealer is AES-256-GCM under a key of which a hash with another prefix is stored.
func sealer(key string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(hashSecret("answer " + key))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func seal(key string, body []byte) ([]byte, error) {
	aead, err := sealer(key)
	if err != nil {
		return nil, fmt.Errorf("sealing an answer: %w", err)
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, body, nil), nil
}

func open(key string, sealed []byte) ([]byte, error) {
	aead, err := sealer(key)
	if err != nil || len(sealed) < aead.NonceSize() {
		return nil, errors.Join(errors.New("opening a kept answer: it is damaged"), err)
	}
	body, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil {
		return nil, fmt.Errorf("opening a kept answer: %w", err)
	}
	return body, nil
}
