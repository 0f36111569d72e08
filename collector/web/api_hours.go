package web

import (
	"strconv"
	"strings"

	"hausmeister/collector/calendar"
	"hausmeister/collector/rollout"
)

// apiWindow is when devices of an owner may begin an update, and what the lines of his
// schools bear.
type apiWindow struct {
	LessonsFrom string          `json:"lessons_from" is:"minute"`
	LessonsTo   string          `json:"lessons_to" is:"minute"`
	Rate        int64           `json:"bytes_per_second"` // of a school; 0 = the collector's own default
	Parallel    int64           `json:"parallel"`         // devices of a school that fetch at once; 0 = the default
	Days        []apiWindowDays `json:"days"`
}

// apiWindowDays are days without updates, or without lessons.
type apiWindowDays struct {
	ID     string  `json:"id" is:"uuid"`
	School *string `json:"school" is:"uuid"` // null = all schools of the owner
	Kind   string  `json:"kind" is:"days_kind"`
	From   string  `json:"from" is:"day"`
	To     string  `json:"to" is:"day"`
	Name   *string `json:"name" is:"text"`
}

func minuteText(m int) string {
	two := func(n int) string { return strings.Repeat("0", max(0, 2-len(strconv.Itoa(n)))) + strconv.Itoa(n) }
	return two(m/60) + ":" + two(m%60)
}

func minuteOf(text string) (int, bool) {
	h, m, ok := strings.Cut(text, ":")
	hours, err := strconv.Atoi(h)
	minutes, err2 := strconv.Atoi(m)
	return hours*60 + minutes, ok && err == nil && err2 == nil && len(h) == 2 && len(m) == 2 && hours >= 0 && minutes >= 0 && minutes < 60 && hours*60+minutes <= 24*60
}

func (s *Server) apiWindow(v *visit) error {
	w, err := s.cfg.Rollouts.Window(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	out := apiWindow{LessonsFrom: minuteText(w.From), LessonsTo: minuteText(w.To), Rate: w.Rate, Parallel: w.Parallel, Days: make([]apiWindowDays, len(w.Days))}
	for i, d := range w.Days {
		out.Days[i] = apiWindowDays{ID: d.ID, School: present(d.School), Kind: string(d.Kind), From: string(d.From), To: string(d.To), Name: present(d.Name)}
	}
	return v.sendJSON(out)
}

// apiNewWindow changes the hours and the lines.
type apiNewWindow struct {
	LessonsFrom string `json:"lessons_from" is:"minute"`
	LessonsTo   string `json:"lessons_to" is:"minute"`
	Rate        int64  `json:"bytes_per_second,omitempty"`
	Parallel    int64  `json:"parallel,omitempty"`
}

func (s *Server) apiSetWindow(v *visit) error {
	var body apiNewWindow
	if err := v.readJSON(&body); err != nil {
		return err
	}
	from, ok := minuteOf(body.LessonsFrom)
	if !ok {
		return &badRequest{"lessons_from", "want a time of day such as 07:30"}
	}
	to, ok := minuteOf(body.LessonsTo)
	if !ok {
		return &badRequest{"lessons_to", "want a time of day such as 13:15"}
	}
	w := rollout.Window{Owner: v.r.PathValue("id"), From: from, To: to, Rate: body.Rate, Parallel: body.Parallel}
	if err := s.cfg.Rollouts.SetWindow(v.r.Context(), v.caller, w); err != nil {
		return err
	}
	return s.apiWindow(v)
}

// apiNewDays closes days, or says that schools have them off.
type apiNewDays struct {
	School string `json:"school,omitempty" is:"uuid"` // empty = all schools of the owner
	Kind   string `json:"kind" is:"days_kind"`
	From   string `json:"from" is:"day"`
	To     string `json:"to" is:"day"`
	Name   string `json:"name,omitempty" is:"text"`
}

func (s *Server) apiAddDays(v *visit) error {
	var body apiNewDays
	if err := v.readJSON(&body); err != nil {
		return err
	}
	d := rollout.Days{School: body.School, Kind: rollout.DaysKind(body.Kind), Span: calendar.Span{From: calendar.Day(body.From), To: calendar.Day(body.To), Name: body.Name}}
	if _, err := s.cfg.Rollouts.AddDays(v.r.Context(), v.caller, v.r.PathValue("id"), d); err != nil {
		return err
	}
	return s.apiWindow(v)
}

// apiDaysID names some.
type apiDaysID struct {
	ID string `json:"id" is:"uuid"`
}

func (s *Server) apiRemoveDays(v *visit) error {
	var body apiDaysID
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := s.cfg.Rollouts.RemoveDays(v.r.Context(), v.caller, v.r.PathValue("id"), body.ID); err != nil {
		return err
	}
	return s.apiWindow(v)
}
