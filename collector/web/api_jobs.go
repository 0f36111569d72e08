package web

import (
	"errors"
	"strconv"

	"hausmeister/collector/fleet"
)

// apiLabelCount is a label and how many devices hold it.
type apiLabelCount struct {
	Label   string `json:"label"`
	Devices int64  `json:"devices"`
}

func (s *Server) apiLabels(v *visit) error {
	labels, err := s.cfg.Fleet.Labels(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	items := make([]apiLabelCount, len(labels))
	for i, l := range labels {
		items[i] = apiLabelCount{l.Label, l.Devices}
	}
	return sendList(v, items)
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
	Query   string `json:"q,omitempty"`
	State   string `json:"state,omitempty"`
	School  string `json:"school,omitempty"` // id
	Finding string `json:"finding,omitempty"`
	Label   string `json:"label,omitempty"`
}

// apiNewJob asks for a change of many devices: those that are named, or all that
// fit.
type apiNewJob struct {
	Act     string    `json:"act"` // label, unlabel or school
	Label   string    `json:"label,omitempty"`
	School  string    `json:"school,omitempty"` // id; empty = none
	Devices []string  `json:"devices,omitempty"`
	Filter  *apiWhich `json:"filter,omitempty"`
}

// apiJob is a change of many devices.
type apiJob struct {
	ID        string    `json:"id"`
	Act       string    `json:"act"`
	Label     *string   `json:"label"`
	School    *string   `json:"school"` // id
	Filter    *apiWhich `json:"filter"` // null = the devices were named
	Actor     string    `json:"actor"`
	State     string    `json:"state"` // gathering, running, done, undoing, undone
	Created   string    `json:"created"`
	Ended     *string   `json:"ended"`
	UndoUntil *string   `json:"undo_until"` // null = it cannot be undone
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
	if f := j.Filter; f != nil {
		out.Filter = &apiWhich{f.Query, string(f.State), f.School, f.Finding, f.Label}
	}
	return out
}

func (s *Server) apiJobs(v *visit) error {
	limit, err := v.limit()
	if err != nil {
		return err
	}
	cursor, err := v.idCursor()
	if err != nil {
		return err
	}
	jobs, err := s.cfg.Fleet.Jobs(v.r.Context(), v.caller, cursor, limit)
	if err != nil {
		return err
	}
	page := apiPage[apiJob]{Items: make([]apiJob, len(jobs))}
	for i, j := range jobs {
		page.Items[i] = jobOf(j)
	}
	if len(jobs) == limit {
		page.Cursor = &jobs[limit-1].ID
	}
	return v.sendJSON(page)
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
	n := fleet.NewJob{Act: fleet.Act(body.Act), Label: body.Label, School: body.School, Devices: body.Devices}
	if w := body.Filter; w != nil {
		if len(body.Devices) > 0 {
			return &badRequest{"filter", "want either devices or a filter"}
		}
		n.Filter = &fleet.Filter{Query: w.Query, State: fleet.State(w.State), School: w.School, Finding: w.Finding, Label: w.Label}
	}
	j, err := s.cfg.Fleet.StartJob(v.r.Context(), v.caller, n)
	if errors.Is(err, fleet.ErrInvalid) {
		return &badRequest{"act", err.Error()}
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
	ID      string `json:"id"`
	Name    string `json:"name"`
	Outcome string `json:"outcome"` // waiting, changed, same, other_owner, restored, kept
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
	devices, err := s.cfg.Fleet.JobDevices(v.r.Context(), v.caller, v.r.PathValue("id"), fleet.Outcome(v.asked.Get("outcome")), after, limit)
	if errors.Is(err, fleet.ErrInvalid) {
		return &badRequest{"outcome", "want one of waiting, changed, same, other_owner, restored, kept"}
	}
	if err != nil {
		return err
	}
	page := apiPage[apiJobDevice]{Items: make([]apiJobDevice, len(devices))}
	for i, d := range devices {
		page.Items[i] = apiJobDevice{d.ID, d.Name, string(d.Outcome)}
	}
	if len(devices) == limit {
		page.Cursor = present(strconv.FormatInt(devices[limit-1].Seq, 10))
	}
	return v.sendJSON(page)
}
