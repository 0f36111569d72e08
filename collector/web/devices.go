package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
	"hausmeister/proto/finding"
)

// pageSize is how many devices a page of the list shows.
const pageSize = 50

type devicesMain struct {
	Count         string
	Views         []listView
	State         fleet.State
	StateWord     string
	States        []option
	WithoutState  string
	School        string
	SchoolWord    string
	WithoutSchool string
	Finding       string // code
	FindingWord   string
	NoFinding     string // address without it
	Update        string // the word for how far it is
	UpdateWord    string
	NoUpdate      string   // address without it
	Updates       []option // empty = nothing was ever rolled out
	Picks         []pickOne
	Sort          string // as in the address, empty for the usual order
	Reset         string
	Columns       []column
	Choices       field  // of columns
	Chosen        string // of columns, as in the address
	Rows          []row
	Range         string
	First, Next   string
	CSV           string
	News          string // address of the stream of what changed

	Empty, EmptyText, Command, LastFilter, NewClaim string

	// Choose: the caller may choose devices and have something done with them.
	Choose                   bool
	From                     string // the address of this list, for the form
	AllChosen, Unchoose      string // all of the filter are chosen; address of none
	ChooseAll, ChooseAllHref string
	Note                     *jobView

	SaveView   string // address
	Edits      string // of question
	Change     *changing
	Everywhere string // where the same words are searched for among schools and people, too
}

type listView struct {
	Href, Word string
	Count      int64
	Current    bool
	Saved      bool
	Load       string // address of the count, which is not known yet
}

type option struct{ Value, Word string }

// pickOne is a filter by one of a few texts: what is picked, or what can be.
type pickOne struct {
	Name, Word string
	Value      string // empty = none is picked
	Chip       string // says what is
	Without    string // address without it
	Offered    []string
}

// column is one head of the table; without Href it cannot be sorted by.
type column struct {
	ID, Word, Class, Href string
	Aria                  string // aria-sort
}

type row struct {
	ID                string
	Href, Name, Model string
	Labels            []string
	State             mark
	Cells             []listCell
}

// mark is a state's shape and word.
type mark struct{ Shape, Word string }

var shapes = map[fleet.State]string{
	fleet.StateCritical: "crit", fleet.StateWarning: "warn", fleet.StateConnected: "ok", fleet.StateOK: "ok", fleet.StateSilent: "idle", fleet.StateNew: "info", fleet.StateRevoked: "off",
}

func (v *visit) mark(s fleet.State) mark { return mark{shapes[s], v.say.Say("state." + string(s))} }

func (s *Server) devicesPage(v *visit) error {
	ctx := v.r.Context()
	q, err := ask(v.asked)
	if err != nil {
		return err
	}
	main := devicesMain{}
	if fleet.TooManyWords(q.query) {
		rest := q.first()
		rest.query = ""
		return v.showUnasked(q, rest, v.say.Say("devices.words"), v.say.Say("devices.words.text", "n", fleet.MaxWords))
	}
	school, err := s.school(v, q.school)
	switch {
	case errors.Is(err, errNoSchool):
		rest := q.first()
		rest.school = ""
		return v.showUnasked(q, rest, v.say.Say("devices.no_school", "school", q.school), v.say.Say("devices.no_school.text"))
	case err != nil:
		return err
	case school.ID != q.school:
		return v.redirect(q.withSchool(school.ID)) // typed by name: the address keeps the id
	case school.ID != "":
		main.SchoolWord = school.Title()
	}
	news := v.newsHref(q) // before the rows are read: what changes meanwhile is news
	here, err := s.cfg.Fleet.Counts(ctx, v.caller, q.regardless())
	if err != nil {
		return err
	}
	all := here.Total
	if q.filtered() {
		if all, err = s.cfg.Fleet.Total(ctx, v.caller); err != nil {
			return err
		}
	}
	if q.columns, err = v.columnsOf(q); err != nil {
		return err
	}
	filter := q.filter()
	filter.Counted = &here
	filter.Details = detailsOf(chosenColumns(q.columns))
	page, err := s.cfg.Fleet.List(ctx, v.caller, filter)
	switch {
	case errors.Is(err, fleet.ErrCursor):
		return v.redirect(q.first().href()) // of an older version of the list: begin anew
	case errors.Is(err, fleet.ErrInvalid):
		return &badRequest{"sort", "want one of label, model, school, last_contact, battery, disk_free"}
	case err != nil:
		return err
	}
	if main.Change, err = v.editingView(&q); err != nil {
		return err
	}
	v.fillFilters(&main, q, here)
	if err := v.fillRows(&main, q, page, all); err != nil {
		return err
	}
	main.News = news
	if err := v.fillOffers(&main); err != nil {
		return err
	}
	if err := v.fillSaved(&main, q); err != nil {
		return err
	}
	if err := v.fillChoice(&main, q, page); err != nil {
		return err
	}
	return v.showList(q, main, all)
}

// picks are the list's filters by one of a few texts.
func (v *visit) picks(q question) []pickOne {
	all := []pickOne{{Name: "model", Word: "devices.column.model", Value: q.model, Without: q.withModel("")},
		{Name: "os_build", Word: "devices.column.build", Value: q.build, Without: q.withBuild("")}, {Name: "label", Word: "devices.label", Value: q.label, Without: q.withLabel("")}}
	for i := range all {
		p := &all[i]
		p.Word, p.Chip = v.say.Say(p.Word), v.say.Say("devices.chip."+p.Name, p.Name, p.Value)
	}
	return all
}

// fillOffers says what the list can be filtered by and is not yet.
func (v *visit) fillOffers(main *devicesMain) (err error) {
	of := map[string]func(context.Context, access.Caller) ([]string, error){"label": v.s.cfg.Fleet.LabelNames, "model": v.s.cfg.Fleet.Models, "os_build": v.s.cfg.Fleet.Builds}
	for i := range main.Picks {
		p := &main.Picks[i]
		if p.Value != "" {
			continue
		}
		if p.Offered, err = of[p.Name](v.r.Context(), v.caller); err != nil {
			return err
		}
	}
	if main.Update != "" || v.caller.Allow(access.ReadRollouts) != nil {
		return nil
	}
	began, err := v.s.cfg.Rollouts.Count(v.r.Context(), v.caller)
	if err != nil || began == 0 {
		return err
	}
	for _, word := range rollout.Words {
		main.Updates = append(main.Updates, option{word, v.updateWord(word)})
	}
	return nil
}

// updateWord is what pages call a word for how far an update is.
func (v *visit) updateWord(word string) string { return v.say.Say("why." + word) }

// fillSaved adds the saved views, and the way to save what is shown.
func (v *visit) fillSaved(main *devicesMain, q question) error {
	saved, err := v.savedViews(q)
	main.Views = append(main.Views, saved...)
	main.SaveView = "/views/new?from=" + url.QueryEscape(q.first().address())
	return err
}

// fillChoice offers to whoever may change devices to choose some.
func (v *visit) fillChoice(main *devicesMain, q question, page fleet.Page) error {
	if v.caller.Allow(access.WriteDevices) != nil {
		return nil
	}
	main.Choose, main.From = true, q.plain().address()
	if q.all {
		main.AllChosen, main.Unchoose = v.say.Say("devices.chosen.all", "n", page.Total), q.plain().href()
	} else if page.Total > int64(len(page.Items)) {
		main.ChooseAll, main.ChooseAllHref = v.say.Say("devices.choose.all", "n", page.Total), q.withAll()
	}
	if q.job == "" {
		return nil
	}
	job, err := v.s.cfg.Fleet.Job(v.r.Context(), v.caller, q.job)
	if errors.Is(err, access.ErrNotFound) {
		return nil // an old address
	}
	if err == nil {
		main.Note = v.noteOf(job, q.href())
	}
	return err
}

func (v *visit) showList(q question, main devicesMain, devices int64) error {
	p := v.page(v.say.Say("devices.title"), main)
	p.OnList, p.Query, p.Current, p.Devices = true, q.query, "page", devices
	p.Back = q.plain().href()
	if v.r.Header.Get("HX-Request") == "true" {
		v.w.Header().Set("HX-Push-Url", p.Back) // without the empty fields of the form
	}
	return v.show(http.StatusOK, "devices", p)
}

func (v *visit) fillFilters(main *devicesMain, q question, counts fleet.Counts) {
	main.Views = []listView{{Href: q.aside().withState(""), Word: v.say.Say("devices.all"), Count: counts.Total, Current: q.state == "" && q.view == ""}}
	for _, s := range fleet.States {
		word := v.say.Say("state." + string(s))
		main.Views = append(main.Views, listView{Href: q.aside().withState(s), Word: word, Count: counts.States[s], Current: q.state == s && q.view == ""})
		main.States = append(main.States, option{string(s), word})
	}
	main.State, main.School = q.state, q.school
	main.CSV = strings.Replace(q.first().href(), "/devices", "/devices.csv", 1)
	if q.state != "" {
		main.StateWord, main.WithoutState = v.say.Say("state."+string(q.state)), q.withState("")
	}
	if q.school != "" {
		main.WithoutSchool = q.withSchool("")
	}
	if row, ok := finding.ByCode(q.finding); ok {
		main.Finding, main.FindingWord, main.NoFinding = q.finding, pick(v.say.Lang, row.Title), q.withFinding("")
	}
	if q.update != "" {
		main.Update, main.UpdateWord, main.NoUpdate = q.update, v.updateWord(q.update), q.withUpdate("")
	}
	main.Picks = v.picks(q)
	if q.filtered() || q.state != "" {
		main.Reset = question{sort: q.sort, desc: q.desc, shown: q.shown}.href()
	}
	if q.sort != "" || q.desc {
		main.Sort = q.sortName()
	}
	main.Chosen, main.Edits = strings.Join(q.shown, ","), q.edits.String()
	main.Choices = v.columnsField(q.columns)
}

func (v *visit) fillRows(main *devicesMain, q question, page fleet.Page, all int64) error {
	if page.Total == all {
		main.Count = v.say.Say("devices.count", "n", page.Total)
	} else {
		main.Count = v.say.Say("devices.count.some", "n", page.Total, "all", all)
	}
	columns := chosenColumns(q.columns)
	main.Columns = v.columns(q, columns)
	devices, err := v.listed(page.Items, q.columns)
	if err != nil {
		return err
	}
	for _, d := range devices {
		r := row{ID: d.ID, Href: "/devices/" + d.ID, Name: d.Label(), State: v.mark(d.State), Cells: v.listCells(q, columns, d)}
		if !slices.Contains(q.columns, "model") {
			r.Model = d.Model
		}
		if !slices.Contains(q.columns, "labels") {
			r.Labels = d.Labels
		}
		main.Rows = append(main.Rows, r)
	}
	if len(page.Items) == 0 {
		return v.fillEmpty(main, q, all)
	}
	last := q.from + int64(len(page.Items)) - 1
	main.Range = v.say.Say("devices.range", "first", q.from, "last", last, "all", max(page.Total, last))
	if q.cursor != "" {
		main.First = q.first().href()
	}
	if page.Cursor != "" {
		next := q
		next.cursor, next.from = page.Cursor, last+1
		main.Next = next.href()
	}
	return nil
}

// columns are the heads; a click on the one that sorts turns the order round.
func (v *visit) columns(q question, columns []listColumn) []column {
	sorted := func(by fleet.Sort, word, class string) column {
		c := column{Word: v.say.Say(word), Class: class}
		next := q.anew()
		next.sort, next.desc = by, false
		if by == fleet.ByLabel {
			next.sort = ""
		}
		// Numbers and days are asked for from the worst, which is the smallest;
		// the second click shows the other end.
		if q.sort == next.sort {
			c.Aria, next.desc = "ascending", !q.desc
			if q.desc {
				c.Aria = "descending"
			}
		}
		c.Href = next.href()
		return c
	}
	heads := []column{{ID: "state", Word: v.say.Say("devices.state")}, sorted(fleet.ByLabel, "devices.device", "")}
	heads[1].ID = "device"
	for _, c := range columns {
		head := column{Word: v.say.Say("devices.column." + c.id), Class: c.class}
		if c.sort != "" {
			head = sorted(c.sort, "devices.column."+c.id, c.class)
		}
		head.ID = c.id
		heads = append(heads, head)
	}
	return heads
}

// system is the word for an operating system's family.
func (v *visit) system(os string) string {
	switch os {
	case "linux":
		return "Linux"
	case "windows":
		return "Windows"
	case "darwin":
		return "macOS"
	}
	return os
}

// fillEmpty says why there is nothing and what to do.
func (v *visit) fillEmpty(main *devicesMain, q question, all int64) error {
	if all == 0 {
		return v.fillNone(main)
	}
	main.Empty, main.EmptyText = v.say.Say("devices.no_match"), v.say.Say("devices.no_match.text")
	switch {
	case q.query != "":
		main.LastFilter = q.withQuery("")
		main.Everywhere = withQuery("/search", url.Values{"q": {q.query}})
	case q.school != "":
		main.LastFilter = q.withSchool("")
	case q.finding != "":
		main.LastFilter = q.withFinding("")
	case q.label != "":
		main.LastFilter = q.withLabel("")
	case q.model != "":
		main.LastFilter = q.withModel("")
	case q.build != "":
		main.LastFilter = q.withBuild("")
	case q.update != "":
		main.LastFilter = q.withUpdate("")
	default:
		main.LastFilter = q.withState("")
	}
	return nil
}

// fillNone says how the first device comes, to whom may admit one. A claim is for
// an owner, and the first owner is made on the collector's machine.
func (v *visit) fillNone(main *devicesMain) error {
	main.Empty = v.say.Say("devices.none")
	if v.caller.Allow(access.WriteClaims) != nil {
		main.EmptyText = v.say.Say("devices.none.ask", "role", v.say.Say("role.admin"))
		return nil
	}
	owners, err := v.s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	if len(owners) == 0 {
		main.EmptyText, main.Command = v.say.Say("devices.none.text"), claimCommand
		return nil
	}
	main.EmptyText, main.NewClaim = v.say.Say("devices.none.admit"), "/claims/new"
	return nil
}

// claimCommand makes a claim for ten devices on the collector's machine.
const claimCommand = `hausmeister-collector claim create --owner "Landkreis Ahorn" --new-owner --cap 10 --expires 30d`

// showUnasked answers a filter that cannot be with the list's own frame, so that
// the next try is one field away. q is what was typed, rest the question without
// that filter; title and text say what is wrong with it.
func (v *visit) showUnasked(q, rest question, title, text string) error {
	ctx := v.r.Context()
	all, err := v.s.cfg.Fleet.Total(ctx, v.caller)
	if err != nil {
		return err
	}
	here, err := v.s.cfg.Fleet.Counts(ctx, v.caller, rest.regardless())
	if err != nil {
		return err
	}
	main := devicesMain{Count: v.say.Say("devices.count.some", "n", 0, "all", all), Empty: title, EmptyText: text, LastFilter: rest.first().href()}
	v.fillFilters(&main, rest, here)
	return v.showList(q, main, all)
}
