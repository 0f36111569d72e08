package access_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

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
