package web

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/fleet"
)

// apiLabelCount is a label and how many devices hold it.
type apiLabelCount struct {
	ID      string `json:"id" is:"text"` // the label
	Label   string `json:"label" is:"text"`
	Devices int64  `json:"devices"`
}

func (s *Server) apiLabels(v *visit) error {
	labels, err := s.cfg.Fleet.Labels(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	return sendList(v, each(labels, func(l fleet.LabelCount) apiLabelCount { return apiLabelCount{l.Label, l.Label, l.Devices} }))
}

// apiChangeLabel answers a label set or taken with the device.
func (s *Server) apiChangeLabel(held bool) func(*visit) error {
	return func(v *visit) error {
		var body apiLabel
		if err := v.readJSON(&body); err != nil {
			return err
		}
		err := s.cfg.Fleet.SetLabel(v.r.Context(), v.caller, v.r.PathValue("id"), body.Label, held)
		if errors.Is(err, fleet.ErrInvalid) {
			return &badRequest{"label", "want text without a comma, at most " + strconv.Itoa(fleet.MaxLabel) + " characters"}
		}
		if err != nil {
			return err
		}
		return s.apiDevice(v)
	}
}

// apiWhich says which devices: those of the list with these parameters.
type apiWhich struct {
	Query   string `json:"q,omitempty" is:"text"`
	State   string `json:"state,omitempty" is:"state"`
	School  string `json:"school,omitempty" is:"uuid"` // id
	Finding string `json:"finding,omitempty" is:"finding"`
	Label   string `json:"label,omitempty" is:"text"`
	Model   string `json:"model,omitempty" is:"text"`
	Build   string `json:"os_build,omitempty" is:"text"` // of the system
	Update  string `json:"update,omitempty" is:"update"` // how far it is, or behind
}

func whichOf(f fleet.Filter) apiWhich {
	return apiWhich{f.Query, string(f.State), f.School, f.Finding, f.Label, f.Model, f.Build, f.Update}
}

// filter is of nothing but which devices there are.
func (w apiWhich) filter() fleet.Filter {
	return fleet.Filter{Query: w.Query, State: fleet.State(w.State), School: w.School, Finding: w.Finding, Label: w.Label, Model: w.Model, Build: w.Build, Update: w.Update}
}

// jobActs are the acts of a job that a program may ask for.
var jobActs = []fleet.Act{fleet.ActLabel, fleet.ActUnlabel, fleet.ActSchool}

// apiNewJob asks for a change of many devices: those that are named, or all that
// fit.
type apiNewJob struct {
	Act     string    `json:"act" is:"act_of_job"`
	Label   string    `json:"label,omitempty" is:"text"`
	School  *string   `json:"school,omitempty" is:"id_or_none"` // act school wants it
	Devices []string  `json:"devices,omitempty" is:"uuid"`
	Filter  *apiWhich `json:"filter,omitempty"`
}

// wrong names the part of it that the desk refused.
func (n apiNewJob) wrong(err error) error {
	switch {
	case errors.Is(err, fleet.ErrLabel):
		return &badRequest{"label", err.Error()}
	case n.Filter != nil:
		return &badRequest{"filter", err.Error()}
	}
	return &badRequest{"devices", err.Error()}
}

// apiJob is a change of many devices.
type apiJob struct {
	ID        string    `json:"id" is:"uuid"`
	Act       string    `json:"act" is:"act"`
	Label     *string   `json:"label" is:"text"`
	School    *string   `json:"school" is:"uuid"` // id
	Finding   *string   `json:"finding" is:"finding"`
	Model     *string   `json:"model" is:"text"`    // of quiet: of this model only
	Build     *string   `json:"os_build" is:"text"` // of quiet: with this build of the system only
	Filter    *apiWhich `json:"filter"`             // null = the devices were named
	Actor     string    `json:"actor" is:"text"`
	State     string    `json:"state" is:"job_state"` // gathering, running, done, undoing, undone
	Created   string    `json:"created" is:"time"`
	Ended     *string   `json:"ended" is:"time"`
	UndoUntil *string   `json:"undo_until" is:"time"` // null = it cannot be undone
	Total     int64     `json:"total"`
	Done      int64     `json:"done"`
	Changed   int64     `json:"changed"`
	Same      int64     `json:"same"`
	Skipped   int64     `json:"skipped"`
	Restored  int64     `json:"restored"`
	Kept      int64     `json:"kept"` // changed since by somebody else, therefore not undone
}

func jobOf(j fleet.Job) apiJob {
	out := apiJob{ID: j.ID, Act: string(j.Act), Label: present(j.Label), School: present(j.School), Actor: j.Actor, State: string(j.State), Created: stamp(j.Created),
		Total: j.Total, Done: j.Done, Changed: j.Changed, Same: j.Same, Skipped: j.Skipped, Restored: j.Restored, Kept: j.Kept}
	if !j.Ended.IsZero() {
		out.Ended = present(stamp(j.Ended))
	}
	if !j.UndoUntil.IsZero() {
		out.UndoUntil = present(stamp(j.UndoUntil))
	}
	out.Finding = present(j.Finding)
	if f := j.Filter; f != nil {
		out.Model, out.Build = present(f.Model), present(f.Build)
		out.Filter = new(whichOf(*f))
	}
	return out
}

func (s *Server) apiJobs(v *visit) error {
	limit, cursor, err := v.idPage()
	if err != nil {
		return err
	}
	ctx := v.r.Context()
	jobs, err := s.cfg.Fleet.Jobs(ctx, v.caller, cursor, limit)
	if err != nil {
		return err
	}
	return sendPage(v, limit, jobs, func() (int64, error) { return s.cfg.Fleet.CountJobs(ctx, v.caller) }, jobOf, func(j fleet.Job) string { return j.ID })
}

func (s *Server) apiJob(v *visit) error {
	j, err := s.cfg.Fleet.Job(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(jobOf(j))
}

func (s *Server) apiStartJob(v *visit) error {
	var body apiNewJob
	if err := v.readJSON(&body); err != nil {
		return err
	}
	n := fleet.NewJob{Act: fleet.Act(body.Act), Label: body.Label, Devices: body.Devices}
	if !slices.Contains(jobActs, n.Act) {
		return &badRequest{"act", "want one of " + strings.Join(texts(jobActs), ", ")}
	}
	if body.School != nil {
		n.School = *body.School
	} else if n.Act == fleet.ActSchool { // left out by mistake, it must not take devices out of theirs
		return &badRequest{"school", `want the id of a school, or "" for none`}
	}
	if w := body.Filter; w != nil {
		if len(body.Devices) > 0 {
			return &badRequest{"filter", "want either devices or a filter"}
		}
		n.Filter = new(w.filter())
	}
	j, err := s.cfg.Fleet.StartJob(v.r.Context(), v.caller, n)
	if errors.Is(err, fleet.ErrInvalid) {
		return body.wrong(err)
	}
	if err != nil {
		return err
	}
	return v.sendMade("/api/v1/jobs/"+j.ID, jobOf(j))
}

func (s *Server) apiUndoJob(v *visit) error {
	if _, err := s.cfg.Fleet.UndoJob(v.r.Context(), v.caller, v.r.PathValue("id")); err != nil {
		return err
	}
	return s.apiJob(v)
}

// apiJobDevice is what became of a device in a job.
type apiJobDevice struct {
	ID      string `json:"id" is:"uuid"`
	Name    string `json:"name" is:"text"`
	Outcome string `json:"outcome" is:"outcome"` // waiting, changed, same, other_owner, restored, kept
}

func (s *Server) apiJobDevices(v *visit) error {
	limit, err := v.limit()
	if err != nil {
		return err
	}
	after := int64(0)
	if text := v.asked.Get("cursor"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 1 {
			return &badRequest{"cursor", "this list did not give it"}
		}
	}
	ctx, id, outcome := v.r.Context(), v.r.PathValue("id"), fleet.Outcome(v.asked.Get("outcome"))
	devices, err := s.cfg.Fleet.JobDevices(ctx, v.caller, id, outcome, after, limit)
	if errors.Is(err, fleet.ErrInvalid) {
		return &badRequest{"outcome", "want one of " + strings.Join(texts(fleet.Outcomes), ", ")}
	}
	if err != nil {
		return err
	}
	count := func() (int64, error) {
		j, err := s.cfg.Fleet.Job(ctx, v.caller, id)
		return j.Of(outcome), err
	}
	return sendPage(v, limit, devices, count, func(d fleet.JobDevice) apiJobDevice { return apiJobDevice{d.ID, d.Name, string(d.Outcome)} },
		func(d fleet.JobDevice) string { return strconv.FormatInt(d.Seq, 10) })
}

// apiDeviceJob is what a job did to a device.
type apiDeviceJob struct {
	ID      string  `json:"id" is:"uuid"` // of the job
	Act     string  `json:"act" is:"act"`
	Label   *string `json:"label" is:"text"`
	School  *string `json:"school" is:"text"` // its name
	By      string  `json:"by" is:"text"`
	Created string  `json:"created" is:"time"`
	Outcome string  `json:"outcome" is:"outcome"`
	Seen    bool    `json:"seen"` // the job itself may be read
}

// mostJobs bounds the jobs of one device, which are kept for 90 days.
const mostJobs = 10_000

func (s *Server) apiDeviceJobs(v *visit) error {
	jobs, err := s.cfg.Fleet.DeviceJobs(v.r.Context(), v.caller, v.r.PathValue("id"), mostJobs)
	if err != nil {
		return err
	}
	return sendList(v, each(jobs, func(j fleet.DeviceJob) apiDeviceJob {
		return apiDeviceJob{j.Job, j.Act, present(j.Label), present(j.SchoolName), j.ActorName, stamp(j.Created), string(j.Outcome), j.Seen}
	}))
}
