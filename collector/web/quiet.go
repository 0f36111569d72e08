package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
)

// quietLine is who takes care of a finding, and why it does not count now.
type quietLine struct {
	ID, Text, Reason string
	Devices          string // of lists
}

func (v *visit) quietLine(q health.Quiet) quietLine {
	word, pairs := "quiet.until_cleared", []any{"who", q.Name, "when", v.say.Time(q.At)}
	if !q.Until.IsZero() {
		word, pairs = "quiet.until", append(pairs, "until", v.say.Date(q.Until))
	}
	return quietLine{ID: q.ID, Text: v.say.Say(word, pairs...), Reason: q.Reason, Devices: v.say.Number(q.Devices)}
}

// snoozes are the choices of a form, in days.
var snoozes = []int{1, 7, 30}

const (
	untilCleared = "cleared"
	untilDay     = "day"
)

func (v *visit) quietFields() []field {
	until := field{Name: "until", Label: v.say.Say("quiet.for"), Type: "select", Value: untilCleared,
		Options: []option{{untilCleared, v.say.Say("quiet.for.cleared")}}}
	for _, n := range snoozes {
		until.Options = append(until.Options, option{strconv.Itoa(n), v.say.Say("quiet.for.days", "n", n)})
	}
	until.Options = append(until.Options, option{untilDay, v.say.Say("quiet.for.day")})
	return []field{until,
		{Name: "day", Label: v.say.Say("quiet.day"), Help: v.say.Say("quiet.day.help"), Type: "date", Max: 10, Depends: true},
		{Name: "reason", Label: v.say.Say("look.reason"), Help: v.say.Say("quiet.reason.help"), Max: health.MaxReason},
	}
}

// quietOf reads what quietFields asked. A quiet of days ends with a midnight: it
// is back with the first look of a morning.
func (v *visit) quietOf(typed url.Values) (health.NewQuiet, error) {
	n := health.NewQuiet{Reason: typed.Get("reason")}
	switch until := typed.Get("until"); until {
	case untilCleared:
		return n, nil
	case untilDay:
		day, err := v.day(typed.Get("day"))
		n.Until = day
		return n, err
	default:
		days, err := strconv.Atoi(until)
		if err != nil || days < 1 || days > 366 {
			return n, health.ErrUntil
		}
		now := v.s.cfg.Now().In(v.say.Zone())
		n.Until = time.Date(now.Year(), now.Month(), now.Day()+days, 0, 0, 0, 0, v.say.Zone())
		return n, nil
	}
}

// day reads a day, which begins at midnight in Berlin.
func (v *visit) day(text string) (time.Time, error) {
	day, err := time.ParseInLocation(time.DateOnly, text, v.say.Zone())
	if err != nil {
		return time.Time{}, health.ErrUntil
	}
	return day, nil
}

// refuseQuiet puts an error that the person can mend to its field; false for others.
func (v *visit) refuseQuiet(f *form, typed url.Values, err error) bool {
	switch {
	case errors.Is(err, health.ErrReason):
		f.refuse("reason", v.say.Say("look.reason.wrong"))
	case errors.Is(err, health.ErrUntil):
		f.refuse("day", v.say.Say("quiet.day.wrong"))
	default:
		return false
	}
	f.fill(typed)
	return true
}

// quietForm is the form for the finding of one device that the address names.
func (s *Server) quietForm(v *visit, code, instance string) (form, string, error) {
	d, err := s.cfg.Fleet.Device(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return form{}, "", err
	}
	row, ok := finding.ByCode(code)
	if !ok {
		return form{}, "", errNoPage
	}
	title := pick(v.say.Lang, row.Title) + ": " + d.Label()
	return form{Action: "/devices/" + d.ID + "/findings/quiet", Send: v.say.Say("quiet.send"), Cancel: "/devices/" + d.ID,
		Hidden: map[string]string{"code": code, "instance": instance}, Fields: v.quietFields()}, title, v.caller.Allow(access.QuietFindings)
}

func (s *Server) quietFindingPage(v *visit) error {
	f, title, err := s.quietForm(v, v.asked.Get("code"), v.asked.Get("instance"))
	if err != nil {
		return err
	}
	return v.showForm(http.StatusOK, "devices", title, v.say.Say("quiet.text"), f)
}

func (s *Server) quietFinding(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	f, title, err := s.quietForm(v, typed.Get("code"), typed.Get("instance"))
	if err != nil {
		return err
	}
	device := v.r.PathValue("id")
	n, err := v.quietOf(typed)
	if err == nil {
		_, err = s.cfg.Health.QuietFinding(v.r.Context(), v.caller, device, typed.Get("code"), typed.Get("instance"), n)
	}
	if err != nil && v.refuseQuiet(&f, typed, err) {
		return v.showForm(http.StatusUnprocessableEntity, "devices", title, v.say.Say("quiet.text"), f)
	}
	return v.acted("/devices/"+device, "quiet", err)
}

func (s *Server) loudFinding(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	device := v.r.PathValue("id")
	err = s.cfg.Health.LoudFinding(v.r.Context(), v.caller, device, typed.Get("code"), typed.Get("instance"))
	return v.acted("/devices/"+device, "loud", err)
}

// groupForm asks at which of the devices with a finding it is to be quiet.
func (s *Server) groupForm(v *visit) (form, string, error) {
	row, ok := finding.ByCode(v.r.PathValue("code"))
	if !ok {
		return form{}, "", errNoPage
	}
	if err := v.caller.Allow(access.QuietFindings); err != nil {
		return form{}, "", err
	}
	group := field{Name: "group", Label: v.say.Say("quiet.group"), Help: v.say.Say("quiet.group.help"), Type: "select", Value: v.asked.Get("group"),
		Options: []option{{"", v.say.Say("quiet.group.all")}}}
	shares, err := s.cfg.Fleet.Spreads(v.r.Context(), v.caller, fleet.Filter{Finding: row.Code})
	if err != nil {
		return form{}, "", err
	}
	for _, d := range dimensions {
		for _, share := range shares[d.by] {
			if share.Key != "" {
				group.Options = append(group.Options, option{string(d.by) + ":" + share.Key, v.say.Say("quiet.group."+string(d.by), "name", share.Name)})
			}
		}
	}
	return form{Action: "/findings/" + row.Code + "/quiet", Send: v.say.Say("quiet.send"), Cancel: "/findings/" + row.Code,
		Fields: append([]field{group}, v.quietFields()...)}, pick(v.say.Lang, row.Title), nil
}

// groupOf reads the choice of groupForm.
func groupOf(choice string) (g fleet.Filter, err error) {
	by, key, _ := strings.Cut(choice, ":")
	switch {
	case choice == "":
	case key == "":
		err = errNoPage
	case by == string(fleet.ByModels):
		g.Model = key
	case by == string(fleet.ByBuilds):
		g.Build = key
	case by == string(fleet.BySchools):
		g.School = key
	default:
		err = &badRequest{"group", "want model, os_build or school"}
	}
	return g, err
}

func (s *Server) quietGroupPage(v *visit) error {
	f, title, err := s.groupForm(v)
	if err != nil {
		return err
	}
	return v.showForm(http.StatusOK, "findings", title, v.say.Say("quiet.text"), f)
}

func (s *Server) quietGroup(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	f, title, err := s.groupForm(v)
	if err != nil {
		return err
	}
	g, err := groupOf(typed.Get("group"))
	if err != nil {
		return err
	}
	g.Finding = v.r.PathValue("code")
	n, err := v.quietOf(typed)
	var job fleet.Job
	if err == nil {
		job, err = s.cfg.Fleet.StartJob(v.r.Context(), v.caller, fleet.NewJob{Act: fleet.ActQuiet, Filter: &g, Reason: n.Reason, Until: n.Until})
	}
	if err != nil && v.refuseQuiet(&f, typed, err) {
		return v.showForm(http.StatusUnprocessableEntity, "findings", title, v.say.Say("quiet.text"), f)
	}
	if err != nil {
		return err
	}
	s.await(v, job)
	return v.redirect("/findings/" + g.Finding + "?job=" + job.ID)
}

// loudGroup undoes an act: as a job where it was one that can still be undone.
func (s *Server) loudGroup(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	job, err := s.cfg.Fleet.UndoQuiet(v.r.Context(), v.caller, typed.Get("quiet"))
	if err == nil {
		s.await(v, job)
		return v.redirect("/findings/" + v.r.PathValue("code") + "?job=" + job.ID)
	}
	if !errors.Is(err, access.ErrNotFound) && !errors.Is(err, fleet.ErrUndo) {
		return err
	}
	_, job, err = s.endQuiet(v, typed.Get("quiet"))
	if err == nil && job.ID != "" {
		s.await(v, job)
		return v.redirect("/findings/" + v.r.PathValue("code") + "?job=" + job.ID)
	}
	return v.acted("/findings/"+v.r.PathValue("code"), "loud", err)
}

// endQuiet ends an act at once where it is at few devices, else by the job that it
// gives.
func (s *Server) endQuiet(v *visit, id string) (health.Quiet, fleet.Job, error) {
	q, err := s.cfg.Health.EndQuiet(v.r.Context(), v.caller, id)
	if !errors.Is(err, health.ErrMany) {
		return q, fleet.Job{}, err
	}
	job, err := s.cfg.Fleet.StartJob(v.r.Context(), v.caller, fleet.NewJob{Act: fleet.ActLoud, Quiet: id})
	return q, job, err
}

// What a quiet is: until the finding is cleared, or up to a day.
const (
	acknowledged = "acknowledged"
	snoozed      = "snoozed"
)

// apiQuiet is somebody's act by which a finding does not count.
type apiQuiet struct {
	ID      string  `json:"id" is:"uuid"`
	Code    string  `json:"code" is:"text"`
	Kind    string  `json:"kind" is:"quiet"` // acknowledged, snoozed
	By      string  `json:"by" is:"text"`
	Role    string  `json:"role" is:"no_role"`
	Reason  string  `json:"reason" is:"text"`
	At      string  `json:"at" is:"time"`
	Until   *string `json:"until" is:"time"` // null = until the finding is cleared
	Devices int64   `json:"devices"`
	Job     *string `json:"job" is:"uuid"` // of an end at many devices: the job that does it; else null
}

func quietJSON(q health.Quiet) apiQuiet {
	out := apiQuiet{ID: q.ID, Code: q.Code, Kind: acknowledged, By: q.Name, Role: string(q.Role), Reason: q.Reason, At: q.At.Format(apiTime), Devices: q.Devices}
	if !q.Until.IsZero() {
		out.Kind, out.Until = snoozed, present(q.Until.UTC().Format(apiTime))
	}
	return out
}

// apiNewQuiet says why, and on which day the finding counts again; without a day
// it is quiet until it is cleared.
type apiNewQuiet struct {
	Reason string `json:"reason" is:"text"`
	Until  string `json:"until,omitempty" is:"day"`
}

func (v *visit) newQuiet(body apiNewQuiet) (n health.NewQuiet, err error) {
	n.Reason = body.Reason
	if body.Until != "" {
		n.Until, err = v.day(body.Until)
	}
	return n, err
}

// apiOneFinding names an open finding of a device.
type apiOneFinding struct {
	Code     string `json:"code" is:"finding"`
	Instance string `json:"instance,omitempty" is:"text"`
}

type apiQuietOne struct {
	apiOneFinding
	apiNewQuiet
}

func (s *Server) apiQuietFinding(v *visit) error {
	var body apiQuietOne
	if err := v.readJSON(&body); err != nil {
		return err
	}
	n, err := v.newQuiet(body.apiNewQuiet)
	if err != nil {
		return err
	}
	q, err := s.cfg.Health.QuietFinding(v.r.Context(), v.caller, v.r.PathValue("id"), body.Code, body.Instance, n)
	if err != nil {
		return err
	}
	return v.sendJSON(quietJSON(q))
}

func (s *Server) apiLoudFinding(v *visit) error {
	var body apiOneFinding
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := s.cfg.Health.LoudFinding(v.r.Context(), v.caller, v.r.PathValue("id"), body.Code, body.Instance); err != nil {
		return err
	}
	return s.apiFindings(v)
}

// apiQuietMany is a quiet of all devices of a group, which is a job; what is left out
// asks for nothing.
type apiQuietMany struct {
	apiNewQuiet
	Owner  string `json:"owner,omitempty" is:"uuid"`
	School string `json:"school,omitempty" is:"uuid"`
	Model  string `json:"model,omitempty" is:"text"`
	Build  string `json:"os_build,omitempty" is:"text"`
}

func (s *Server) apiQuietGroup(v *visit) error {
	var body apiQuietMany
	if err := v.readJSON(&body); err != nil {
		return err
	}
	n, err := v.newQuiet(body.apiNewQuiet)
	if err != nil {
		return err
	}
	if body.Owner != "" && !v.caller.Sees(body.Owner) {
		return access.ErrNotFound
	}
	code := v.r.PathValue("id")
	j, err := s.cfg.Fleet.StartJob(v.r.Context(), v.caller, fleet.NewJob{Act: fleet.ActQuiet, Reason: n.Reason, Until: n.Until,
		Filter: &fleet.Filter{Finding: code, Owner: body.Owner, School: body.School, Model: body.Model, Build: body.Build}})
	if err != nil {
		return err
	}
	return v.sendMade("/api/v1/jobs/"+j.ID, jobOf(j))
}

func (s *Server) apiQuiets(v *visit) error {
	row, ok := finding.ByCode(v.r.PathValue("id"))
	if !ok {
		return errNoPage
	}
	all, err := s.cfg.Health.Quiets(v.r.Context(), v.caller, row.Code)
	if err != nil {
		return err
	}
	items := make([]apiQuiet, len(all))
	for i, q := range all {
		items[i] = quietJSON(q)
	}
	return sendList(v, items)
}

func (s *Server) apiEndQuiet(v *visit) error {
	q, job, err := s.endQuiet(v, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	out := quietJSON(q)
	out.Job = present(job.ID)
	return v.sendJSON(out)
}
