package health

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Inside the package: Run itself needs a database, which knows no simulated time.

// TestDue: late days are merged when who tells them is through, and otherwise
// the job comes now and then, however much comes late.
func TestDue(t *testing.T) {
	// told lets late minutes come each second for so long.
	told := func(h *Health, ctx context.Context, seconds int) {
		for range seconds {
			select {
			case h.late <- struct{}{}:
			default:
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
	for name, test := range map[string]struct {
		seconds  int // of late minutes
		from, to time.Duration
	}{
		"nothing late":         {0, mergeEvery / 2, 2 * mergeEvery},
		"one device is back":   {40, 39*time.Second + lateQuiet, 42*time.Second + 2*lateQuiet},
		"the fleet comes back": {7200, mergeEvery / 2, 2 * mergeEvery},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &Health{late: make(chan struct{}, 1)}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go told(h, ctx, test.seconds)
				begin := time.Now()
				if !h.due(ctx, func(context.Context) {}) {
					t.Fatal("not due")
				}
				if took := time.Since(begin); took < test.from || took > test.to {
					t.Errorf("due after %v, want %v to %v", took, test.from, test.to)
				}
			})
		})
	}
}

func TestDueEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if h := (&Health{late: make(chan struct{}, 1)}); h.due(ctx, func(context.Context) {}) {
		t.Error("due after the end")
	}
}
