package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/calendar"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
)

// hoursMain is the page of when devices of an owner may begin updates.
type hoursMain struct {
	Owner   string // name
	Done    string
	Facts   []about // for whom may not change them
	Changed string
	Form    *form // of the hours and lines; nil = not for this role
	Rows    []daysRow
	Remove  string // address; empty = not for this role
	Add     *form
}

// daysRow are some days of an owner.
type daysRow struct {
	ID, From, To  string
	Kind          mark
	School, Name  string
	SchoolHref    string
	Past          bool
	RemoveExplain string
}

// megabit is how many bytes a second a line of one megabit bears.
const megabit = 125_000

func (s *Server) hoursPage(v *visit) error { return s.showHours(v, http.StatusOK, nil) }

func (s *Server) showHours(v *visit, code int, change func(*hoursMain)) error {
	id := v.r.PathValue("id")
	w, err := s.cfg.Rollouts.Window(v.r.Context(), v.caller, id)
	if err != nil {
		return err
	}
	owners, err := v.ownerNames()
	if err != nil {
		return err
	}
	name, known := owners[id]
	if !known {
		return access.ErrNotFound
	}
	schools, err := s.cfg.Fleet.Schools(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	main := hoursMain{Owner: name, Done: v.done(), Rows: v.daysRows(w, schools)}
	if v.maySettings() {
		f, add := v.hoursForm(w), v.daysForm(id)
		main.Form, main.Add, main.Remove = &f, &add, "/owners/"+id+"/updates/days/remove"
	} else {
		main.Facts = v.hoursFacts(w)
	}
	if main.Changed, err = v.hoursChanged(id); err != nil {
		return err
	}
	if change != nil {
		change(&main)
	}
	p := v.at("updates", v.say.Say("hours.title", "owner", name), main)
	p.Back = "/owners/" + id + "/updates"
	return v.show(code, "hours", p)
}

// hoursChanged is by whom and when they were changed last, for who may read the record.
func (v *visit) hoursChanged(owner string) (string, error) {
	if v.caller.Allow(access.ReadAudit) != nil {
		return "", nil
	}
	last, err := v.s.cfg.Access.AuditLog(v.r.Context(), v.caller, audit.Filter{Owners: []string{owner}, Action: "window", Limit: 1})
	if err != nil || len(last) == 0 {
		return "", err
	}
	names, err := v.names()
	return v.changed(time.UnixMilli(last[0].AtMS), last[0].Actor, names), err
}

func (v *visit) rateText(rate int64) string {
	if rate == 0 {
		return v.say.Say("hours.rate.default")
	}
	return v.say.BitRate(rate * 8)
}

func (v *visit) parallelText(n int64) string {
	if n == 0 {
		return v.say.Say("hours.parallel.default")
	}
	return v.say.Say("devices.count", "n", n)
}

func (v *visit) hoursFacts(w rollout.Window) []about {
	return []about{
		{Label: v.say.Say("hours.lessons"), Text: v.say.Say("hours.span", "from", minuteText(w.From), "to", minuteText(w.To))},
		{Label: v.say.Say("hours.rate"), Text: v.rateText(w.Rate)},
		{Label: v.say.Say("hours.parallel"), Text: v.parallelText(w.Parallel)},
	}
}

func (v *visit) hoursForm(w rollout.Window) form {
	rate, parallel := "", ""
	if w.Rate > 0 {
		rate = strconv.FormatFloat(float64(w.Rate)/megabit, 'f', -1, 64)
		if v.say.Lang == "de" {
			rate = strings.Replace(rate, ".", ",", 1)
		}
	}
	if w.Parallel > 0 {
		parallel = strconv.FormatInt(w.Parallel, 10)
	}
	return form{Action: "/owners/" + w.Owner + "/updates", Send: v.say.Say("quiet.send"), Fields: []field{
		{Name: "from", Label: v.say.Say("hours.from"), Type: "time", Value: minuteText(w.From), Max: 5},
		{Name: "to", Label: v.say.Say("hours.to"), Help: v.say.Say("hours.lessons.help"), Type: "time", Value: minuteText(w.To), Max: 5},
		{Name: "rate", Label: v.say.Say("hours.rate"), Help: v.say.Say("hours.rate.help"), Value: rate, Max: 10, Optional: true},
		{Name: "parallel", Label: v.say.Say("hours.parallel"), Help: v.say.Say("hours.parallel.help"), Type: "number", Value: parallel, Max: 4, Optional: true},
	}}
}

func (v *visit) daysForm(owner string) form {
	kind := field{Name: "kind", Label: v.say.Say("hours.kind"), Help: v.say.Say("hours.kind.help"), Type: "select", Value: string(rollout.Closed)}
	for _, k := range rollout.DaysKinds {
		kind.Options = append(kind.Options, option{string(k), v.say.Say("hours.kind." + string(k))})
	}
	return form{Action: "/owners/" + owner + "/updates/days", Send: v.say.Say("hours.add"), Fields: []field{
		kind,
		{Name: "from", Label: v.say.Say("hours.first"), Type: "date", Max: 10},
		{Name: "to", Label: v.say.Say("hours.last"), Help: v.say.Say("hours.last.help"), Type: "date", Max: 10, Optional: true},
		{Name: "school", Label: v.say.Say("device.school"), Help: v.say.Say("hours.school.help"), Type: "school", Max: 300, Optional: true},
		{Name: "name", Label: v.say.Say("hours.name"), Help: v.say.Say("hours.name.help"), Max: 100, Optional: true},
	}}
}

// daysRows are what comes, then what was.
func (v *visit) daysRows(w rollout.Window, schools []fleet.School) (rows []daysRow) {
	titles := map[string]string{}
	for _, s := range schools {
		titles[s.ID] = s.Title()
	}
	today := calendar.DayOf(v.s.cfg.Now())
	for _, d := range w.Days {
		row := daysRow{ID: d.ID, From: v.say.Date(d.From.At(12 * 60)), To: v.say.Date(d.To.At(12 * 60)), Name: d.Name, School: v.say.Say("hours.all_schools"), Past: d.To < today,
			Kind: mark{map[rollout.DaysKind]string{rollout.Closed: "off", rollout.Free: "info"}[d.Kind], v.say.Say("hours.kind." + string(d.Kind))}}
		if d.School != "" {
			row.School, row.SchoolHref = cmp.Or(titles[d.School], v.say.Say("audit.unnamed.school")), "/schools/"+d.School
		}
		row.RemoveExplain = row.From
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b daysRow) int {
		return cmp.Compare(map[bool]int{true: 1}[a.Past], map[bool]int{true: 1}[b.Past])
	})
	return rows
}

// setHours changes lessons and lines.
func (s *Server) setHours(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	if err := v.caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	wrong := map[string]string{}
	w := rollout.Window{Owner: v.r.PathValue("id")}
	var ok bool
	if w.From, ok = minuteOf(typed.Get("from")); !ok {
		wrong["from"] = "hours.time.wrong"
	}
	if w.To, ok = minuteOf(typed.Get("to")); !ok {
		wrong["to"] = "hours.time.wrong"
	} else if wrong["from"] == "" && w.To < w.From {
		wrong["to"] = "hours.to.wrong"
	}
	if text := strings.TrimSpace(typed.Get("rate")); text != "" {
		f, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64)
		if w.Rate = int64(f * megabit); err != nil || f < 0.1 || f > 100_000 {
			wrong["rate"] = "hours.rate.wrong"
		}
	}
	if text := strings.TrimSpace(typed.Get("parallel")); text != "" {
		if w.Parallel, err = strconv.ParseInt(text, 10, 64); err != nil || w.Parallel < 1 || w.Parallel > 1000 {
			wrong["parallel"] = "hours.parallel.wrong"
		}
	}
	if len(wrong) == 0 {
		return v.acted("/owners/"+w.Owner+"/updates", "hours", s.cfg.Rollouts.SetWindow(v.r.Context(), v.caller, w))
	}
	return s.showHours(v, http.StatusUnprocessableEntity, func(m *hoursMain) { v.mend(m.Form, typed, wrong) })
}

// mend gives a form back as it was typed, with what is wrong, by field the key of the text.
func (v *visit) mend(f *form, typed url.Values, wrong map[string]string) {
	f.fill(typed)
	for name, word := range wrong {
		f.refuse(name, v.say.Say(word))
	}
}

func (s *Server) addDays(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	if err := v.caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	owner, wrong := v.r.PathValue("id"), map[string]string{}
	d := rollout.Days{Kind: rollout.DaysKind(typed.Get("kind")), Span: calendar.Span{From: calendar.Day(typed.Get("from")), Name: strings.TrimSpace(typed.Get("name"))}}
	d.To = calendar.Day(cmp.Or(typed.Get("to"), typed.Get("from")))
	school, err := s.school(v, strings.TrimSpace(typed.Get("school")))
	switch {
	case errors.Is(err, errNoSchool):
		wrong["school"] = "claims.school.wrong"
	case err != nil:
		return err
	case school.ID != "" && school.Owner != owner:
		wrong["school"] = "claims.school.other"
	}
	d.School = school.ID
	if !d.From.Valid() {
		wrong["from"] = "hours.day.wrong"
	} else if !d.To.Valid() || d.To < d.From {
		wrong["to"] = "hours.last.wrong"
	}
	if len(wrong) == 0 {
		_, err := s.cfg.Rollouts.AddDays(v.r.Context(), v.caller, owner, d)
		if unfit := (*rollout.InvalidError)(nil); !errors.As(err, &unfit) || unfit.Field != "to" {
			return v.acted("/owners/"+owner+"/updates", "hours", err)
		}
		wrong["to"] = "hours.last.many"
	}
	return s.showHours(v, http.StatusUnprocessableEntity, func(m *hoursMain) { v.mend(m.Add, typed, wrong) })
}

func (s *Server) removeDays(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	owner := v.r.PathValue("id")
	return v.acted("/owners/"+owner+"/updates", "hours_removed", s.cfg.Rollouts.RemoveDays(v.r.Context(), v.caller, owner, typed.Get("id")))
}
