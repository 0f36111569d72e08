package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
)

// viewQuestion is a saved view as the question of the list.
func viewQuestion(sv fleet.View) question {
	f := sv.Filter
	return question{query: f.Query, state: f.State, school: f.School, finding: f.Finding, label: f.Label, model: f.Model, build: f.Build, update: f.Update, sort: f.Sort, desc: f.Desc, from: 1,
		shown: someColumns(sv.Columns), view: sv.ID}
}

// viewOf is the question of the list as a view to save.
func viewOf(q question) fleet.View {
	f := q.first().filter()
	return fleet.View{Filter: f, Columns: strings.Join(q.shown, ",")}
}

// openView leads from a view's name to the list that it means.
func (s *Server) openView(v *visit) error {
	sv, err := s.cfg.Fleet.View(v.r.Context(), v.caller, v.r.PathValue("name"))
	if err != nil {
		return err
	}
	return v.redirect(viewQuestion(sv).href())
}

// viewHref is a view's address: by its name, unless an earlier one has the same.
func viewHref(sv fleet.View, before []fleet.View) string {
	for _, b := range before {
		if b.Slug == sv.Slug {
			return "/views/" + sv.ID
		}
	}
	return "/views/" + sv.Slug
}

// savedViews are the saved views in the list's row of views.
func (v *visit) savedViews(q question) (out []listView, err error) {
	views, err := v.s.cfg.Fleet.Views(v.r.Context(), v.caller)
	for i, sv := range views {
		l := listView{Href: viewHref(sv, views[:i]), Word: sv.Name, Current: q.view == sv.ID, Saved: true}
		if n, ok := v.s.viewCounts.get(countKey(v, sv), v.s.cfg.Now()); ok {
			l.Count = n
		} else {
			l.Load = "/views/" + sv.ID + "/count"
		}
		out = append(out, l)
	}
	return out, err
}

type viewsMain struct {
	Rows    []viewRow
	Done    string
	Deleted string // address that brings back what was just deleted
}

type viewRow struct {
	Href, Name, Filter, Shared string
	Count                      int64
	Edit, Delete               string
}

func (s *Server) viewsPage(v *visit) error {
	views, err := s.cfg.Fleet.Views(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	names, err := v.placeNames()
	if err != nil {
		return err
	}
	main := viewsMain{Done: v.done()}
	if id := v.asked.Get("deleted"); id != "" {
		main.Deleted = "/views/" + url.PathEscape(id) + "/restore"
	}
	for i, sv := range views {
		n, err := s.countView(v, sv)
		if err != nil {
			return err
		}
		r := viewRow{Href: viewHref(sv, views[:i]), Name: sv.Name, Filter: v.filterWords(viewQuestion(sv), names[sv.Filter.School]), Shared: v.sharedWord(sv, names), Count: n}
		if sv.May {
			r.Edit, r.Delete = "/views/"+sv.ID+"/edit", "/views/"+sv.ID+"/delete"
		}
		main.Rows = append(main.Rows, r)
	}
	p := v.framed(v.page(v.say.Say("views.title"), main))
	p.Current = "true"
	return v.show(http.StatusOK, "views", p)
}

func (v *visit) sharedWord(sv fleet.View, names map[string]string) string {
	if sv.Sharing == fleet.ViewOwner {
		return names[sv.Owner]
	}
	return v.say.Say("views.shared." + string(sv.Sharing))
}

// viewForm asks for a view's name, and for whom it shall be.
func (v *visit) viewForm() (form, error) {
	f := form{Action: "/views", Send: v.say.Say("views.save"), Cancel: "/devices", Hidden: map[string]string{}, Fields: []field{
		{Name: "name", Label: v.say.Say("views.name"), Help: v.say.Say("views.name.help"), Type: "text", Max: fleet.MaxViewName},
		{Name: "columns", Label: v.say.Say("devices.columns"), Type: "checks", Options: []option{{"1", v.say.Say("views.columns")}}}}}
	if v.caller.Allow(access.WriteSettings) != nil {
		return f, nil
	}
	shared := field{Name: "shared", Label: v.say.Say("views.shared"), Type: "select", Value: "own", Options: []option{{"own", v.say.Say("views.shared.own")}}}
	owners, err := v.s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	if err != nil {
		return f, err
	}
	for _, o := range owners {
		shared.Options = append(shared.Options, option{o.ID, o.Name})
	}
	if v.caller.Owners == nil {
		shared.Options = append(shared.Options, option{"all", v.say.Say("views.shared.all")})
	}
	f.Fields = append(f.Fields, shared)
	return f, nil
}

// viewFrom reads the filter that a form carries.
func (s *Server) viewFrom(v *visit, values url.Values) (chosen, error) {
	c, err := s.chosenOf(v, url.Values{"from": values["from"], "all": {"1"}})
	c.q = c.q.plain()
	return c, err
}

func (s *Server) newViewPage(v *visit) error {
	c, err := s.viewFrom(v, v.asked)
	if err != nil {
		return err
	}
	f, err := v.viewForm()
	if err != nil {
		return err
	}
	return s.showViewForm(v, http.StatusOK, c, f)
}

func (s *Server) showViewForm(v *visit, code int, c chosen, f form) error {
	f.Hidden["from"], f.Cancel = c.q.address(), c.q.href()
	return v.showForm(code, "devices", v.say.Say("views.new"), v.say.Say("views.new.text", "filter", v.filterWords(c.q, c.school.Title())), f)
}

func (s *Server) saveView(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	c, err := s.viewFrom(v, typed)
	if err != nil {
		return err
	}
	if typed.Get("columns") == "1" {
		if c.q.shown, err = v.columnsOf(c.q); err != nil {
			return err
		}
	} else {
		c.q.shown = nil
	}
	sv := viewOf(c.q)
	sv.Name, sv.Sharing = typed.Get("name"), fleet.ViewOwn
	switch shared := typed.Get("shared"); shared {
	case "", "own":
	case "all":
		sv.Sharing = fleet.ViewAll
	default:
		sv.Sharing, sv.Owner = fleet.ViewOwner, shared
	}
	saved, err := s.newView(v, sv)
	if word := viewWrong(err); word != "" {
		f, err := v.viewForm()
		if err != nil {
			return err
		}
		f.fill(typed)
		f.refuse("name", v.say.Say(word))
		return s.showViewForm(v, http.StatusUnprocessableEntity, c, f)
	}
	if err != nil {
		return err
	}
	return v.redirect("/views/" + saved.ID)
}

// newView keeps a view.
func (s *Server) newView(v *visit, sv fleet.View) (fleet.View, error) {
	if s.builtIn(sv.Name) {
		return fleet.View{}, errBuiltIn
	}
	return s.cfg.Fleet.SaveView(v.r.Context(), v.caller, sv)
}

// renamedView changes a view, and its name with it.
func (s *Server) renamedView(v *visit, id, name string, change func(*fleet.View)) (fleet.View, error) {
	if s.builtIn(name) {
		return fleet.View{}, errBuiltIn
	}
	return s.cfg.Fleet.ChangeView(v.r.Context(), v.caller, id, change)
}

// errBuiltIn: the list has a view of this name for everybody.
var errBuiltIn = fmt.Errorf("%w by the list itself", fleet.ErrViewTaken)

// builtIn says that one of the list's own views has this name, in whatever
// language somebody reads the list: two of one name stand side by side otherwise.
func (s *Server) builtIn(name string) bool {
	bare := func(name string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, name)
	}
	for _, say := range s.say {
		if bare(name) == bare(say.Say("devices.all")) {
			return true
		}
		for _, state := range fleet.States {
			if bare(name) == bare(say.Say("state."+string(state))) || bare(name) == string(state) {
				return true
			}
		}
	}
	return false
}

// viewWrong is the key of what is wrong with a view's name; empty = something else.
func viewWrong(err error) string {
	switch {
	case errors.Is(err, errBuiltIn):
		return "views.name.built_in"
	case errors.Is(err, fleet.ErrViewTaken):
		return "views.name.taken"
	case errors.Is(err, fleet.ErrViews):
		return "views.many"
	case errors.Is(err, fleet.ErrInvalid):
		return "views.name.wrong"
	}
	return ""
}

func (s *Server) editViewPage(v *visit) error {
	sv, err := s.cfg.Fleet.View(v.r.Context(), v.caller, v.r.PathValue("name"))
	if err != nil {
		return err
	}
	return s.showEditView(v, http.StatusOK, sv, sv.Name, "")
}

func (s *Server) showEditView(v *visit, code int, sv fleet.View, name, wrong string) error {
	if !sv.May {
		return access.ErrForbidden
	}
	f := form{Action: "/views/" + sv.ID + "/edit", Send: v.say.Say("views.rename"), Cancel: "/views", Fields: []field{
		{Name: "name", Label: v.say.Say("views.name"), Type: "text", Max: fleet.MaxViewName, Value: name}}}
	if wrong != "" {
		f.refuse("name", v.say.Say(wrong))
	}
	return v.showForm(code, "devices", v.say.Say("views.rename.title", "name", sv.Name), v.say.Say("views.rename.text"), f)
}

func (s *Server) editView(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	ctx, id := v.r.Context(), v.r.PathValue("name")
	_, err = s.renamedView(v, id, typed.Get("name"), func(sv *fleet.View) { sv.Name = typed.Get("name") })
	if word := viewWrong(err); word != "" {
		sv, err := s.cfg.Fleet.View(ctx, v.caller, id)
		if err != nil {
			return err
		}
		return s.showEditView(v, http.StatusUnprocessableEntity, sv, typed.Get("name"), word)
	}
	return v.acted("/views", "renamed", err)
}

// viewSum tells a view from what it is after a change.
func viewSum(sv fleet.View) (string, error) {
	sv.May, sv.Deleted = false, false
	return sumOf("view", sv)
}

// editingView notes which saved view this list may become, if the caller may
// change that; with another filter or order than it has, it is what the page offers.
func (v *visit) editingView(q *question) (*changing, error) {
	id := q.edits.id
	if q.view != "" {
		id = q.view
	}
	if id == "" {
		return nil, nil
	}
	sv, err := v.s.cfg.Fleet.View(v.r.Context(), v.caller, id)
	if errors.Is(err, access.ErrNotFound) || err == nil && (!sv.May || sv.ID != id) {
		q.edits = edited{}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if q.view != "" {
		was, err := viewSum(sv)
		q.edits = edited{id, was}
		return nil, err
	}
	if of := viewQuestion(sv); of.filter() == q.first().filter() {
		q.view = id // changed back
		return nil, nil
	}
	return &changing{Text: v.say.Say("views.edits", "name", sv.Name), Action: "/views/" + id + "/filter", Send: v.say.Say("views.edits.save"),
		Undo: link{"/views/" + id, v.say.Say("edits.undo")}, Hidden: map[string]string{"from": q.first().address(), "was": q.edits.was}}, nil
}

// changeView gives a saved view the filter and order that the list showed, if it
// is as it was when the change began. Its columns stay.
func (s *Server) changeView(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	c, err := s.viewFrom(v, typed)
	if err != nil {
		return err
	}
	id := v.r.PathValue("name")
	ctx := v.unchanged(typed.Get("was"), func(ctx context.Context) (string, error) {
		sv, err := s.cfg.Fleet.View(ctx, v.caller, id)
		if err != nil {
			return "", err
		}
		return viewSum(sv)
	})
	_, err = s.cfg.Fleet.ChangeView(ctx, v.caller, id, func(sv *fleet.View) { sv.Filter = viewOf(c.q).Filter })
	if errors.Is(err, errStale) {
		return s.viewStale(v, id, c)
	}
	if err != nil {
		return err
	}
	s.viewCounts.forget()
	return v.redirect("/views/" + id)
}

// viewStale shows what somebody else made of a view meanwhile, and asks whether
// the own change shall replace that.
func (s *Server) viewStale(v *visit, id string, c chosen) error {
	sv, err := s.cfg.Fleet.View(v.r.Context(), v.caller, id)
	if err != nil {
		return err
	}
	names, err := v.placeNames()
	if err != nil {
		return err
	}
	was, err := viewSum(sv)
	if err != nil {
		return err
	}
	c.q.edits = edited{id, was}
	f := form{Action: "/views/" + id + "/filter", Send: v.say.Say("edits.anyway"), Cancel: c.q.href(), Hidden: map[string]string{"from": c.q.address(), "was": was}}
	return v.showForm(http.StatusConflict, "devices", v.say.Say("edits.stale"), v.say.Say("views.edits.stale", "name", sv.Name,
		"now", v.filterWords(viewQuestion(sv), names[sv.Filter.School]), "mine", v.filterWords(c.q, c.school.Title())), f)
}

func (s *Server) deleteView(v *visit) error {
	id := v.r.PathValue("name")
	if err := s.cfg.Fleet.DeleteView(v.r.Context(), v.caller, id); err != nil {
		return err
	}
	return v.redirect("/views?done=deleted&deleted=" + url.QueryEscape(id))
}

func (s *Server) restoreView(v *visit) error {
	_, err := s.cfg.Fleet.RestoreView(v.r.Context(), v.caller, v.r.PathValue("name"))
	if errors.Is(err, access.ErrNotFound) || errors.Is(err, fleet.ErrViewTaken) {
		return v.redirect("/views") // it is there again already, or another one of its name
	}
	return v.acted("/views", "restored", err)
}
