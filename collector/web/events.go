package web

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/audit"
	"hausmeister/collector/health"
	"hausmeister/collector/web/words"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// event is something that happened to a device on a day, from whichever subject
// knows of it. Exactly one of told and entry is.
type event struct {
	day   time.Time
	told  *health.Event
	entry *audit.Entry
}

func (e event) kind() string {
	if e.entry != nil {
		return strings.ReplaceAll(e.entry.Action, ".", "_")
	}
	return string(e.told.Kind)
}

// rank is 0 for what comes first in its day, see health.Event.Open.
func (e event) rank() int {
	if e.told != nil && e.told.Open {
		return 0
	}
	return 1
}

// timeline is a part of a device's events, the latest first, in whole days.
type timeline struct {
	events []event
	older  time.Time // the day to go on before; zero = that was all
}

const (
	eventsPage = 60 // events, and the rest of the day of the last
	eventsCard = 6  // on the device's own page
)

// timeline puts together what health and the record know of a device before a
// day. Each tells from which day on it is whole; what is older waits.
func (v *visit) timeline(device string, before time.Time, limit int) (timeline, error) {
	ctx := v.r.Context()
	told, err := v.s.cfg.Health.Events(ctx, v.caller, device, before, limit)
	if err != nil {
		return timeline{}, err
	}
	const most = health.MaxEvents
	entries, err := v.s.cfg.Access.DeviceLog(ctx, v.caller, device, before, most)
	if err != nil {
		return timeline{}, err
	}
	from := told.From
	var all []event
	for i := range told.Items {
		all = append(all, event{day: told.Items[i].Day, told: &told.Items[i]})
	}
	for i := range entries {
		all = append(all, event{day: time.UnixMilli(entries[i].AtMS).UTC(), entry: &entries[i]})
	}
	if len(entries) == most {
		if last := all[len(all)-1].day; last.After(from) {
			from = last
		}
	}
	slices.SortStableFunc(all, func(a, b event) int {
		return cmp.Or(b.day.Compare(a.day), cmp.Compare(a.rank(), b.rank()), strings.Compare(a.kind(), b.kind()))
	})
	var t timeline
	for i, e := range all {
		if e.day.Before(from) || i >= limit && !e.day.Equal(all[i-1].day) {
			t.older = all[i-1].day
			break
		}
		t.events = append(t.events, e)
	}
	if t.older.IsZero() && !from.IsZero() {
		t.older = from
	}
	return t, nil
}

// sayer writes events in one language.
type sayer struct {
	s       *Server
	say     *words.Speaker
	schools map[string]string // names by id
}

// sayers are those of the languages asked for. The names of schools are read only
// when an event needs them.
func (v *visit) sayers(t timeline, langs ...words.Lang) ([]sayer, error) {
	names := map[string]string{}
	if slices.ContainsFunc(t.events, func(e event) bool { return e.kind() == "device_moved" }) {
		schools, err := v.s.cfg.Fleet.Schools(v.r.Context(), v.caller)
		if err != nil {
			return nil, err
		}
		for _, school := range schools {
			names[school.ID] = school.Title()
		}
	}
	var out []sayer
	for _, lang := range langs {
		out = append(out, sayer{v.s, v.s.say[lang], names})
	}
	return out, nil
}

// text is what happened, detail what else there is to say.
func (w sayer) text(e event) (text, detail string) {
	if e.entry != nil {
		return w.entry(e.entry)
	}
	t := e.told
	switch t.Kind {
	case health.SoftwareChanged:
		return w.say.Say("events.software"), w.programs(t)
	case health.SystemChanged:
		return w.say.Say("events.system"), w.change(t.From, t.To)
	case health.AgentChanged:
		if t.From == "" { // the first that was told, or whose forerunner is no longer kept
			return w.say.Say("events.agent.first"), t.To
		}
		return w.say.Say("events.agent"), w.change(t.From, t.To)
	case health.Looked:
		return w.say.Say("events.looked", "who", t.Name), t.Reason
	}
	title := t.Finding.Code
	if row, ok := finding.ByCode(t.Finding.Code); ok {
		title = pick(w.say.Lang, row.Title)
		if word, ok := row.InstanceWord(t.Finding.Instance); ok {
			title += ", " + pick(w.say.Lang, word)
		} else if t.Finding.Instance != "" {
			title += ", " + t.Finding.Instance
		}
	}
	detail = t.Reason
	if !t.Until.IsZero() {
		detail = w.say.Say("events.until", "day", w.say.Date(t.Until), "reason", t.Reason)
	}
	return w.say.Say("events."+string(t.Kind), "finding", title, "who", t.Name), detail
}

// programs says what became of how many, of those only that are any.
func (w sayer) programs(t *health.Event) string {
	var parts []string
	for _, one := range []struct {
		key string
		n   int64
	}{{"events.software.added", t.Added}, {"events.software.removed", t.Removed}, {"events.software.changed", t.Changed}} {
		if one.n > 0 {
			parts = append(parts, w.say.Say(one.key, "n", one.n))
		}
	}
	return strings.Join(parts, ", ")
}

func (w sayer) change(from, to string) string {
	if from == "" {
		return to
	}
	return from + " → " + to
}

func (w sayer) entry(e *audit.Entry) (text, detail string) {
	text = e.Action
	if key := "audit.action." + e.Action; w.say.Has(key) {
		text = w.say.Say(key)
	}
	switch _, verb, _ := strings.Cut(e.Action, "."); verb {
	case "moved":
		return text, w.change(w.school(e.Details["before"]), w.school(e.Details["school"]))
	case "inventory_set":
		return text, w.change(e.Details["before"], e.Details["inventory"])
	case "revoked":
		return text, e.Details["reason"]
	case "labelled", "unlabelled":
		return text, e.Details["label"]
	}
	return text, ""
}

// school names a school that may be gone, or none.
func (w sayer) school(id string) string {
	if id == "" {
		return w.say.Say("events.no_school")
	}
	if name := w.schools[id]; name != "" {
		return name
	}
	return id
}

// shape is the sign beside an event.
func (e event) shape() string {
	if e.entry != nil {
		return "info"
	}
	switch e.told.Kind {
	case health.FindingRaised, health.FindingReopened:
		switch e.told.Finding.Severity {
		case hmpb.Severity_SEVERITY_CRITICAL:
			return "crit"
		case hmpb.Severity_SEVERITY_WARNING:
			return "warn"
		}
	case health.FindingCleared:
		return "ok"
	case health.FindingAcknowledged, health.FindingSnoozed:
		return "idle"
	}
	return "info"
}

// eventDay is a day of the page.
type eventDay struct {
	Day   string
	Lines []eventLine
}

type eventLine struct{ Shape, Text, Detail, Who, Href string }

type eventsMain struct {
	Name        string
	Crumbs      []link
	Days        []eventDay
	First, Next string
}

// eventDays are the lines of a page, at most so many.
func (v *visit) eventDays(device string, t timeline, most int) (days []eventDay, err error) {
	writers, err := v.sayers(t, v.say.Lang)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	if slices.ContainsFunc(t.events, func(e event) bool { return e.entry != nil && e.entry.Actor != "" }) {
		if names, err = v.names(); err != nil {
			return nil, err
		}
	}
	for i, e := range t.events[:min(len(t.events), most)] {
		if i == 0 || !e.day.Equal(t.events[i-1].day) {
			days = append(days, eventDay{Day: v.say.Day(e.day, v.s.cfg.Now())})
		}
		line := eventLine{Shape: e.shape()}
		line.Text, line.Detail = writers[0].text(e)
		switch {
		case e.entry != nil && e.entry.Actor != "" && e.entry.Actor != "device:"+device:
			line.Who = v.party(e.entry.Actor, names)
		case e.entry == nil && e.told.Kind == health.SoftwareChanged:
			line.Href = "/devices/" + device + "/software"
		}
		day := &days[len(days)-1]
		day.Lines = append(day.Lines, line)
	}
	return days, nil
}

// before reads the day that a part of a timeline ends before.
func before(text, name string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return day, &badRequest{name, "want a day such as 2026-11-24"}
	}
	return day, nil
}

func (s *Server) eventsPage(v *visit) error {
	d, err := s.cfg.Fleet.Device(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	until, err := before(v.asked.Get("before"), "before")
	if err != nil {
		return err
	}
	t, err := v.timeline(d.ID, until, eventsPage)
	if err != nil {
		return err
	}
	page := "/devices/" + d.ID + "/events"
	main := eventsMain{Name: d.Label(), Crumbs: []link{{"/devices/" + d.ID, d.Label()}}}
	if main.Days, err = v.eventDays(d.ID, t, len(t.events)); err != nil {
		return err
	}
	if !until.IsZero() {
		main.First = page
	}
	if !t.older.IsZero() {
		main.Next = page + "?before=" + t.older.Format(time.DateOnly)
	}
	p := v.framed(v.page(v.say.Say("events.title"), main))
	p.Current = "true"
	return v.show(http.StatusOK, "events", p)
}

// apiEvent is something that happened to a device on a day.
type apiEvent struct {
	ID       string   `json:"id" is:"text"` // unique within the device, not kept
	Day      string   `json:"day" is:"day"`
	Kind     string   `json:"kind" is:"text"`
	Text     apiWords `json:"text"`
	Detail   apiWords `json:"detail"` // both empty = there is none
	Code     string   `json:"code,omitempty" is:"text"`
	Instance string   `json:"instance,omitempty" is:"text"`
	By       string   `json:"by,omitempty" is:"text"`
}

// eventPlace reads a cursor of a timeline: 2026-11-24 goes on with the days before that
// one, 2026-11-24.7 behind the first seven events of it.
func eventPlace(cursor string) (until time.Time, skip int, err error) {
	day, number, within := strings.Cut(cursor, ".")
	if until, err = before(day, "cursor"); err != nil || !within {
		return until, 0, err
	}
	if skip, err = strconv.Atoi(number); err != nil || skip < 1 || until.IsZero() {
		return until, 0, &badRequest{"cursor", "this list did not give it"}
	}
	return until.AddDate(0, 0, 1), skip, nil
}

// after leaves at most limit events behind the first ones, and says where the next page
// begins; empty = nowhere. passed are how many of those first ones are of the same day
// as the first one left.
func (t *timeline) after(skip, limit int) (cursor string, passed int) {
	skip = min(skip, len(t.events))
	for passed < skip && skip < len(t.events) && sameDay(t.events[skip-passed-1].day, t.events[skip].day) {
		passed++
	}
	t.events = t.events[skip:]
	if len(t.events) > limit {
		t.events = t.events[:limit]
		last := t.events[limit-1].day
		return last.Format(time.DateOnly) + "." + strconv.Itoa(t.number(limit-1, passed)+1), passed
	}
	if t.older.IsZero() {
		return "", passed
	}
	return t.older.Format(time.DateOnly), passed
}

// number is which event of its day one is, on a page before whose first event so many
// of the same day were passed.
func (t *timeline) number(i, passed int) int {
	n := 0
	for n < i && sameDay(t.events[i-n-1].day, t.events[i].day) {
		n++
	}
	if n == i {
		n += passed
	}
	return n
}

func sameDay(a, b time.Time) bool { return a.Format(time.DateOnly) == b.Format(time.DateOnly) }

func (s *Server) apiEvents(v *visit) error {
	limit, err := v.limit()
	if err != nil {
		return err
	}
	until, skip, err := eventPlace(v.asked.Get("cursor"))
	if err != nil {
		return err
	}
	t, err := v.timeline(v.r.PathValue("id"), until, limit+skip)
	if err != nil {
		return err
	}
	cursor, passed := t.after(skip, limit)
	both, err := v.sayers(t, words.German, words.English)
	if err != nil {
		return err
	}
	out := list[apiEvent]{Items: []apiEvent{}}
	for i, e := range t.events {
		it := apiEvent{ID: e.day.Format(time.DateOnly) + "-" + strconv.Itoa(t.number(i, passed)), Day: e.day.Format(time.DateOnly), Kind: e.kind()}
		it.Text.DE, it.Detail.DE = both[0].text(e)
		it.Text.EN, it.Detail.EN = both[1].text(e)
		if e.told != nil {
			it.Code, it.Instance, it.By = e.told.Finding.Code, e.told.Finding.Instance, e.told.Name
		} else {
			it.By = e.entry.Actor
		}
		out.Items = append(out.Items, it)
	}
	out.Cursor = present(cursor)
	ctx, id := v.r.Context(), v.r.PathValue("id")
	told, err := s.cfg.Health.CountEvents(ctx, v.caller, id)
	if err != nil {
		return err
	}
	entries, err := s.cfg.Access.CountDeviceLog(ctx, v.caller, id)
	if err != nil {
		return err
	}
	out.Total = told + entries
	return v.sendJSON(out)
}
