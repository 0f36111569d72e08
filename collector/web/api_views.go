package web

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/fleet"
)

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
