package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
)

const (
	beatEvery  = 2 * time.Second  // tells the page that the line is alive, which doubts it after 5 s
	checkEvery = 5 * time.Second  // is the caller still signed in?
	calmEvery  = time.Second      // changes are gathered for so long
	watchEvery = 15 * time.Second // live mode is asked for again
	maxLive    = 2000             // streams of this collector
)

// errLookOver: the caller's look at the device has ended, or the device is
// revoked, and with it the stream.
var errLookOver = errors.New("the look is over")

// liveStream sends the values of one device as they change, each as an event
// with its cell's key, until the caller's look is over, the page closes, the
// person signs out or loses the device, or the collector stops. The first message
// holds everything, so a page that comes back after a break is whole again.
//
// Without a look it carries no value: minutes tell when somebody works. Only
// a page of a device that has told nothing yet is told once to fetch its readings.
func (s *Server) liveStream(v *visit) error {
	st := &stream{v: v, every: beatEvery, sent: map[string]string{}}
	st.beat = func() { st.put("beat", "") }
	st.tell = func(event string) { st.put(event, "") }
	st.read = func() error {
		cells, last, err := v.liveCells(st.sample)
		if err != nil {
			return err
		}
		if st.changes(cells); last {
			return errLookOver
		}
		return nil
	}
	return s.serveLive(st, st.waitForFirst)
}

// liveStreams counts the streams that are open.
type liveStreams struct{ pages, programs atomic.Int64 }

// come takes a place for a stream, or refuses; gone gives it back.
func (l *liveStreams) come(v *visit) (gone func(), err error) {
	open := &l.pages
	if v.door == program {
		open = &l.programs
	}
	if open.Add(1); l.pages.Load()+l.programs.Load() > maxLive {
		open.Add(-1)
		return nil, errTooMany
	}
	return func() { open.Add(-1) }, nil
}

// serveLive sends what a stream reads of one device while the caller looks at it;
// without does what is to be done for a caller without a look.
func (s *Server) serveLive(st *stream, without func(*bus.Subscription) error) error {
	gone, err := s.live.come(st.v)
	if err != nil {
		return err
	}
	defer gone()
	sub := s.cfg.Bus.Subscribe(bus.Changed, bus.Connected, bus.Disconnected, bus.Revoked)
	defer sub.Close()
	defer s.viewing(st.v.r.PathValue("id"))()
	st.out = http.NewResponseController(st.v.w)
	if err := st.watch(); err != nil {
		return err
	}
	if !st.looking() {
		return without(sub)
	}
	st.retry()
	st.beat()
	err = st.read()
	if err != nil && !errors.Is(err, errLookOver) {
		return err
	}
	samples := s.cfg.Bus.Subscribe(bus.Sample)
	defer samples.Close()
	st.begin()
	if err != nil {
		st.end(err)
	} else if st.flush() == nil {
		st.run(sub, samples)
	}
	return nil
}

// viewing counts the pages that show a device now. When the last one goes, the
// device is told at once that nobody watches any more.
func (s *Server) viewing(device string) (gone func()) {
	s.viewers.Lock()
	defer s.viewers.Unlock()
	s.viewers.of[device]++
	return func() {
		s.viewers.Lock()
		defer s.viewers.Unlock()
		if s.viewers.of[device]--; s.viewers.of[device] == 0 {
			delete(s.viewers.of, device)
			s.cfg.Bus.Publish(bus.Event{Kind: bus.Watch, Device: device, Live: s.cfg.Now()})
		}
	}
}

type stream struct {
	v    *visit
	out  *http.ResponseController
	buf  bytes.Buffer
	sent map[string]string // by key, what the listener has
	keys []string          // of all cells, in order

	read  func() error       // puts what is new; its error ends the stream
	beat  func()             // puts a sign that the line is alive
	tell  func(event string) // puts an event that says no more than its name
	every time.Duration      // a beat

	until  time.Time      // when the caller's look at the device ends, zero = none is open
	sample []health.Value // the last one; newer than what is stored
}

// run sends until there is a reason to end.
func (st *stream) run(sub, samples *bus.Subscription) {
	s, ctx := st.v.s, st.v.r.Context()
	id := st.v.r.PathValue("id")
	beat, check := time.NewTicker(st.every), time.NewTicker(checkEvery)
	again := time.NewTicker(watchEvery)
	defer beat.Stop()
	defer check.Stop()
	defer again.Stop()
	over := time.NewTimer(st.until.Sub(s.cfg.Now()))
	defer over.Stop()
	var due <-chan time.Time // set while changes are gathered
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.ending:
			return
		case e := <-sub.C:
			if lagged := sub.Lagged(); due == nil && (lagged || e.Device == id) {
				due = time.After(calmEvery)
			}
			continue
		case e := <-samples.C:
			if e.Device != id {
				continue
			}
			st.sample = health.ValuesOf(e.Readings)
			err = st.look(false)
		case <-again.C:
			err = st.passing(st.watch())
		case <-over.C:
			// Another look may have been opened meanwhile.
			if err = st.passing(st.watch()); err == nil && !st.looking() {
				err = errLookOver
			}
			over.Reset(max(st.until.Sub(s.cfg.Now()), time.Second))
		case <-beat.C:
			st.beat()
		case <-check.C:
			// Also a look at the device: the day ends without an event.
			err = st.look(true)
		case <-due:
			due = nil
			err = st.look(false)
		}
		if err != nil {
			st.end(err)
			return
		}
		if st.flush() != nil {
			return // the page is gone
		}
	}
}

// end tells the listener that nothing comes any more, and which end it is.
func (st *stream) end(err error) {
	if errors.Is(err, errLookOver) {
		st.tell(eventOver)
	}
	st.tell(eventEnd)
	st.flush()
}

// waitForFirst is the stream of a caller without a look: it says once that there
// are readings, which the page then fetches as anybody may, and ends.
func (st *stream) waitForFirst(sub *bus.Subscription) error {
	told, err := st.told()
	if err != nil {
		return err
	}
	st.begin()
	st.retry()
	st.beat()
	id := st.v.r.PathValue("id")
	beat, check := time.NewTicker(beatEvery), time.NewTicker(checkEvery)
	defer beat.Stop()
	defer check.Stop()
	for !told {
		if st.flush() != nil {
			return nil // the page is gone
		}
		select {
		case <-st.v.r.Context().Done():
			return nil
		case <-st.v.s.ending:
			return nil
		case e := <-sub.C:
			if e.Device == id || sub.Lagged() {
				told, err = st.told()
			}
		case <-beat.C:
			st.beat()
		case <-check.C:
			if err = st.v.again(); err == nil {
				told, err = st.told()
			}
		}
		if err = st.passing(err); err != nil {
			st.end(err)
			return nil
		}
	}
	// A page that comes back after its look had ended while the line was broken
	// hears of the look; one that never had a look shows no state of the stream.
	st.put("structure", "")
	st.end(errLookOver)
	return nil
}

// told says whether the device has ever told its state, or cannot any more.
func (st *stream) told() (bool, error) {
	v := st.v
	latest, err := v.s.cfg.Health.Latest(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil || latest.Version != "" {
		return latest.Version != "", err
	}
	d, err := v.s.cfg.Fleet.Device(v.r.Context(), v.caller, v.r.PathValue("id"))
	return d.State == fleet.StateRevoked, err // which never will
}

// look reads the device anew and puts what changed; again asks first whether
// the caller still is who he was. Its error ends the stream.
func (st *stream) look(again bool) error {
	v := st.v
	if again {
		if err := v.again(); err != nil {
			return st.passing(err)
		}
	}
	// A role that was taken away ends the look, too.
	if !st.looking() || v.caller.Allow(access.LookDevices) != nil {
		return errLookOver
	}
	return st.passing(st.read())
}

// watch asks the device for a sample each second while the caller has a look
// open. It is asked again for as long as this page is there, and stops by itself
// soon after.
func (st *stream) watch() (err error) {
	s, ctx, id := st.v.s, st.v.r.Context(), st.v.r.PathValue("id")
	if st.until, err = s.cfg.Health.Looking(ctx, st.v.caller, id); err != nil || !st.looking() {
		return err
	}
	until := s.cfg.Now().Add(2 * watchEvery)
	if st.until.Before(until) {
		until = st.until
	}
	s.cfg.Bus.Publish(bus.Event{Kind: bus.Watch, Device: id, Live: until})
	return nil
}

func (st *stream) looking() bool { return st.v.s.cfg.Now().Before(st.until) }

// passing keeps what ends the stream: a caller who may no longer see the
// device. A database that is away for a moment does not; the next look asks again.
func (st *stream) passing(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, access.ErrNoSession) || errors.Is(err, access.ErrForbidden) || errors.Is(err, access.ErrNotFound) || errors.Is(err, errGone) || errors.Is(err, errLookOver) {
		return err
	}
	st.v.s.cfg.Log.Warn("looking for changes of a device", "error", err)
	return nil
}

// changes puts the cells that differ from what the page shows. When there are
// other cells than before (a volume was mounted), the page fetches its cards anew.
func (st *stream) changes(cells []cell) {
	var keys []string
	for _, c := range cells {
		keys = append(keys, c.Key)
	}
	if st.keys != nil && !slices.Equal(keys, st.keys) {
		st.put("structure", "")
	}
	st.keys = keys
	for _, c := range cells {
		if html := string(c.HTML); st.sent[c.Key] != html {
			st.sent[c.Key] = html
			st.put(c.Key, html)
		}
	}
}

// put adds an event. A line break would end the data early, and means no more
// in HTML than a space.
func (st *stream) put(event, data string) {
	fmt.Fprintf(&st.buf, "event: %s\ndata: %s\n\n", event, bytes.ReplaceAll([]byte(data), []byte("\n"), []byte(" ")))
}

// flush sends what was put; its error means that nobody listens any more.
func (st *stream) flush() error {
	if st.buf.Len() == 0 {
		return nil
	}
	st.out.SetWriteDeadline(time.Now().Add(writeWithin))
	_, err := st.v.w.Write(st.buf.Bytes())
	st.buf.Reset()
	if err != nil {
		return err
	}
	return st.out.Flush()
}
