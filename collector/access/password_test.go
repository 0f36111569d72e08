package access_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

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
