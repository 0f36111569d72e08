package supervise_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/platform/supervise"
)

func TestCrewIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most, total atomic.Int32
		c := supervise.NewCrew(t.Context(), 3)
		for i := range 10 {
			if i == 3 && c.TryGo(func(context.Context) {}) {
				t.Error("TryGo found a place in a full crew")
			}
			err := c.Go(func(context.Context) {
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(time.Second)
				now.Add(-1)
				total.Add(1)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		c.Wait()
		if most.Load() != 3 || total.Load() != 10 {
			t.Errorf("ran %d, at most %d at once; want 10 and 3", total.Load(), most.Load())
		}
		if err := c.Go(func(context.Context) { t.Error("ran after Wait") }); err == nil {
			t.Error("Go after Wait = nil, want an error")
		}
	})
}

func TestCrewGoEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := supervise.NewCrew(ctx, 1)
		defer c.Wait()
		if err := c.Go(func(ctx context.Context) { <-ctx.Done() }); err != nil {
			t.Fatal(err)
		}
		if err := c.Go(func(context.Context) { t.Error("ran without a place") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Go = %v, want the context's end", err)
		}
	})
}

func TestCrewPanicEndsTheCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := supervise.NewCrew(t.Context(), 2)
		_ = c.Go(func(ctx context.Context) { <-ctx.Done() }) // must be told
		_ = c.Go(func(context.Context) { panic("boom") })
		defer func() {
			pe, ok := recover().(*supervise.PanicError)
			if !ok || pe.Value != "boom" {
				t.Errorf("Wait panicked with %v, want boom", pe)
			}
		}()
		c.Wait()
		t.Error("Wait returned")
	})
}

func TestCrewOnPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := supervise.NewCrew(t.Context(), 2)
		var panics atomic.Int32
		c.OnPanic = func(*supervise.PanicError) { panics.Add(1) }
		_ = c.Go(func(context.Context) { panic("boom") })
		survived := false
		_ = c.Go(func(ctx context.Context) {
			time.Sleep(time.Second)
			survived = ctx.Err() == nil
		})
		c.Wait()
		if panics.Load() != 1 || !survived {
			t.Errorf("%d panics, other survived: %v; want 1, true", panics.Load(), survived)
		}
	})
}

func TestCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c supervise.Cutoff[int]
		release := make(chan struct{})
		var began atomic.Int32
		hang := func(context.Context) (int, error) {
			began.Add(1)
			<-release
			return 1, nil
		}
		begin := time.Now()
		for range 100 {
			if v, err := c.Do(t.Context(), time.Second, hang); !errors.Is(err, supervise.ErrCutOff) || v != 0 {
				t.Fatalf("Do = %d, %v; want 0, cut off", v, err)
			}
		}
		if n := began.Load(); n != 1 {
			t.Errorf("100 calls of what hangs began %d goroutines, want 1", n)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("that took %v; only the first may take time", took)
		}
		close(release)
		synctest.Wait()
		if v, err := c.Do(t.Context(), time.Second, func(context.Context) (int, error) { return 7, nil }); v != 7 || err != nil {
			t.Errorf("Do afterwards = %d, %v; want 7, nil", v, err)
		}
	})
}

func TestCutoffContainsPanics(t *testing.T) {
	var c supervise.Cutoff[int]
	_, err := c.Do(t.Context(), time.Second, func(context.Context) (int, error) { panic("boom") })
	if pe := (*supervise.PanicError)(nil); !errors.As(err, &pe) {
		t.Errorf("Do = %v, want the panic as an error", err)
	}
}

func TestCutoffObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c supervise.Cutoff[int]
		wait := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
		if _, err := c.Do(t.Context(), time.Second, wait); !errors.Is(err, supervise.ErrCutOff) {
			t.Errorf("Do of what obeys its deadline = %v, want cut off", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Do(ctx, time.Second, wait); !errors.Is(err, context.Canceled) {
			t.Errorf("Do at our own end = %v, want that", err)
		}
	})
}
