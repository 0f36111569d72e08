package scenario

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"hausmeister/testenv/fakes"
	"hausmeister/testenv/port"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/site"
)

func TestMain(m *testing.M) { programs.Main(m) }

// school is where the stories play.
var school = fakes.Schools()[0]

// newSite starts a collector with schools, and ends it with the test.
func newSite(t *testing.T, host string, args ...string) *site.Site {
	t.Helper()
	s, err := site.New(site.Config{Bin: programs.Build(t), Dir: t.TempDir(), Host: host, Port: freePort(t), Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(10 * time.Second); err != nil {
			t.Errorf("stopping the collector: %v", err)
		}
		if t.Failed() && s.Server() != nil {
			t.Logf("end of the collector's log:\n%s", s.Server().LogTail())
		}
	})
	must(t, s.Start(t.Context()))
	must(t, s.ImportSchools(t.Context(), fakes.SchoolsCSV))
	return s
}

// newClaim admits so many devices at the stories' school.
func newClaim(t *testing.T, s *site.Site, devices int) string {
	t.Helper()
	claim, err := s.AddClaim(t.Context(), school.Owner, school.Code, devices)
	must(t, err)
	return claim
}

// freePort finds a port that is free for UDP and TCP.
func freePort(t testing.TB) int {
	t.Helper()
	n, err := port.Free()
	must(t, err)
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what the real programs do in their own time.
func eventually(t *testing.T, within time.Duration, what string, ok func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var last error
	for {
		done, err := ok()
		if done {
			return
		}
		if err != nil {
			last = err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("not within %v: %s (last error: %v)", within, what, errors.Join(last, t.Context().Err()))
		}
	}
}

// database is the collector's file; only while the collector is down.
func database(s *site.Site) string { return filepath.Join(s.DataDir(), "hausmeister.db") }
