package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// tokenPrefix lets people and scanners of source code recognise a token.
const tokenPrefix = "hmt_"

// IsToken says whether a secret has the form of an API token's; a session's has not.
func IsToken(secret string) bool { return strings.HasPrefix(secret, tokenPrefix) }

// Token is an API token without its secret.
type Token struct {
	ID      string
	Name    string
	Role    Role
	Owners  []string // nil = everybody's data
	Created time.Time
	Expires time.Time // zero = never
	Revoked bool
	// RevokedAt is when; zero = it is not.
	RevokedAt time.Time
	UsedDay   string // YYYY-MM-DD in UTC, empty = never
}

// NewToken says what CreateToken shall make.
type NewToken struct {
	Name    string
	Role    Role
	Owners  []string
	Expires time.Time // zero = never
}

// CreateToken makes an API token. Its secret is returned this once.
func (s *Service) CreateToken(ctx context.Context, caller Caller, t NewToken) (secret string, token Token, err error) {
	if err := caller.Allow(WriteUsers); err != nil {
		return "", Token{}, err
	}
	if !covers(caller, t.Owners) {
		return "", Token{}, fmt.Errorf("%w: a token for more owners than one's own", ErrForbidden)
	}
	if err := checkNew(t.Name, t.Role); err != nil {
		return "", Token{}, err
	}
	now := s.now()
	if !t.Expires.IsZero() && !t.Expires.After(now) {
		return "", Token{}, ErrPast
	}
	secret, hash := newSecret(tokenPrefix)
	token = Token{ID: ident.NewID(now), Name: t.Name, Role: t.Role, Owners: t.Owners, Created: now, Expires: t.Expires}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO tokens (id, name, hash, role, all_owners, created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			token.ID, t.Name, hash, string(t.Role), t.Owners == nil, now.UnixMilli(), millis(t.Expires)); err != nil {
			return err
		}
		if err := writeScope(ctx, tx, token.ID, t.Owners); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: "token.created",
			Subject: "token:" + token.ID, Owner: only(t.Owners), Details: map[string]string{"role": string(t.Role), "owners": scopeDetail(t.Owners)}})
	})
	if errors.Is(err, db.ErrUnique) {
		err = fmt.Errorf("%w: token %q", ErrExists, t.Name)
	}
	if err != nil {
		return "", Token{}, err
	}
	return secret, token, nil
}

// Token says who bears this secret, or ErrNoSession.
func (s *Service) Token(ctx context.Context, bearer string) (Caller, error) {
	now := s.now()
	var c Caller
	var used int64
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		var all int64
		err := tx.QueryRow(ctx, `SELECT id, name, role, all_owners, used_ms FROM tokens
			WHERE hash = $1 AND revoked_ms = 0 AND (expires_ms = 0 OR expires_ms > $2)`, hashSecret(bearer), now.UnixMilli()).
			Scan(&c.ID, &c.Name, &c.Role, &all, &used)
		if err != nil {
			return err
		}
		c.Kind = KindToken
		c.Owners, err = readScope(ctx, tx, c.ID, all == 1)
		return err
	})
	if errors.Is(err, db.ErrNoRows) {
		return Caller{}, ErrNoSession
	}
	if err != nil {
		return Caller{}, err
	}
	if now.UnixMilli()-used >= (24 * time.Hour).Milliseconds() {
		err = s.db.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE tokens SET used_ms = $2 WHERE id = $1 AND used_ms < $2`, c.ID, now.UnixMilli())
			return err
		})
		if err != nil && !errors.Is(err, db.ErrFull) && !errors.Is(err, db.ErrUnavailable) {
			return Caller{}, err
		}
	}
	return c, nil
}

// Tokens lists the tokens that the caller could have made, revoked ones too.
func (s *Service) Tokens(ctx context.Context, caller Caller) ([]Token, error) {
	if err := caller.Allow(ReadUsers); err != nil {
		return nil, err
	}
	var out []Token
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		var err error
		out, err = readTokens(ctx, tx)
		return err
	})
	return slices.DeleteFunc(out, func(t Token) bool { return !covers(caller, t.Owners) }), err
}

func readTokens(ctx context.Context, tx *db.Tx) ([]Token, error) {
	rows, err := tx.Query(ctx, `SELECT id, name, role, all_owners, created_ms, expires_ms, revoked_ms, used_ms FROM tokens ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Token
	var all []bool
	for rows.Next() {
		var t Token
		var every, created, expires, revoked, used int64
		if err := rows.Scan(&t.ID, &t.Name, &t.Role, &every, &created, &expires, &revoked, &used); err != nil {
			return nil, err
		}
		t.Created, t.Expires, t.Revoked, t.RevokedAt = time.UnixMilli(created), fromMillis(expires), revoked != 0, fromMillis(revoked)
		if used != 0 {
			t.UsedDay = time.UnixMilli(used).UTC().Format(time.DateOnly)
		}
		out, all = append(out, t), append(all, every == 1)
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Owners, err = readScope(ctx, tx, out[i].ID, all[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// RevokeToken ends a token at once, by id or by name.
func (s *Service) RevokeToken(ctx context.Context, caller Caller, idOrName string) error {
	if err := caller.Allow(WriteUsers); err != nil {
		return err
	}
	now := s.now()
	return s.db.Write(ctx, func(tx *db.Tx) error {
		var id string
		var all, revoked int64
		err := tx.QueryRow(ctx, `SELECT id, all_owners, revoked_ms FROM tokens WHERE id = $1 OR name = $1`, idOrName).Scan(&id, &all, &revoked)
		if errors.Is(err, db.ErrNoRows) {
			return fmt.Errorf("token %q: %w", idOrName, ErrNotFound)
		}
		if err != nil {
			return err
		}
		owners, err := readScope(ctx, tx, id, all == 1)
		if err != nil {
			return err
		}
		if !covers(caller, owners) {
			return fmt.Errorf("token %q: %w", idOrName, ErrNotFound)
		}
		if revoked != 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE tokens SET revoked_ms = $2 WHERE id = $1`, id, now.UnixMilli()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: "token.revoked", Subject: "token:" + id, Owner: only(owners)})
	})
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// only is the one owner that an audit entry concerns, empty if none or several.
func only(owners []string) string {
	if len(owners) == 1 {
		return owners[0]
	}
	return ""
}
