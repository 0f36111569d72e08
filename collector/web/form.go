package web

import (
	"net/url"
	"slices"

	"hausmeister/collector/access"
)

// field is one field of a form: its label above, help and what is wrong below.
type field struct {
	Name, Label, Help string
	Type              string // text, password, number, date, time, select, checks, school
	Value             string
	Values            []string // of checks
	Options           []option // of select and checks
	List              []string // what a text field suggests
	Max               int      // of characters
	Complete          string   // what a browser may fill in
	Optional          bool
	Depends           bool // is needed with some choices, as its help says
	Error             string
}

// Chosen says whether an option of the field is.
func (f field) Chosen(value string) bool { return f.Value == value || slices.Contains(f.Values, value) }

// form is a form of a page. It comes back as it was typed, with what is wrong.
type form struct {
	Action, Send, Cancel string
	Error                string // what is wrong with it as a whole
	Danger               bool   // cannot be undone
	Hidden               map[string]string
	For                  string // login whose password it is about, for password managers
	Fields               []field
}

// Wrong are the fields that something is wrong with, for the summary.
func (f form) Wrong() (out []field) {
	for _, fd := range f.Fields {
		if fd.Error != "" {
			out = append(out, fd)
		}
	}
	return out
}

// fill takes what was typed; passwords are typed again.
func (f *form) fill(typed url.Values) {
	for i := range f.Fields {
		fd := &f.Fields[i]
		switch fd.Type {
		case "password":
		case "checks":
			fd.Values = typed[fd.Name]
		default:
			fd.Value = typed.Get(fd.Name)
		}
	}
}

// refuse says what is wrong with a field.
func (f *form) refuse(name, text string) {
	for i := range f.Fields {
		if f.Fields[i].Name == name {
			f.Fields[i].Error = text
			return
		}
	}
	f.Error = text
}

func (f form) refused() bool { return f.Error != "" || len(f.Wrong()) > 0 }

// formCard gives a template the form and the words around it.
type formCard struct {
	form
	view
}

// Form: see formCard.
func (w view) Form(f form) formCard { return formCard{f, w} }

// onceCard gives a template what is shown once.
type onceCard struct {
	Secret string
	view
}

// Once: see onceCard.
func (w view) Once(secret string) onceCard { return onceCard{secret, w} }

// typed reads a posted form.
func (v *visit) typed() (url.Values, error) {
	if err := v.r.ParseForm(); err != nil {
		return nil, formError(err)
	}
	return v.r.PostForm, nil
}

// everybody is the choice of a scope without bounds.
const everybody = "*"

// scopeField asks whose data somebody may see.
func (v *visit) scopeField() (field, error) {
	f := field{Name: "owners", Label: v.say.Say("people.scope"), Help: v.say.Say("people.scope.help"), Type: "checks"}
	owners, err := v.s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	if err != nil {
		return f, err
	}
	if v.caller.Owners == nil {
		f.Options = append(f.Options, option{everybody, v.say.Say("people.scope.all")})
	}
	for _, o := range owners {
		f.Options = append(f.Options, option{o.ID, o.Name})
	}
	return f, nil
}

// scope reads what scopeField asked; what is wrong with it comes in words.
func (v *visit) scope(chosen []string) (owners []string, wrong string, err error) {
	switch {
	case len(chosen) == 0:
		return nil, v.say.Say("people.scope.none"), nil
	case slices.Contains(chosen, everybody):
		return nil, "", nil
	}
	unknown, err := v.unknownOwner(chosen)
	if unknown != nil {
		wrong = v.say.Say("people.scope.unknown")
	}
	return chosen, wrong, err
}

// unknownOwner gives one of these that is no owner the caller sees, nil if all are. Owners are never taken away, so the answer stays true.
func (v *visit) unknownOwner(ids []string) (*string, error) {
	names, err := v.ownerNames()
	for _, id := range ids {
		if _, ok := names[id]; !ok && err == nil {
			return &id, nil
		}
	}
	return nil, err
}

func (v *visit) roleField() field {
	f := field{Name: "role", Label: v.say.Say("people.role"), Help: v.say.Say("people.role.help"), Type: "select"}
	for _, r := range slices.Backward(access.Roles) {
		f.Options = append(f.Options, option{string(r), v.say.Say("role." + string(r))})
	}
	f.Value = f.Options[0].Value
	return f
}

// scopeWords says whose data somebody may see.
func (v *visit) scopeWords(owners []string, names map[string]string) string {
	switch {
	case owners == nil:
		return v.say.Say("people.scope.all")
	case len(owners) == 1 && names[owners[0]] != "":
		return names[owners[0]]
	}
	return v.say.Say("people.scope.some", "n", len(owners))
}

// ownerNames are the names of the owners that the caller may see, by id.
func (v *visit) ownerNames() (map[string]string, error) {
	owners, err := v.s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	names := make(map[string]string, len(owners))
	for _, o := range owners {
		names[o.ID] = o.Name
	}
	return names, err
}
