package access

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

var (
	// ErrSignIn: unknown account, wrong password or disabled account; which,
	// nobody is told.
	ErrSignIn = errors.New("login or password is wrong")
	// ErrNoSession: the secret is unknown, expired or revoked.
	ErrNoSession = errors.New("not signed in")
)

const (
	sessionLife = 7 * 24 * time.Hour // whatever happens
	sessionIdle = 12 * time.Hour     // without a request
	seenGrain   = 5 * time.Minute    // so that looking costs a write only now and then
	rotateAfter = time.Hour
	// rotateGrace is for requests that were under way with the old secret, and
	// for an answer with the new one that was lost.
	rotateGrace = time.Minute
	maxSessions = 20 // of one user; the oldest goes
)

// Session is a signed-in person.
type Session struct {
	ID      string
	Caller  Caller
	Name    string // the login
	Role    Role
	Expires time.Time
	// Stale asks for Rotate at the next request whose answer can set a cookie.
	Stale bool
}

// SignIn checks a password and opens a session. It answers unknown account,
// wrong password and disabled account alike, in the same time, with ErrSignIn;
// an account with too many wrong attempts gets *SlowDown whatever it sends. Of agent, the
// User-Agent of the request, a Client is kept.
func (s *Service) SignIn(ctx context.Context, login, password, agent string) (secret string, expires time.Time, err error) {
	login = foldLogin(login)
	if len(login) > maxLogin {
		login = login[:maxLogin] // unknown in any case, and no account of the map may be long
	}
	if err := s.attempts.begin(login, s.now()); err != nil {
		return "", time.Time{}, err
	}
	id, stored := "", s.hasher.dummy()
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT id, password FROM users WHERE login = $1 AND disabled_ms = 0`, login).Scan(&id, &stored)
	})
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return "", time.Time{}, err
	}
	ok, stale, err := s.hasher.verify(ctx, stored, password)
	if err != nil {
		return "", time.Time{}, err
	}
	if !ok || id == "" {
		// Not audited: a write would take its time only for accounts that exist.
		s.log.Info("sign-in refused", "user", id)
		return "", time.Time{}, ErrSignIn
	}
	fresh := ""
	if stale {
		if fresh, err = s.hasher.hash(ctx, password); err != nil {
			return "", time.Time{}, err
		}
	}
	secret, expires, err = s.openSession(ctx, id, stored, fresh, clientOf(agent))
	if err == nil {
		s.attempts.succeeded(login)
	}
	return secret, expires, err
}

// openSession writes the session of a user whose password was right, unless
// account or password changed while it was looked at.
func (s *Service) openSession(ctx context.Context, user, checked, fresh string, from Client) (string, time.Time, error) {
	now := s.now()
	secret, hash := newSecret("")
	id, expires := ident.NewID(now), now.Add(sessionLife)
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE users SET password = $3 WHERE id = $1 AND password = $2 AND disabled_ms = 0`, user, checked, orElse(fresh, checked))
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrSignIn
		}
		if _, err := tx.Exec(ctx, `DELETE FROM sessions WHERE expires_ms <= $1 OR seen_ms <= $2 OR id IN (
			SELECT id FROM sessions WHERE user_id = $3 ORDER BY seen_ms DESC, id DESC LIMIT 1000 OFFSET $4)`,
			now.UnixMilli(), now.Add(-sessionIdle).UnixMilli(), user, maxSessions-1); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO sessions (id, user_id, hash, rotated_ms, seen_ms, expires_ms, browser, os) VALUES ($1, $2, $3, $4, $4, $5, $6, $7)`,
			id, user, hash, now.UnixMilli(), expires.UnixMilli(), from.Browser, from.System); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: string(KindUser) + ":" + user, Action: "user.signed_in", Subject: "user:" + user})
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return secret, expires, nil
}

// Session says who the secret belongs to, or ErrNoSession. It is cheap enough
// for every request.
func (s *Service) Session(ctx context.Context, secret string) (Session, error) {
	now := s.now()
	var out Session
	var seen int64
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		var err error
		out, seen, err = findSession(ctx, tx, hashSecret(secret), now)
		return err
	})
	if err != nil {
		return Session{}, err
	}
	if now.UnixMilli()-seen >= seenGrain.Milliseconds() {
		err = s.db.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE sessions SET seen_ms = $2 WHERE id = $1 AND seen_ms < $2`, out.ID, now.UnixMilli())
			return err
		})
		// Someone may look while the disk is full; the note of it can wait.
		if err != nil && !errors.Is(err, db.ErrFull) && !errors.Is(err, db.ErrUnavailable) {
			return Session{}, err
		}
	}
	return out, nil
}

func findSession(ctx context.Context, tx *db.Tx, hash []byte, now time.Time) (Session, int64, error) {
	var out Session
	var all, seen, rotated, expires int64
	err := tx.QueryRow(ctx, `SELECT s.id, s.seen_ms, s.rotated_ms, s.expires_ms, u.id, u.login, u.role, u.all_owners
		FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE (s.hash = $1 OR (s.old_hash = $1 AND s.rotated_ms > $2)) AND s.expires_ms > $3 AND s.seen_ms > $4 AND u.disabled_ms = 0`,
		hash, now.Add(-rotateGrace).UnixMilli(), now.UnixMilli(), now.Add(-sessionIdle).UnixMilli()).
		Scan(&out.ID, &seen, &rotated, &expires, &out.Caller.ID, &out.Name, &out.Role, &all)
	if errors.Is(err, db.ErrNoRows) {
		return Session{}, 0, ErrNoSession
	}
	if err != nil {
		return Session{}, 0, err
	}
	out.Caller.Kind, out.Caller.Name, out.Caller.Role = KindUser, out.Name, out.Role
	out.Caller.Owners, err = readScope(ctx, tx, out.Caller.ID, all == 1)
	out.Expires = time.UnixMilli(expires)
	out.Stale = now.UnixMilli()-rotated >= rotateAfter.Milliseconds()
	return out, seen, err
}

// Rotate gives a session a new secret; the old one is good for a minute more.
// So a copy of a cookie is worth an hour, not a week, once its owner goes on.
func (s *Service) Rotate(ctx context.Context, secret string) (string, time.Time, error) {
	now := s.now()
	old := hashSecret(secret)
	fresh, hash := newSecret("")
	var expires int64
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		// Only by the current secret: with two requests at once the second
		// gets ErrNoSession here, keeps its old cookie for now, and the browser
		// takes the first one's answer.
		err := tx.QueryRow(ctx, `UPDATE sessions SET old_hash = hash, hash = $2, rotated_ms = $3, seen_ms = $3
			WHERE hash = $1 AND expires_ms > $3 AND seen_ms > $4 RETURNING expires_ms`,
			old, hash, now.UnixMilli(), now.Add(-sessionIdle).UnixMilli()).Scan(&expires)
		if errors.Is(err, db.ErrNoRows) {
			return ErrNoSession
		}
		return err
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return fresh, time.UnixMilli(expires), nil
}

// SignOut ends the session; without one it does nothing.
func (s *Service) SignOut(ctx context.Context, secret string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM sessions WHERE hash = $1 OR old_hash = $1`, hashSecret(secret))
		return err
	})
}

// OpenSession is a session as its owner sees it. No address is kept of it.
type OpenSession struct {
	ID      string
	Client  Client
	Opened  time.Time
	Seen    time.Time // exact to five minutes
	Expires time.Time // at the latest
}

// Sessions lists the sessions of an account, the latest first. One's own need no
// permission.
func (s *Service) Sessions(ctx context.Context, caller Caller, user string) ([]OpenSession, error) {
	if !caller.is(user) {
		if err := caller.Allow(ReadUsers); err != nil {
			return nil, err
		}
	}
	now := s.now()
	var out []OpenSession
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if _, err := findUser(ctx, tx, caller, user); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT id, browser, os, seen_ms, expires_ms FROM sessions WHERE user_id = $1 AND expires_ms > $2 AND seen_ms > $3
			ORDER BY seen_ms DESC, id DESC`, user, now.UnixMilli(), now.Add(-sessionIdle).UnixMilli())
		if err != nil {
			return err
		}
		defer rows.Close()
		out = nil
		for rows.Next() {
			var o OpenSession
			var seen, expires int64
			if err := rows.Scan(&o.ID, &o.Client.Browser, &o.Client.System, &seen, &expires); err != nil {
				return err
			}
			o.Seen, o.Expires = time.UnixMilli(seen), time.UnixMilli(expires)
			o.Opened = o.Expires.Add(-sessionLife)
			out = append(out, o)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing sessions: %w", err)
	}
	return out, nil
}

// EndSession ends one session of an account; EndSessions all of them but the
// one with id keep, if any. One's own need no permission.
func (s *Service) EndSession(ctx context.Context, caller Caller, user, id string) error {
	return s.endSessions(ctx, caller, user, `id = $2`, id)
}

// EndSessions: see EndSession.
func (s *Service) EndSessions(ctx context.Context, caller Caller, user, keep string) error {
	return s.endSessions(ctx, caller, user, `id <> $2`, keep)
}

func (s *Service) endSessions(ctx context.Context, caller Caller, user, which, id string) error {
	if !caller.is(user) {
		if err := caller.Allow(WriteUsers); err != nil {
			return err
		}
	}
	now := s.now()
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		u, err := findUser(ctx, tx, caller, user)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM sessions WHERE user_id = $1 AND `+which, u.ID, id)
		if err != nil || n == 0 {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: "user.sessions_ended",
			Subject: "user:" + u.ID, Owner: only(u.Owners), Details: map[string]string{"sessions": strconv.FormatInt(n, 10)}})
	})
	if err != nil {
		return fmt.Errorf("ending sessions: %w", err)
	}
	return nil
}

// ChangePassword gives the caller's own account a new password: ErrSignIn when
// old is not its password, *SlowDown after too many wrong ones, ErrPassword when
// the new one is no good. All its sessions end but the one with id keep.
func (s *Service) ChangePassword(ctx context.Context, caller Caller, old, password, keep string) error {
	if caller.Kind != KindUser {
		return fmt.Errorf("%w: only a person has a password", ErrForbidden)
	}
	if err := checkPassword(caller.Name, password); err != nil {
		return err
	}
	if err := s.attempts.begin(caller.Name, s.now()); err != nil {
		return err
	}
	var stored string
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRow(ctx, `SELECT password FROM users WHERE id = $1 AND disabled_ms = 0`, caller.ID).Scan(&stored)
	})
	if err != nil {
		return fmt.Errorf("reading the password: %w", err)
	}
	ok, _, err := s.hasher.verify(ctx, stored, old)
	if err != nil {
		return err
	}
	if !ok {
		return ErrSignIn
	}
	s.attempts.succeeded(caller.Name)
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	now := s.now()
	return s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE users SET password = $3 WHERE id = $1 AND password = $2 AND disabled_ms = 0`, caller.ID, stored, hash)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrSignIn // changed meanwhile
		}
		if _, err := tx.Exec(ctx, `DELETE FROM sessions WHERE user_id = $1 AND id <> $2`, caller.ID, keep); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: "user.password_set",
			Subject: "user:" + caller.ID, Owner: only(caller.Owners)})
	})
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
