package web_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/web"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// desk stands for access, fleet and health in a bubble of synctest, where no
// database can live: one device, one session.
type desk struct {
	web.Accounts // what no test here asks, as below
	web.Claims
	web.Fleet
	web.Health

	mu     sync.Mutex
	ended  bool // the session
	gone   bool // the device
	away   bool // the database
	used   int64
	looks  int
	volume string
	until  time.Time // of the caller's look
	// version is of the latest state; empty = the device never told one
	version string
	role    access.Role
}

func (d *desk) set(f func(*desk)) { d.mu.Lock(); defer d.mu.Unlock(); f(d) }

var errAway = errors.New("database away for a moment")

func (d *desk) Findings(context.Context, access.Caller, string) ([]health.Finding, error) {
	return nil, nil
}

func (d *desk) House(context.Context) (access.House, error) { return access.House{}, nil }

func (d *desk) Looking(context.Context, access.Caller, string) (time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.until, nil
}

func (d *desk) Session(context.Context, string) (access.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return access.Session{}, access.ErrNoSession
	}
	return access.Session{Caller: access.Caller{Kind: access.KindUser, ID: "u", Name: "admin", Role: d.role}}, nil
}

func (d *desk) Device(context.Context, access.Caller, string) (fleet.Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	switch {
	case d.gone:
		return fleet.Device{}, access.ErrNotFound
	case d.away:
		return fleet.Device{}, errAway
	}
	return fleet.Device{ID: "d", Inventory: "AH-1", State: fleet.StateConnected, LastDay: monday}, nil
}

func (d *desk) Latest(context.Context, access.Caller, string) (health.Latest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	value := func(id uint32, instance string, n int64) health.Value {
		row, _ := reading.ByID(id)
		return health.Value{Reading: row, Instance: instance, Number: n}
	}
	values := []health.Value{value(reading.MemoryTotal, "", 8<<30), value(reading.MemoryUsed, "", d.used)}
	if d.volume != "" {
		values = append(values, value(reading.VolumeTotal, d.volume, 100), value(reading.VolumeFree, d.volume, 50))
	}
	return health.Latest{Device: "d", Version: d.version, Values: values}, nil
}

func (d *desk) SignIn(context.Context, string, string, string) (string, time.Time, error) {
	return "", time.Time{}, access.ErrSignIn
}
func (d *desk) Rotate(context.Context, string) (string, time.Time, error) {
	return "", time.Time{}, access.ErrNoSession
}
func (d *desk) SignOut(context.Context, string) error { return nil }
func (d *desk) Token(context.Context, string) (access.Caller, error) {
	return access.Caller{}, access.ErrNoSession
}
func (d *desk) List(context.Context, access.Caller, fleet.Filter) (fleet.Page, error) {
	return fleet.Page{}, nil
}
func (d *desk) Counts(context.Context, access.Caller, fleet.Filter) (fleet.Counts, error) {
	return fleet.Counts{}, nil
}
func (d *desk) Total(context.Context, access.Caller) (int64, error)            { return 1, nil }
func (d *desk) Schools(context.Context, access.Caller) ([]fleet.School, error) { return nil, nil }

// pipeWriter is a ResponseWriter whose reader is a browser in the same bubble.
type pipeWriter struct {
	h http.Header
	w *io.PipeWriter
}

func (p pipeWriter) Header() http.Header         { return p.h }
func (p pipeWriter) WriteHeader(int)             {}
func (p pipeWriter) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p pipeWriter) Flush()                      {}

// viewer reads one live stream.
type viewer struct {
	events chan event // closed when the stream ended
	stop   context.CancelFunc
	pipe   *io.PipeReader
}

type event struct{ name, data string }

func (d *desk) watch(t *testing.T, ctx context.Context, s http.Handler) *viewer {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/devices/d/live", nil)
	req.AddCookie(&http.Cookie{Name: "__Host-session", Value: "s"})
	return follow(ctx, s, req)
}

// call is watch of a program for a person.
func (d *desk) call(t *testing.T, ctx context.Context, s http.Handler) *viewer {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/api/v1/devices/d/live", nil)
	req.Header.Set("Authorization", "Bearer s")
	return follow(ctx, s, req)
}

func follow(ctx context.Context, s http.Handler, req *http.Request) *viewer {
	r, w := io.Pipe()
	ctx, stop := context.WithCancel(ctx)
	req = req.WithContext(ctx)
	v := &viewer{events: make(chan event, 1000), stop: stop, pipe: r}
	go func() {
		s.ServeHTTP(pipeWriter{http.Header{}, w}, req)
		w.Close()
	}()
	go func() {
		defer close(v.events)
		var e event
		for lines := bufio.NewScanner(r); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					v.events <- e
				}
				e = event{}
			}
		}
	}()
	return v
}

// got gives all events that came until everybody in the bubble rests.
func (v *viewer) got() (events []event, open bool) {
	synctest.Wait()
	for {
		select {
		case e, ok := <-v.events:
			if !ok {
				return events, false
			}
			events = append(events, e)
		default:
			return events, true
		}
	}
}

func names(events []event) string {
	var out []string
	for _, e := range events {
		out = append(out, e.name)
	}
	return strings.Join(out, " ")
}

func newDesk(t *testing.T, b *bus.Bus) (*desk, *web.Server) {
	t.Helper()
	d := &desk{used: 3 << 30, until: time.Now().Add(health.LookFor), version: "1-1", role: access.RoleAdmin}
	s, err := web.New(web.Config{Access: d, Claims: d, Fleet: d, Health: d, Questions: struct{ web.Questions }{}, Rollouts: struct{ web.Rollouts }{}, Bus: b, Now: time.Now, Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

func TestLiveStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New()
		d, s := newDesk(t, b)
		v := d.watch(t, t.Context(), s)
		defer v.stop()
		first, _ := v.got()
		if want := "beat state sentence memory-figure memory-meter"; names(first) != want {
			t.Fatalf("the stream begins with %q, want %q", names(first), want)
		}
		// A change comes within a second, alone; another device's does not.
		time.Sleep(1100 * time.Millisecond)
		d.set(func(d *desk) { d.used = 4 << 30; d.looks = 0 })
		b.Publish(bus.Event{Kind: bus.Changed, Device: "other"})
		for range 50 {
			b.Publish(bus.Event{Kind: bus.Changed, Device: "d"})
		}
		time.Sleep(time.Second)
		got, _ := v.got()
		if got = got[1:]; names(got) != "memory-figure memory-meter" || !strings.Contains(got[0].data, "4,0\u00a0GB") {
			t.Errorf("after a change the stream sends %+v", got)
		}
		if d.set(func(d *desk) {}); d.looks != 1 {
			t.Errorf("50 changes in a second caused %d looks, want 1", d.looks)
		}
		// Another volume: the page fetches its cards anew.
		d.set(func(d *desk) { d.volume = "/mnt" })
		b.Publish(bus.Event{Kind: bus.Changed, Device: "d"})
		time.Sleep(time.Second)
		if got, _ := v.got(); !strings.HasPrefix(names(got), "structure ") {
			t.Errorf("after a volume came the stream sends %q", names(got))
		}
		// Nothing happens: only beats, no look costs anything on the wire.
		time.Sleep(time.Minute)
		if got, open := v.got(); names(got) != strings.Repeat("beat ", 29)+"beat" || !open {
			t.Errorf("in a quiet minute the stream sends %q, open %v", names(got), open)
		}
	})
}

// TestLiveStreamNeedsALook: without one no value, state or connection is told,
// whatever happens and whoever else looks.
func TestLiveStreamNeedsALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New()
		asked := b.Subscribe(bus.Watch)
		defer asked.Close()
		d, s := newDesk(t, b)
		d.set(func(d *desk) { d.until = time.Time{} })
		// What the device told can be read on the page; the stream adds nothing.
		v := d.watch(t, t.Context(), s)
		if got, open := v.got(); names(got) != "beat structure over end" || open {
			t.Errorf("without a look the stream of a known device sends %q, open %v; want that the page is fetched, and an end", names(got), open)
		}
		// One that has told nothing is waited for, and nothing else is told of it.
		d.set(func(d *desk) { d.version = "" })
		v = d.watch(t, t.Context(), s)
		defer v.stop()
		for range 20 {
			b.Publish(bus.Event{Kind: bus.Connected, Device: "d"})
			b.Publish(bus.Event{Kind: bus.Changed, Device: "d"})
			b.Publish(bus.Event{Kind: bus.Sample, Device: "d", Readings: []*hmpb.Reading{num(reading.MemoryUsed, "", 7<<30)}})
			b.Publish(bus.Event{Kind: bus.Disconnected, Device: "d"})
			time.Sleep(time.Second)
		}
		if got, open := v.got(); strings.Trim(names(got), "beat ") != "" || !open {
			t.Errorf("before the first report the stream sends %q, open %v; want beats", names(got), open)
		}
		d.set(func(d *desk) { d.version = "1-1" })
		b.Publish(bus.Event{Kind: bus.Changed, Device: "d"})
		if got, open := v.got(); names(got) != "structure over end" || open {
			t.Errorf("at the first report the stream sends %q, open %v; want that the page is fetched, and an end", names(got), open)
		}
		for e := range drained(asked) {
			if e.Live.After(time.Now()) {
				t.Errorf("without a look the device is asked: %+v", e)
			}
		}
	})
}

// drained are the events that came up to now.
func drained(sub *bus.Subscription) iter.Seq[bus.Event] {
	return func(yield func(bus.Event) bool) {
		synctest.Wait()
		for {
			select {
			case e := <-sub.C:
				if !yield(e) {
					return
				}
			default:
				return
			}
		}
	}
}

// TestLiveStreamEndsWithTheLook: to the second, and not when another was opened.
func TestLiveStreamEndsWithTheLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New()
		asked := b.Subscribe(bus.Watch)
		defer asked.Close()
		d, s := newDesk(t, b)
		until := time.Now().Add(47 * time.Second)
		d.set(func(d *desk) { d.until = until })
		v := d.watch(t, t.Context(), s)
		defer v.stop()
		v.got()
		if e := <-asked.C; e.Device != "d" || !e.Live.After(time.Now()) || e.Live.After(until) {
			t.Errorf("with a look the device is asked %+v, want samples until %v at the latest", e, until)
		}
		sample := func(device string, used int64) {
			b.Publish(bus.Event{Kind: bus.Sample, Device: device, Readings: []*hmpb.Reading{num(reading.MemoryUsed, "", used)}})
		}
		sample("other", 6<<30)
		sample("d", 7<<30)
		if got, _ := v.got(); names(got) != "memory-figure memory-meter" || !strings.Contains(got[0].data, "7,0\u00a0GB") {
			t.Errorf("with a look the stream shows %+v, want 7,0 GB", got)
		}
		time.Sleep(40 * time.Second)
		d.set(func(d *desk) { d.until = until.Add(time.Minute) })
		time.Sleep(time.Until(until) + 2*time.Second)
		sample("d", 5<<30)
		if got, open := v.got(); !open || !strings.Contains(names(got), "memory-figure") {
			t.Errorf("in the second look: open %v, %q", open, names(got))
		}
		time.Sleep(time.Until(until.Add(time.Minute)) + time.Millisecond)
		sample("d", 4<<30)
		d.set(func(d *desk) { d.used = 2 << 30 })
		b.Publish(bus.Event{Kind: bus.Changed, Device: "d"})
		got, open := v.got()
		if open || !strings.HasSuffix(names(got), "over end") || strings.Contains(names(got), "memory") {
			t.Errorf("after the look: open %v, %q; want over and an end without a value", open, names(got))
		}
	})
}

func TestLiveStreamEnds(t *testing.T) {
	tests := []struct {
		name string
		do   func(*desk, *bus.Bus)
		end  bool // told to the page
	}{
		{"signed out or revoked", func(d *desk, _ *bus.Bus) { d.set(func(d *desk) { d.ended = true }) }, true},
		{"device no longer the caller's", func(d *desk, b *bus.Bus) {
			d.set(func(d *desk) { d.gone = true })
			b.Publish(bus.Event{Kind: bus.Changed, Device: "d"})
		}, true},
		{"role taken away", func(d *desk, _ *bus.Bus) { d.set(func(d *desk) { d.role = access.RoleRead; d.used = 1 << 30 }) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bus.New()
				d, s := newDesk(t, b)
				v := d.watch(t, t.Context(), s)
				v.got()
				tt.do(d, b)
				time.Sleep(6 * time.Second)
				got, open := v.got()
				if open || !strings.HasSuffix(names(got), "end") || strings.Contains(names(got), "memory") {
					t.Errorf("after 6 s: open %v, events %q; want ended, and told", open, names(got))
				}
			})
		})
	}
}

// TestLiveStreamSurvives: a database that is away for a moment ends nothing.
func TestLiveStreamSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New()
		d, s := newDesk(t, b)
		v := d.watch(t, t.Context(), s)
		v.got()
		d.set(func(d *desk) { d.away = true; d.used = 5 << 30 })
		b.Publish(bus.Event{Kind: bus.Changed, Device: "d"})
		time.Sleep(20 * time.Second)
		if got, open := v.got(); !open || strings.Contains(names(got), "memory") {
			t.Fatalf("without a database: open %v, %q", open, names(got))
		}
		d.set(func(d *desk) { d.away = false })
		time.Sleep(6 * time.Second)
		if got, open := v.got(); !open || !strings.Contains(names(got), "memory-figure") {
			t.Errorf("with the database back: open %v, %q", open, names(got))
		}
		v.stop()
		if _, open := v.got(); open {
			t.Error("the stream goes on without its page")
		}
	})
}

// TestLiveStreamAnswersStrangers: a stream is not led to the sign-in page, and is told
// that its session is over.
func TestLiveStreamAnswersStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := newDesk(t, bus.New())
		d.set(func(d *desk) { d.ended = true })
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/devices/d/live", nil)
		req.Header.Set("Accept", "text/event-stream")
		req.AddCookie(&http.Cookie{Name: "__Host-session", Value: "s"})
		if s.ServeHTTP(rec, req); rec.Code != http.StatusOK || rec.Body.String() != "event: end\ndata: \n\n" {
			t.Errorf("a stream for an ended session = %d %q, want its end", rec.Code, rec.Body)
		}
	})
}

// TestLastViewerEndsLive: the device is told when the last page that shows it
// goes, and not before.
func TestLastViewerEndsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New()
		d, s := newDesk(t, b)
		sub := b.Subscribe(bus.Watch)
		defer sub.Close()
		one, two := d.watch(t, t.Context(), s), d.watch(t, t.Context(), s)
		one.got()
		two.got()
		for range drained(sub) { // asked for samples
		}
		one.stop()
		for e := range drained(sub) {
			t.Errorf("with one page left: %+v, want nothing", e)
		}
		two.stop()
		ends := 0
		for e := range drained(sub) {
			if ends++; e.Live.IsZero() || e.Live.After(time.Now()) {
				t.Errorf("after the last: %+v, want an end", e)
			}
		}
		if ends != 1 {
			t.Errorf("after the last: %d events, want an end", ends)
		}
	})
}

// A device that something is wrong with says whether it is connected, too.
func TestStatesOfADevice(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", "DEMOWRONG", "windows", "AH-2021-0817")
	w.report(id, num(reading.MemoryTotal, "", 8<<30))
	w.fillsUp(id, hmpb.Severity_SEVERITY_CRITICAL)
	states := func() string {
		page := w.signedIn("read").get("/devices/" + id).body
		_, rest, _ := strings.Cut(page, `id="state"`)
		part, _, _ := strings.Cut(rest, "</div>")
		var words []string
		for _, word := range []string{"Kritisch", "Verbunden"} {
			if strings.Contains(part, word) {
				words = append(words, word)
			}
		}
		return strings.Join(words, " ")
	}
	session := w.connect(id)
	if got := states(); got != "Kritisch Verbunden" {
		t.Errorf("connected: %s", got)
	}
	w.disconnect(id, session)
	if got := states(); got != "Kritisch" {
		t.Errorf("not connected: %s", got)
	}
}
