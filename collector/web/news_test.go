package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/health"
	"hausmeister/collector/web"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// listener reads the stream of changes.
type listener struct {
	res    *http.Response
	events chan told // closed at the end of the stream
}

type told struct {
	id, name, data string
	change         struct{ Device, Kind, Worst, Severity, Day string }
}

func (w *world) listen(t testing.TB, token, last string) *listener {
	t.Helper()
	return w.listenAt(t, "/api/v1/events", token, last)
}

func (w *world) listenAt(t testing.TB, path, token, last string) *listener {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := w.ts.Client().Do(req)
	w.must(err)
	t.Cleanup(func() { res.Body.Close() })
	l := &listener{res, make(chan told, 1000)}
	if res.Header.Get("Content-Type") != "text/event-stream" {
		return l
	}
	go func() {
		defer close(l.events)
		var e told
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					json.Unmarshal([]byte(e.data), &e.change)
					l.events <- e
				}
				e = told{}
			}
		}
	}()
	return l
}

func (l *listener) next(t testing.TB) told {
	t.Helper()
	select {
	case e, ok := <-l.events:
		if !ok {
			t.Fatal("the stream ended")
		}
		return e
	case <-time.After(patience):
		t.Fatalf("nothing came in %v", patience)
		return told{}
	}
}

// TestStreamOfChanges: a program hears what happens to its devices at once, goes on
// after a break where it was, and is told when it cannot.
func TestStreamOfChanges(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(6)
	d, err := w.fleet.Device(t.Context(), operator, ids[0])
	w.must(err)
	foreign := ""
	for _, id := range ids {
		if o, _ := w.fleet.Device(t.Context(), operator, id); o.Owner != d.Owner {
			foreign = id
		}
	}
	token := w.token("listener", access.RoleRead, []string{d.Owner})
	l := w.listen(t, token, "")
	checkHeaders(t, "stream", l.res.Header)
	begin := l.next(t)
	if begin.name != "begin" || begin.id == "" || begin.change.Kind != "begin" {
		t.Fatalf("the stream begins with %+v", begin)
	}
	w.fillsUp(foreign, hmpb.Severity_SEVERITY_CRITICAL)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_WARNING)
	raised := l.next(t)
	if raised.name != "finding_raised" || raised.change.Device != ids[0] || raised.change.Worst != "warning" || raised.change.Severity != "warning" || raised.change.Day != "2026-11-23" {
		t.Errorf("after a finding: %+v", raised)
	}
	// A break: what came meanwhile is told, nothing twice.
	l.res.Body.Close()
	code, instance := finding.DiskLow, "C:"
	w.tell(ids[0], hmpb.Entry_builder{Finding: hmpb.Finding_builder{Code: &code, Raised: new(false), Instance: &instance, Severity: hmpb.Severity_SEVERITY_WARNING.Enum()}.Build()}.Build())
	again := w.listen(t, token, raised.id)
	if e := again.next(t); e.name != "begin" || e.id != raised.id {
		t.Errorf("back again: %+v, want to begin where it was", e)
	}
	cleared := again.next(t)
	if cleared.name != "finding_cleared" || cleared.change.Worst != "none" {
		t.Errorf("what was missed: %+v, want the clear", cleared)
	}
	for last, want := range map[string]string{"5.zz": "reset", "999999.1": "reset"} {
		if e := w.listen(t, token, last).next(t); e.name != want || e.id != cleared.id {
			t.Errorf("back with %s: %+v, want %s at %s", last, e, want, cleared.id)
		}
	}
	if l := w.listen(t, token, "kaputt"); l.res.StatusCode != http.StatusBadRequest {
		t.Errorf("back with no id = %d, want 400", l.res.StatusCode)
	}
	// Revoked: told and ended within seconds.
	w.must(w.access.RevokeToken(t.Context(), operator, "listener"))
	if e := again.next(t); e.name != "end" {
		t.Errorf("after the token was revoked: %+v, want end", e)
	}
	if e, open := <-again.events; open {
		t.Errorf("after the end: %+v", e)
	}
}

// TestStreamsAreBounded: a token has so many, and gets a place back.
func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	token, other := w.token("a", access.RoleRead, nil), w.token("b", access.RoleRead, nil)
	var all []*listener
	for range 8 {
		l := w.listen(t, token, "")
		l.next(t)
		all = append(all, l)
	}
	if l := w.listen(t, token, ""); l.res.StatusCode != http.StatusTooManyRequests || l.res.Header.Get("Retry-After") == "" {
		t.Errorf("the ninth stream = %d, want 429 with Retry-After", l.res.StatusCode)
	}
	w.listen(t, other, "").next(t)
	all[0].res.Body.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if l := w.listen(t, token, ""); l.res.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a closed stream gave no place back in %v", patience)
		}
	}
}

// TestNewsOnTheList: what changed waits in its place until the reader asks for it,
// under a pointer that rests and a focus that stays; a broken line is told with
// how old the page is.
func TestNewsOnTheList(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(12)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices?state=critical")
	tb.wait(`document.querySelector("[data-stream]").dataset.stream === "on"`)
	if !eval[bool](tb, `getComputedStyle(document.querySelector(".news")).visibility === "hidden" && document.querySelector(".news").getBoundingClientRect().width >= 90`) {
		t.Error("without news the place is not kept, or not empty")
	}
	tb.press("/")
	where := `JSON.stringify([...document.querySelectorAll("h1, .news, .views a, .empty")].map(e => e.getBoundingClientRect()))`
	before := eval[string](tb, where)
	w.fillsUp(ids[4], hmpb.Severity_SEVERITY_WARNING) // does not fit the question
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_CRITICAL)
	tb.wait(`document.querySelector("[data-news-word]").textContent === "1 neues"`)
	if after := eval[string](tb, where); after != before {
		t.Errorf("news moved something:\n%s\n%s", before, after)
	}
	if !eval[bool](tb, `document.activeElement.matches("[data-search]")`) {
		t.Error("news took the focus")
	}
	tb.wait(`document.getElementById("said").textContent === "1 neues"`)
	tb.still()
	tb.shot("news-de-light")
	tb.accessible()
	tb.key(escape)
	tb.do(chromedp.Evaluate[chromedp.Void](`window.old = true`))
	tb.key("n")
	tb.wait(`!window.old && document.querySelectorAll("[data-row]").length === 1`)
	tb.wait(`document.querySelector("[data-stream]").dataset.stream === "on" && document.querySelector(".news").dataset.n === "0"`)

	// Another question without leaving the page.
	opened := time.Now()
	tb.open("/devices")
	tb.wait(`document.querySelector("[data-stream]").dataset.stream === "on"`)
	w.fillsUp(ids[1], hmpb.Severity_SEVERITY_WARNING)
	w.fillsUp(ids[2], hmpb.Severity_SEVERITY_WARNING)
	tb.wait(`document.querySelector("[data-news-word]").textContent === "2 neue"`)

	// The line breaks, and comes back.
	w.down.Store(true)
	w.ts.CloseClientConnections()
	tb.wait(`/^Stand \d\d:\d\d, verbinde neu$/.test(document.querySelector("[data-stream] [data-live-word]").textContent)`)
	berlin, err := time.LoadLocation("Europe/Berlin")
	w.must(err)
	said, now := eval[string](tb, `document.querySelector("[data-stream] [data-live-word]").textContent`), time.Now()
	for at := opened; !strings.Contains(said, at.In(berlin).Format("15:04")); at = at.Add(time.Minute) {
		if at.After(now.Add(time.Minute)) {
			t.Errorf("%q, want the time of the pages, %s to %s", said, opened.In(berlin).Format("15:04"), now.In(berlin).Format("15:04"))
			break
		}
	}
	w.down.Store(false)
	tb.wait(`document.querySelector("[data-stream] [data-live-word]").textContent === "Live"`)
	tb.still()

	// Signed out elsewhere: it ends, and says so.
	user, err := w.access.User(t.Context(), operator, "support")
	w.must(err)
	w.must(w.access.EndSessions(t.Context(), operator, user.ID, ""))
	tb.wait(`document.querySelector("[data-stream] [data-live-word]").textContent === "Beendet"`)
}

// TestSignedOutWhileTheLineIsDown: the stream does not come back, and the page says
// why instead of trying on and on.
func TestSignedOutWhileTheLineIsDown(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open("/devices")
	tb.wait(`document.querySelector("[data-stream]").dataset.stream === "on"`)
	w.down.Store(true)
	w.ts.CloseClientConnections()
	user, err := w.access.User(t.Context(), operator, "support")
	w.must(err)
	w.must(w.access.EndSessions(t.Context(), operator, user.ID, ""))
	w.down.Store(false)
	tb.wait(`document.querySelector("[data-stream] [data-live-word]").textContent === "Beendet"`)
}

// TestManyChangesComeInOrder: a listener that was away hears of far more than one
// page of changes, each once.
func TestManyChangesComeInOrder(t *testing.T) {
	w := newWorld(t)
	id := w.fill(1)[0]
	token := w.token("listener", access.RoleRead, nil)
	first := w.listen(t, token, "").next(t)
	const many = 900
	for i := range many {
		w.must(w.exec(fmt.Sprintf(`INSERT INTO health_changes (id, mark, at_ms, device_id, kind, code, instance, severity)
			SELECT MAX(id) + 1, %d, 0, '%s', 'finding_raised', 'disk_low', '', 2 FROM health_changes`, i, id)))
	}
	l := w.listen(t, token, first.id)
	l.next(t)
	for i := range many {
		if e := l.next(t); !strings.HasSuffix(e.id, "."+strconv.FormatInt(int64(i), 36)) {
			t.Fatalf("change %d has the id %s", i, e.id)
		}
	}
}

// busy is a desk where so much happens that a listener never has it all.
type busy struct {
	*desk
	reads atomic.Int64
}

func (b *busy) Token(context.Context, string) (access.Caller, error) {
	return access.Caller{Kind: access.KindToken, ID: "t", Role: access.RoleRead}, nil
}

func (b *busy) LastChange(context.Context, access.Caller) (health.Mark, error) {
	return health.Mark{}, nil
}

func (b *busy) Changes(_ context.Context, _ access.Caller, _ health.Mark, limit int) ([]health.Change, health.Mark, error) {
	b.reads.Add(1)
	return make([]health.Change, limit), health.Mark{}, nil
}

// stuck is a listener that takes so many bytes and no more.
type stuck struct {
	h        http.Header
	room     int
	deadline time.Time
}

func (s *stuck) Header() http.Header                { return s.h }
func (s *stuck) WriteHeader(int)                    {}
func (s *stuck) Flush()                             {}
func (s *stuck) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *stuck) Write(b []byte) (int, error) {
	if s.room -= len(b); s.room >= 0 {
		return len(b), nil
	}
	time.Sleep(time.Until(s.deadline))
	return 0, os.ErrDeadlineExceeded
}

// TestStuckListenerIsCut: who takes nothing is cut, and what it did not take was
// neither read nor kept.
func TestStuckListenerIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &busy{desk: &desk{}}
		s, err := web.New(web.Config{Access: d, Claims: d, Fleet: d, Health: d, Questions: struct{ web.Questions }{}, Rollouts: struct{ web.Rollouts }{}, Bus: bus.New(), Now: time.Now, Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodGet, "/api/v1/events", nil)
		req.Header.Set("Authorization", "Bearer hmt_x")
		done := make(chan struct{})
		begin := time.Now()
		go func() {
			defer close(done)
			s.ServeHTTP(&stuck{h: http.Header{}, room: 50_000}, req)
		}()
		<-done
		if took := time.Since(begin); took > 31*time.Second {
			t.Errorf("cut after %v, want 30 s", took)
		}
		if n := d.reads.Load(); n > 6 {
			t.Errorf("%d pages of changes read for who took three", n)
		}
	})
}
