package wake

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Inside the package, since no real machine sleeps on demand.

// fake is a machine that sleeps and travels as told.
type fake struct {
	mu      sync.Mutex
	asleep  time.Duration
	net     string
	hints   chan<- hint
	closed  chan struct{}
	ends    chan error
	openErr error
}

func newFake() *fake {
	return &fake{net: "home", closed: make(chan struct{}), ends: make(chan error, 1)}
}

func (f *fake) open(hints chan<- hint) (*notices, error) {
	if f.openErr != nil {
		return nil, f.openErr
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hints = hints
	loop := func() error {
		select {
		case <-f.closed:
			return nil
		case err := <-f.ends:
			return err
		}
	}
	return &notices{loops: []func() error{loop}, close: func() { close(f.closed) }}, nil
}

func (f *fake) slept() (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asleep, nil
}

func (f *fake) place() (string, error) { return "", nil }

func (f *fake) network() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.net, nil
}

func (f *fake) change(net string, slept time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.net, f.asleep = net, f.asleep+slept
}

func (f *fake) hint(h hint) { send(f.hints, h) }

// watch runs a Watcher of f; the caller ends it by stop, which gives Run's answer.
func watch(t *testing.T, f *fake) (w *Watcher, stop func() error) {
	t.Helper()
	w = newWatcher(f, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- w.Run(ctx, func() { close(ready) }) }()
	<-ready
	return w, func() error { cancel(); return <-done }
}

func wantEvent(t *testing.T, w *Watcher, within time.Duration, want Event) {
	t.Helper()
	select {
	case got := <-w.Events():
		if got != want {
			t.Errorf("event %+v, want %+v", got, want)
		}
	case <-time.After(within):
		t.Errorf("no event within %v, want %+v", within, want)
	}
}

func wantQuiet(t *testing.T, w *Watcher, during time.Duration) {
	t.Helper()
	select {
	case got := <-w.Events():
		t.Errorf("event %+v, want none", got)
	case <-time.After(during):
	}
}

func TestWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, stop := watch(t, f)

		f.hint(hint{}) // a router's advertisement: nothing changed
		wantQuiet(t, w, 5*time.Minute)

		f.change("school", 0)
		f.hint(hint{})
		wantEvent(t, w, time.Second, Event{Network: true})

		// Gone and back before anybody looked: another network with like addresses.
		f.hint(hint{gone: true})
		f.hint(hint{})
		wantEvent(t, w, time.Second, Event{Network: true})

		f.change("school", 8*time.Hour)
		f.hint(hint{}) // the clock's notice
		wantEvent(t, w, time.Second, Event{Slept: 8 * time.Hour})

		f.change("home", time.Hour) // no notice at all: the look each minute finds it
		wantEvent(t, w, time.Minute, Event{Network: true, Slept: time.Hour})

		f.change("home", time.Millisecond) // the two clocks are read one after the other
		wantQuiet(t, w, 5*time.Minute)
		if err := stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// TestBurst: a change comes in dozens of messages and is one event, soon.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, stop := watch(t, f)
		f.change("school", 0)
		go func() {
			for range 100 { // it never gets quiet
				f.hint(hint{})
				time.Sleep(100 * time.Millisecond)
			}
		}()
		wantEvent(t, w, settleMost+time.Millisecond, Event{Network: true})
		wantQuiet(t, w, time.Minute)
		_ = stop()
	})
}

// TestUntakenEventsBecomeOne: nobody reads while two things happen.
func TestUntakenEventsBecomeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, stop := watch(t, f)
		f.change("school", time.Hour)
		time.Sleep(2 * time.Minute)
		f.change("school", 2*time.Hour)
		time.Sleep(2 * time.Minute)
		wantEvent(t, w, time.Second, Event{Network: true, Slept: 3 * time.Hour})
		wantQuiet(t, w, 5*time.Minute)
		_ = stop()
	})
}

func TestNoticesThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("socket is gone")
		f := newFake()
		f.openErr = broken
		if err := newWatcher(f, nil).Run(t.Context(), func() { t.Error("ready") }); !errors.Is(err, broken) {
			t.Errorf("Run = %v, want %v", err, broken)
		}
		f = newFake()
		f.ends <- broken
		if err := newWatcher(f, nil).Run(t.Context(), func() {}); !errors.Is(err, broken) {
			t.Errorf("Run = %v, want %v", err, broken)
		}
	})
}
