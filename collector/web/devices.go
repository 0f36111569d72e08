package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/proto/finding"
)

// pageSize is how many devices a page of the list shows.
const pageSize = 50

// question is what the address of the list asks for. The address says all of
// it, so that a view can be kept as a bookmark or sent to a colleague.
type question struct {
	query  string
	state  fleet.State
	school string // id
	// finding is the code of what is open about the devices.
	finding string
	label   string
	model   string
	build   string // of the system
	sort    fleet.Sort
	desc    bool
	cursor  string
	from    int64    // number of the first row; the cursor knows no numbers
	all     bool     // all devices of the filter are chosen
	job     string   // id of the job whose note the list shows
	shown   []string // columns that the address asks for; none = those of the person
	columns []string // those that are shown
	view    string   // id of the saved view that this is
	edits   edited   // the saved view that this was, when somebody changes it
}

func ask(values url.Values) (question, error) {
	q := question{query: strings.TrimSpace(values.Get("q")), state: fleet.State(values.Get("state")),
		school: strings.TrimSpace(values.Get("school")), cursor: values.Get("cursor"), from: 1,
		finding: values.Get("finding"), label: strings.TrimSpace(values.Get("label")), model: values.Get("model"), build: values.Get("os_build"), all: values.Get("all") == "1", job: values.Get("job"),
		shown: someColumns(values.Get("columns")), view: values.Get("view"), edits: editedOf(values.Get("edits"))}
	if len(q.query) > 200 {
		return q, &badRequest{"q", "want at most 200 bytes of text"}
	}
	if len(q.school) > 300 {
		return q, &badRequest{"school", "want at most 300 bytes of text"}
	}
	if len(q.label) > 200 || len(q.job) > 100 || len(q.view) > 100 {
		return q, &badRequest{"label", "want the text of a label"}
	}
	for name, value := range map[string]string{"model": q.model, "os_build": q.build} {
		if len(value) > 300 {
			return q, &badRequest{name, "want at most 300 bytes of text"}
		}
	}
	if q.state != "" && !slices.Contains(fleet.States, q.state) {
		return q, &badRequest{"state", "want one of " + stateNames()}
	}
	if _, ok := finding.ByCode(q.finding); !ok && q.finding != "" {
		return q, &badRequest{"finding", "want the code of a finding"}
	}
	name, desc := strings.CutPrefix(values.Get("sort"), "-")
	q.sort, q.desc = fleet.Sort(name), desc
	if name == string(fleet.ByLabel) {
		q.sort = ""
	}
	if from, err := strconv.ParseInt(values.Get("from"), 10, 64); err == nil && from > 1 && from < 1e9 && q.cursor != "" {
		q.from = from
	}
	return q, nil
}

func stateNames() string {
	var names []string
	for _, s := range fleet.States {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// address is the query of the question's address; only what is asked stands in it.
func (q question) address() string {
	values := url.Values{}
	set := func(name, value string) {
		if value != "" {
			values.Set(name, value)
		}
	}
	set("q", q.query)
	set("state", string(q.state))
	set("school", q.school)
	set("finding", q.finding)
	set("label", q.label)
	set("model", q.model)
	set("os_build", q.build)
	if q.sort != "" || q.desc {
		set("sort", q.sortName())
	}
	if q.cursor != "" {
		set("cursor", q.cursor)
		set("from", strconv.FormatInt(q.from, 10))
	}
	if q.all {
		set("all", "1")
	}
	set("job", q.job)
	set("view", q.view)
	if q.view == "" {
		set("edits", q.edits.String())
	}
	set("columns", strings.Join(q.shown, ","))
	return values.Encode()
}

func (q question) href() string {
	if address := q.address(); address != "" {
		return "/devices?" + address
	}
	return "/devices"
}

func (q question) sortName() string {
	name := string(q.sort)
	if name == "" {
		name = string(fleet.ByLabel)
	}
	if q.desc {
		return "-" + name
	}
	return name
}

// The questions next to this one, each from its first page.

func (q question) first() question                { q.cursor, q.from = "", 1; return q.plain() }
func (q question) anew() question                 { q = q.first(); q.view = ""; return q }       // another than the saved view
func (q question) aside() question                { q = q.anew(); q.edits = edited{}; return q } // another view, not a change of this one
func (q question) plain() question                { q.all, q.job = false, ""; return q }
func (q question) withAll() string                { q = q.first(); q.all = true; return q.href() }
func (q question) withJob(id string) string       { q = q.plain(); q.job = id; return q.href() }
func (q question) withState(s fleet.State) string { q = q.anew(); q.state = s; return q.href() }
func (q question) withSchool(id string) string    { q = q.anew(); q.school = id; return q.href() }
func (q question) withQuery(s string) string      { q = q.anew(); q.query = s; return q.href() }
func (q question) withFinding(code string) string { q = q.anew(); q.finding = code; return q.href() }

func (q question) withLabel(s string) string { q = q.anew(); q.label = s; return q.href() }
func (q question) withModel(s string) string { q = q.anew(); q.model = s; return q.href() }
func (q question) withBuild(s string) string { q = q.anew(); q.build = s; return q.href() }

// filtered says that the question leaves anything out but by state.
func (q question) filtered() bool {
	return q.query != "" || q.school != "" || q.finding != "" || q.label != "" || q.model != "" || q.build != ""
}

// regardless is the filter of the question whatever the state.
func (q question) regardless() fleet.Filter {
	return fleet.Filter{Query: q.query, School: q.school, Finding: q.finding, Label: q.label, Model: q.model, Build: q.build}
}

func (q question) filter() fleet.Filter {
	f := q.regardless()
	f.State, f.Sort, f.Desc, f.Cursor, f.Limit = q.state, q.sort, q.desc, q.cursor, pageSize
	return f
}

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

// errNoSchool: what was typed into the school field names none, or several.
var errNoSchool = errors.New("no such school")

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
	return nil
}

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
	for _, d := range page.Items {
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

// school finds what the school field or parameter means: an id, a school's
// number, its name, or the line that the field suggested. Without any it is the
// zero School.
func (s *Server) school(v *visit, text string) (fleet.School, error) {
	if text == "" {
		return fleet.School{}, nil
	}
	schools, err := s.cfg.Fleet.Schools(v.r.Context(), v.caller)
	if err != nil {
		return fleet.School{}, err
	}
	var found []fleet.School
	for _, school := range schools {
		if school.ID == text {
			return school, nil
		}
		if strings.EqualFold(school.Code, text) || strings.EqualFold(school.Title(), text) || strings.EqualFold(suggestion(school), text) {
			found = append(found, school)
		}
	}
	if len(found) != 1 {
		return fleet.School{}, errNoSchool
	}
	return found[0], nil
}

// suggestion names a school so that no other has the same line.
func suggestion(s fleet.School) string {
	title := s.Title()
	if !strings.Contains(title, s.Code) {
		title += " " + s.Code
	}
	return title + ", " + s.OwnerName
}

const maxSuggestions = 20

// schoolOptions suggests schools for what stands in the field so far.
func (s *Server) schoolOptions(v *visit) error {
	schools, err := s.cfg.Fleet.Schools(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	words := strings.Fields(strings.ToLower(v.asked.Get("school")))
	var options []string
	for _, school := range schools {
		line := suggestion(school)
		folded := strings.ToLower(line)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(folded, w) }) {
			options = append(options, line)
		}
		if len(options) == maxSuggestions {
			break
		}
	}
	return v.show(http.StatusOK, "schools", options)
}
