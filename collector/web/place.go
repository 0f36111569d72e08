package web

import (
	"errors"
	"net/http"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
)

// editSchoolForm asks for what may be changed of a school.
func (v *visit) editSchoolForm(s fleet.School) form {
	page := "/schools/" + s.ID
	return form{Action: page + "/edit", Send: v.say.Say("quiet.send"), Cancel: page, Fields: []field{
		{Name: "code", Label: v.say.Say("schools.number"), Help: v.say.Say("school.number.help"), Value: s.Code, Max: 32},
		{Name: "name", Label: v.say.Say("audit.detail.name"), Help: v.say.Say("school.name.help"), Value: s.Name, Max: 120, Optional: true},
		{Name: "kind", Label: v.say.Say("schools.kind"), Value: s.Kind, Max: 80, Optional: true},
	}}
}

func (v *visit) showEditSchool(code int, s fleet.School, f form) error {
	return v.showForm(code, "schools", v.say.Say("school.edit.title", "name", s.Title()), v.say.Say("school.edit.text", "owner", s.OwnerName), f)
}

func (s *Server) editSchoolPage(v *visit) error {
	if err := v.caller.Allow(access.WriteSchools); err != nil {
		return err
	}
	school, err := s.cfg.Fleet.School(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.showEditSchool(http.StatusOK, school, v.editSchoolForm(school))
}

func (s *Server) editSchool(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	_, err = s.cfg.Fleet.ChangeSchool(v.r.Context(), v.caller, id, func(c *fleet.School) {
		c.Code, c.Name, c.Kind = typed.Get("code"), typed.Get("name"), typed.Get("kind")
	})
	text := ""
	switch {
	case errors.Is(err, access.ErrExists):
		text = v.say.Say("school.number.taken")
	case errors.Is(err, fleet.ErrInvalid):
		text = v.say.Say("school.edit.wrong")
	default:
		return v.acted("/schools/"+id, "renamed_place", err)
	}
	school, err := s.cfg.Fleet.School(v.r.Context(), v.caller, id)
	if err != nil {
		return err
	}
	f := v.editSchoolForm(school)
	f.fill(typed)
	f.refuse("code", text)
	return v.showEditSchool(http.StatusUnprocessableEntity, school, f)
}

// ownerForm asks for another name of an owner.
func (v *visit) ownerForm(id, name string) form {
	return form{Action: "/settings/owner", Send: v.say.Say("quiet.send"), Hidden: map[string]string{"owner": id}, Fields: []field{
		{Name: "name", Label: v.say.Say("audit.detail.name"), Value: name, Max: 120}}}
}

func (s *Server) renameOwner(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	owner := typed.Get("owner")
	_, err = s.cfg.Fleet.RenameOwner(v.r.Context(), v.caller, owner, typed.Get("name"))
	text := ""
	switch {
	case errors.Is(err, access.ErrExists):
		text = v.say.Say("settings.owner.taken")
	case errors.Is(err, fleet.ErrInvalid):
		text = v.say.Say("settings.owner.wrong")
	default:
		if err != nil {
			return err
		}
		return v.redirect("/settings?owner=" + owner + "&done=renamed_place")
	}
	return s.showSettings(v, http.StatusUnprocessableEntity, func(m *settingsMain) {
		m.Name.fill(typed)
		m.Name.refuse("name", text)
	})
}

// apiNewOwner is another name of an owner.
type apiNewOwner struct {
	Name string `json:"name" is:"text"`
}

func (s *Server) apiRenameOwner(v *visit) error {
	var body apiNewOwner
	if err := v.readJSON(&body); err != nil {
		return err
	}
	o, err := s.cfg.Fleet.RenameOwner(v.r.Context(), v.caller, v.r.PathValue("id"), body.Name)
	if errors.Is(err, fleet.ErrInvalid) {
		return &badRequest{"name", "want a name of at most 120 characters"}
	}
	if err != nil {
		return err
	}
	return v.sendJSON(apiOwner{o.ID, o.Name})
}

// apiNewSchool changes what it names; what is missing or null stays.
type apiNewSchool struct {
	Code *string `json:"code,omitempty" is:"text"`
	Name *string `json:"name,omitempty" is:"text"`
	Kind *string `json:"kind,omitempty" is:"text"`
}

func (s *Server) apiChangeSchool(v *visit) error {
	var body apiNewSchool
	if err := v.readJSON(&body); err != nil {
		return err
	}
	c, err := s.cfg.Fleet.ChangeSchool(v.r.Context(), v.caller, v.r.PathValue("id"), func(c *fleet.School) {
		for _, one := range []struct{ value, asked *string }{{&c.Code, body.Code}, {&c.Name, body.Name}, {&c.Kind, body.Kind}} {
			if one.asked != nil {
				*one.value = *one.asked
			}
		}
	})
	if errors.Is(err, fleet.ErrInvalid) {
		return &badRequest{"code", "want a code of at most 32 characters, a name of at most 120 and a kind of at most 80"}
	}
	if err != nil {
		return err
	}
	return v.sendJSON(apiSchoolItem{c.ID, c.Code, c.Title(), apiPlace{c.Owner, c.OwnerName}})
}
