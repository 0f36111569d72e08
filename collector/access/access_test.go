package access_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

var update = flag.Bool("update", false, "rewrite golden files")

var migrations = []db.Migrations{audit.Migrations, access.Migrations}

const password = "korrekt pferd batterie"

var operator = access.System("test")

// clock is a time that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func service(t *testing.T, d *db.DB) (*access.Service, *clock) {
	c := &clock{t: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)}
	s := access.New(access.Config{DB: d, Now: c.now, Log: slog.New(slog.DiscardHandler), Hashes: 2})
	s.Cheap()
	return s, c
}

func addUser(t *testing.T, s *access.Service, login string, role access.Role, owners []string) access.User {
	t.Helper()
	u, err := s.CreateUser(t.Context(), operator, access.NewUser{Login: login, Password: password, Role: role, Owners: owners})
	if err != nil {
		t.Fatalf("CreateUser(%q) = %v", login, err)
	}
	return u
}

func TestPermissionTable(t *testing.T) {
	var b strings.Builder
	callers := []access.Caller{{}, {Kind: access.KindUser}, {Kind: "stranger", Role: access.RoleAdmin}}
	for _, r := range access.Roles {
		callers = append(callers, access.Caller{Kind: access.KindUser, Role: r}, access.Caller{Kind: access.KindToken, Role: r})
	}
	callers = append(callers, access.ForDevice("d", "o"), access.System("s"))
	for _, c := range callers {
		fmt.Fprintf(&b, "%s %s\n", orDash(string(c.Kind)), orDash(string(c.Role)))
		for _, p := range append(access.Permissions, "no.such") {
			if c.Allow(p) == nil {
				fmt.Fprintf(&b, "\t%s\n", p)
			}
		}
	}
	golden := filepath.Join("testdata", "permissions.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("permissions (-golden +now; after a wanted change: go test ./collector/access -update):\n%s", diff)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func TestScope(t *testing.T) {
	tests := []struct {
		name   string
		caller access.Caller
		where  string
		args   []any
		sees   bool // owner a
	}{
		{"zero caller", access.Caller{}, "1 = 0", nil, false},
		{"everybody's", access.System("x"), "1 = 1", nil, true},
		{"nobody's", access.Caller{Kind: access.KindUser, Owners: []string{}}, "1 = 0", nil, false},
		{"two", access.Caller{Kind: access.KindUser, Owners: []string{"a", "b"}}, "o IN ($3, $4)", []any{"a", "b"}, true},
		{"other", access.ForDevice("d", "b"), "o IN ($3)", []any{"b"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			where, args := tt.caller.Scope("o", 3)
			if where != tt.where || !cmp.Equal(args, tt.args) {
				t.Errorf("Scope = %q, %v, want %q, %v", where, args, tt.where, tt.args)
			}
			if got := tt.caller.Sees("a"); got != tt.sees {
				t.Errorf("Sees(a) = %v, want %v", got, tt.sees)
			}
		})
	}
}

func TestSessionLife(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		s, clock := service(t, d)
		u := addUser(t, s, "Berta", access.RoleSupport, []string{"o1", "o2"})
		secret, expires, err := s.SignIn(ctx, " bertA ", password, "")
		if err != nil {
			t.Fatal(err)
		}
		if want := clock.t.Add(7 * 24 * time.Hour); !expires.Equal(want) {
			t.Errorf("expires %v, want %v", expires, want)
		}
		got, err := s.Session(ctx, secret)
		if err != nil {
			t.Fatal(err)
		}
		want := access.Caller{Kind: access.KindUser, ID: u.ID, Name: "berta", Role: access.RoleSupport, Owners: []string{"o1", "o2"}}
		if diff := cmp.Diff(want, got.Caller); diff != "" {
			t.Errorf("caller (-want +got):\n%s", diff)
		}
		noSession(t, s, "nonsense")
		noSession(t, s, "")

		// Rotation: the old secret lives for its grace, then the new one alone.
		clock.t = clock.t.Add(61 * time.Minute)
		if got, err := s.Session(ctx, secret); err != nil || !got.Stale {
			t.Fatalf("after an hour Session = stale %v, %v, want stale", got.Stale, err)
		}
		fresh, _, err := s.Rotate(ctx, secret)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Rotate(ctx, secret); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("second Rotate of one secret = %v, want ErrNoSession", err)
		}
		for _, sec := range []string{secret, fresh} {
			if got, err := s.Session(ctx, sec); err != nil || got.Stale {
				t.Errorf("in the grace Session = stale %v, %v", got.Stale, err)
			}
		}
		clock.t = clock.t.Add(time.Minute)
		noSession(t, s, secret)
		if _, err := s.Session(ctx, fresh); err != nil {
			t.Errorf("after the grace Session(new) = %v", err)
		}

		// Idle, then its absolute end although it is used.
		clock.t = clock.t.Add(12 * time.Hour)
		noSession(t, s, fresh)
		secret, expires, err = s.SignIn(ctx, "berta", password, "")
		if err != nil {
			t.Fatal(err)
		}
		for clock.t.Add(10 * time.Hour).Before(expires) {
			clock.t = clock.t.Add(10 * time.Hour)
			if _, err := s.Session(ctx, secret); err != nil {
				t.Fatalf("used every 10 h, %v before its end: %v", expires.Sub(clock.t), err)
			}
		}
		clock.t = expires
		noSession(t, s, secret)
	})
}

func noSession(t *testing.T, s *access.Service, secret string) {
	t.Helper()
	if _, err := s.Session(t.Context(), secret); !errors.Is(err, access.ErrNoSession) {
		t.Errorf("Session = %v, want ErrNoSession", err)
	}
}

func TestSessionEnds(t *testing.T) {
	end := map[string]func(ctx context.Context, s *access.Service, secret string) error{
		"sign-out": func(ctx context.Context, s *access.Service, secret string) error { return s.SignOut(ctx, secret) },
		"disabled": func(ctx context.Context, s *access.Service, _ string) error {
			return s.DisableUser(ctx, operator, "berta")
		},
		"new password": func(ctx context.Context, s *access.Service, _ string) error {
			return s.SetPassword(ctx, operator, "berta", "ein anderes wort")
		},
	}
	for name, end := range end {
		t.Run(name, func(t *testing.T) {
			s, _ := service(t, dbtest.Open(t, migrations))
			addUser(t, s, "berta", access.RoleRead, nil)
			secret, _, err := s.SignIn(t.Context(), "berta", password, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := end(t.Context(), s, secret); err != nil {
				t.Fatal(err)
			}
			noSession(t, s, secret)
		})
	}
}

func TestDisabledUser(t *testing.T) {
	s, _ := service(t, dbtest.Open(t, migrations))
	addUser(t, s, "berta", access.RoleRead, nil)
	if err := s.DisableUser(t.Context(), operator, "BERTA"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.SignIn(t.Context(), "berta", password, ""); !errors.Is(err, access.ErrSignIn) {
		t.Errorf("SignIn = %v, want ErrSignIn as for a wrong password", err)
	}
	if err := s.EnableUser(t.Context(), operator, "berta"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.SignIn(t.Context(), "berta", password, ""); err != nil {
		t.Errorf("SignIn after EnableUser = %v", err)
	}
}

func TestSignInIsSlowedPerAccount(t *testing.T) {
	s, clock := service(t, dbtest.Open(t, migrations))
	addUser(t, s, "berta", access.RoleRead, nil)
	addUser(t, s, "carl", access.RoleRead, nil)
	// The unknown account must look like the known one, answer by answer.
	for _, login := range []string{"berta", "nobody"} {
		t.Run(login, func(t *testing.T) {
			for i := range 5 {
				if _, _, err := s.SignIn(t.Context(), login, "wrong", ""); !errors.Is(err, access.ErrSignIn) {
					t.Fatalf("attempt %d = %v, want ErrSignIn", i+1, err)
				}
			}
			for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
				want *= time.Second
				var slow *access.SlowDown
				if _, _, err := s.SignIn(t.Context(), login, password, ""); !errors.As(err, &slow) || slow.RetryAfter != want {
					t.Fatalf("right password within the delay = %v, want to wait %v", err, want)
				}
				clock.t = clock.t.Add(want - time.Millisecond)
				if _, _, err := s.SignIn(t.Context(), login, password, ""); !errors.As(err, &slow) {
					t.Fatalf("a millisecond early = %v, want SlowDown", err)
				}
				clock.t = clock.t.Add(time.Millisecond)
				if _, _, err := s.SignIn(t.Context(), login, "wrong", ""); !errors.Is(err, access.ErrSignIn) {
					t.Fatalf("after the delay = %v, want ErrSignIn", err)
				}
			}
		})
	}
	if _, _, err := s.SignIn(t.Context(), "carl", password, ""); err != nil {
		t.Errorf("another account is slowed too: %v", err)
	}
	clock.t = clock.t.Add(time.Minute)
	if _, _, err := s.SignIn(t.Context(), "berta", password, ""); err != nil {
		t.Errorf("right password after the delay = %v", err)
	}
	if _, _, err := s.SignIn(t.Context(), "berta", "wrong", ""); !errors.Is(err, access.ErrSignIn) {
		t.Errorf("success did not reset the count: %v", err)
	}
}

// A hundred attempts at once must not pass as one.
func TestSignInParallel(t *testing.T) {
	s, _ := service(t, dbtest.Open(t, migrations))
	var mu sync.Mutex
	looked := 0
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if _, _, err := s.SignIn(context.Background(), "berta", "wrong", ""); errors.Is(err, access.ErrSignIn) {
				mu.Lock()
				looked++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if looked != 5 {
		t.Errorf("%d passwords were looked at, want 5", looked)
	}
}

// The bound on hashing refuses instead of queueing without end.
func TestHashingIsBounded(t *testing.T) {
	s, _ := service(t, dbtest.Open(t, migrations))
	s.Dear() // so that they pile up
	var mu sync.Mutex
	refused, looked := 0, 0
	var wg sync.WaitGroup
	for i := range 150 {
		wg.Go(func() {
			_, _, err := s.SignIn(context.Background(), fmt.Sprint("nobody", i), "wrong", "")
			var slow *access.SlowDown
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.As(err, &slow):
				refused++
			case errors.Is(err, access.ErrSignIn):
				looked++
			default:
				t.Errorf("SignIn = %v", err)
			}
		})
	}
	wg.Wait()
	if refused == 0 || looked < 66 {
		t.Errorf("of 150 at once %d were refused and %d looked at, want some and at least 66", refused, looked)
	}
}

// The time of an answer must not tell whether there is such an account. What
// costs time is the hash, so each attempt computes one, of today's cost.
func TestUnknownAccountCostsAHash(t *testing.T) {
	s, _ := service(t, dbtest.Open(t, migrations))
	addUser(t, s, "berta", access.RoleRead, nil)
	addUser(t, s, "gone", access.RoleRead, nil)
	if err := s.DisableUser(t.Context(), operator, "gone"); err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"berta", "nobody", "gone", "", strings.Repeat("x", 10_000)} {
		before := s.Looked()
		if _, _, err := s.SignIn(t.Context(), login, "wrong", ""); !errors.Is(err, access.ErrSignIn) {
			t.Errorf("SignIn(%.10q) = %v, want ErrSignIn", login, err)
		}
		if n := s.Looked() - before; n != 1 {
			t.Errorf("SignIn(%.10q) computed %d hashes, want 1", login, n)
		}
	}
}

// Hashes of an earlier cost still open the account, and are made anew then.
func TestHashesKeepUpWithTheCost(t *testing.T) {
	d := dbtest.Open(t, migrations)
	s, _ := service(t, d)
	addUser(t, s, "berta", access.RoleRead, nil)
	stored := func() (hash string) {
		err := d.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT password FROM users`).Scan(&hash)
		})
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	if !strings.HasPrefix(stored(), "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Fatalf("stored hash = %s", stored())
	}
	s.Dear()
	for range 2 {
		if _, _, err := s.SignIn(t.Context(), "berta", password, ""); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(stored(), "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("after a sign-in the hash is %s, want today's cost", stored())
		}
	}
}

func TestPasswordPolicy(t *testing.T) {
	s, _ := service(t, dbtest.Open(t, migrations))
	tests := []struct {
		password string
		ok       bool
	}{
		{"elf zeichen", false},
		{"zwoelf zeich", true},
		{"größe äöü ßß", true}, // 12 characters, more bytes
		{"aaaaaaaaaaaaaaaa", false},
		{"xx berta07 xx xx", false}, // contains the login
		{strings.Repeat("lang ", 300), false},
		{"not valid \xff text", false},
		{access.GeneratePassword(), true},
	}
	for i, tt := range tests {
		login := "berta07"
		if tt.ok {
			login = fmt.Sprint("user", i)
		}
		_, err := s.CreateUser(t.Context(), operator, access.NewUser{Login: login, Password: tt.password, Role: access.RoleRead})
		if tt.ok != (err == nil) || (err != nil && !errors.Is(err, access.ErrPassword)) {
			t.Errorf("CreateUser with password %.20q = %v, want ok %v", tt.password, err, tt.ok)
		}
	}
	// The same word from a keyboard that composes.
	addUser2 := access.NewUser{Login: "mac", Password: "ba\u0308r mit langen ohren", Role: access.RoleRead}
	if _, err := s.CreateUser(t.Context(), operator, addUser2); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.SignIn(t.Context(), "mac", "b\u00e4r mit langen ohren", ""); err != nil {
		t.Errorf("composed and decomposed password differ: %v", err)
	}
}

func TestSecretsAreNotStored(t *testing.T) {
	cfg := dbtest.SQLite(t, migrations)
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := service(t, d)
	addUser(t, s, "berta", access.RoleAdmin, nil)
	session, _, err := s.SignIn(t.Context(), "berta", password, "")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := s.CreateToken(t.Context(), operator, access.NewToken{Name: "ci", Role: access.RoleRead})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte("berta")) {
		t.Fatal("the file does not even hold the login: this test looks at the wrong place")
	}
	for what, secret := range map[string]string{"password": password, "session": session, "token": token} {
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("the database holds the %s in clear", what)
		}
	}
}

func TestTokens(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		s, clock := service(t, d)
		secret, tok, err := s.CreateToken(ctx, operator, access.NewToken{Name: "ci", Role: access.RoleRead, Owners: []string{"o1"}, Expires: clock.t.Add(48 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(secret, "hmt_") {
			t.Errorf("secret does not begin with hmt_")
		}
		if _, _, err := s.CreateToken(ctx, operator, access.NewToken{Name: "ci", Role: access.RoleRead}); !errors.Is(err, access.ErrExists) {
			t.Errorf("second token of one name = %v, want ErrExists", err)
		}
		for _, past := range []time.Time{clock.t.Add(-time.Hour), clock.t} {
			if _, _, err := s.CreateToken(ctx, operator, access.NewToken{Name: "late", Role: access.RoleRead, Expires: past}); !errors.Is(err, access.ErrPast) {
				t.Errorf("a token until %v = %v, want ErrPast", past, err)
			}
		}
		c, err := s.Token(ctx, secret)
		want := access.Caller{Kind: access.KindToken, ID: tok.ID, Name: "ci", Role: access.RoleRead, Owners: []string{"o1"}}
		if diff := cmp.Diff(want, c); err != nil || diff != "" {
			t.Errorf("Token = %v (-want +got):\n%s", err, diff)
		}
		list, err := s.Tokens(ctx, operator)
		if err != nil || len(list) != 1 || list[0].UsedDay != "2026-11-24" || list[0].Revoked {
			t.Errorf("Tokens = %+v, %v", list, err)
		}
		clock.t = clock.t.Add(48 * time.Hour)
		if _, err := s.Token(ctx, secret); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("expired token = %v, want ErrNoSession", err)
		}
		secret, _, err = s.CreateToken(ctx, operator, access.NewToken{Name: "ever", Role: access.RoleAdmin})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // once more is no error
			if err := s.RevokeToken(ctx, operator, "ever"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Token(ctx, secret); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("revoked token = %v, want ErrNoSession", err)
		}
		if err := s.RevokeToken(ctx, operator, "nothing"); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("revoking what is not there = %v, want ErrNotFound", err)
		}
	})
}

// A manager of one owner neither sees nor makes anything beyond it.
func TestForeignScopeIsNotFound(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		s, _ := service(t, d)
		addUser(t, s, "chef", access.RoleAdmin, nil)
		addUser(t, s, "mine", access.RoleRead, []string{"o1"})
		addUser(t, s, "theirs", access.RoleRead, []string{"o2"})
		addUser(t, s, "both", access.RoleRead, []string{"o1", "o2"})
		admin := access.Caller{Kind: access.KindUser, ID: "x", Role: access.RoleAdmin, Owners: []string{"o1"}}
		users, err := s.Users(ctx, admin)
		if err != nil || len(users) != 1 || users[0].Login != "mine" {
			t.Errorf("Users = %+v, %v, want only mine", users, err)
		}
		for _, login := range []string{"chef", "theirs", "both", "nobody"} {
			if err := s.DisableUser(ctx, admin, login); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("DisableUser(%s) = %v, want ErrNotFound", login, err)
			}
			if err := s.SetPassword(ctx, admin, login, "ein neues passwort"); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("SetPassword(%s) = %v, want ErrNotFound", login, err)
			}
		}
		for _, owners := range [][]string{nil, {"o2"}, {"o1", "o2"}} {
			_, err := s.CreateUser(ctx, admin, access.NewUser{Login: "neu", Password: password, Role: access.RoleRead, Owners: owners})
			if !errors.Is(err, access.ErrForbidden) {
				t.Errorf("CreateUser for %v = %v, want ErrForbidden", owners, err)
			}
			if _, _, err := s.CreateToken(ctx, admin, access.NewToken{Name: "neu", Role: access.RoleRead, Owners: owners}); !errors.Is(err, access.ErrForbidden) {
				t.Errorf("CreateToken for %v = %v, want ErrForbidden", owners, err)
			}
		}
		log, err := s.AuditLog(ctx, admin, audit.Filter{})
		if err != nil || len(log) != 1 || log[0].Owner != "o1" {
			t.Errorf("AuditLog = %+v, %v, want the one entry of o1", log, err)
		}
		if log, err := s.AuditLog(ctx, admin, audit.Filter{Owners: []string{"o2"}}); err != nil || len(log) != 0 {
			t.Errorf("AuditLog of o2 = %+v, %v, want nothing", log, err)
		}
		reader := access.Caller{Kind: access.KindUser, ID: "y", Role: access.RoleRead}
		if _, err := s.AuditLog(ctx, reader, audit.Filter{}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("AuditLog by a reader = %v, want ErrForbidden", err)
		}
	})
}

// Each change stands in the record, and a record that cannot be written
// prevents the change.
func TestChangesAreAudited(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		s, _ := service(t, d)
		addUser(t, s, "berta", access.RoleRead, nil)
		if err := s.SetPassword(ctx, operator, "berta", password+"2"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.SignIn(ctx, "berta", password+"2", ""); err != nil {
			t.Fatal(err)
		}
		if err := s.DisableUser(ctx, operator, "berta"); err != nil {
			t.Fatal(err)
		}
		entries, err := s.AuditLog(ctx, operator, audit.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		var actions []string
		for _, e := range entries {
			actions = append(actions, e.Action)
		}
		want := []string{"user.disabled", "user.signed_in", "user.password_set", "user.created"}
		if diff := cmp.Diff(want, actions); diff != "" {
			t.Errorf("audit record (-want +got):\n%s", diff)
		}
		if _, err := audit.Verify(ctx, d); err != nil {
			t.Error(err)
		}
		err = d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `ALTER TABLE audit RENAME TO audit_gone`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.EnableUser(ctx, operator, "berta"); err == nil {
			t.Error("EnableUser went through without its audit entry")
		}
		users, err := s.Users(ctx, operator)
		if err != nil || !users[0].Disabled {
			t.Errorf("Users = %+v, %v, want berta still disabled", users, err)
		}
	})
}

func TestNamesAndRoles(t *testing.T) {
	s, _ := service(t, dbtest.Open(t, migrations))
	addUser(t, s, "berta", access.RoleRead, nil)
	tests := []struct {
		login string
		role  access.Role
		want  error
	}{
		{"Berta", access.RoleRead, access.ErrExists},
		{"", access.RoleRead, access.ErrInvalid},
		{"a b", access.RoleRead, access.ErrInvalid},
		{"a\x00b", access.RoleRead, access.ErrInvalid},
		{strings.Repeat("x", 101), access.RoleRead, access.ErrInvalid},
		{"carl", "root", access.ErrInvalid},
		{"m.müller@schule.example", access.RoleRead, nil},
	}
	for _, tt := range tests {
		_, err := s.CreateUser(t.Context(), operator, access.NewUser{Login: tt.login, Password: password, Role: tt.role})
		if !errors.Is(err, tt.want) {
			t.Errorf("CreateUser(%.20q, %s) = %v, want %v", tt.login, tt.role, err, tt.want)
		}
	}
}

// More sessions than a person has browsers: the oldest go.
// TestSessionsAreTold: two short words tell sessions apart, and nothing else of what a
// browser says is kept, whatever it says.
func TestSessionsAreTold(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		s, c := service(t, d)
		user, err := s.CreateUser(ctx, operator, access.NewUser{Login: "eva", Password: password, Role: access.RoleRead})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			agent string
			want  access.Client
		}{
			{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", access.Client{Browser: "chrome", System: "windows"}},
			{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", access.Client{Browser: "edge", System: "windows"}},
			{"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", access.Client{Browser: "firefox", System: "linux"}},
			{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15", access.Client{Browser: "safari", System: "macos"}},
			{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0 Mobile/15E148 Safari/604.1", access.Client{Browser: "chrome", System: "ios"}},
			{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", access.Client{Browser: "samsung", System: "android"}},
			{"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 OPR/120.0", access.Client{Browser: "opera", System: "chromeos"}},
			{"curl/8.5.0 eva@schule.invalid \x00\xff", access.Client{}},
			{"", access.Client{}},
		} {
			c.t = c.t.Add(time.Minute)
			if _, _, err := s.SignIn(ctx, "eva", password, test.agent); err != nil {
				t.Fatal(err)
			}
			all, err := s.Sessions(ctx, operator, user.ID)
			if err != nil || all[0].Client != test.want {
				t.Errorf("a session of %q is told as %+v, %v, want %+v", test.agent, all[0].Client, err, test.want)
			}
			for word, list := range map[string][]string{all[0].Client.Browser: access.Browsers, all[0].Client.System: access.Systems} {
				if word != "" && !slices.Contains(list, word) {
					t.Errorf("%q is no word of %q", word, list)
				}
			}
		}
	})
}

func TestSessionsPerUserAreBounded(t *testing.T) {
	s, clock := service(t, dbtest.Open(t, migrations))
	addUser(t, s, "berta", access.RoleRead, nil)
	var secrets []string
	for range 22 {
		clock.t = clock.t.Add(time.Second)
		secret, _, err := s.SignIn(t.Context(), "berta", password, "")
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	for i, secret := range secrets {
		_, err := s.Session(t.Context(), secret)
		if gone := errors.Is(err, access.ErrNoSession); gone != (i < 2) {
			t.Errorf("session %d of 22: %v", i+1, err)
		}
	}
}

// TestStrangeNames: text that no row can hold is no account and no token, on
// both databases; signing in with it is a wrong password.
func TestStrangeNames(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		s, _ := service(t, d)
		addUser(t, s, "anna", access.RoleRead, nil)
		// The last is cut to its first 100 bytes, within a letter.
		for _, name := range []string{"anna\x00", "\xff", "a" + strings.Repeat("ä", 100)} {
			if _, _, err := s.SignIn(t.Context(), name, password, ""); !errors.Is(err, access.ErrSignIn) {
				t.Errorf("SignIn(%q) = %v, want ErrSignIn", name, err)
			}
			if err := s.DisableUser(t.Context(), operator, name); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("DisableUser(%q) = %v, want ErrNotFound", name, err)
			}
			if err := s.RevokeToken(t.Context(), operator, name); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("RevokeToken(%q) = %v, want ErrNotFound", name, err)
			}
		}
	})
}

// TestOwnAccount: a person sees and ends the sessions of the own account and
// changes its password, with the old one; nobody else's without permission.
func TestOwnAccount(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		s, c := service(t, d)
		ctx := t.Context()
		user := addUser(t, s, "eva", access.RoleSupport, []string{"o1"})
		other := addUser(t, s, "max", access.RoleSupport, []string{"o1"})
		var secrets []string
		for range 3 {
			secret, _, err := s.SignIn(ctx, "eva", password, "")
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, secret)
			c.t = c.t.Add(time.Minute)
		}
		here, err := s.Session(ctx, secrets[2])
		if err != nil {
			t.Fatal(err)
		}
		eva := here.Caller
		all, err := s.Sessions(ctx, eva, user.ID)
		if err != nil || len(all) != 3 || all[0].ID != here.ID || !all[0].Opened.Equal(c.t.Add(-time.Minute)) {
			t.Fatalf("Sessions = %+v, %v; want three, the latest first", all, err)
		}
		if _, err := s.Sessions(ctx, eva, other.ID); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("another's Sessions = %v, want ErrForbidden", err)
		}
		if err := s.EndSession(ctx, eva, other.ID, all[1].ID); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("ending another's session = %v, want ErrForbidden", err)
		}
		if err := s.EndSession(ctx, eva, user.ID, all[1].ID); err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{nil, access.ErrNoSession, nil} {
			if _, err := s.Session(ctx, secrets[i]); !errors.Is(err, want) {
				t.Errorf("session %d after one was ended = %v, want %v", i, err, want)
			}
		}
		const fresh = "ganz anders als vorher"
		if err := s.ChangePassword(ctx, eva, "falsch", fresh, here.ID); !errors.Is(err, access.ErrSignIn) {
			t.Errorf("with a wrong password: %v, want ErrSignIn", err)
		}
		if err := s.ChangePassword(ctx, eva, password, "kurz", here.ID); !errors.Is(err, access.ErrPassword) {
			t.Errorf("to a short password: %v, want ErrPassword", err)
		}
		if err := s.ChangePassword(ctx, eva, password, fresh, here.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Session(ctx, secrets[0]); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("another session after the change = %v, want it ended", err)
		}
		if _, err := s.Session(ctx, secrets[2]); err != nil {
			t.Errorf("this session after the change = %v, want it kept", err)
		}
		if _, _, err := s.SignIn(ctx, "eva", password, ""); !errors.Is(err, access.ErrSignIn) {
			t.Errorf("SignIn with the old password = %v, want ErrSignIn", err)
		}
		if _, _, err := s.SignIn(ctx, "eva", fresh, ""); err != nil {
			t.Errorf("SignIn with the new password = %v", err)
		}
		for range 5 {
			s.ChangePassword(ctx, eva, "falsch", fresh, here.ID)
		}
		var slow *access.SlowDown
		if err := s.ChangePassword(ctx, eva, fresh, password, here.ID); !errors.As(err, &slow) {
			t.Errorf("after five wrong ones = %v, want SlowDown", err)
		}
	})
}

// TestRoleOfAnAccount: what an account may do changes at once, and nobody can
// lock himself out.
func TestRoleOfAnAccount(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		s, _ := service(t, d)
		ctx := t.Context()
		addUser(t, s, "chef", access.RoleAdmin, nil)
		addUser(t, s, "eva", access.RoleSupport, []string{"o1"})
		secret, _, err := s.SignIn(ctx, "chef", password, "")
		if err != nil {
			t.Fatal(err)
		}
		in, err := s.Session(ctx, secret)
		if err != nil {
			t.Fatal(err)
		}
		chef := in.Caller
		for what, err := range map[string]error{
			"disable":  s.DisableUser(ctx, chef, "chef"),
			"own role": s.SetRole(ctx, chef, "chef", access.NewRole{Role: access.RoleRead}),
		} {
			if !errors.Is(err, access.ErrSelf) {
				t.Errorf("%s = %v, want ErrSelf", what, err)
			}
		}
		if err := s.SetRole(ctx, chef, "eva", access.NewRole{Role: "boss"}); !errors.Is(err, access.ErrInvalid) {
			t.Errorf("an unknown role = %v, want ErrInvalid", err)
		}
		evas, _, err := s.SignIn(ctx, "eva", password, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetRole(ctx, chef, "eva", access.NewRole{Role: access.RoleRead, Owners: []string{"o2", "o3"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Session(ctx, evas); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("her session = %v, want it ended", err)
		}
		u, err := s.User(ctx, chef, "eva")
		if err != nil || u.Role != access.RoleRead || !cmp.Equal(u.Owners, []string{"o2", "o3"}) {
			t.Errorf("User = %+v, %v; want the new role and owners", u, err)
		}
		// What is not said opens nothing.
		if err := s.SetRole(ctx, chef, "eva", access.NewRole{Role: access.RoleSupport}); err != nil {
			t.Fatal(err)
		}
		if u, err := s.User(ctx, chef, "eva"); err != nil || u.Role != access.RoleSupport || !cmp.Equal(u.Owners, []string{"o2", "o3"}) {
			t.Errorf("User after a role without owners = %+v, %v; want the owners as before", u, err)
		}
		if err := s.SetRole(ctx, chef, "eva", access.NewRole{Role: access.RoleRead, All: true, Owners: []string{"o2"}}); !errors.Is(err, access.ErrInvalid) {
			t.Errorf("all owners and one = %v, want ErrInvalid", err)
		}
		log, err := s.AuditLog(ctx, chef, audit.Filter{Action: "user.role_set"})
		if err != nil || len(log) != 2 {
			t.Fatalf("AuditLog = %+v, %v; want two entries", log, err)
		}
		want := map[string]string{"role": "read", "role_before": "support", "owners": "o2 o3", "owners_before": "o1"}
		if !cmp.Equal(log[1].Details, want) || log[1].Owner != "" {
			t.Errorf("entry = %+v, want the details %v, of no single owner", log[1], want)
		}
		want = map[string]string{"role": "support", "role_before": "read", "owners": "o2 o3", "owners_before": "o2 o3"}
		if !cmp.Equal(log[0].Details, want) {
			t.Errorf("details = %v, want %v", log[0].Details, want)
		}
		scoped := access.Caller{Kind: access.KindUser, ID: "x", Role: access.RoleAdmin, Owners: []string{"o2"}}
		if err := s.SetRole(ctx, scoped, "eva", access.NewRole{Role: access.RoleRead, All: true}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("all owners by an administrator of one = %v, want ErrForbidden", err)
		}
		if err := s.SetRole(ctx, scoped, "eva", access.NewRole{Role: access.RoleRead, Owners: []string{"o2"}}); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("by an administrator of one of her owners = %v, want ErrNotFound", err)
		}
	})
}

// TestATokenMakesNoPerson: two persons of the role release decide together, and
// administrators make those. A program that could make such accounts, or take one over,
// would be all of them.
func TestATokenMakesNoPerson(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		s, _ := service(t, d)
		ctx := t.Context()
		addUser(t, s, "chef", access.RoleAdmin, nil)
		addUser(t, s, "ada", access.RoleRelease, nil)
		addUser(t, s, "eva", access.RoleSupport, nil)
		token := access.Caller{Kind: access.KindToken, ID: "ci", Name: "ci", Role: access.RoleAdmin}
		refused := map[string]error{
			"a new password of an administrator": s.SetPassword(ctx, token, "chef", "another-good-password-1"),
			"a new password of the role release": s.SetPassword(ctx, token, "ada", "another-good-password-1"),
			"support made release":               s.SetRole(ctx, token, "eva", access.NewRole{Role: access.RoleRelease}),
			"support made administrator":         s.SetRole(ctx, token, "eva", access.NewRole{Role: access.RoleAdmin}),
		}
		for _, role := range []access.Role{access.RoleAdmin, access.RoleRelease} {
			_, refused["a new account of "+string(role)] = s.CreateUser(ctx, token, access.NewUser{Login: "new-" + string(role), Password: password, Role: role})
		}
		for what, err := range refused {
			if !errors.Is(err, access.ErrForbidden) {
				t.Errorf("%s by a token = %v, want ErrForbidden", what, err)
			}
		}
		// The others it may, and anybody it may shut out.
		_, err := s.CreateUser(ctx, token, access.NewUser{Login: "jan", Password: password, Role: access.RoleSupport})
		if err := errors.Join(err, s.SetRole(ctx, token, "jan", access.NewRole{Role: access.RoleRead}), s.SetPassword(ctx, token, "jan", "another-good-password-1"), s.DisableUser(ctx, token, "ada")); err != nil {
			t.Error(err)
		}
		if err := s.EnableUser(ctx, token, "ada"); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("ada let in again by a token = %v, want ErrForbidden", err)
		}
		chef := access.Caller{Kind: access.KindUser, ID: "x", Role: access.RoleAdmin}
		if err := errors.Join(s.EnableUser(ctx, chef, "ada"), s.SetPassword(ctx, chef, "ada", "another-good-password-1")); err != nil {
			t.Errorf("by a person: %v", err)
		}
	})
}

// TestAuditState: what is new is checked at each look, the whole once an hour,
// and a break stays told.
func TestAuditState(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		s, c := service(t, d)
		ctx := t.Context()
		addUser(t, s, "eva", access.RoleRead, nil)
		addUser(t, s, "max", access.RoleRead, nil)
		first, err := s.AuditState(ctx, operator)
		if err != nil || first.Head.Seq != 2 || first.Broken != "" || !first.Checked.Equal(c.t) {
			t.Fatalf("AuditState = %+v, %v", first, err)
		}
		begin := c.t
		c.t = c.t.Add(time.Minute)
		addUser(t, s, "tom", access.RoleRead, nil)
		if got, err := s.AuditState(ctx, operator); err != nil || got.Head.Seq != 3 || !got.Checked.Equal(begin) {
			t.Errorf("a minute later: %+v, %v; want three entries, checked as before", got, err)
		}
		err = d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE audit SET actor = 'user:nobody' WHERE seq = 1`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		c.t = c.t.Add(time.Hour)
		for range 2 {
			if got, err := s.AuditState(ctx, operator); err != nil || !strings.Contains(got.Broken, "entry 1 was changed") {
				t.Errorf("an hour later: %+v, %v; want entry 1 changed", got, err)
			}
		}
		if _, err := s.AuditState(ctx, access.Caller{Kind: access.KindUser, Role: access.RoleSupport}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("for support: %v, want ErrForbidden", err)
		}
	})
}

// TestChoice: a person's own choices are his alone, and audited by name only.
func TestChoice(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		s := access.New(access.Config{DB: d})
		operator := access.System("test")
		var who []access.Caller
		for _, login := range []string{"eva", "max"} {
			u, err := s.CreateUser(t.Context(), operator, access.NewUser{Login: login, Password: "ein langes Passwort", Role: access.RoleRead})
			if err != nil {
				t.Fatal(err)
			}
			who = append(who, access.Caller{Kind: access.KindUser, ID: u.ID, Role: u.Role})
		}
		want := func(caller access.Caller, want string) {
			t.Helper()
			if got, err := s.Choice(t.Context(), caller, "columns"); err != nil || got != want {
				t.Errorf("Choice = %q, %v, want %q", got, err, want)
			}
		}
		for _, value := range []string{"a,b", "a,b", "b", ""} {
			if err := s.SetChoice(t.Context(), who[0], "columns", value); err != nil {
				t.Fatal(err)
			}
			want(who[0], value)
			want(who[1], "")
		}
		for _, c := range []access.Caller{{}, operator, {Kind: access.KindToken, ID: "t", Role: access.RoleAdmin}} {
			if err := s.SetChoice(t.Context(), c, "columns", "a"); !errors.Is(err, access.ErrForbidden) {
				t.Errorf("SetChoice of %s = %v, want ErrForbidden", c.Actor(), err)
			}
			want(c, "")
		}
		if err := s.SetChoice(t.Context(), who[0], "columns", strings.Repeat("x", 1000)); !errors.Is(err, access.ErrInvalid) {
			t.Errorf("a long choice = %v, want ErrInvalid", err)
		}
		entries, err := s.AuditLog(t.Context(), operator, audit.Filter{Action: "user.choice_set"})
		if err != nil || len(entries) != 3 {
			t.Errorf("audit: %+v, %v, want three changes", entries, err)
		}
		// Of several all are kept, or none.
		err = s.SetChoices(t.Context(), who[1], map[string]string{"columns": "c", "theme": strings.Repeat("x", 1000)})
		if !errors.Is(err, access.ErrInvalid) {
			t.Errorf("two choices, one long = %v, want ErrInvalid", err)
		}
		want(who[1], "")
		if err := s.SetChoices(t.Context(), who[1], map[string]string{"columns": "c", "theme": "dark"}); err != nil {
			t.Fatal(err)
		}
		want(who[1], "c")
		if n, err := s.CountAudit(t.Context(), operator, audit.Filter{Action: "user.choice_set"}); err != nil || n != 5 {
			t.Errorf("CountAudit = %d, %v, want 5", n, err)
		}
		if _, err := s.CountAudit(t.Context(), who[0], audit.Filter{}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("CountAudit of who may not read it = %v, want ErrForbidden", err)
		}
		scoped := access.Caller{Kind: access.KindUser, ID: "a", Role: access.RoleAdmin, Owners: []string{"o"}}
		if n, err := s.CountAudit(t.Context(), scoped, audit.Filter{}); err != nil || n != 0 {
			t.Errorf("CountAudit of another owner's = %d, %v, want 0", n, err)
		}
	})
}
