package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
)

// Streams of what happens. Nothing is queued for a listener: a stream holds its
// place in the order of changes and reads on from there, so whoever reads slowly
// costs nothing, and one that takes nothing for writeWithin is cut.
const (
	// maxStreams is how many a token may have open, maxPages a person: browsers have
	// many tabs.
	maxStreams = 8
	maxPages   = 24
	// changesAtOnce is how many changes are read and written in one go.
	changesAtOnce = 200
	// maxBehind is how far a listener may be behind and still be told each change.
	maxBehind = 10_000
	// newsCalm is how often a page hears of news at most.
	newsCalm = 3 * time.Second
	// commentEvery is how often a program hears that its stream is alive.
	commentEvery = 10 * time.Second
)

// errStreams: more streams than one caller may have open.
var errStreams = errors.New("too many streams of one caller")

// errGone: the listener is gone, or takes nothing.
var errGone = errors.New("nobody listens")

// streams counts those of each caller.
type streams struct {
	mu sync.Mutex
	// below is guarded by mu
	of map[string]int
}

// open takes a place, or refuses; close gives it back.
func (s *streams) open(caller string, most int) (closed func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[caller] >= most {
		return nil, errStreams
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.of[caller]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.of[caller]--; s.of[caller] == 0 {
			delete(s.of, caller)
		}
	}, nil
}

// feed is a stream that reads on when the bus hints at changes.
type feed struct {
	stream
	most int // that its caller may have open
	calm time.Duration
}

// serveFeed opens the stream of a feed that has its beginning in its buffer, and reads
// on when there is a hint of this kind.
func (s *Server) serveFeed(f *feed, hint bus.Kind) error {
	gone, err := s.live.come(f.v)
	if err != nil {
		return err
	}
	defer gone()
	closed, err := s.streams.open(f.v.caller.Actor(), f.most)
	if err != nil {
		return err
	}
	defer closed()
	sub := s.cfg.Bus.Subscribe(hint)
	defer sub.Close()
	f.out = http.NewResponseController(f.v.w)
	f.begin() // before anything is read: what is long is written as it is read
	if f.passing(f.read()) == nil && f.flush() == nil {
		f.follow(sub)
	}
	return nil
}

// begin sends the head of an answer that is a stream.
func (st *stream) begin() {
	// The reading deadline of the server is for requests; a stream has none.
	// In-memory writers of tests know no deadlines, so its error says nothing.
	st.out.SetReadDeadline(time.Time{})
	h := st.v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy in front must not wait for more
	st.v.w.WriteHeader(http.StatusOK)
}

// follow sends until there is a reason to end.
func (f *feed) follow(sub *bus.Subscription) {
	ctx := f.v.r.Context()
	beat, check := time.NewTicker(f.every), time.NewTicker(checkEvery)
	defer beat.Stop()
	defer check.Stop()
	var due <-chan time.Time // set while hints are gathered
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-f.v.s.ending:
			return
		case e := <-sub.C:
			if due == nil && (e.Owner == "" || f.v.caller.Sees(e.Owner) || sub.Lagged()) {
				due = time.After(f.calm)
			}
			continue
		case <-beat.C:
			f.beat()
		case <-check.C:
			// Also a look: hints of another collector do not come here.
			if err = f.passing(f.check()); err == nil && due == nil {
				err = f.passing(f.read())
			}
		case <-due:
			due = nil
			err = f.passing(f.read())
		}
		if err != nil {
			f.tell(eventEnd)
			f.flush()
			return
		}
		if f.flush() != nil {
			return // the listener is gone, or reads nothing
		}
	}
}

// check asks whether the caller still is who he was, and may listen.
func (f *feed) check() error {
	if err := f.v.again(); err != nil {
		return err
	}
	return f.v.caller.Allow(access.ReadDevices)
}

// comment is the beat for a program: nothing that it must read.
func (st *stream) comment() { st.buf.WriteString(": still here\n\n") }

// putJSON is put of what can be written as JSON, as all that streams tell can.
func (st *stream) putJSON(event string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("web: writing an event: %v", err))
	}
	st.put(event, string(b))
}

// retry says when a listener comes back after a break: not all at once after a restart.
func (st *stream) retry() { fmt.Fprintf(&st.buf, "retry: %d\n\n", 2000+time.Now().UnixNano()%2000) }

// putAt is put with the place in the order that a listener names when it comes back.
func (st *stream) putAt(mark health.Mark, event string, data any) {
	fmt.Fprintf(&st.buf, "id: %s\n", mark)
	st.putJSON(event, data)
}

// apiChangeEvent is what happened to a device, as the stream tells it. day and
// severity are missing where they say nothing.
type apiChangeEvent struct {
	ID       string `json:"id" is:"text"`
	Kind     string `json:"kind" is:"change_event"` // see changeEvents
	Device   string `json:"device,omitempty" is:"uuid"`
	Owner    string `json:"owner,omitempty" is:"uuid"`
	Code     string `json:"code,omitempty" is:"text"`
	Instance string `json:"instance,omitempty" is:"text"`
	Severity string `json:"severity,omitempty" is:"severity"`
	Worst    string `json:"worst,omitempty" is:"worst"` // of what counts at the device now; none = nothing does
	Day      string `json:"day,omitempty" is:"day"`
}

func changeJSON(c health.Change) apiChangeEvent {
	out := apiChangeEvent{ID: c.Mark.String(), Kind: string(c.Kind), Device: c.Device, Owner: c.Owner, Code: c.Code, Instance: c.Instance,
		Worst: noSeverity, Day: c.Day.Format(time.DateOnly)}
	if c.Severity > 0 {
		out.Severity = severityName(c.Severity)
	}
	if c.Worst > 0 {
		out.Worst = severityName(c.Worst)
	}
	return out
}

// apiChanges streams what happens to the devices that a token may see. A listener
// that names its place in Last-Event-ID hears what it missed.
func (s *Server) apiChanges(v *visit) error {
	ctx := v.r.Context()
	last, err := s.cfg.Health.LastChange(ctx, v.caller)
	if err != nil {
		return err
	}
	at, first := last, eventBegin
	if text := v.r.Header.Get("Last-Event-ID"); text != "" {
		after, ok := health.ParseMark(text)
		if !ok {
			return &badRequest{"Last-Event-ID", "want the id of an event of this stream"}
		}
		_, _, err := s.cfg.Health.Changes(ctx, v.caller, after, 1)
		switch {
		case errors.Is(err, health.ErrMark) || err == nil && last.Next()-after.Next() > maxBehind:
			first = eventReset
		case err != nil:
			return err
		default:
			at = after
		}
	}
	f := &feed{stream: stream{v: v, every: commentEvery}, most: maxStreams, calm: calmEvery}
	f.retry()
	f.putAt(at, first, apiChangeEvent{ID: at.String(), Kind: first})
	f.read = func() error { return f.changes(&at) }
	f.beat = f.comment
	f.tell = func(event string) { f.putJSON(event, apiChangeEvent{ID: at.String(), Kind: event}) }
	return s.serveFeed(f, bus.Noted)
}

// changes puts what happened since a place. What is put is written before more is
// read.
func (f *feed) changes(at *health.Mark) error {
	for {
		list, next, err := f.v.s.cfg.Health.Changes(f.v.r.Context(), f.v.caller, *at, changesAtOnce)
		if errors.Is(err, health.ErrMark) {
			// It was forgotten while the listener was here: a clock that jumped, a restore.
			if *at, err = f.v.s.cfg.Health.LastChange(f.v.r.Context(), f.v.caller); err == nil {
				f.putAt(*at, eventReset, apiChangeEvent{ID: at.String(), Kind: eventReset})
			}
		}
		if err != nil {
			return err
		}
		for _, c := range list {
			f.putAt(c.Mark, string(c.Kind), changeJSON(c))
		}
		if *at = next; len(list) < changesAtOnce {
			return nil
		}
		if f.flush() != nil {
			return errGone
		}
	}
}

// newsHref is the address of the stream that tells a page how many devices of its
// question changed since now; empty when it cannot be said.
func (v *visit) newsHref(q question) string {
	mark, err := v.s.cfg.Health.LastChange(v.r.Context(), v.caller)
	if err != nil {
		return "" // the page is an answer without it
	}
	values := url.Values{"after": {mark.String()}}
	for name, value := range map[string]string{"q": q.query, "state": string(q.state), "school": q.school, "finding": q.finding, "label": q.label, "model": q.model, "os_build": q.build, "update": q.update} {
		if value != "" {
			values.Set(name, value)
		}
	}
	return "/news?" + values.Encode()
}

// pageNews is how many devices changed, in numbers and in words.
type pageNews struct {
	N    int64  `json:"n"`
	Word string `json:"word"`
}

// newsStream tells a page how many devices of its question changed since it was made.
func (s *Server) newsStream(v *visit) error {
	if err := v.caller.Allow(access.ReadDevices); err != nil {
		return err
	}
	after, ok := health.ParseMark(v.asked.Get("after"))
	if !ok {
		return &badRequest{"after", "want the place that a page was made at"}
	}
	q, err := ask(v.asked)
	if err != nil {
		return err
	}
	if fleet.TooManyWords(q.query) {
		return &badRequest{"q", "too many words"}
	}
	f := &feed{stream: stream{v: v, every: beatEvery}, most: maxPages, calm: newsCalm}
	f.tell = func(event string) { f.put(event, "{}") }
	f.retry()
	f.put("beat", "")
	told := int64(0)
	f.read = func() error {
		n, err := v.countNews(q, after)
		if err != nil || n == told {
			return err
		}
		told = n
		f.putJSON("news", pageNews{n, v.say.Say("list.news", "n", n)})
		return nil
	}
	f.beat = func() { f.put("beat", "") }
	return s.serveFeed(f, bus.Noted)
}

func (v *visit) countNews(q question, after health.Mark) (int64, error) {
	// Whether anything changed at all costs one look at an index.
	last, err := v.s.cfg.Health.LastChange(v.r.Context(), v.caller)
	if err != nil || last == after {
		return 0, err
	}
	filter := q.regardless()
	filter.Changed = after.Next()
	counts, err := v.s.cfg.Fleet.Counts(v.r.Context(), v.caller, filter)
	if q.state != "" {
		return counts.States[q.state], err
	}
	return counts.Total, err
}

// bearerOf takes the token out of a request.
func bearerOf(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer") && token != ""
}
