package demo

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestHistoryIsFollowedToItsEnd: that the past is late is said once, and that it came
// however late that is.
func TestHistoryIsFollowedToItsEnd(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		want  []string
	}{
		{10 * time.Second, []string{"came true at 10s", "ready at 10s"}},
		{2 * time.Minute, []string{"came false at 55s", "ready at 55s", "came true at 2m0s"}},
		{time.Hour, []string{"came false at 55s", "ready at 55s", "came true at 1h0m0s"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			up := time.Now()
			var got []string
			note := func(what string) { got = append(got, fmt.Sprint(what, " at ", time.Since(up))) }
			came := func(ctx context.Context, every time.Duration) bool {
				for time.Since(up) < tt.after {
					select {
					case <-time.After(every):
					case <-ctx.Done():
						return false
					}
				}
				return true
			}
			follow(t.Context(), up, came, func() { note("ready") }, func(came bool) { note(fmt.Sprint("came ", came)) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("a past that comes after %v: %q, want %q", tt.after, got, tt.want)
			}
		})
	}
}

// TestHistoryEndsWithTheDemo: it is not followed any longer.
func TestHistoryEndsWithTheDemo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		never := func(ctx context.Context, _ time.Duration) bool { <-ctx.Done(); return false }
		var said []bool
		follow(ctx, time.Now(), never, func() {}, func(came bool) { said = append(said, came) })
		if !slices.Equal(said, []bool{false}) {
			t.Errorf("said %v, want once that it is late", said)
		}
	})
}
