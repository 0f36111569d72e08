// Package audit owns the record of who changed or looked at what. Entries are
// only ever appended, in the transaction of the change they tell of: without
// its entry a change does not happen, and without the change no entry.
//
// Each entry's hash covers its content and the hash before it, so nothing in
// the middle can be altered or taken out unseen. Someone who may write the
// whole table can write a new chain; whoever must notice that keeps the Head
// that Verify returns outside of this machine.
//
// Who may read the record is decided by package access.
package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hausmeister/collector/db"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of this package.
var Migrations = db.Migrations{Name: "audit", FS: files}

// Entry is one change or look. It holds ids and words of ours, never secrets
// and never what a person typed about another.
type Entry struct {
	Seq     int64             // given by Append
	AtMS    int64             // 0 = now
	Actor   string            // access.Caller.Actor: user:ID, device:ID, system:NAME
	Action  string            // subject and verb: claim.created, device.revoked
	Subject string            // what it was done to: device:ID, claim:ID
	Owner   string            // id of the owner it concerns; empty = none or all
	Details map[string]string // what else the entry must say, as few as will do
}

// ErrBroken: the chain does not hold.
var ErrBroken = errors.New("audit chain is broken")

// Head is the end of the chain: with it kept elsewhere, nothing up to it can
// be changed unseen.
type Head struct {
	Seq  int64
	Hash []byte
}

// Append adds e to the chain in the caller's transaction. Its error must fail
// that transaction.
func Append(ctx context.Context, tx *db.Tx, e Entry) error {
	if e.Actor == "" || e.Action == "" || e.Subject == "" {
		return fmt.Errorf("audit entry without actor, action or subject: %+v", e)
	}
	if e.AtMS == 0 {
		e.AtMS = time.Now().UnixMilli()
	}
	details := "{}"
	if len(e.Details) > 0 {
		d, err := json.Marshal(e.Details) // keys come sorted
		if err != nil {
			return fmt.Errorf("writing audit details: %w", err)
		}
		details = string(d)
	}
	// Writes are serial, so nobody else takes this number (see db.Write).
	head, err := last(ctx, tx)
	if err != nil {
		return fmt.Errorf("reading the end of the audit chain: %w", err)
	}
	e.Seq = head.Seq + 1
	_, err = tx.Exec(ctx, `INSERT INTO audit (seq, at_ms, actor, action, subject, owner, details, hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		e.Seq, e.AtMS, e.Actor, e.Action, e.Subject, e.Owner, details, chain(head.Hash, e, details))
	if err != nil {
		return fmt.Errorf("writing audit entry: %w", err)
	}
	return nil
}

func last(ctx context.Context, tx *db.Tx) (Head, error) {
	var h Head
	err := tx.QueryRow(ctx, `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`).Scan(&h.Seq, &h.Hash)
	if errors.Is(err, db.ErrNoRows) {
		return Head{}, nil
	}
	return h, err
}

// chain is the hash of e after prev. Each field goes in with its length, so
// that no two entries read the same.
func chain(prev []byte, e Entry, details string) []byte {
	h := sha256.New()
	field := func(b string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write([]byte(b))
	}
	number := func(v int64) { field(string(binary.BigEndian.AppendUint64(nil, uint64(v)))) }
	field("hausmeister audit 1")
	field(string(prev))
	number(e.Seq)
	number(e.AtMS)
	for _, s := range []string{e.Actor, e.Action, e.Subject, e.Owner, details} {
		field(s)
	}
	return h.Sum(nil)
}

// pageSize is how many entries Verify reads at once.
const pageSize = 1000

// Verify reads the chain from its beginning. It returns the end of it, or
// ErrBroken with the first entry that does not fit.
func Verify(ctx context.Context, d *db.DB) (Head, error) { return VerifyFrom(ctx, d, Head{}) }

// VerifyFrom is Verify of the entries after head only, which was verified before.
// With an error it returns the last entry that fits.
func VerifyFrom(ctx context.Context, d *db.DB, head Head) (Head, error) {
	err := d.Read(ctx, func(tx *db.Tx) error {
		if err := stands(ctx, tx, head); err != nil {
			return err
		}
		for {
			n, err := verifyPage(ctx, tx, &head)
			if err != nil || n < pageSize {
				return err
			}
		}
	})
	return head, err
}

// stands says whether the entry is still there as it was.
func stands(ctx context.Context, tx *db.Tx, head Head) error {
	if head.Seq == 0 {
		return nil
	}
	var hash []byte
	err := tx.QueryRow(ctx, `SELECT hash FROM audit WHERE seq = $1`, head.Seq).Scan(&hash)
	switch {
	case errors.Is(err, db.ErrNoRows):
		return fmt.Errorf("%w: entry %d is missing", ErrBroken, head.Seq)
	case err != nil:
		return err
	case !bytes.Equal(hash, head.Hash):
		return fmt.Errorf("%w: entry %d was changed", ErrBroken, head.Seq)
	}
	return nil
}

func verifyPage(ctx context.Context, tx *db.Tx, head *Head) (n int, err error) {
	rows, err := tx.Query(ctx, `SELECT seq, at_ms, actor, action, subject, owner, details, hash
		FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2`, head.Seq, pageSize)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := rows.Close(); err == nil {
			err = closeErr
		}
	}()
	for rows.Next() {
		var e Entry
		var details string
		var hash []byte
		if err := rows.Scan(&e.Seq, &e.AtMS, &e.Actor, &e.Action, &e.Subject, &e.Owner, &details, &hash); err != nil {
			return n, err
		}
		if e.Seq != head.Seq+1 {
			return n, fmt.Errorf("%w: entry %d is missing", ErrBroken, head.Seq+1)
		}
		if !bytes.Equal(hash, chain(head.Hash, e, details)) {
			return n, fmt.Errorf("%w: entry %d was changed", ErrBroken, e.Seq)
		}
		*head = Head{Seq: e.Seq, Hash: hash}
		n++
	}
	return n, nil
}

// Filter says which entries List gives, newest first.
type Filter struct {
	Owners  []string // nil = all; else only entries of these owners
	Subject string   // empty = all
	Actor   string   // empty = all
	Action  string   // "claim.created", or a subject's whole: "claim"; empty = all
	FromMS  int64    // not older than this
	ToMS    int64    // older than this; 0 = up to now
	Before  int64    // only entries with a lower Seq; 0 = from the newest
	Limit   int      // 0 = 100, at most 500
}

// List reads entries. The caller has asked package access which Owners may be
// seen; access.AuditLog does both.
func List(ctx context.Context, tx *db.Tx, f Filter) ([]Entry, error) {
	if f.Owners != nil && len(f.Owners) == 0 {
		return nil, nil
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Limit = min(f.Limit, 500)
	where, args := f.where()
	args = append(args, f.Limit)
	rows, err := tx.Query(ctx, `SELECT seq, at_ms, actor, action, subject, owner, details FROM audit WHERE `+
		where+fmt.Sprintf(" ORDER BY seq DESC LIMIT $%d", len(args)), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Entry
	for rows.Next() {
		var e Entry
		var details string
		if err := rows.Scan(&e.Seq, &e.AtMS, &e.Actor, &e.Action, &e.Subject, &e.Owner, &details); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(details), &e.Details); err != nil {
			return nil, fmt.Errorf("reading details of audit entry %d: %w", e.Seq, err)
		}
		out = append(out, e)
	}
	return out, rows.Close()
}

// Count says how many entries List gives with this Filter, page after page.
func Count(ctx context.Context, tx *db.Tx, f Filter) (n int64, err error) {
	f.Before, f.Limit = 0, 0
	switch {
	case f.Owners != nil && len(f.Owners) == 0:
		return 0, nil
	case f.Owners == nil && f.Subject == "" && f.Actor == "" && f.Action == "" && f.FromMS == 0 && f.ToMS == 0:
		head, err := last(ctx, tx) // they are numbered from 1 without a gap
		return head.Seq, err
	}
	where, args := f.where()
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM audit WHERE `+where, args...).Scan(&n)
	return n, err
}

// where is the condition of a Filter that leaves any owner in.
func (f Filter) where() (string, []any) {
	where, args := []string{"1 = 1"}, []any{}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, condition)
	}
	if f.Before > 0 {
		add("seq < ?", f.Before)
	}
	if f.Subject != "" {
		add("subject = ?", f.Subject)
	}
	if f.Actor != "" {
		add("actor = ?", f.Actor)
	}
	switch {
	case strings.Contains(f.Action, "."):
		add("action = ?", f.Action)
	case f.Action != "":
		add("action >= ? AND action < ?", f.Action+".", f.Action+"/") // '/' follows '.'
	}
	if f.FromMS > 0 {
		add("at_ms >= ?", f.FromMS)
	}
	if f.ToMS > 0 {
		add("at_ms < ?", f.ToMS)
	}
	if f.Owners != nil {
		owners := make([]any, len(f.Owners))
		for i, o := range f.Owners {
			owners[i] = o
		}
		add("owner IN (?"+strings.Repeat(", ?", len(owners)-1)+")", owners...)
	}
	return strings.Join(where, " AND "), args
}
