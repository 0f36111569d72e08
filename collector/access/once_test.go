package access_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// TestOnce: the same key makes once and answers alike, for its caller, its
// request and a day; the store shows neither key nor answer.
func TestOnce(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		s, c := service(t, d)
		ctx := t.Context()
		const key = "0190-a-key-of-the-sender"
		made := 0
		create := func() (access.Answer, error) {
			made++
			return access.Answer{Status: 201, Location: "/x", Body: []byte("ein Geheimnis")}, nil
		}
		first, err := s.Once(ctx, operator, key, []byte("a"), create)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.Once(ctx, operator, key, []byte("a"), create)
		if err != nil || made != 1 || !cmp.Equal(first, again) {
			t.Errorf("again: %+v, %v, made %d; want %+v, made once", again, err, made, first)
		}
		if _, err := s.Once(ctx, operator, key, []byte("b"), create); !errors.Is(err, access.ErrKey) {
			t.Errorf("with another request: %v, want ErrKey", err)
		}
		if _, err := s.Once(ctx, operator, "short", nil, create); !errors.Is(err, access.ErrKey) {
			t.Errorf("with a short key: %v, want ErrKey", err)
		}
		if _, err := s.Once(ctx, access.System("other"), key, []byte("a"), create); err != nil || made != 2 {
			t.Errorf("another caller's: %v, made %d; want its own", err, made)
		}
		failed := errors.New("no")
		if _, err := s.Once(ctx, operator, key+"2", nil, func() (access.Answer, error) { return access.Answer{}, failed }); !errors.Is(err, failed) {
			t.Errorf("failed: %v", err)
		}
		if _, err := s.Once(ctx, operator, key+"2", nil, create); err != nil || made != 3 {
			t.Errorf("after a failure: %v, made %d; want another try", err, made)
		}
		_, err = s.Once(ctx, operator, key+"3", nil, func() (access.Answer, error) {
			_, err := s.Once(ctx, operator, key+"3", nil, create)
			return access.Answer{Status: 201}, err
		})
		if !errors.Is(err, access.ErrUnderWay) {
			t.Errorf("meanwhile: %v, want ErrUnderWay", err)
		}
		err = d.Read(ctx, func(tx *db.Tx) error {
			var sealed, hash []byte
			if err := tx.QueryRow(ctx, `SELECT sealed, key_hash FROM answers WHERE caller = 'system:test' AND location = '/x' LIMIT 1`).Scan(&sealed, &hash); err != nil {
				return err
			}
			if bytes.Contains(sealed, []byte("Geheimnis")) || bytes.Contains(hash, []byte(key)) {
				t.Error("the store shows the answer or the key")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.t = c.t.Add(24*time.Hour + time.Minute)
		if _, err := s.Once(ctx, operator, key, []byte("b"), create); err != nil || made != 4 {
			t.Errorf("a day later: %v, made %d; want the key to be free", err, made)
		}
	})
}
