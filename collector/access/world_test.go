package access_test

import (
	"errors"
	"flag"
	"log/slog"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
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

func noSession(t *testing.T, s *access.Service, secret string) {
	t.Helper()
	if _, err := s.Session(t.Context(), secret); !errors.Is(err, access.ErrNoSession) {
		t.Errorf("Session = %v, want ErrNoSession", err)
	}
}
