package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/proto/finding"
)

// shortJob is how long a page waits for a job, so that what is done at once is
// seen at once.
const shortJob = 800 * time.Millisecond

// What the list asks to be done with devices; the form says how.
const (
	asksLabel  = "label"
	asksSchool = "school"
)

// jobForm asks what shall be done with the chosen devices.
func (v *visit) jobForm(what string, c chosen) (title string, f form, err error) {
	if what != asksSchool && what != asksLabel {
		return "", f, errForm
	}
	f = form{Action: "/jobs", Send: v.say.Say("jobs.start"), Cancel: c.q.href(), Hidden: c.hidden()}
	f.Hidden["what"] = what
	if what == asksSchool {
		f.Fields = []field{{Name: "to", Label: v.say.Say("device.school"), Help: v.say.Say("jobs.school.help"), Type: "school", Max: 300}}
		return v.say.Say("jobs.school.title"), f, nil
	}
	labels, err := v.s.cfg.Fleet.LabelNames(v.r.Context(), v.caller)
	if err != nil {
		return "", f, err
	}
	label := field{Name: "label", Label: v.say.Say("devices.label"), Help: v.say.Say("jobs.label.help"), Type: "text", Max: fleet.MaxLabel, List: labels}
	act := field{Name: "act", Label: v.say.Say("jobs.act"), Type: "select", Options: []option{
		{string(fleet.ActLabel), v.say.Say("jobs.act.label")}, {string(fleet.ActUnlabel), v.say.Say("jobs.act.unlabel")}}}
	f.Fields = []field{label, act}
	return v.say.Say("jobs.label.title"), f, nil
}

func (s *Server) newJobPage(v *visit) error {
	if err := v.caller.Allow(access.WriteDevices); err != nil {
		return err
	}
	c, err := s.chosenOf(v, v.asked)
	if errors.Is(err, errNothingChosen) {
		return v.redirect(c.q.href()) // a button pressed before anything was chosen
	}
	if err != nil {
		return err
	}
	return s.showJobForm(v, http.StatusOK, v.asked.Get("what"), c, nil, nil)
}

func (s *Server) showJobForm(v *visit, code int, what string, c chosen, typed url.Values, refuse func(*form)) error {
	title, f, err := v.jobForm(what, c)
	if err != nil {
		return err
	}
	text, err := v.chosenWords(c)
	if err != nil {
		return err
	}
	if typed != nil {
		f.fill(typed)
		refuse(&f)
	}
	return v.showForm(code, "devices", title, text, f)
}

func (s *Server) startJob(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	if err := v.caller.Allow(access.WriteDevices); err != nil {
		return err
	}
	c, err := s.chosenOf(v, typed)
	if errors.Is(err, errNothingChosen) {
		return v.redirect(c.q.href())
	}
	if err != nil {
		return err
	}
	what := typed.Get("what")
	wrong := func(name, word string) error {
		return s.showJobForm(v, http.StatusUnprocessableEntity, what, c, typed, func(f *form) { f.refuse(name, v.say.Say(word)) })
	}
	n := c.job()
	switch what {
	default:
		return errForm
	case asksSchool:
		school, err := s.school(v, strings.TrimSpace(typed.Get("to")))
		if errors.Is(err, errNoSchool) || err == nil && school.ID == "" {
			return wrong("to", "claims.school.wrong")
		}
		if err != nil {
			return err
		}
		n.Act, n.School = fleet.ActSchool, school.ID
	case asksLabel:
		n.Act, n.Label = fleet.Act(typed.Get("act")), typed.Get("label")
		if n.Act != fleet.ActLabel && n.Act != fleet.ActUnlabel {
			return errForm
		}
	}
	job, err := s.cfg.Fleet.StartJob(v.r.Context(), v.caller, n)
	switch {
	case errors.Is(err, fleet.ErrLabel):
		return wrong("label", "jobs.label.wrong")
	case errors.Is(err, fleet.ErrInvalid), errors.Is(err, access.ErrNotFound):
		return errForm
	case err != nil:
		return err
	}
	s.await(v, job)
	return v.redirect(c.q.withJob(job.ID))
}

// await waits for a job that ends soon.
func (s *Server) await(v *visit, job fleet.Job) {
	ctx, cancel := context.WithTimeout(v.r.Context(), shortJob)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for job.Open() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next, err := s.cfg.Fleet.Job(ctx, v.caller, job.ID)
		if err != nil {
			return // whoever looks at the job is told
		}
		job = next
	}
}

// undoJob leads back to where it was asked for.
func (s *Server) undoJob(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	job, err := s.cfg.Fleet.UndoJob(v.r.Context(), v.caller, id)
	if errors.Is(err, fleet.ErrUndo) {
		return v.redirect("/jobs/" + id) // which says how it stands
	}
	if err != nil {
		return err
	}
	s.await(v, job)
	if back := typed.Get("back"); notePage(back) {
		return v.redirect(localPath(back))
	}
	return v.redirect("/jobs/" + id)
}

// jobView is a job in words, for its page, the note in the list and the list of jobs.
type jobView struct {
	ID, Href    string
	Title, Says string // what it does, how far it has come
	State       mark
	Open        bool
	Meter       int64 // of 1000
	Progress    string
	Undo        string // address; empty = it cannot be undone
	Return      string // where the note stands
	Close       string // the same without it
	Poll        string // address of the note
	Who, When   string
	UndoUntil   string
	Results     []result
}

// result is how many devices became what.
type result struct {
	Word, Href string
	Count      int64
	Current    bool
}

func (v *visit) jobView(j fleet.Job) jobView {
	out := jobView{ID: j.ID, Href: "/jobs/" + j.ID, Title: v.jobTitle(string(j.Act), j.Label, j.SchoolName, j.Finding), Open: j.Open(), Who: j.ActorName, When: v.say.Time(j.Created)}
	if out.Who == "" {
		out.Who = v.party(j.Actor, nil)
	}
	needs := access.WriteDevices
	if j.Act == fleet.ActQuiet || j.Act == fleet.ActLoud {
		needs = access.QuietFindings
	}
	if !j.UndoUntil.IsZero() && v.caller.Allow(needs) == nil {
		out.Undo = out.Href + "/undo"
		if !j.Open() {
			out.UndoUntil = v.say.Time(j.UndoUntil)
		}
	}
	out.State = mark{"run", v.say.Say("jobs.state." + string(j.State))}
	if !j.Open() {
		out.State.Shape = "ok"
	}
	done, all := j.Done, j.Total
	switch j.State {
	case fleet.JobGathering:
		out.Says, out.Progress = v.say.Say("jobs.gathering"), v.say.Say("jobs.gathering")
	case fleet.JobRunning:
		out.Progress = v.progress(j, done, all)
		out.Says = out.Progress
	case fleet.JobDone:
		out.Says = v.say.Say("jobs.done", "n", j.Changed)
		if j.Skipped > 0 {
			out.Says += " " + v.say.Say("jobs.done.skipped", "n", j.Skipped)
		}
	case fleet.JobUndoing:
		done, all = j.Undone, j.Done
		out.Progress = v.progress(j, done, all)
		out.Says = v.say.Say("jobs.undoing", "progress", out.Progress)
	case fleet.JobUndone:
		out.Says = v.say.Say("jobs.undone", "n", j.Restored)
		if j.Kept > 0 {
			out.Says += " " + v.say.Say("jobs.undone.kept", "n", j.Kept)
		}
	}
	if all > 0 {
		out.Meter = done * 1000 / all
	}
	return out
}

// progress is "31.200 von 70.000, noch 20 s".
func (v *visit) progress(j fleet.Job, done, all int64) string {
	passed := v.s.cfg.Now().Sub(j.Created)
	if j.State != fleet.JobRunning || done == 0 || passed < 2*time.Second {
		return v.say.Say("jobs.progress", "done", done, "n", all)
	}
	left := max(time.Duration(float64(passed)*float64(all-done)/float64(done)), time.Second)
	return v.say.Say("jobs.progress.left", "done", done, "n", all, "left", v.say.Span(left))
}

// jobTitle says what a job does.
func (v *visit) jobTitle(act, label, school, code string) string {
	switch {
	case act == string(fleet.ActQuiet) || act == string(fleet.ActLoud):
		title := code
		if row, ok := finding.ByCode(code); ok {
			title = pick(v.say.Lang, row.Title)
		}
		if act == string(fleet.ActLoud) {
			return v.say.Say("jobs.title.loud", "finding", title)
		}
		return v.say.Say("jobs.title.quiet", "finding", title)
	case act == string(fleet.ActSchool) && school == "":
		return v.say.Say("jobs.title.no_school")
	case act == string(fleet.ActSchool):
		return v.say.Say("jobs.title.school", "school", school)
	case act == string(fleet.ActUnlabel):
		return v.say.Say("jobs.title.unlabel", "label", label)
	}
	return v.say.Say("jobs.title.label", "label", label)
}

// jobNote is the note of a job in the list.
func (s *Server) jobNote(v *visit) error {
	j, err := s.cfg.Fleet.Job(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	p := v.page("", v.noteOf(j, v.asked.Get("back")))
	return v.show(http.StatusOK, "job-note", p.Note(p.Main.(*jobView)))
}

// notePage says that a page has a place for the note of a job.
func notePage(path string) bool {
	return strings.HasPrefix(path, "/devices") || strings.HasPrefix(path, "/findings/")
}

// noteAsked is the note of the job that the address names, if there is one.
func (v *visit) noteAsked(page string) (*jobView, error) {
	id := v.asked.Get("job")
	if id == "" || len(id) > 100 {
		return nil, nil
	}
	job, err := v.s.cfg.Fleet.Job(v.r.Context(), v.caller, id)
	if errors.Is(err, access.ErrNotFound) {
		return nil, nil // an old address
	}
	if err != nil {
		return nil, err
	}
	return v.noteOf(job, page+"?job="+id), nil
}

func (v *visit) noteOf(j fleet.Job, back string) *jobView {
	note := v.jobView(j)
	if note.Return = localPath(back); !notePage(note.Return) {
		note.Return = "/devices"
	}
	note.Poll = note.Href + "/note?back=" + url.QueryEscape(note.Return)
	note.Close = note.Return
	if u, err := url.Parse(note.Return); err == nil {
		rest := u.Query()
		rest.Del("job")
		note.Close = withQuery(u.Path, rest)
	}
	return &note
}

// noteCard gives a template a job and the words around it.
type noteCard struct {
	jobView
	words view
}

func (n noteCard) T(key string, pairs ...any) string { return n.words.T(key, pairs...) }

// Note: see noteCard.
func (w view) Note(j *jobView) noteCard { return noteCard{*j, w} }

type jobMain struct {
	jobView
	Filter, FilterHref string // what it was about; empty = named devices
	Rows               []jobDeviceRow
	First, Next        string
	Reload             string
	List               string // address of the list; empty = not for this role
}

type jobDeviceRow struct{ Href, Name, Outcome string }

func (s *Server) jobPage(v *visit) error {
	ctx := v.r.Context()
	j, err := s.cfg.Fleet.Job(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	main := jobMain{jobView: v.jobView(j)}
	main.Reload = main.Href
	if v.caller.Allow(access.WriteDevices) == nil {
		main.List = "/jobs"
	}
	if j.Filter != nil {
		q := question{query: j.Filter.Query, state: j.Filter.State, school: j.Filter.School, finding: j.Filter.Finding, label: j.Filter.Label, model: j.Filter.Model, build: j.Filter.Build}
		school := ""
		if q.school != "" {
			found, err := s.school(v, q.school)
			if err != nil && !errors.Is(err, errNoSchool) {
				return err
			}
			school = found.Title()
		}
		main.Filter, main.FilterHref = v.filterWords(q, school), q.href()
	}
	if err := v.fillJobDevices(&main, j); err != nil {
		return err
	}
	p := v.framed(v.page(main.Title, main))
	p.Current = "true"
	p.Back = v.r.URL.RequestURI()
	return v.show(http.StatusOK, "job", p)
}

// fillJobDevices shows the devices of an outcome: the asked one, else those that
// somebody may have to look at.
func (v *visit) fillJobDevices(main *jobMain, j fleet.Job) error {
	outcome := fleet.Outcome(v.asked.Get("outcome"))
	if outcome != "" && !slices.Contains(fleet.Outcomes, outcome) {
		return &badRequest{"outcome", "want one of the outcomes of a job"}
	}
	if outcome == "" {
		for _, o := range []fleet.Outcome{fleet.OutcomeKept, fleet.OutcomeOtherOwner, fleet.OutcomeChanged, fleet.OutcomeRestored, fleet.OutcomeSame, fleet.OutcomeWaiting} {
			if j.Of(o) > 0 {
				outcome = o
				break
			}
		}
	}
	for _, o := range fleet.Outcomes {
		if n := j.Of(o); n > 0 {
			main.Results = append(main.Results, result{v.say.Say("jobs.outcome." + string(o)), main.Href + "?outcome=" + string(o), n, o == outcome})
		}
	}
	after, _ := strconv.ParseInt(v.asked.Get("after"), 10, 64)
	rows, err := v.s.cfg.Fleet.JobDevices(v.r.Context(), v.caller, j.ID, outcome, after, pageSize+1)
	if err != nil {
		return err
	}
	at := main.Href + "?outcome=" + string(outcome)
	if after > 0 {
		main.First = at
	}
	if len(rows) > pageSize {
		rows = rows[:pageSize]
		main.Next = at + "&after=" + strconv.FormatInt(rows[pageSize-1].Seq, 10)
	}
	for _, d := range rows {
		main.Rows = append(main.Rows, jobDeviceRow{"/devices/" + d.ID, d.Name, v.say.Say("jobs.outcome." + string(d.Outcome))})
	}
	return nil
}

type jobsMain struct {
	Rows        []jobView
	First, Next string
}

func (s *Server) jobsPage(v *visit) error {
	before := v.asked.Get("before")
	jobs, err := s.cfg.Fleet.Jobs(v.r.Context(), v.caller, before, pageSize+1)
	if err != nil {
		return err
	}
	main := jobsMain{}
	if before != "" {
		main.First = "/jobs"
	}
	if len(jobs) > pageSize {
		jobs = jobs[:pageSize]
		main.Next = "/jobs?before=" + url.QueryEscape(jobs[pageSize-1].ID)
	}
	for _, j := range jobs {
		main.Rows = append(main.Rows, v.jobView(j))
	}
	p := v.framed(v.page(v.say.Say("jobs.title"), main))
	p.Current = "true"
	return v.show(http.StatusOK, "jobs", p)
}

// deviceJobRow is what a job did to a device, on the device's page.
type deviceJobRow struct{ Text, Href, When, Who string }

// shownJobs are so many on a device's page; the record has the rest.
const shownJobs = 5

func (v *visit) deviceJobs(device string) (rows []deviceJobRow, err error) {
	jobs, err := v.s.cfg.Fleet.DeviceJobs(v.r.Context(), v.caller, device, shownJobs)
	for _, j := range jobs {
		r := deviceJobRow{Text: v.jobTitle(j.Act, j.Label, j.SchoolName, j.Finding), When: v.say.Time(j.Created), Who: j.ActorName}
		if j.Outcome == fleet.OutcomeRestored {
			r.Text = v.say.Say("jobs.device.undone", "what", r.Text)
		}
		if j.Seen {
			r.Href = "/jobs/" + j.Job
		}
		rows = append(rows, r)
	}
	return rows, err
}

// setLabel and removeLabel change one device, from its page.
func (s *Server) setLabel(v *visit) error { return s.changeLabel(v, true, "labelled") }

func (s *Server) removeLabel(v *visit) error { return s.changeLabel(v, false, "unlabelled") }

func (s *Server) changeLabel(v *visit, held bool, done string) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	id, label := v.r.PathValue("id"), typed.Get("label")
	err = s.cfg.Fleet.SetLabel(v.r.Context(), v.caller, id, label, held)
	if errors.Is(err, fleet.ErrInvalid) {
		return s.showDevice(v, http.StatusUnprocessableEntity, func(m *deviceMain) {
			m.LabelError, m.LabelTyped = v.say.Say("jobs.label.wrong"), label
		})
	}
	return v.acted("/devices/"+id, done, err)
}
