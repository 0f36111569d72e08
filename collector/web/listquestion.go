package web

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
	"hausmeister/proto/finding"
)

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
	update  string // the word for how far their update is
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
		finding: values.Get("finding"), label: strings.TrimSpace(values.Get("label")), model: values.Get("model"), build: values.Get("os_build"), update: values.Get("update"), all: values.Get("all") == "1", job: values.Get("job"),
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
	if q.update != "" && !slices.Contains(rollout.Words, q.update) {
		return q, &badRequest{"update", "want one of " + strings.Join(rollout.Words, ", ")}
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
	set("update", q.update)
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

func (q question) withUpdate(word string) string { q = q.anew(); q.update = word; return q.href() }

// filtered says that the question leaves anything out but by state.
func (q question) filtered() bool {
	return q.query != "" || q.school != "" || q.finding != "" || q.label != "" || q.model != "" || q.build != "" || q.update != ""
}

// regardless is the filter of the question whatever the state.
func (q question) regardless() fleet.Filter {
	return fleet.Filter{Query: q.query, School: q.school, Finding: q.finding, Label: q.label, Model: q.model, Build: q.build, Update: q.update}
}

func (q question) filter() fleet.Filter {
	f := q.regardless()
	f.State, f.Sort, f.Desc, f.Cursor, f.Limit = q.state, q.sort, q.desc, q.cursor, pageSize
	return f
}
