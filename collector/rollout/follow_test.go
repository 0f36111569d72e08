package rollout_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"hausmeister/proto/manifest"
)

// lines hands what is logged to a test.
type lines struct {
	slog.Handler
	said chan slog.Record
}

func (l lines) Enabled(context.Context, slog.Level) bool { return true }

func (l lines) Handle(_ context.Context, r slog.Record) error {
	l.said <- r
	return nil
}

// TestFollowWaitsForARoot: a collector that was built without a root of trust follows a
// folder once a person has named one. Until then that is no error: it is the state in
// which everybody begins.
func TestFollowWaitsForARoot(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		said := make(chan slog.Record, 100)
		w.cfg.Root, w.cfg.Log = nil, slog.New(lines{slog.DiscardHandler, said})
		w.restart()
		next := func() string {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- w.Follow(ctx, w.dir) }()
			defer func() {
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("Follow = %v", err)
				}
			}()
			select {
			case r := <-said:
				if r.Level != slog.LevelInfo {
					t.Errorf("%s %s", r.Level, r.Message)
				}
				return r.Message
			case <-time.After(2 * time.Minute):
				t.Fatal("Follow says nothing")
				return ""
			}
		}
		w.publish()
		if got := next(); got != "the published repository is followed once a first import has named the root that is trusted" {
			t.Errorf("before the first import: %s", got)
		}
		if _, err := w.RepositoryState(t.Context(), system); err == nil {
			t.Error("a folder was believed that nobody named a root for")
		}
		if _, err := w.Import(t.Context(), person("ada"), w.dir, w.repo.Root()); err != nil {
			t.Fatal(err)
		}
		w.repo.Release(manifest.RoleStable, manifest.Release{Version: "1.1.0"}, []byte("program"))
		w.publish()
		if got := next(); got != "repository taken over" {
			t.Errorf("after the first import: %s", got)
		}
	})
}
