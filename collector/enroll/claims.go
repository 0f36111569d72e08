package enroll

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// ErrInvalid is a claim that cannot be made as asked for; its text says why.
var ErrInvalid = errors.New("claim not possible")

// InvalidError is ErrInvalid for one of the things that were asked for, by its name in
// the API.
type InvalidError struct{ Field, Detail string }

func (e *InvalidError) Error() string { return ErrInvalid.Error() + ": " + e.Detail }

func (e *InvalidError) Unwrap() error { return ErrInvalid }

// Bounds of a claim.
const (
	MaxCap       = 1_000_000
	MaxClaimLife = 400 * 24 * time.Hour
	MaxSerials   = 10_000 // of one claim; a delivery note has some hundred
	maxNote      = 200
	maxSerial    = 64
)

// NewClaim is what to make: with Serials a claim that admits each of these
// machines once, else one for any Cap machines.
type NewClaim struct {
	Owner   string // id
	School  string // id, or empty
	Cap     int64  // of a batch claim; ignored with Serials
	Expires time.Time
	Serials []string // from the supplier's delivery list
	Note    string
}

// Claim is a claim as the store knows it: without its secret.
type Claim struct {
	ID        string
	Owner     string
	School    string
	Cap       int64
	Used      int64
	PerSerial bool
	Note      string
	CreatedBy string
	Created   time.Time
	Expires   time.Time
	Revoked   time.Time // zero = not
}

// CreateClaim makes a claim. Its string (ident.FormatClaim) exists in the answer
// only: whoever loses it makes another claim.
func (e *Enroll) CreateClaim(ctx context.Context, caller access.Caller, n NewClaim) (Claim, string, error) {
	if err := caller.Allow(access.WriteClaims); err != nil {
		return Claim{}, "", err
	}
	now := e.cfg.Now()
	serials, err := n.check(now)
	if err != nil {
		return Claim{}, "", err
	}
	secret := ident.NewSecret()
	hash := secret.Hash()
	c := Claim{
		ID: ident.NewID(now), Owner: n.Owner, School: n.School, Cap: n.Cap, PerSerial: len(serials) > 0, Note: n.Note,
		CreatedBy: caller.Actor(), Created: now.Truncate(time.Millisecond), Expires: n.Expires.Truncate(time.Millisecond),
	}
	if c.PerSerial {
		c.Cap = int64(len(serials))
	}
	err = e.cfg.DB.Write(ctx, func(tx *db.Tx) error {
		if err := e.cfg.Records.CheckPlace(ctx, tx, caller, n.Owner, n.School); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO claims (id, owner, school, secret_hash, cap, used, per_serial, note, created_ms, created_by, expires_ms)
			VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10)`,
			c.ID, c.Owner, c.School, hash[:], c.Cap, asInt(c.PerSerial), c.Note, c.Created.UnixMilli(), c.CreatedBy, c.Expires.UnixMilli())
		if err != nil {
			return err
		}
		for serial := range serials {
			if _, err := tx.Exec(ctx, `INSERT INTO claim_serials (claim, serial, device) VALUES ($1, $2, '')`, c.ID, serial); err != nil {
				return err
			}
		}
		return e.audit(ctx, tx, caller, "claim.created", "claim:"+c.ID, c.Owner, map[string]string{
			"cap": strconv.FormatInt(c.Cap, 10), "expires": c.Expires.UTC().Format(time.RFC3339),
			"per_serial": strconv.FormatBool(c.PerSerial),
		})
	})
	if err != nil {
		return Claim{}, "", fmt.Errorf("making a claim: %w", err)
	}
	return c, ident.FormatClaim(ident.Claim{Host: e.host, Port: e.port, CA: e.ca.fingerprint(), Secret: secret}), nil
}

// check returns the serials as they are compared, each once.
func (n NewClaim) check(now time.Time) (map[string]bool, error) {
	switch {
	case n.Owner == "":
		return nil, &InvalidError{"owner", "no owner"}
	case !n.Expires.After(now):
		return nil, &InvalidError{"expires", "it would have expired already"}
	case n.Expires.Sub(now) > MaxClaimLife:
		return nil, &InvalidError{"expires", fmt.Sprintf("expires in more than %d days", int(MaxClaimLife.Hours()/24))}
	case len(n.Serials) > MaxSerials:
		return nil, &InvalidError{"serials", fmt.Sprintf("%d serials, at most %d", len(n.Serials), MaxSerials)}
	case len(n.Serials) == 0 && (n.Cap < 1 || n.Cap > MaxCap):
		return nil, &InvalidError{"cap", fmt.Sprintf("cap %d, want 1 to %d", n.Cap, MaxCap)}
	case len(n.Note) > maxNote || !utf8.ValidString(n.Note):
		return nil, &InvalidError{"note", fmt.Sprintf("note of %d bytes, at most %d", len(n.Note), maxNote)}
	}
	serials := make(map[string]bool, len(n.Serials))
	for i, s := range n.Serials {
		if len(s) > maxSerial || !(ident.Hardware{Serial: s}).UsableSerial() {
			return nil, &InvalidError{fmt.Sprintf("serials[%d]", i), fmt.Sprintf("serial %.64q names no single machine", s)}
		}
		serials[ident.SerialKey(s)] = true
	}
	return serials, nil
}

// Claims lists the claims that the caller may see, oldest first, at most limit (up
// to 500) after the one with id after.
func (e *Enroll) Claims(ctx context.Context, caller access.Caller, after string, limit int) ([]Claim, error) {
	if err := caller.Allow(access.ReadClaims); err != nil {
		return nil, err
	}
	where, args := caller.Scope("owner", 3)
	args = append([]any{after, min(max(limit, 1), 500)}, args...)
	return e.readClaims(ctx, `id > $1 AND `+where+` ORDER BY id LIMIT $2`, args)
}

// LatestClaims lists the claims that the caller may see, the latest first, at
// most limit (up to 500) before the one with id before, which may be empty.
func (e *Enroll) LatestClaims(ctx context.Context, caller access.Caller, before string, limit int) ([]Claim, error) {
	if err := caller.Allow(access.ReadClaims); err != nil {
		return nil, err
	}
	if before == "" {
		before = "g" // after every id, which is hexadecimal
	}
	where, args := caller.Scope("owner", 3)
	args = append([]any{before, min(max(limit, 1), 500)}, args...)
	return e.readClaims(ctx, `id < $1 AND `+where+` ORDER BY id DESC LIMIT $2`, args)
}

// CountClaims says how many claims the caller may see.
func (e *Enroll) CountClaims(ctx context.Context, caller access.Caller) (n int64, err error) {
	if err := caller.Allow(access.ReadClaims); err != nil {
		return 0, err
	}
	where, args := caller.Scope("owner", 1)
	err = e.cfg.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM claims WHERE `+where, args...).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("counting claims: %w", err)
	}
	return n, nil
}

// Claim gives one claim, or access.ErrNotFound.
func (e *Enroll) Claim(ctx context.Context, caller access.Caller, id string) (Claim, error) {
	if err := caller.Allow(access.ReadClaims); err != nil {
		return Claim{}, err
	}
	where, args := caller.Scope("owner", 2)
	found, err := e.readClaims(ctx, `id = $1 AND `+where, append([]any{id}, args...))
	if err != nil || len(found) == 1 {
		return append(found, Claim{})[0], err
	}
	return Claim{}, fmt.Errorf("claim %q: %w", id, access.ErrNotFound)
}

// SomeClaims gives those of these claims, up to 500, that the caller may see.
func (e *Enroll) SomeClaims(ctx context.Context, caller access.Caller, ids []string) ([]Claim, error) {
	if err := caller.Allow(access.ReadClaims); err != nil {
		return nil, err
	}
	if len(ids) > 500 {
		return nil, fmt.Errorf("%w: more than 500 claims at once", ErrInvalid)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	where, args := caller.Scope("owner", len(ids)+1)
	marks, values := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		marks[i], values[i] = "$"+strconv.Itoa(i+1), id
	}
	return e.readClaims(ctx, `id IN (`+strings.Join(marks, ", ")+`) AND `+where+` ORDER BY id`, append(values, args...))
}

func (e *Enroll) readClaims(ctx context.Context, which string, args []any) ([]Claim, error) {
	var claims []Claim
	err := e.cfg.DB.Read(ctx, func(tx *db.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id, owner, school, cap, used, per_serial, note, created_by, created_ms, expires_ms, revoked_ms
			FROM claims WHERE `+which, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		claims = nil
		for rows.Next() {
			var c Claim
			var perSerial, created, expires int64
			var revoked *int64
			if err := rows.Scan(&c.ID, &c.Owner, &c.School, &c.Cap, &c.Used, &perSerial, &c.Note, &c.CreatedBy, &created, &expires, &revoked); err != nil {
				return err
			}
			c.PerSerial, c.Created, c.Expires = perSerial != 0, time.UnixMilli(created), time.UnixMilli(expires)
			if revoked != nil {
				c.Revoked = time.UnixMilli(*revoked)
			}
			claims = append(claims, c)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing claims: %w", err)
	}
	return claims, nil
}

// RevokeClaim revokes a claim now. Devices that it admitted stay.
func (e *Enroll) RevokeClaim(ctx context.Context, caller access.Caller, id string) error {
	if err := caller.Allow(access.WriteClaims); err != nil {
		return err
	}
	return e.cfg.DB.Write(ctx, func(tx *db.Tx) error {
		var owner string
		var revoked *int64
		err := tx.QueryRow(ctx, `SELECT owner, revoked_ms FROM claims WHERE id = $1`, id).Scan(&owner, &revoked)
		switch {
		case errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(owner):
			return access.ErrNotFound
		case err != nil:
			return fmt.Errorf("revoking a claim: %w", err)
		case revoked != nil:
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE claims SET revoked_ms = $2 WHERE id = $1`, id, e.cfg.Now().UnixMilli()); err != nil {
			return fmt.Errorf("revoking a claim: %w", err)
		}
		return e.audit(ctx, tx, caller, "claim.revoked", "claim:"+id, owner, nil)
	})
}

func asInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
