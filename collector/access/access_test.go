package access_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

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
