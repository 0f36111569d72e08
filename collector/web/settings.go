package web

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/health"
)

// settingsMain is the page of what an owner wants of its devices.
type settingsMain struct {
	Owners  []option
	Owner   string // id of the chosen one
	Rows    []standardRow
	Changed string // when and by whom the list was changed last
	May     bool
	Done    string
	Form    form

	House        *form // nil = not for this scope
	HouseChanged string
	Name         *form // of the owner
	Retention    form
	Fixed        []keptFact // what is not to be changed
}

type standardRow struct{ Label, Names, Least string }

func (s *Server) settingsPage(v *visit) error { return s.showSettings(v, http.StatusOK, nil) }

func (v *visit) standardForm(owner string) form {
	return form{Action: "/settings/software", Send: v.say.Say("settings.add"), Hidden: map[string]string{"owner": owner}, Fields: []field{
		{Name: "names", Label: v.say.Say("settings.names"), Help: v.say.Say("settings.names.help"), Max: 500},
		{Name: "label", Label: v.say.Say("settings.label"), Help: v.say.Say("settings.label.help"), Max: 100, Optional: true},
		{Name: "least", Label: v.say.Say("settings.least"), Help: v.say.Say("settings.least.help"), Max: 64, Optional: true},
	}}
}

func (s *Server) showSettings(v *visit, code int, change func(*settingsMain)) error {
	ctx := v.r.Context()
	if err := v.caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	owners, err := s.cfg.Fleet.Owners(ctx, v.caller)
	if err != nil {
		return err
	}
	main := settingsMain{Owner: v.asked.Get("owner"), May: true, Done: v.done()}
	if v.r.Method == http.MethodPost {
		main.Owner = v.r.PostForm.Get("owner")
	}
	for _, o := range owners {
		main.Owners = append(main.Owners, option{o.ID, o.Name})
	}
	if main.Owner == "" && len(owners) > 0 {
		main.Owner = owners[0].ID
	}
	names, err := v.names()
	if err != nil {
		return err
	}
	if v.caller.Owners == nil {
		h, err := s.cfg.Access.House(ctx)
		if err != nil {
			return err
		}
		f := v.houseForm(h)
		main.House, main.HouseChanged = &f, v.changed(h.Changed, h.By, names)
	}
	if main.Owner != "" {
		for _, o := range owners {
			if o.ID == main.Owner && v.caller.Allow(access.WriteSchools) == nil {
				f := v.ownerForm(o.ID, o.Name)
				main.Name = &f
			}
		}
		if err := v.fillRetention(&main, names); err != nil {
			return err
		}
		if err := v.fillStandard(&main, names); err != nil {
			return err
		}
	}
	if change != nil {
		change(&main)
	}
	p := v.at("settings", v.say.Say("settings.title"), main)
	p.Back = "/settings?owner=" + main.Owner
	return v.show(code, "settings", p)
}

func (v *visit) fillStandard(main *settingsMain, names map[string]string) error {
	ctx := v.r.Context()
	programs, err := v.s.cfg.Health.Standard(ctx, v.caller, main.Owner)
	if err != nil {
		return err
	}
	for _, p := range programs {
		main.Rows = append(main.Rows, standardRow{p.Label, strings.Join(p.Names, ", "), p.LeastVersion})
	}
	main.Form = v.standardForm(main.Owner)
	last, err := v.standardChanged(main.Owner)
	if last.AtMS > 0 {
		main.Changed = v.changed(time.UnixMilli(last.AtMS), last.Actor, names)
	}
	return err
}

// standardChanged is the last change of an owner's list; none where the caller may
// not read the record.
func (v *visit) standardChanged(owner string) (audit.Entry, error) {
	if v.caller.Allow(access.ReadAudit) != nil {
		return audit.Entry{}, nil
	}
	last, err := v.s.cfg.Access.AuditLog(v.r.Context(), v.caller, audit.Filter{Owners: []string{owner}, Action: "standard_software", Limit: 1})
	if err != nil || len(last) == 0 {
		return audit.Entry{}, err
	}
	return last[0], nil
}

func (s *Server) setStandard(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	owner := typed.Get("owner")
	p := health.Standard{Label: strings.TrimSpace(typed.Get("label")), LeastVersion: strings.TrimSpace(typed.Get("least"))}
	for name := range strings.SplitSeq(typed.Get("names"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			p.Names = append(p.Names, name)
		}
	}
	err = s.cfg.Health.SetStandard(v.r.Context(), v.caller, owner, p)
	if errors.Is(err, health.ErrStandard) {
		return s.showSettings(v, http.StatusUnprocessableEntity, func(m *settingsMain) {
			m.Form.fill(typed)
			m.Form.refuse("names", v.say.Say("settings.wrong"))
		})
	}
	if err != nil {
		return err
	}
	return v.redirect("/settings?owner=" + owner + "&done=saved")
}

// removeStandard takes a program off the list; the form beside the answer's word
// puts it back.
func (s *Server) removeStandard(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	if err := s.cfg.Health.RemoveStandard(v.r.Context(), v.caller, typed.Get("owner"), typed.Get("label")); err != nil {
		return err
	}
	return v.redirect("/settings?owner=" + typed.Get("owner") + "&done=removed")
}

// apiStandardProgram is a program that each device of an owner must have.
type apiStandardProgram struct {
	ID    string   `json:"id" is:"text"` // the label
	Label string   `json:"label" is:"text"`
	Names []string `json:"names" is:"text"` // of package lists, without case; alternatives
	Least string   `json:"least_version" is:"text"`
}

// apiStandardList is an owner's list, and its last change: null where there is none, or
// where the caller may not read the record.
type apiStandardList struct {
	list[apiStandardProgram]
	Changed   *string `json:"changed" is:"time"`
	ChangedBy *string `json:"changed_by" is:"text"`
}

func (s *Server) apiStandard(v *visit) error {
	programs, err := s.cfg.Health.Standard(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	items := make([]apiStandardProgram, len(programs))
	for i, p := range programs {
		items[i] = apiStandardProgram{p.Label, p.Label, p.Names, p.LeastVersion}
	}
	page, err := pageOf(v, items)
	if err != nil {
		return err
	}
	out := apiStandardList{list: page}
	last, err := v.standardChanged(v.r.PathValue("id"))
	if err != nil {
		return err
	}
	if last.AtMS > 0 {
		out.Changed, out.ChangedBy = present(stamp(time.UnixMilli(last.AtMS))), present(last.Actor)
	}
	return v.sendJSON(out)
}

// apiNewStandard adds a program, or replaces the one of its label, which is the
// first of names unless said.
type apiNewStandard struct {
	Label string   `json:"label,omitempty" is:"text"`
	Names []string `json:"names" is:"text"`
	Least string   `json:"least_version,omitempty" is:"text"`
}

func (s *Server) apiSetStandard(v *visit) error {
	var body apiNewStandard
	if err := v.readJSON(&body); err != nil {
		return err
	}
	err := s.cfg.Health.SetStandard(v.r.Context(), v.caller, v.r.PathValue("id"), health.Standard{Label: body.Label, Names: body.Names, LeastVersion: body.Least})
	if errors.Is(err, health.ErrStandard) {
		return &badRequest{"names", err.Error()}
	}
	if err != nil {
		return err
	}
	return s.apiStandard(v)
}

type apiLabel struct {
	Label string `json:"label" is:"text"`
}

func (s *Server) apiRemoveStandard(v *visit) error {
	var body apiLabel
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := s.cfg.Health.RemoveStandard(v.r.Context(), v.caller, v.r.PathValue("id"), body.Label); err != nil {
		return err
	}
	return s.apiStandard(v)
}
