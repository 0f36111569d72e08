package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

var (
	// ErrExists: the login or the token's name is taken.
	ErrExists = errors.New("exists already")
	// ErrInvalid: a login, name or role that cannot be; the text says why.
	ErrInvalid = errors.New("not valid")
	// ErrPast: what is made would be over before it begins.
	ErrPast = fmt.Errorf("%w: expires in the past", ErrInvalid)
	// ErrSelf: nobody disables his own account or changes what it may do, lest
	// the last administrator locks everybody out.
	ErrSelf = errors.New("not to one's own account")
)

const maxLogin = 100 // bytes

// powerful are the roles whose persons count as such: two of the role release decide
// together, and an administrator makes those. A program that could make or take over
// such accounts would be both of them.
func powerful(r Role) bool { return r == RoleAdmin || r == RoleRelease }

// person refuses a program what only a person or the operator may do with an account of
// one of these roles.
func person(caller Caller, roles ...Role) error {
	if caller.Kind == KindToken && slices.ContainsFunc(roles, powerful) {
		return fmt.Errorf("%w: a token for an account of the role admin or release", ErrForbidden)
	}
	return nil
}

// User is a person who may sign in.
type User struct {
	ID       string
	Login    string
	Role     Role
	Owners   []string // nil = everybody's data
	Created  time.Time
	Disabled bool
}

// NewUser says whom CreateUser shall make.
type NewUser struct {
	Login    string
	Password string
	Role     Role
	Owners   []string
}

// foldLogin: whoever types his login in capitals means the same account.
func foldLogin(login string) string {
	return norm.NFKC.String(strings.ToLower(strings.TrimSpace(login)))
}

func checkNew(name string, role Role) error {
	switch {
	case name == "" || len(name) > maxLogin:
		return fmt.Errorf("%w: name %q: want 1 to %d bytes", ErrInvalid, name, maxLogin)
	case strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("/:;,\"'\\", r)
	}):
		return fmt.Errorf("%w: name %q: want letters, digits and . - _ @ only", ErrInvalid, name)
	case !slices.Contains(Roles, role):
		return fmt.Errorf("%w: role %q: want admin, release, support or read", ErrInvalid, role)
	}
	return nil
}

// CreateUser makes an account.
func (s *Service) CreateUser(ctx context.Context, caller Caller, u NewUser) (User, error) {
	if err := caller.Allow(WriteUsers); err != nil {
		return User{}, err
	}
	if !covers(caller, u.Owners) {
		return User{}, fmt.Errorf("%w: a user for more owners than one's own", ErrForbidden)
	}
	if err := person(caller, u.Role); err != nil {
		return User{}, err
	}
	u.Login = foldLogin(u.Login)
	if err := checkNew(u.Login, u.Role); err != nil {
		return User{}, err
	}
	if err := checkPassword(u.Login, u.Password); err != nil {
		return User{}, err
	}
	hash, err := s.hasher.hash(ctx, u.Password)
	if err != nil {
		return User{}, err
	}
	now := s.now()
	user := User{ID: ident.NewID(now), Login: u.Login, Role: u.Role, Owners: u.Owners, Created: now}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO users (id, login, password, role, all_owners, created_ms) VALUES ($1, $2, $3, $4, $5, $6)`,
			user.ID, u.Login, hash, string(u.Role), u.Owners == nil, now.UnixMilli()); err != nil {
			return err
		}
		if err := writeScope(ctx, tx, user.ID, u.Owners); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: "user.created",
			Subject: "user:" + user.ID, Owner: only(u.Owners), Details: map[string]string{"role": string(u.Role), "owners": scopeDetail(u.Owners)}})
	})
	if errors.Is(err, db.ErrUnique) {
		err = fmt.Errorf("%w: user %q", ErrExists, u.Login)
	}
	if err != nil {
		return User{}, err
	}
	return user, nil
}

// Users lists the accounts within the caller's scope.
func (s *Service) Users(ctx context.Context, caller Caller) ([]User, error) {
	if err := caller.Allow(ReadUsers); err != nil {
		return nil, err
	}
	var out []User
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		var err error
		out, err = readUsers(ctx, tx, `1 = 1`)
		return err
	})
	return slices.DeleteFunc(out, func(u User) bool { return !covers(caller, u.Owners) }), err
}

// User gives one account, by id or login. One's own needs no permission.
func (s *Service) User(ctx context.Context, caller Caller, idOrLogin string) (User, error) {
	if !caller.is(idOrLogin) {
		if err := caller.Allow(ReadUsers); err != nil {
			return User{}, err
		}
	}
	var u User
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		u, err = findUser(ctx, tx, caller, idOrLogin)
		return err
	})
	return u, err
}

// is says whether the caller is the person with this account.
func (c Caller) is(user string) bool { return c.Kind == KindUser && c.ID == user && user != "" }

func findUser(ctx context.Context, tx *db.Tx, caller Caller, idOrLogin string) (User, error) {
	found, err := readUsers(ctx, tx, `id = $1 OR login = $2`, idOrLogin, foldLogin(idOrLogin))
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return User{}, err
	}
	if len(found) != 1 || !covers(caller, found[0].Owners) && !caller.is(found[0].ID) {
		return User{}, fmt.Errorf("user %q: %w", idOrLogin, ErrNotFound)
	}
	return found[0], nil
}

// NewRole says what an account shall be allowed. What somebody forgets to say
// never opens more: without All and Owners it sees whose data it saw before.
type NewRole struct {
	Role   Role
	All    bool     // everybody's data
	Owners []string // nil = as before, unless All
}

// SetRole changes what an account may do and to whose data, and ends its sessions.
func (s *Service) SetRole(ctx context.Context, caller Caller, idOrLogin string, n NewRole) error {
	switch {
	case n.All && n.Owners != nil:
		return fmt.Errorf("%w: all owners and a list of them", ErrInvalid)
	case n.All && !covers(caller, nil), n.Owners != nil && !covers(caller, n.Owners):
		return fmt.Errorf("%w: more owners than one's own", ErrForbidden)
	case !slices.Contains(Roles, n.Role):
		return fmt.Errorf("%w: role %q: want admin, release, support or read", ErrInvalid, n.Role)
	}
	return s.changeUser(ctx, caller, idOrLogin, "user.role_set", func(tx *db.Tx, u User, e *audit.Entry) error {
		if caller.is(u.ID) {
			return ErrSelf
		}
		if err := person(caller, u.Role, n.Role); err != nil {
			return err
		}
		owners := n.Owners
		if owners == nil && !n.All {
			owners = u.Owners
		}
		e.Details = map[string]string{"role": string(n.Role), "role_before": string(u.Role), "owners": scopeDetail(owners), "owners_before": scopeDetail(u.Owners)}
		if only(owners) != only(u.Owners) {
			e.Owner = "" // it names owners that whoever sees one of them need not see
		}
		if _, err := tx.Exec(ctx, `UPDATE users SET role = $2, all_owners = $3 WHERE id = $1`, u.ID, string(n.Role), owners == nil); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM scopes WHERE subject = $1`, u.ID); err != nil {
			return err
		}
		return writeScope(ctx, tx, u.ID, owners)
	})
}

// AllOwners is how the audit record writes a scope without bounds.
const AllOwners = "*"

// scopeDetail writes a scope for the audit record: the ids, or AllOwners.
func scopeDetail(owners []string) string {
	if owners == nil {
		return AllOwners
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(owners))), " ")
}

// Lost says whether a person has a role no longer, for everybody's data, or may not sign
// in: what needs two persons asks it of the first, in the transaction of the second. No
// account is ever deleted; of one that is not here nothing is said.
func Lost(ctx context.Context, tx *db.Tx, user string, role Role) (bool, error) {
	var n int64
	err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM users WHERE id = $1 AND (role <> $2 OR all_owners = 0 OR disabled_ms <> 0)`, user, string(role)).Scan(&n)
	return n > 0, err
}

func readUsers(ctx context.Context, tx *db.Tx, where string, args ...any) ([]User, error) {
	rows, err := tx.Query(ctx, `SELECT id, login, role, all_owners, created_ms, disabled_ms FROM users WHERE `+where+` ORDER BY login`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []User
	var all []bool
	for rows.Next() {
		var u User
		var every, created, disabled int64
		if err := rows.Scan(&u.ID, &u.Login, &u.Role, &every, &created, &disabled); err != nil {
			return nil, err
		}
		u.Created, u.Disabled = time.UnixMilli(created), disabled != 0
		out, all = append(out, u), append(all, every == 1)
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

// SetPassword gives an account, by id or login, a new password and ends its
// sessions.
func (s *Service) SetPassword(ctx context.Context, caller Caller, idOrLogin, password string) error {
	if err := caller.Allow(WriteUsers); err != nil {
		return err
	}
	// Hashed before the transaction, which must not wait for anything.
	if err := checkPassword(foldLogin(idOrLogin), password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	login := ""
	err = s.changeUser(ctx, caller, idOrLogin, "user.password_set", func(tx *db.Tx, u User, _ *audit.Entry) error {
		login = u.Login
		if err := person(caller, u.Role); err != nil {
			return err
		}
		if err := checkPassword(u.Login, password); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE users SET password = $2 WHERE id = $1`, u.ID, hash)
		return err
	})
	if err == nil {
		s.attempts.succeeded(login)
	}
	return err
}

// DisableUser ends an account's sessions and lets it sign in no more.
func (s *Service) DisableUser(ctx context.Context, caller Caller, idOrLogin string) error {
	now := s.now().UnixMilli()
	return s.changeUser(ctx, caller, idOrLogin, "user.disabled", func(tx *db.Tx, u User, _ *audit.Entry) error {
		if caller.is(u.ID) {
			return ErrSelf
		}
		_, err := tx.Exec(ctx, `UPDATE users SET disabled_ms = $2 WHERE id = $1`, u.ID, now)
		return err
	})
}

// EnableUser takes DisableUser back.
func (s *Service) EnableUser(ctx context.Context, caller Caller, idOrLogin string) error {
	return s.changeUser(ctx, caller, idOrLogin, "user.enabled", func(tx *db.Tx, u User, _ *audit.Entry) error {
		if err := person(caller, u.Role); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE users SET disabled_ms = 0 WHERE id = $1`, u.ID)
		return err
	})
}

// changeUser makes one audited change to an account and ends its sessions.
func (s *Service) changeUser(ctx context.Context, caller Caller, idOrLogin, action string, change func(*db.Tx, User, *audit.Entry) error) error {
	if err := caller.Allow(WriteUsers); err != nil {
		return err
	}
	now := s.now()
	return s.db.Write(ctx, func(tx *db.Tx) error {
		u, err := findUser(ctx, tx, caller, idOrLogin)
		if err != nil {
			return err
		}
		e := audit.Entry{AtMS: now.UnixMilli(), Actor: caller.Actor(), Action: action, Subject: "user:" + u.ID, Owner: only(u.Owners)}
		if err := change(tx, u, &e); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM sessions WHERE user_id = $1`, u.ID); err != nil {
			return err
		}
		return audit.Append(ctx, tx, e)
	})
}
