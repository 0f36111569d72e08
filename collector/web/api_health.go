package web

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/health"
	"hausmeister/collector/web/words"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

// apiTime writes a time as the API gives it.
const apiTime = "2006-01-02T15:04:05.000Z07:00"

// apiWords is a text in both languages.
type apiWords struct {
	DE string `json:"de" is:"text"`
	EN string `json:"en" is:"text"`
}

func both(w reading.Words) apiWords { return apiWords{w.DE, w.EN} }

// apiField is a row of the field catalogue. purpose and retention are English;
// the words in both languages stand beside them.
type apiField struct {
	ID        string     `json:"id" is:"text"`
	Name      string     `json:"name" is:"text"`
	Unit      string     `json:"unit" is:"unit"`
	Purpose   string     `json:"purpose" is:"text"`
	Retention string     `json:"retention" is:"text"`
	Basis     string     `json:"legal_basis" is:"text"`
	Class     string     `json:"privacy_class" is:"text"`
	Audience  string     `json:"audience" is:"text"`
	Several   bool       `json:"instanced"`
	Words     apiCatalog `json:"words"`
}

type apiCatalog struct {
	Name      apiWords `json:"name"`
	Purpose   apiWords `json:"purpose"`
	Retention apiWords `json:"retention"`
	Basis     apiWords `json:"legal_basis"`
	Class     apiWords `json:"privacy_class"`
	Audience  apiWords `json:"audience"`
}

// apiCatalogue gives all that a device may tell, whole: it is no secret, but
// who asks has a token all the same, as for everything under /api.
func (s *Server) apiCatalogue(v *visit) error {
	var items []apiField
	for _, f := range reading.Catalogue() {
		items = append(items, apiField{
			ID: f.Name, Name: f.Name, Unit: string(f.Unit), Purpose: f.Purpose.EN, Retention: f.Retain.EN, Basis: f.Basis.Word().EN,
			Class: f.Class.Word().EN, Audience: f.Audience.EN, Several: f.Instanced,
			Words: apiCatalog{both(f.Word), both(f.Purpose), both(f.Retain), both(f.Basis.Word()), both(f.Class.Word()), both(f.Audience)},
		})
	}
	return sendList(v, items)
}

type apiPoint struct {
	T    string `json:"t" is:"time"`
	Min  int64  `json:"min"`
	Mean int64  `json:"mean"`
	Max  int64  `json:"max"`
	N    int    `json:"n"`
}

type apiHistory struct {
	Reading  string     `json:"reading" is:"reading"`
	Instance string     `json:"instance,omitempty" is:"text"`
	Unit     string     `json:"unit" is:"unit"`
	Step     int64      `json:"step" is:"count"` // seconds
	Points   []apiPoint `json:"points"`
}

func (s *Server) apiHistory(v *visit) error {
	span, err := s.span(v.asked)
	if err != nil {
		return err
	}
	h, err := s.cfg.Health.History(v.r.Context(), v.caller, v.r.PathValue("id"), span)
	if err != nil {
		return err
	}
	out := apiHistory{Reading: h.Reading.Name, Instance: h.Instance, Unit: string(h.Reading.Unit), Step: int64(h.Step / time.Second), Points: make([]apiPoint, len(h.Points))}
	for i, p := range h.Points {
		out.Points[i] = apiPoint{time.UnixMilli(p.T).UTC().Format(apiTime), p.Min, p.Mean, p.Max, p.N}
	}
	return v.sendJSON(out)
}

// A step of a history in seconds: a minute to a year.
const leastStep, mostStep = 60, 366 * 24 * 3600

// span reads the parameters strictly. Without from and to it is the last 30
// days, or the last one by finer steps.
func (s *Server) span(values url.Values) (health.Span, error) {
	now := s.cfg.Now()
	span := health.Span{Reading: values.Get("reading"), Instance: values.Get("instance"), To: now, Step: health.Day}
	if span.Reading == "" {
		return span, &badRequest{"reading", "want the name of a reading"}
	}
	if _, known := reading.ByName(span.Reading); !known {
		return span, &badRequest{"reading", fmt.Sprintf("there is no reading %.64q", span.Reading)}
	}
	if text := values.Get("step"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < leastStep || n > mostStep || n%leastStep != 0 {
			return span, &badRequest{"step", "want seconds, a multiple of 60"}
		}
		span.Step = time.Duration(n) * time.Second
	}
	for _, name := range []string{"to", "from"} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return span, &badRequest{name, "want a time as in RFC 3339"}
		}
		if t.UnixMilli() < 0 {
			return span, &badRequest{name, "want a time since 1970"}
		}
		if name == "to" {
			span.To = t
		} else {
			span.From = t
		}
	}
	if span.From.IsZero() && span.Step%health.Day == 0 {
		span.From = span.To.Add(-30 * health.Day)
	} else if span.From.IsZero() {
		span.From = span.To.Add(-health.Day)
	}
	return span, nil
}

// only refuses parameters that are unknown or there twice: a misspelt one would
// silently give everything.
func only(values url.Values, names ...string) error {
	for name, all := range values {
		if !slices.Contains(names, name) {
			return &badRequest{name, "no such parameter"}
		}
		if len(all) > 1 {
			return &badRequest{name, "given more than once"}
		}
	}
	return nil
}

// apiLook is a look. Its times are about who looked, not about who teaches.
type apiLook struct {
	ID     string `json:"id" is:"uuid"`
	Device string `json:"device" is:"uuid"`
	By     string `json:"by" is:"text"`
	Role   string `json:"role" is:"no_role"`
	Reason string `json:"reason" is:"text"`
	Opened string `json:"opened" is:"time"`
	Until  string `json:"until" is:"time"`
}

func lookOf(l health.Look) apiLook {
	return apiLook{l.ID, l.Device, l.Name, string(l.Role), l.Reason, l.Opened.Format(apiTime), l.Until.Format(apiTime)}
}

// apiNewLook says why somebody looks.
type apiNewLook struct {
	Reason string `json:"reason" is:"text"`
}

func (s *Server) apiOpenLook(v *visit) error {
	var body apiNewLook
	if err := v.readJSON(&body); err != nil {
		return err
	}
	l, err := s.cfg.Health.OpenLook(v.r.Context(), v.caller, v.r.PathValue("id"), body.Reason)
	if err != nil {
		return err
	}
	return v.sendMade("/api/v1/devices/"+l.Device+"/looks", lookOf(l))
}

func (s *Server) apiLooks(v *visit) error {
	looks, err := s.cfg.Health.Looks(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return sendList(v, each(looks, lookOf))
}

// apiLookMonth is how often somebody looked in a month, at how many devices.
type apiLookMonth struct {
	ID      string `json:"id" is:"month"`
	Looks   int64  `json:"looks"`
	Devices int64  `json:"devices"`
}

func (s *Server) apiLookMonths(v *visit) error {
	months, err := s.cfg.Health.LookMonths(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	return sendList(v, each(months, func(m health.LookMonth) apiLookMonth {
		return apiLookMonth{m.Month.Format("2006-01"), m.Looks, m.Devices}
	}))
}

// apiFinding is a finding by days.
type apiFinding struct {
	ID        string         `json:"id" is:"number"`
	Code      string         `json:"code" is:"text"`
	Instance  string         `json:"instance,omitempty" is:"text"`
	Severity  string         `json:"severity" is:"severity"`
	Arguments map[string]any `json:"arguments"`
	Raised    string         `json:"raised" is:"day"`
	Cleared   *string        `json:"cleared" is:"day"`
	Quiet     *apiQuiet      `json:"quiet"` // null = it counts
	Title     apiWords       `json:"title"`
	Cause     apiWords       `json:"cause"`
	Teacher   apiWords       `json:"next_step_teacher"`
	Support   apiWords       `json:"next_step_support"`
}

func (s *Server) apiFindings(v *visit) error {
	all, err := s.cfg.Health.Findings(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	items := make([]apiFinding, 0, len(all))
	for i, f := range all {
		it := apiFinding{ID: strconv.Itoa(i + 1), Code: f.Code, Instance: f.Instance, Severity: severityName(f.Severity), Arguments: f.Arguments, Raised: f.Raised.Format(time.DateOnly)}
		if !f.Cleared.IsZero() {
			it.Cleared = present(f.Cleared.Format(time.DateOnly))
		}
		if f.Quiet != nil {
			q := quietJSON(*f.Quiet)
			it.Quiet = &q
		}
		if texts, ok := s.findingTexts(f); ok {
			it.Title, it.Cause, it.Teacher, it.Support = texts[0], texts[1], texts[2], texts[3]
		}
		items = append(items, it)
	}
	return sendList(v, items)
}

func severityName(s hmpb.Severity) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "SEVERITY_"))
}

// findingTexts are title, cause and both next steps in both languages; false for
// a code that only a newer version of this program knows.
func (s *Server) findingTexts(f health.Finding) (out [4]apiWords, ok bool) {
	row, ok := finding.ByCode(f.Code)
	if !ok {
		return out, false
	}
	de, en := s.texts(words.German, row, f), s.texts(words.English, row, f)
	return [4]apiWords{{de.Title, en.Title}, {de.Cause, en.Cause}, {de.Teacher, en.Teacher}, {de.Support, en.Support}}, true
}

type apiProgram struct {
	ID      string `json:"id" is:"text"`
	Name    string `json:"name" is:"text"`
	Version string `json:"version" is:"text"`
}

type apiChange struct {
	Day  string  `json:"day" is:"day"`
	Name string  `json:"name" is:"text"`
	From *string `json:"from" is:"text"` // null = it was not there before
	To   *string `json:"to" is:"text"`   // null = it is gone
}

// apiSoftware is what is installed, and what changed, the latest first.
type apiSoftware struct {
	Items   []apiProgram `json:"items"`
	Total   int          `json:"total"`
	Cursor  *string      `json:"cursor" is:"text"`
	Day     *string      `json:"day" is:"day"` // when it was told
	Changes []apiChange  `json:"changes"`
}

func (s *Server) apiInventory(v *visit) error {
	inv, err := s.cfg.Health.Inventory(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	some, cursor, err := paged(v, inv.Programs, func(p inventory.Program) string { return p.Name + " " + p.Version })
	if err != nil {
		return err
	}
	out := apiSoftware{Items: []apiProgram{}, Changes: []apiChange{}, Total: len(inv.Programs), Cursor: cursor}
	if !inv.Day.IsZero() {
		out.Day = present(inv.Day.Format(time.DateOnly))
	}
	for _, p := range some {
		out.Items = append(out.Items, apiProgram{p.Name + " " + p.Version, p.Name, p.Version})
	}
	for _, c := range inv.Changes {
		change := apiChange{Day: c.Day.Format(time.DateOnly), Name: c.Name}
		if !c.Added {
			change.From = &c.From
		}
		if !c.Removed {
			change.To = &c.To
		}
		out.Changes = append(out.Changes, change)
	}
	return v.sendJSON(out)
}
