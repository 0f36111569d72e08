package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
)

// viewQuestion is a saved view as the question of the list.
func viewQuestion(sv fleet.View) question {
	f := sv.Filter
	return question{query: f.Query, state: f.State, school: f.School, finding: f.Finding, label: f.Label, model: f.Model, build: f.Build, sort: f.Sort, desc: f.Desc, from: 1,
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

// viewCounts keeps for a while how many devices saved views have, so that the list
// itself need not count them: whoever sees the same owners sees the same number.
type viewCounts struct {
	mu sync.Mutex
	// below is guarded by mu
	of map[string]viewCount
}

type viewCount struct {
	n  int64
	at time.Time
}

const (
	countsFor = 30 * time.Second
	maxCounts = 2000
)

func countKey(v *visit, sv fleet.View) string { return fmt.Sprintf("%q %q", sv.ID, v.caller.Owners) }

func (c *viewCounts) get(key string, now time.Time) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, ok := c.of[key]
	return got.n, ok && now.Sub(got.at) < countsFor
}

func (c *viewCounts) put(key string, n int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil || len(c.of) >= maxCounts {
		c.of = map[string]viewCount{}
	}
	c.of[key] = viewCount{n, now}
}

// forget lets a view that was changed be counted anew.
func (c *viewCounts) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = nil
}

// countView counts the devices of a view.
func (s *Server) countView(v *visit, sv fleet.View) (int64, error) {
	key, now := countKey(v, sv), s.cfg.Now()
	if n, ok := s.viewCounts.get(key, now); ok {
		return n, nil
	}
	counts, err := s.cfg.Fleet.Counts(v.r.Context(), v.caller, sv.Filter)
	if err != nil {
		return 0, err
	}
	n := counts.Total
	if sv.Filter.State != "" {
		n = counts.States[sv.Filter.State]
	}
	s.viewCounts.put(key, n, now)
	return n, nil
}

// viewCountPart is the number beside a view's name, for a page that was there
// before it was counted.
func (s *Server) viewCountPart(v *visit) error {
	sv, err := s.cfg.Fleet.View(v.r.Context(), v.caller, v.r.PathValue("name"))
	if err != nil {
		return err
	}
	n, err := s.countView(v, sv)
	if err != nil {
		return err
	}
	v.send(http.StatusOK, "text/html; charset=utf-8", []byte(v.say.Number(n)))
	return nil
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

// apiView is a filter of the list under a name. Columns are those of the page.
type apiView struct {
	ID      string   `json:"id" is:"uuid"`
	Name    string   `json:"name" is:"text"`
	Slug    string   `json:"slug" is:"text"`
	Shared  string   `json:"shared" is:"sharing"` // own, owner or all
	Owner   *string  `json:"owner" is:"uuid"`     // id; with owner
	Filter  apiWhich `json:"filter"`
	Sort    *string  `json:"sort" is:"sort"`
	Columns []string `json:"columns" is:"column"`
	Devices *int64   `json:"devices,omitempty"` // of one's own scope; in lists only
	Created string   `json:"created" is:"time"`
}

func apiViewOf(sv fleet.View) apiView {
	f := sv.Filter
	out := apiView{ID: sv.ID, Name: sv.Name, Slug: sv.Slug, Shared: string(sv.Sharing), Owner: present(sv.Owner), Filter: whichOf(f),
		Columns: append([]string{}, someColumns(sv.Columns)...), Created: stamp(sv.Created)}
	if f.Sort != "" || f.Desc {
		out.Sort = present(question{sort: f.Sort, desc: f.Desc}.sortName())
	}
	return out
}

// apiNewView asks for a view; shared missing = own.
type apiNewView struct {
	Name    string    `json:"name" is:"text"`
	Shared  string    `json:"shared,omitempty" is:"sharing"`
	Owner   string    `json:"owner,omitempty" is:"uuid"`
	Filter  *apiWhich `json:"filter,omitempty"`
	Sort    string    `json:"sort,omitempty" is:"sort"`
	Columns []string  `json:"columns,omitempty" is:"column"`
}

// checkColumns refuses columns that the list has not, lest a view is kept without
// them unseen.
func checkColumns(asked []string) error {
	if len(asked) > mostColumns {
		return &badRequest{"columns", "want at most " + strconv.Itoa(mostColumns)}
	}
	for _, id := range asked {
		if !slices.ContainsFunc(listColumns, func(c listColumn) bool { return c.id == id }) {
			return &badRequest{"columns", "no such column: " + strconv.Quote(id)}
		}
	}
	return nil
}

// into puts what is asked for into a view; what is missing stays.
func (n apiNewView) into(sv *fleet.View) {
	if n.Name != "" {
		sv.Name = n.Name
	}
	if w := n.Filter; w != nil {
		sort, desc := sv.Filter.Sort, sv.Filter.Desc
		sv.Filter = w.filter()
		sv.Filter.Sort, sv.Filter.Desc = sort, desc
	}
	if n.Sort != "" {
		name, desc := strings.CutPrefix(n.Sort, "-")
		sv.Filter.Sort, sv.Filter.Desc = fleet.Sort(name), desc
	}
	if n.Columns != nil {
		sv.Columns = strings.Join(someColumns(strings.Join(n.Columns, ",")), ",")
	}
}

func apiViewError(err error) error {
	if errors.Is(err, fleet.ErrInvalid) {
		return &badRequest{"name", err.Error()}
	}
	return err
}

func (s *Server) apiViews(v *visit) error {
	views, err := s.cfg.Fleet.Views(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	some, cursor, err := paged(v, views, func(sv fleet.View) string { return sv.ID })
	if err != nil {
		return err
	}
	items := make([]apiView, len(some))
	for i, sv := range some {
		n, err := s.countView(v, sv)
		if err != nil {
			return err
		}
		items[i] = apiViewOf(sv)
		items[i].Devices = &n
	}
	return v.sendJSON(list[apiView]{Items: items, Total: int64(len(views)), Cursor: cursor})
}

func (s *Server) apiView(v *visit) error {
	sv, err := s.cfg.Fleet.View(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(apiViewOf(sv))
}

func (s *Server) apiSaveView(v *visit) error {
	var body apiNewView
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := checkColumns(body.Columns); err != nil {
		return err
	}
	sv := fleet.View{Sharing: fleet.ViewOwn, Owner: body.Owner}
	if body.Shared != "" {
		sv.Sharing = fleet.Sharing(body.Shared)
	}
	body.into(&sv)
	saved, err := s.newView(v, sv)
	if err != nil {
		return apiViewError(err)
	}
	return v.sendMade("/api/v1/views/"+saved.ID, apiViewOf(saved))
}

// apiViewChange changes what it names of a view.
type apiViewChange struct {
	Name    string    `json:"name,omitempty" is:"text"`
	Filter  *apiWhich `json:"filter,omitempty"`
	Sort    string    `json:"sort,omitempty" is:"sort"`
	Columns []string  `json:"columns,omitempty" is:"column"`
}

func (s *Server) apiChangeView(v *visit) error {
	var body apiViewChange
	if err := v.readJSON(&body); err != nil {
		return err
	}
	if err := checkColumns(body.Columns); err != nil {
		return err
	}
	sv, err := s.renamedView(v, v.r.PathValue("id"), body.Name, apiNewView{Name: body.Name, Filter: body.Filter, Sort: body.Sort, Columns: body.Columns}.into)
	if err != nil {
		return apiViewError(err)
	}
	s.viewCounts.forget()
	return v.sendJSON(apiViewOf(sv))
}

// apiDeleteView answers with the view as it was.
func (s *Server) apiDeleteView(v *visit) error {
	ctx, id := v.r.Context(), v.r.PathValue("id")
	sv, err := s.cfg.Fleet.View(ctx, v.caller, id)
	if err != nil {
		return err
	}
	if err := s.cfg.Fleet.DeleteView(ctx, v.caller, sv.ID); err != nil {
		return err
	}
	return v.sendJSON(apiViewOf(sv))
}

// apiRestoreView brings back a view that was deleted not long ago.
func (s *Server) apiRestoreView(v *visit) error {
	sv, err := s.cfg.Fleet.RestoreView(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return apiViewError(err)
	}
	return v.sendJSON(apiViewOf(sv))
}
