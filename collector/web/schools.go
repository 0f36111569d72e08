package web

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/fleet"
)

// schoolsMain is the page of the schools and how they reach us.
type schoolsMain struct {
	Query, Sort        string
	Count              string
	Kinds, Owners      []option
	Kind, Owner        *chip // chosen
	Trouble            *chip // always: on or off
	Columns            []schoolColumn
	Rows               []schoolRow
	First, Next, Reset string
}

// chip is a filter that a link takes away, or adds.
type chip struct{ Word, Value, Href string }

type schoolColumn struct {
	Word, Href, Aria string
	Num              bool
}

type schoolRow struct {
	Number, Name, Owner, Href string
	Devices, Connected        int64
	Critical, Warning, Silent int64
	Reach                     string
}

// schoolQuestion is what an address asks of the list of schools.
func schoolQuestion(asked url.Values, limit int) (fleet.SchoolFilter, error) {
	f := fleet.SchoolFilter{Kind: asked.Get("kind"), Owner: asked.Get("owner"), Cursor: asked.Get("cursor"), Limit: limit}
	switch trouble := asked.Get("trouble"); trouble {
	case "", "1":
		f.Trouble = trouble == "1"
	default:
		return f, &badRequest{"trouble", "want 1, or nothing"}
	}
	text, desc := strings.CutPrefix(asked.Get("sort"), "-")
	f.Sort, f.Desc = fleet.SchoolSort(text), desc
	if asked.Has("sort") && !slices.Contains(fleet.SchoolSorts, f.Sort) && asked.Get("sort") != "" {
		return f, &badRequest{"sort", "want one of number, name, devices, trouble, tcp, maybe with - before it"}
	}
	return f, nil
}

func (s *Server) schoolsPage(v *visit) error {
	f, err := schoolQuestion(v.asked, pageSize)
	if err != nil {
		return err
	}
	f.Query = strings.TrimSpace(v.asked.Get("s"))
	owners, err := v.ownerNames()
	if err != nil {
		return err
	}
	page, err := s.cfg.Fleet.SchoolStates(v.r.Context(), v.caller, f)
	kept := url.Values{}
	for name, value := range map[string]string{"s": f.Query, "kind": f.Kind, "owner": f.Owner, "trouble": v.asked.Get("trouble"), "sort": v.asked.Get("sort")} {
		if value != "" {
			kept.Set(name, value)
		}
	}
	switch {
	case errors.Is(err, fleet.ErrCursor), err == nil && f.Cursor != "" && len(page.Items) == 0:
		return v.redirect(withQuery("/schools", kept))
	case errors.Is(err, fleet.ErrWords), errors.Is(err, fleet.ErrInvalid):
		return &badRequest{"s", "want at most " + strconv.Itoa(fleet.MaxWords) + " words"}
	case err != nil:
		return err
	}
	main := schoolsMain{Query: f.Query, Sort: v.asked.Get("sort"), Count: v.say.Say("schools.count", "n", page.Total)}
	main.fillFilters(v, f, kept, page.Kinds, owners)
	for _, c := range page.Items {
		main.Rows = append(main.Rows, schoolRow{Number: c.Code, Name: c.Title(), Owner: c.OwnerName, Href: "/schools/" + c.ID, Devices: c.Devices,
			Connected: c.Connected, Critical: c.Critical, Warning: c.Warning, Silent: c.Silent, Reach: v.reach(c)})
	}
	if f.Cursor != "" {
		main.First = withQuery("/schools", kept)
	}
	if page.Cursor != "" {
		main.Next = withQuery("/schools", with(kept, "cursor", page.Cursor))
	}
	return v.show(http.StatusOK, "schools-page", v.at("schools", v.say.Say("schools.title"), main))
}

// with is a copy of values with another value; empty takes it away.
func with(values url.Values, name, value string) url.Values {
	out := maps.Clone(values)
	if out.Del(name); value != "" {
		out.Set(name, value)
	}
	return out
}

// fillFilters says what can be filtered and sorted, and what is.
func (m *schoolsMain) fillFilters(v *visit, f fleet.SchoolFilter, kept url.Values, kinds []string, owners map[string]string) {
	without := func(name string) string { return withQuery("/schools", with(kept, name, "")) }
	if f.Kind != "" {
		m.Kind = &chip{v.say.Say("schools.chip.kind", "kind", f.Kind), f.Kind, without("kind")}
	}
	if f.Owner != "" {
		m.Owner = &chip{v.say.Say("schools.chip.owner", "owner", cmp.Or(owners[f.Owner], v.say.Say("audit.unnamed.owner"))), f.Owner, without("owner")}
	}
	m.Trouble = &chip{Word: v.say.Say("schools.trouble"), Href: withQuery("/schools", with(kept, "trouble", "1"))}
	if f.Trouble {
		m.Trouble.Value, m.Trouble.Href = "1", without("trouble")
	}
	for _, kind := range kinds {
		m.Kinds = append(m.Kinds, option{kind, kind})
	}
	for _, id := range slices.SortedFunc(maps.Keys(owners), func(a, b string) int { return cmp.Compare(owners[a], owners[b]) }) {
		m.Owners = append(m.Owners, option{id, owners[id]})
	}
	if filtered := with(kept, "sort", ""); len(filtered) > 0 {
		m.Reset = withQuery("/schools", url.Values{"sort": kept["sort"]})
		if kept.Get("sort") == "" {
			m.Reset = "/schools"
		}
	}
	for _, c := range []struct {
		key  string
		sort fleet.SchoolSort
		num  bool
	}{{"schools.number", fleet.SchoolsByNumber, false}, {"device.school", fleet.SchoolsByName, false}, {"device.owner", "", false}, {"devices.title", fleet.SchoolsByDevices, true},
		{"state.connected", "", true}, {"state.critical", fleet.SchoolsByTrouble, true}, {"state.warning", "", true}, {"state.silent", "", true}, {"schools.reach", fleet.SchoolsByTCP, false}} {
		m.Columns = append(m.Columns, schoolColumnOf(v.say.Say(c.key), f, c.sort, c.num, kept))
	}
}

// schoolColumnOf is a head of the table; what counts begins with the most.
func schoolColumnOf(word string, f fleet.SchoolFilter, sort fleet.SchoolSort, num bool, kept url.Values) schoolColumn {
	c := schoolColumn{Word: word, Num: num}
	if sort == "" {
		return c
	}
	most := num || sort == fleet.SchoolsByTCP
	next := string(sort)
	if f.Sort == sort {
		c.Aria = map[bool]string{true: "descending", false: "ascending"}[f.Desc]
		most = !f.Desc
	}
	if most {
		next = "-" + next
	}
	c.Href = withQuery("/schools", with(kept, "sort", next))
	return c
}

// reach says how a school's devices come to us, where that is not the best way.
func (v *visit) reach(c fleet.SchoolState) string {
	var parts []string
	for _, p := range []struct {
		key string
		n   int64
	}{{"schools.tcp", c.TCP}, {"schools.proxy", c.Proxy}, {"schools.inspected", c.Inspected}} {
		if p.n > 0 {
			parts = append(parts, v.say.Say(p.key, "n", p.n))
		}
	}
	return strings.Join(parts, " ")
}

// apiSchoolState is a school, how its devices are, and how they reach us.
type apiSchoolState struct {
	apiSchoolItem
	Devices   int64 `json:"devices"`
	Connected int64 `json:"connected"`
	Critical  int64 `json:"critical"`
	Warning   int64 `json:"warning"`
	Silent    int64 `json:"silent"`
	TCP       int64 `json:"tcp_only"`
	Proxy     int64 `json:"tcp_through_proxy"`
	Inspected int64 `json:"tls_inspected"`
}

func (s *Server) apiSchools(v *visit) error {
	limit, err := v.limit()
	if err != nil {
		return err
	}
	f, err := schoolQuestion(v.asked, limit)
	if err != nil {
		return err
	}
	f.Query = v.asked.Get("q")
	page, err := s.cfg.Fleet.SchoolStates(v.r.Context(), v.caller, f)
	switch {
	case errors.Is(err, fleet.ErrCursor):
		return &badRequest{"cursor", "this list did not give it"}
	case errors.Is(err, fleet.ErrWords), errors.Is(err, fleet.ErrInvalid):
		return &badRequest{"q", "want at most " + strconv.Itoa(fleet.MaxWords) + " words"}
	case err != nil:
		return err
	}
	out := list[apiSchoolState]{Items: make([]apiSchoolState, len(page.Items)), Total: int64(page.Total), Cursor: present(page.Cursor)}
	for i, c := range page.Items {
		out.Items[i] = apiSchoolState{apiSchoolItem{c.ID, c.Code, c.Title(), apiPlace{c.Owner, c.OwnerName}},
			c.Devices, c.Connected, c.Critical, c.Warning, c.Silent, c.TCP, c.Proxy, c.Inspected}
	}
	return v.sendJSON(out)
}
