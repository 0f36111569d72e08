package supervise_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/platform/supervise"
)

// journal collects what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if d := cmp.Diff(want, j.lines); d != "" {
		t.Errorf("what happened (-want +got):\n%s", d)
	}
}

// logTo gives a logger and what it wrote.
func logTo() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

// steady is a part that needs `takes` to start and to stop.
func steady(j *journal, name string, takes time.Duration) supervise.Part {
	return supervise.Part{Name: name, Run: func(ctx context.Context, ready func()) error {
		j.add(name + " begins")
		time.Sleep(takes)
		j.add(name + " ready")
		ready()
		<-ctx.Done()
		time.Sleep(takes)
		j.add(name + " ends")
		return ctx.Err()
	}}
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, _ := logTo()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := supervise.Run(ctx, log, steady(&j, "a", time.Second), steady(&j, "b", 2*time.Second), steady(&j, "c", 0))
		if err != nil {
			t.Errorf("Run = %v, want nil: our own end is success", err)
		}
		j.want(t, "a begins", "a ready", "b begins", "b ready", "c begins", "c ready", "c ends", "b ends", "a ends")
	})
}

func TestFailureForGoodStopsTheOthersInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, out := logTo()
		broken := errors.New("port taken")
		err := supervise.Run(t.Context(), log, steady(&j, "a", 0), steady(&j, "b", 0), supervise.Part{
			Name: "c", Restart: supervise.Always,
			Run: func(_ context.Context, ready func()) error {
				ready()
				time.Sleep(time.Second)
				return supervise.Permanent(broken)
			}}, steady(&j, "d", 0))
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "part c: port taken") {
			t.Errorf("Run = %v, want the failure with its part's name", err)
		}
		j.want(t, "a begins", "a ready", "b begins", "b ready", "d begins", "d ready", "d ends", "b ends", "a ends")
		if !strings.Contains(out.String(), `msg="part failed for good" part=c error="port taken"`) {
			t.Errorf("the log does not name the part:\n%s", out)
		}
	})
}

// An end that is wanted stops the others as a failure does, through whoever runs
// within whom, and no log calls it one.
func TestWantedEndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, out := logTo()
		swap := errors.New("an update is armed")
		inner := func(ctx context.Context, ready func()) error {
			ready()
			return supervise.Run(ctx, log, supervise.Part{Name: "updates", Restart: supervise.Always, Run: func(_ context.Context, ready func()) error {
				ready()
				time.Sleep(time.Second)
				return supervise.Wanted(swap)
			}})
		}
		err := supervise.Run(t.Context(), log, steady(&j, "a", 0), supervise.Part{Name: "agent", Restart: supervise.Always, Run: inner})
		if !errors.Is(err, swap) {
			t.Errorf("Run = %v, want why it ended", err)
		}
		j.want(t, "a begins", "a ready", "a ends")
		if text := out.String(); strings.Contains(text, "failed") || strings.Contains(text, "ERROR") || !strings.Contains(text, "an update is armed") {
			t.Errorf("the log says:\n%s", text)
		}
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, out := logTo()
		var starts []time.Duration
		begin := time.Now()
		err := supervise.Run(t.Context(), log, supervise.Part{
			Name: "flaky", Restart: supervise.Policy{Tries: 5, Min: time.Second, Max: 4 * time.Second},
			Run: func(_ context.Context, ready func()) error {
				starts = append(starts, time.Since(begin))
				ready()
				if len(starts)%2 == 0 {
					panic("boom")
				}
				return errors.New("broken")
			}})
		if len(starts) != 6 {
			t.Errorf("ran %d times, want once and five times again", len(starts))
		}
		for i, most := range []time.Duration{1, 2, 4, 4, 4} {
			if i+1 < len(starts) {
				if wait := starts[i+1] - starts[i]; wait > most*time.Second {
					t.Errorf("wait %d was %v, want at most %v s", i+1, wait, most)
				}
			}
		}
		var pe *supervise.PanicError
		if !errors.As(err, &pe) || pe.Value != "boom" || len(pe.Stack) == 0 {
			t.Errorf("Run = %v, want the panic as an error", err)
		}
		if n := strings.Count(out.String(), `msg="part panicked" part=flaky panic=boom stack=`); n != 3 {
			t.Errorf("%d panics in the log, want 3:\n%s", n, out)
		}
	})
}

// TestJitter: parts that fail together must not come back together.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := logTo()
		var waits []time.Duration
		for range 20 {
			var at []time.Time
			_ = supervise.Run(t.Context(), log, supervise.Part{
				Name: "x", Restart: supervise.Policy{Tries: 1, Min: time.Minute},
				Run: func(context.Context, func()) error { at = append(at, time.Now()); return errors.New("broken") }})
			waits = append(waits, at[1].Sub(at[0]))
		}
		slices.Sort(waits)
		if waits[0] > 30*time.Second || waits[19] < 30*time.Second || len(slices.Compact(waits)) < 15 {
			t.Errorf("waits are not spread over a minute: %v", waits)
		}
	})
}

// TestForget: failures long ago do not count.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := logTo()
		runs := 0
		err := supervise.Run(t.Context(), log, supervise.Part{
			Name: "daily", Restart: supervise.Policy{Tries: 1, Forget: time.Hour},
			Run: func(ctx context.Context, ready func()) error {
				ready()
				if runs++; runs == 10 {
					return nil
				}
				time.Sleep(2 * time.Hour)
				return errors.New("broken")
			}})
		if err != nil || runs != 10 {
			t.Errorf("Run = %v after %d runs, want nil after 10", err, runs)
		}
	})
}

func TestLate(t *testing.T) {
	deaf := make(chan struct{})
	for _, c := range []struct {
		name    string
		part    supervise.Part
		wantErr error
		wantLog string
		within  time.Duration
	}{
		{
			name:    "to start, then obeys",
			part:    supervise.Part{StartWithin: 3 * time.Second, Run: func(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }},
			wantErr: supervise.ErrNotReady, wantLog: `msg="part is late to start" part=p start_within=3s`, within: 3 * time.Second,
		},
		{
			name: "to start, and deaf",
			part: supervise.Part{StartWithin: 3 * time.Second, StopWithin: 2 * time.Second, Restart: supervise.Always,
				Run: func(context.Context, func()) error { <-deaf; return nil }},
			wantErr: supervise.ErrLate, wantLog: `msg="part is late to stop and given up" part=p stop_within=2s`, within: 5 * time.Second,
		},
		{
			name: "to stop",
			part: supervise.Part{StopWithin: 2 * time.Second,
				Run: func(_ context.Context, ready func()) error { ready(); <-deaf; return nil }},
			wantErr: supervise.ErrLate, wantLog: `msg="part is late to stop and given up" part=p stop_within=2s`, within: 12 * time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deaf = make(chan struct{})
				defer close(deaf) // lets the bubble end
				log, out := logTo()
				var j journal
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				c.part.Name = "p"
				begin := time.Now()
				err := supervise.Run(ctx, log, steady(&j, "before", 0), c.part)
				if !errors.Is(err, c.wantErr) || !strings.Contains(err.Error(), "part p: ") {
					t.Errorf("Run = %v, want part p: %v", err, c.wantErr)
				}
				if took := time.Since(begin); took != c.within {
					t.Errorf("Run took %v, want %v", took, c.within)
				}
				if !strings.Contains(out.String(), c.wantLog) {
					t.Errorf("the log lacks %s:\n%s", c.wantLog, out)
				}
				j.want(t, "before begins", "before ready", "before ends")
			})
		})
	}
}

func TestAllDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, _ := logTo()
		once := func(name string) supervise.Part {
			return supervise.Part{Name: name, Run: func(context.Context, func()) error {
				time.Sleep(time.Second)
				j.add(name)
				return nil
			}}
		}
		if err := supervise.Run(t.Context(), log, once("a"), once("b")); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		j.want(t, "a", "b") // a without ready counts as ready when it is done
	})
}

// TestEndWhileStarting: the end of ctx does not wait for a start that hangs.
func TestEndWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, _ := logTo()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := supervise.Run(ctx, log, steady(&j, "a", 0), steady(&j, "slow", 2*time.Second), steady(&j, "never", 0))
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		j.want(t, "a begins", "a ready", "slow begins", "slow ready", "slow ends", "a ends")
	})
}

// TestErrorWhileStopping is told although the end was asked for.
func TestErrorWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := logTo()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		lost := errors.New("could not flush")
		err := supervise.Run(ctx, log, supervise.Part{Name: "x", Run: func(ctx context.Context, ready func()) error {
			ready()
			<-ctx.Done()
			return lost
		}})
		if !errors.Is(err, lost) {
			t.Errorf("Run = %v, want %v", err, lost)
		}
	})
}
