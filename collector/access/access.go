// Package access owns users, their roles and scopes, sign-in, sessions and API
// tokens, and with them the Caller that every data function takes.
//
// What somebody may do is a role (one table, shown by a golden file); whose
// data it may be done to is a scope of owners. Data out of scope does not
// exist for the caller: ErrNotFound, never ErrForbidden.
//
// Passwords are kept as argon2id, session secrets and API tokens as SHA-256 of
// 256 random bits. Every change is audited in its own transaction. A crash
// leaves either the change with its audit entry or neither; the counts of
// wrong passwords are in memory only.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of this package; those of package audit go along.
var Migrations = db.Migrations{Name: "access", FS: files}

// Config is what a Service works with.
type Config struct {
	DB  *db.DB
	Now func() time.Time // nil = time.Now
	Log *slog.Logger     // nil = slog.Default
	// Hashes bounds password hashes computed at once; each takes 19 MiB and
	// tens of milliseconds of a core. 0 = half the cores.
	Hashes int
}

// Service answers who somebody is, and keeps who may be whom.
type Service struct {
	db       *db.DB
	now      func() time.Time
	log      *slog.Logger
	hasher   *hasher
	attempts *attempts

	checking sync.Mutex
	// below is guarded by checking
	checked AuditState
}

// New makes a Service; it starts nothing.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Service{db: cfg.DB, now: cfg.Now, log: cfg.Log, hasher: newHasher(cfg.Hashes), attempts: newAttempts()}
}

// AuditLog reads the audit record within the caller's scope.
func (s *Service) AuditLog(ctx context.Context, caller Caller, f audit.Filter) ([]audit.Entry, error) {
	if err := caller.Allow(ReadAudit); err != nil {
		return nil, err
	}
	f = within(caller, f)
	var out []audit.Entry
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		var err error
		out, err = audit.List(ctx, tx, f)
		return err
	})
	return out, err
}

// CountAudit says how many entries AuditLog gives, page after page.
func (s *Service) CountAudit(ctx context.Context, caller Caller, f audit.Filter) (n int64, err error) {
	if err := caller.Allow(ReadAudit); err != nil {
		return 0, err
	}
	f = within(caller, f)
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		n, err = audit.Count(ctx, tx, f)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("counting the audit record: %w", err)
	}
	return n, nil
}

// within leaves of a filter what the caller may see.
func within(caller Caller, f audit.Filter) audit.Filter {
	switch {
	case caller.Owners == nil:
	case f.Owners == nil:
		f.Owners = slices.Clone(caller.Owners)
	default:
		f.Owners = slices.DeleteFunc(slices.Clone(f.Owners), func(o string) bool { return !caller.Sees(o) })
	}
	return f
}

// DeviceLog reads from the audit record what became of a device: who may see it
// may know that. Days only, and who did it only for those who may read the record.
// Entries of other owners, from before it came to its owner now, are not in it.
func (s *Service) DeviceLog(ctx context.Context, caller Caller, device string, before time.Time, limit int) ([]audit.Entry, error) {
	if err := caller.Allow(ReadDevices); err != nil {
		return nil, err
	}
	f := ofDevice(caller, device)
	f.Limit = limit
	if !before.IsZero() {
		f.ToMS = before.UnixMilli()
	}
	var out []audit.Entry
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = audit.List(ctx, tx, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what became of a device: %w", err)
	}
	for i := range out {
		out[i].AtMS -= out[i].AtMS % dayMS
		if caller.Allow(ReadAudit) != nil {
			out[i].Actor = ""
		}
	}
	return out, nil
}

// CountDeviceLog says how many entries DeviceLog gives, page after page.
func (s *Service) CountDeviceLog(ctx context.Context, caller Caller, device string) (n int64, err error) {
	if err := caller.Allow(ReadDevices); err != nil {
		return 0, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		n, err = audit.Count(ctx, tx, ofDevice(caller, device))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("counting what became of a device: %w", err)
	}
	return n, nil
}

func ofDevice(caller Caller, device string) audit.Filter {
	return audit.Filter{Owners: slices.Clone(caller.Owners), Subject: "device:" + device, Action: "device"}
}

const dayMS = 24 * 60 * 60 * 1000

// AuditState is what is known of the whole chain.
type AuditState struct {
	Head    audit.Head // the last entry that fits
	Checked time.Time  // when all of it was read
	Broken  string     // empty = it holds; else the first entry that does not fit
}

// checkAllEvery is how long a check of the whole chain is good for. Between two
// of them only what is new is read, so that whoever opens the page waits for
// few entries.
const checkAllEvery = time.Hour

// AuditState checks the chain: what is new, and all of it once an hour.
func (s *Service) AuditState(ctx context.Context, caller Caller) (AuditState, error) {
	if err := caller.Allow(ReadAudit); err != nil {
		return AuditState{}, err
	}
	s.checking.Lock()
	defer s.checking.Unlock()
	now, from := s.now(), s.checked.Head
	if s.checked.Broken != "" || now.Sub(s.checked.Checked) >= checkAllEvery {
		from = audit.Head{}
	}
	head, err := audit.VerifyFrom(ctx, s.db, from)
	switch {
	case errors.Is(err, audit.ErrBroken):
		s.log.Error("the audit record does not hold", "error", err)
		s.checked = AuditState{Head: head, Checked: now, Broken: err.Error()}
	case err != nil:
		return AuditState{}, fmt.Errorf("checking the audit record: %w", err)
	case from.Seq == 0:
		s.checked = AuditState{Head: head, Checked: now}
	default:
		s.checked.Head = head
	}
	return s.checked, nil
}

// newSecret gives 256 random bits as text, and their hash to keep.
func newSecret(prefix string) (secret string, hash []byte) {
	raw := make([]byte, 32)
	rand.Read(raw)
	secret = prefix + base64.RawURLEncoding.EncodeToString(raw)
	return secret, hashSecret(secret)
}

// A plain hash is enough: nobody guesses 256 bits, so nothing needs slowing.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// writeScope sets whose data subject may see.
func writeScope(ctx context.Context, tx *db.Tx, subject string, owners []string) error {
	for _, owner := range owners {
		if _, err := tx.Exec(ctx, `INSERT INTO scopes (subject, owner) VALUES ($1, $2) ON CONFLICT DO NOTHING`, subject, owner); err != nil {
			return err
		}
	}
	return nil
}

// readScope gives nil for everybody's data, else a list that may be empty.
func readScope(ctx context.Context, tx *db.Tx, subject string, all bool) ([]string, error) {
	if all {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT owner FROM scopes WHERE subject = $1 ORDER BY owner`, subject)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	owners := []string{}
	for rows.Next() {
		var owner string
		if err := rows.Scan(&owner); err != nil {
			return nil, err
		}
		owners = append(owners, owner)
	}
	return owners, rows.Close()
}

// covers says whether everything of scope is within the caller's own, so that
// nobody hands on more than he has.
func covers(caller Caller, scope []string) bool {
	if caller.Owners == nil {
		return caller.Kind != ""
	}
	return scope != nil && !slices.ContainsFunc(scope, func(o string) bool { return !caller.Sees(o) })
}
