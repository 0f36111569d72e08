package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// liveValues is what an event of the API's live stream holds.
type liveValues struct {
	Kind, State, Until string
	Readings           map[string]struct{ Value any }
}

func values(t *testing.T, e event) (v liveValues) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.data), &v); err != nil || v.Kind != e.name {
		t.Fatalf("event %s with the data %s: %v", e.name, e.data, err)
	}
	return v
}

// TestLiveStreamOfTheAPI: first all readings, then those that change, a sample each
// second, and to the second an end with the look.
func TestLiveStreamOfTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New()
		asked := b.Subscribe(bus.Watch)
		defer asked.Close()
		d, s := newDesk(t, b)
		until := time.Now().Add(47 * time.Second)
		d.set(func(d *desk) { d.until = until })
		v := d.call(t, t.Context(), s)
		defer v.stop()
		first, _ := v.got()
		if names(first) != "values" {
			t.Fatalf("the stream begins with %q, want values", names(first))
		}
		if got := values(t, first[0]); got.State != "connected" || got.Readings["memory_used"].Value != float64(3<<30) || got.Readings["memory_total"].Value != float64(8<<30) || got.Until == "" {
			t.Errorf("the first event = %+v, want state, end of the look and all readings", got)
		}
		if e := <-asked.C; e.Device != "d" || !e.Live.After(time.Now()) || e.Live.After(until) {
			t.Errorf("the device is asked %+v, want samples until %v at the latest", e, until)
		}
		for _, used := range []int64{6 << 30, 7 << 30, 7 << 30} {
			b.Publish(bus.Event{Kind: bus.Sample, Device: "other", Readings: []*hmpb.Reading{num(reading.MemoryUsed, "", 1)}})
			b.Publish(bus.Event{Kind: bus.Sample, Device: "d", Readings: []*hmpb.Reading{num(reading.MemoryUsed, "", used)}})
			time.Sleep(time.Second)
		}
		got, _ := v.got()
		if names(got) != "values values" {
			t.Fatalf("three samples, two of them alike, sent %q", names(got))
		}
		if last := values(t, got[1]); len(last.Readings) != 1 || last.Readings["memory_used"].Value != float64(7<<30) || last.State != "" {
			t.Errorf("a sample = %+v, want only what changed", last)
		}
		time.Sleep(time.Until(until) + time.Millisecond)
		b.Publish(bus.Event{Kind: bus.Sample, Device: "d", Readings: []*hmpb.Reading{num(reading.MemoryUsed, "", 5<<30)}})
		got, open := v.got()
		if open || names(got) != "over end" {
			t.Errorf("after the look: open %v, %q; want over, end and no value", open, names(got))
		}
		for _, e := range got {
			values(t, e)
		}
	})
}

// TestLiveStreamOfTheAPIEnds: with the session, the role or the device.
func TestLiveStreamOfTheAPIEnds(t *testing.T) {
	for name, do := range map[string]func(*desk){
		"signed out":      func(d *desk) { d.ended = true },
		"role taken away": func(d *desk) { d.role = access.RoleRead },
		"another owner's": func(d *desk) { d.gone = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, s := newDesk(t, bus.New())
				v := d.call(t, t.Context(), s)
				v.got()
				d.set(do)
				d.set(func(d *desk) { d.used = 1 << 30 })
				time.Sleep(6 * time.Second)
				if got, open := v.got(); open || !strings.HasSuffix(names(got), "end") || strings.Contains(names(got), "values") {
					t.Errorf("after 6 s: open %v, events %q; want an end", open, names(got))
				}
			})
		})
	}
}

// TestLiveStreamOfTheAPINeedsALook: a program without one hears which problem it has,
// whoever else looks.
func TestLiveStreamOfTheAPINeedsALook(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(2)
	path := "/api/v1/devices/" + ids[0] + "/live"
	admin, reader, foreign := w.token("admin", access.RoleAdmin, nil), w.token("reader", access.RoleRead, nil), w.token("foreign", access.RoleAdmin, []string{w.ownerID("Stadt Topas")})
	w.look("admin", ids[0])
	for what, c := range map[string]struct {
		token, problem string
		status         int
	}{"no look": {admin, "look-needed", http.StatusForbidden}, "a role without": {reader, "forbidden", http.StatusForbidden}, "another owner": {foreign, "not-found", http.StatusNotFound}} {
		if res := w.api(c.token, path, nil); res.StatusCode != c.status || !strings.Contains(res.body, "problem:"+c.problem+`"`) {
			t.Errorf("%s: %d %s, want %d %s", what, res.StatusCode, res.body, c.status, c.problem)
		}
	}
	caller, err := w.access.Token(t.Context(), admin)
	w.must(err)
	_, err = w.health.OpenLook(t.Context(), caller, ids[0], "Anruf wegen Langsamkeit")
	w.must(err)
	l := w.listenAt(t, path, admin, "")
	first := l.next(t)
	w.report(ids[0], notebook(7)...)
	next := l.next(t)
	for _, e := range []told{first, next} {
		if e.name != "values" || !strings.Contains(e.data, `"readings":{`) {
			t.Errorf("event %s: %s, want values", e.name, e.data)
		}
	}
	if len(next.data) >= len(first.data) || strings.Contains(next.data, `"cpu_cores"`) {
		t.Errorf("a report sends all again: %s", next.data)
	}
}
