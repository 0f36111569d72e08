package access_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

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
