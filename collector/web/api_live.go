package web

import (
	"encoding/json"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// apiLiveEvent is what a device tells while somebody looks. The first event of a
// stream has all readings, the others those that changed.
type apiLiveEvent struct {
	Kind     string                `json:"kind" is:"live_event"`
	State    string                `json:"state,omitempty" is:"state"` // where it changed
	Until    string                `json:"until,omitempty" is:"time"`  // of the look
	Readings map[string]apiReading `json:"readings,omitempty"`
}

// liveEvents are the kinds of events of a device's live stream: over says that the
// look has ended, end that nothing comes any more.
var liveEvents = []string{eventValues, eventOver, eventEnd}

const (
	eventValues = "values"
	eventOver   = "over"
)

// apiLive streams the values of one device as they change, each second, as the page
// of the device does. It needs a look that is open, and ends with it.
func (s *Server) apiLive(v *visit) error {
	closed, err := s.streams.open(v.caller.Actor(), maxStreams)
	if err != nil {
		return err
	}
	defer closed()
	st := &stream{v: v, every: commentEvery, sent: map[string]string{}}
	st.beat = st.comment
	st.tell = func(event string) { st.putJSON(event, apiLiveEvent{Kind: event}) }
	st.read = st.values
	return s.serveLive(st, func(*bus.Subscription) error { return health.ErrLookNeeded })
}

// values puts the readings that differ from what the listener has.
func (st *stream) values() error {
	v := st.v
	d, err := v.s.cfg.Fleet.Device(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	latest, err := v.s.cfg.Health.Latest(v.r.Context(), v.caller, d.ID)
	if err != nil {
		return err
	}
	latest.Values = newest(latest.Values, st.sample)
	e := apiLiveEvent{Kind: eventValues, Readings: map[string]apiReading{}}
	if first := st.keys == nil; first || st.sent["state"] != string(d.State) {
		e.State, st.sent["state"], st.keys = string(d.State), string(d.State), []string{}
	}
	for name, r := range readingsOf(latest) {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if key := "reading " + name; st.sent[key] != string(b) {
			e.Readings[name], st.sent[key] = r, string(b)
		}
	}
	if until := stamp(st.until); e.State != "" || len(e.Readings) > 0 || st.sent["until"] != until {
		e.Until, st.sent["until"] = until, until
		st.putJSON(eventValues, e)
	}
	if d.State == fleet.StateRevoked {
		return errLookOver // nothing will come of it any more
	}
	return nil
}

// newest puts the values of a sample in the place of those that are stored.
func newest(stored, sample []health.Value) []health.Value {
	type key struct {
		id       uint32
		instance string
	}
	later := map[key]health.Value{}
	for _, v := range sample {
		later[key{v.Reading.ID, v.Instance}] = v
	}
	out := make([]health.Value, 0, len(stored)+len(sample))
	for _, v := range stored {
		k := key{v.Reading.ID, v.Instance}
		if s, ok := later[k]; ok {
			v = s
			delete(later, k)
		}
		out = append(out, v)
	}
	for _, v := range sample {
		if _, ok := later[key{v.Reading.ID, v.Instance}]; ok {
			out = append(out, v)
		}
	}
	return out
}

// bootTime is when the device started: a day, and the time for who looks.
func bootTime(latest health.Latest) string {
	if !latest.Booted.IsZero() {
		return latest.Booted.Format(apiTime)
	}
	for _, value := range latest.Values {
		if value.Reading.ID == reading.BootTime && value.Absent == hmpb.Absent_ABSENT_UNSPECIFIED {
			return time.UnixMilli(value.Number).UTC().Format(time.DateOnly)
		}
	}
	return ""
}

// readingsOf are the latest values by the names of their readings.
func readingsOf(latest health.Latest) map[string]apiReading {
	out := apiReadings(latest.Values)
	if !latest.Booted.IsZero() {
		row, _ := reading.ByID(reading.BootTime)
		told := out[row.Name]
		told.Value = bootTime(latest)
		out[row.Name] = told
	}
	return out
}
