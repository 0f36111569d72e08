package web

import (
	"context"
	"encoding/csv"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	questions "hausmeister/collector/question"
	"hausmeister/proto/reading"
)

// asking is what the address of the page of questions says: all of it, so that
// an answer can be kept as a bookmark or sent to a colleague.
type asking struct {
	questions.Question
	desc   bool
	cursor string
	from   int64  // number of the first row; the cursor knows no numbers
	saved  string // id of the kept question that this is
	edits  edited // the kept question that this was, when somebody changes it
}

// edited is what a page that changes a kept thing knows of it: its id, and what it
// was when the change began, so that nobody's change is lost unseen.
type edited struct{ id, was string }

func editedOf(text string) edited {
	id, was, _ := strings.Cut(text, ".")
	if len(text) > 100 {
		return edited{}
	}
	return edited{id, was}
}

func (e edited) String() string {
	if e.id == "" {
		return ""
	}
	return e.id + "." + e.was
}

// orders are those of the devices of an answer.
var orders = []string{ascending, descending}

const (
	ascending  = "asc"
	descending = "desc"
)

func askingOf(values url.Values) (asking, error) {
	a := asking{cursor: values.Get("cursor"), saved: values.Get("saved"), edits: editedOf(values.Get("edits")), from: 1}
	a.Show = values.Get("show")
	for _, text := range values["if"] {
		c, err := questions.ParseCondition(text)
		if err != nil {
			return a, refusedQuestion(err)
		}
		a.Conditions = append(a.Conditions, c)
	}
	switch values.Get("order") {
	case "", ascending:
	case descending:
		a.desc = true
	default:
		return a, &badRequest{"order", "want asc or desc"}
	}
	if from, err := strconv.ParseInt(values.Get("from"), 10, 64); err == nil && from > 1 && from < 1e9 && a.cursor != "" {
		a.from = from
	}
	return a, nil
}

// refusedQuestion says which parameter of a question is wrong.
func refusedQuestion(err error) error {
	if invalid := (*questions.Invalid)(nil); errors.As(err, &invalid) {
		return &badRequest{"if", invalid.Why}
	}
	if errors.Is(err, questions.ErrCursor) {
		return &badRequest{"cursor", "this answer did not give it"}
	}
	return err
}

// asks says whether there is anything to answer.
func (a asking) asks() bool { return len(a.Conditions) > 0 || a.Show != "" }

func (a asking) values() url.Values {
	values := url.Values{}
	for _, c := range a.Conditions {
		values.Add("if", c.String())
	}
	for name, value := range map[string]string{"show": a.Show, "saved": a.saved, "cursor": a.cursor} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if a.desc {
		values.Set("order", "desc")
	}
	if a.saved == "" && a.edits.id != "" {
		values.Set("edits", a.edits.String())
	}
	if a.cursor != "" {
		values.Set("from", strconv.FormatInt(a.from, 10))
	}
	return values
}

func (a asking) href() string { return withQuery("/questions", a.values()) }

// first is the answer from its first page.
func (a asking) first() asking { a.cursor, a.from = "", 1; return a }

// other is another question than the kept one that this may have been.
func (a asking) other(conditions []questions.Condition) asking {
	a = a.first()
	a.saved, a.Conditions = "", conditions
	return a
}

type questionsMain struct {
	Error   string // why there is no answer
	Chips   []questionChip
	Builder builder
	Reset   string
	Asked   bool
	Name    string // of the kept question that this is
	Change  *changing

	Figure, Sentence, Prepared string
	Bars                       *barsCard
	Trend                      []trendRow
	Value                      column // head of the shown reading, if there is one
	Rows                       []answerRow
	Range, First, Next, CSV    string

	Keep    form
	Kept    []keptRow
	Example []link
	Done    string
	Deleted string // address that brings back what was just deleted
}

// changing is a kept thing with another content than it has.
type changing struct {
	Text, Action, Send string
	Hidden             map[string]string
	Undo               link // to it as it is
}

type questionChip struct{ Text, Without string }

// barsCard is a distribution, and the choice of another.
type barsCard struct {
	Title  string
	Show   field
	Rows   []spreadRow
	Hidden string // why numbers are left out
	Says   string // instead of bars, where they would show nothing
}

type trendRow struct {
	Week, Devices, Share string
	Meter                int64
}

type answerRow struct{ Href, Name, Model, School, Owner, Value string }

type keptRow struct {
	Href, Name, Conditions, By, Answer, Asked string
	Delete                                    string
}

func (s *Server) questionsPage(v *visit) error {
	a, err := askingOf(v.asked)
	if err != nil {
		return err
	}
	if a.asks() {
		if err := a.Check(); err != nil {
			return refusedQuestion(err)
		}
	}
	change, err := v.editing(&a)
	if err != nil {
		return err
	}
	b, added, err := v.builder(a)
	if err != nil {
		return err
	}
	if added != nil {
		return v.redirect(a.other(append(slices.Clone(a.Conditions), *added)).href())
	}
	main := questionsMain{Builder: b, Asked: a.asks(), Change: change}
	if key := "done.question_" + v.asked.Get("done"); v.say.Has(key) {
		main.Done = v.say.Say(key)
	}
	if id := v.asked.Get("deleted"); id != "" {
		main.Deleted = "/questions/" + url.PathEscape(id) + "/restore"
	}
	if err := v.fillChips(&main, a); err != nil {
		return err
	}
	code := http.StatusOK
	if b.Field.Error != "" {
		code = http.StatusUnprocessableEntity
	}
	if main.Asked {
		err := v.fillAnswer(&main, a)
		switch {
		case errors.Is(err, questions.ErrCursor):
			return v.redirect(a.first().href()) // of another answer: begin anew
		case errors.Is(err, questions.ErrBusy), errors.Is(err, questions.ErrTooLong):
			code, main.Error = http.StatusServiceUnavailable, v.say.Say("error."+faultOf(err).name+".text")
			v.w.Header().Set("Retry-After", "5")
		case err != nil:
			return err
		}
		main.Keep = v.keepForm(a)
	}
	if err := v.fillKept(&main, a); err != nil {
		return err
	}
	p := v.at("questions", v.say.Say("question.title"), main)
	p.Back = a.href()
	return v.show(code, "questions", p)
}

func (v *visit) fillChips(main *questionsMain, a asking) error {
	names, err := v.conditionNames(a.Conditions)
	if err != nil {
		return err
	}
	for i, c := range a.Conditions {
		rest := slices.Delete(slices.Clone(a.Conditions), i, i+1)
		main.Chips = append(main.Chips, questionChip{v.conditionWords(c, names), a.other(rest).href()})
	}
	if a.asks() {
		main.Reset = "/questions"
	}
	return nil
}

// conditionNames are names of owners and schools, if a condition is about one.
func (v *visit) conditionNames(all []questions.Condition) (map[string]string, error) {
	for _, c := range all {
		if f := questions.Fact(c.Name); f == questions.Owner || f == questions.School {
			return v.placeNames()
		}
	}
	return nil, nil
}

func (v *visit) fillAnswer(main *questionsMain, a asking) error {
	ctx := v.r.Context()
	got, hits, next, err := v.s.cfg.Questions.Ask(ctx, v.caller, a.Question, questions.Page{Desc: a.desc, Cursor: a.cursor, Limit: pageSize, Saved: a.saved})
	if errors.Is(err, access.ErrNotFound) { // the kept question is gone; what it asked can still be asked
		a.saved = ""
		got, hits, next, err = v.s.cfg.Questions.Ask(ctx, v.caller, a.Question, questions.Page{Desc: a.desc, Cursor: a.cursor, Limit: pageSize})
	}
	if err != nil {
		return err
	}
	ids := make([]string, len(hits))
	for i, h := range hits {
		ids[i] = h.Device
	}
	devices, err := v.s.cfg.Fleet.Devices(ctx, v.caller, ids)
	if err != nil {
		return err
	}
	main.Figure = v.say.Number(got.Matching)
	shown, shows := a.Shown()
	if shows {
		main.Sentence = v.say.Say("question.answer", "n", got.Known, "devices", v.say.Number(got.Devices))
		main.Bars = v.barsCard(a, shown, got)
		main.Value = v.valueColumn(a, shown)
	} else {
		main.Sentence = v.say.Say("question.answer.plain", "n", got.Matching)
	}
	if !got.Prepared.IsZero() {
		main.Prepared = v.say.Say("question.prepared", "when", v.say.Time(got.Prepared))
	} else if shows {
		main.Prepared = v.say.Say("question.unprepared")
	}
	for _, p := range got.Trend {
		main.Trend = append(main.Trend, v.trendRow(p))
	}
	for _, d := range devices {
		h := hits[slices.Index(ids, d.ID)]
		r := answerRow{Href: "/devices/" + d.ID, Name: d.Label(), Model: d.Model, School: d.SchoolName, Owner: d.OwnerName}
		if h.Known {
			r.Value = v.hit(shown, h)
		}
		main.Rows = append(main.Rows, r)
	}
	main.CSV = strings.Replace(a.first().href(), "/questions", "/questions.csv", 1)
	if len(main.Rows) > 0 {
		last := a.from + int64(len(main.Rows)) - 1
		main.Range = v.say.Say("devices.range", "first", a.from, "last", last, "all", max(got.Matching, last))
		if a.cursor != "" {
			main.First = a.first().href()
		}
		if next != "" {
			a.cursor, a.from = next, last+1
			main.Next = a.href()
		}
	}
	return nil
}

// valueColumn is the head of the shown reading; a click turns the order round.
func (v *visit) valueColumn(a asking, shown reading.Reading) column {
	turned := a.first()
	turned.desc = !a.desc
	c := column{Word: pick(v.say.Lang, shown.Word), Href: turned.href(), Aria: "ascending"}
	if a.desc {
		c.Aria = "descending"
	}
	if shown.Kind == reading.Number {
		c.Class = "num"
	}
	return c
}

// barsCard draws the distribution of the shown reading.
func (v *visit) barsCard(a asking, shown reading.Reading, got questions.Answer) *barsCard {
	card := &barsCard{Title: v.say.Say("question.spread", "reading", pick(v.say.Lang, shown.Word)),
		Show: field{Name: "show", Label: v.say.Say("question.show"), Value: shown.Name, Options: v.readingOptions()}}
	var most, told int64
	for _, b := range got.Bars {
		most = max(most, b.Devices)
		if !b.Few {
			told++
		}
	}
	switch {
	case got.InBars > 0 && told == 0:
		card.Says = v.say.Say("question.spread.few", "n", questions.FewPersons)
		return card
	case len(got.Bars) == 1:
		card.Says = v.say.Say("question.spread.one", "n", got.Bars[0].Devices, "value", v.barName(shown, got.Bars[0]))
		return card
	case len(got.Bars) == 2:
		most = got.InBars // of two, a bar as long as there is room would seem to be all
	}
	for _, b := range got.Bars {
		r := spreadRow{Name: v.barName(shown, b), Devices: v.say.Number(b.Devices), Share: v.say.Percent(b.Devices * 1000 / max(got.InBars, 1)), Meter: b.Devices * 1000 / max(most, 1)}
		if b.Few {
			r.Devices, r.Share = v.say.Say("question.hidden"), ""
			card.Hidden = v.say.Say("question.hidden.why", "n", questions.FewPersons)
		}
		card.Rows = append(card.Rows, r)
	}
	return card
}

func (v *visit) barName(shown reading.Reading, b questions.Bar) string {
	switch {
	case b.Rest:
		return v.say.Say("findings.rest")
	case shown.Kind == reading.Number && b.OpenLow:
		return v.say.Say("question.bar.low", "to", v.amount(shown, b.To))
	case shown.Kind == reading.Number && b.OpenH:
		return v.say.Say("question.bar.high", "from", v.amount(shown, b.From))
	case shown.Kind == reading.Number && b.To == b.From+1:
		return v.amount(shown, b.From)
	case shown.Kind == reading.Number:
		return v.say.Say("question.bar", "from", v.amount(shown, b.From), "to", v.amount(shown, b.To))
	case b.Text == "":
		return v.say.Say("findings.unknown")
	}
	return v.codeWord(shown, b.Text)
}

// amount writes a number of a reading.
func (v *visit) amount(r reading.Reading, n int64) string {
	if r.Unit == reading.UnixMilli {
		return v.say.Date(time.UnixMilli(n).UTC().Add(12 * time.Hour)) // a day, in whatever zone
	}
	return measure(v.say, n, r.Unit, !r.Instanced, v.s.cfg.Now())
}

func (v *visit) codeWord(r reading.Reading, code string) string {
	if word, ok := r.CodeWord(code); ok {
		return pick(v.say.Lang, word)
	}
	return code
}

func (v *visit) hit(r reading.Reading, h questions.Hit) string {
	if r.Kind == reading.Number {
		return v.amount(r, h.Number)
	}
	return v.codeWord(r, h.Text)
}

func (v *visit) trendRow(p questions.Point) trendRow {
	r := trendRow{Week: v.say.Say("question.week", "day", v.say.Date(p.Week))}
	if p.Few {
		r.Devices = v.say.Say("findings.few", "n", questions.FewPersons)
		return r
	}
	permille := p.Matching * 1000 / max(p.Known, 1)
	r.Devices, r.Meter = v.say.Number(p.Matching), permille
	r.Share = v.say.Say("findings.share", "share", v.say.Percent(permille), "of", p.Known)
	return r
}

// keepForm asks under which name the question is kept.
func (v *visit) keepForm(a asking) form {
	f := form{Action: "/questions", Send: v.say.Say("question.keep"), Fields: []field{
		{Name: "name", Label: v.say.Say("question.name"), Help: v.say.Say("question.name.help"), Max: 120}}}
	if v.caller.Allow(access.WriteSettings) == nil {
		f.Fields = append(f.Fields, field{Name: "shared", Label: v.say.Say("question.reach"), Type: "checks", Options: []option{{"yes", v.say.Say("question.share")}}})
	}
	kept := a.first()
	kept.saved, kept.edits = "", edited{}
	f.Hidden = map[string]string{"asked": kept.values().Encode()}
	return f
}

func (v *visit) fillKept(main *questionsMain, a asking) error {
	all, err := v.s.cfg.Questions.List(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	var conditions []questions.Condition
	for _, s := range all {
		conditions = append(conditions, s.Question.Conditions...)
	}
	names, err := v.conditionNames(conditions)
	if err != nil {
		return err
	}
	now := v.s.cfg.Now()
	for _, s := range all {
		r := keptRow{Href: asking{Question: s.Question, saved: s.ID}.href(), Name: s.Name, Conditions: v.conditions(s.Question, names), By: s.By}
		switch {
		case s.Own && s.Shared:
			r.By = v.say.Say("question.own.shared")
		case s.Own:
			r.By = v.say.Say("question.own")
		}
		if !s.Answered.IsZero() {
			r.Answer, r.Asked = v.say.Say("question.of", "n", s.Matching, "known", s.Known), v.say.Day(s.Answered, now)
		}
		if s.May {
			r.Delete = "/questions/" + s.ID + "/delete"
		}
		if s.ID == a.saved {
			main.Name = s.Name
		}
		main.Kept = append(main.Kept, r)
	}
	if !main.Asked {
		main.Example = v.examples()
	}
	return nil
}

// examples are questions to begin with.
func (v *visit) examples() (out []link) {
	for _, conditions := range [][]questions.Condition{
		{{Name: "battery_health", Op: questions.Below, Value: "600"}},
		{{Name: "volume_free", Op: questions.Below, Value: "10000000000"}},
		{{Name: "firewall", Op: questions.Is, Value: "off"}},
		{{Name: "boot_duration", Op: questions.Above, Value: "120000"}},
	} {
		a := asking{Question: questions.Question{Conditions: conditions}}
		if a.Check() == nil {
			out = append(out, link{a.href(), v.conditions(a.Question, nil)})
		}
	}
	return out
}

// keepQuestion keeps what the page asked.
func (s *Server) keepQuestion(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	a, err := askedIn(typed)
	if err != nil {
		return err
	}
	kept, err := s.cfg.Questions.Save(v.r.Context(), v.caller, questions.Draft{Name: typed.Get("name"), Question: a.Question, Shared: typed.Get("shared") != ""})
	refuse := func(code int, text string) error {
		f := v.keepForm(a)
		f.fill(typed)
		f.refuse("name", text)
		f.Cancel = a.href()
		return v.showForm(code, "questions", v.say.Say("question.keep.title"), v.say.Say("question.keep.text"), f)
	}
	switch {
	case errors.Is(err, questions.ErrInvalid):
		return refuse(http.StatusUnprocessableEntity, v.say.Say("question.name.wrong"))
	case errors.Is(err, questions.ErrTooMany):
		return refuse(http.StatusConflict, v.say.Say("error.too-many-questions.text"))
	case err != nil:
		return err
	}
	to := asking{Question: kept.Question, desc: a.desc, saved: kept.ID}.values()
	to.Set("done", "kept")
	return v.redirect(withQuery("/questions", to))
}

func (s *Server) deleteQuestion(v *visit) error {
	id := v.r.PathValue("id")
	if err := s.cfg.Questions.Delete(v.r.Context(), v.caller, id); err != nil {
		return err
	}
	return v.redirect("/questions?done=deleted&deleted=" + url.QueryEscape(id))
}

func (s *Server) restoreQuestion(v *visit) error {
	_, err := s.cfg.Questions.Restore(v.r.Context(), v.caller, v.r.PathValue("id"))
	if errors.Is(err, access.ErrNotFound) {
		return v.redirect("/questions") // it is there again already, or gone for good
	}
	return v.acted("/questions", "restored", err)
}

// editing notes which kept question this one may become, if the caller may change
// that; with another content than it has, it is what the page offers.
func (v *visit) editing(a *asking) (*changing, error) {
	id := a.edits.id
	if a.saved != "" {
		id = a.saved
	}
	if id == "" {
		return nil, nil
	}
	kept, err := v.s.cfg.Questions.Saved(v.r.Context(), v.caller, id)
	if errors.Is(err, access.ErrNotFound) || err == nil && !kept.May {
		a.edits = edited{}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if a.saved != "" {
		was, err := sumOf("question", decided(kept))
		a.edits = edited{id, was}
		return nil, err
	}
	same := kept.Question.Show == a.Show && slices.Equal(kept.Question.Conditions, a.Conditions)
	if same || !a.asks() {
		return nil, nil
	}
	return &changing{Text: v.say.Say("question.edits", "name", kept.Name), Action: "/questions/" + id, Send: v.say.Say("question.edits.save"),
		Undo: link{asking{Question: kept.Question, saved: id}.href(), v.say.Say("edits.undo")}, Hidden: map[string]string{"asked": a.first().values().Encode(), "was": a.edits.was}}, nil
}

// changeQuestion gives a kept question the content that the page asked, if it is
// as it was when the change began.
func (s *Server) changeQuestion(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	a, err := askedIn(typed)
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	kept, err := s.cfg.Questions.Saved(v.r.Context(), v.caller, id)
	if err != nil {
		return err
	}
	ctx := v.unchanged(typed.Get("was"), func(ctx context.Context) (string, error) {
		now, err := s.cfg.Questions.Saved(ctx, v.caller, id)
		if err != nil {
			return "", err
		}
		return sumOf("question", decided(now))
	})
	changed, err := s.cfg.Questions.Change(ctx, v.caller, id, questions.Draft{Name: kept.Name, Question: a.Question, Shared: kept.Shared})
	if errors.Is(err, errStale) {
		return s.questionStale(v, id, a)
	}
	if err != nil {
		return err
	}
	to := asking{Question: changed.Question, desc: a.desc, saved: id}.values()
	to.Set("done", "changed")
	return v.redirect(withQuery("/questions", to))
}

// questionStale shows what somebody else made of a question meanwhile, and asks
// whether the own change shall replace that.
func (s *Server) questionStale(v *visit, id string, a asking) error {
	now, err := s.cfg.Questions.Saved(v.r.Context(), v.caller, id)
	if err != nil {
		return err
	}
	names, err := v.conditionNames(slices.Concat(now.Question.Conditions, a.Conditions))
	if err != nil {
		return err
	}
	was, err := sumOf("question", decided(now))
	if err != nil {
		return err
	}
	a.edits = edited{id, was}
	f := form{Action: "/questions/" + id, Send: v.say.Say("edits.anyway"), Cancel: a.href(),
		Hidden: map[string]string{"asked": a.first().values().Encode(), "was": was}}
	return v.showForm(http.StatusConflict, "questions", v.say.Say("edits.stale"),
		v.say.Say("question.edits.stale", "name", now.Name, "now", v.conditions(now.Question, names), "mine", v.conditions(a.Question, names)), f)
}

// askedIn is the question that a form carries.
func askedIn(typed url.Values) (asking, error) {
	asked, err := url.ParseQuery(typed.Get("asked"))
	if err != nil {
		return asking{}, &badRequest{"asked", "it cannot be read"}
	}
	a, err := askingOf(asked)
	if err != nil {
		return a, err
	}
	return a, refusedQuestion(a.Check())
}

// savedQuestion leads to the answer of a kept question, by a short address.
func (s *Server) savedQuestion(v *visit) error {
	kept, err := s.cfg.Questions.Saved(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.redirect(asking{Question: kept.Question, saved: kept.ID}.href())
}

func (s *Server) questionsCSV(v *visit) error {
	a, err := askingOf(v.asked)
	if err != nil {
		return err
	}
	return s.answerCSV(v, a)
}

// answerCSV streams exactly the devices of an answer, in its order.
func (s *Server) answerCSV(v *visit, a asking) error {
	ctx := v.r.Context()
	shown, shows := a.Shown()
	var out *csv.Writer
	begin := func() {
		h := v.w.Header()
		h.Set("Content-Type", "text/csv; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="hausmeister-answer-`+s.cfg.Now().In(v.say.Zone()).Format(time.DateOnly)+`.csv"`)
		out = csv.NewWriter(v.w)
		head := slices.Clone(deviceHead)
		if shows {
			head = append(head, shown.Name)
		}
		out.Write(head)
	}
	gone := errors.New("the peer is gone")
	err := s.cfg.Questions.Export(ctx, v.caller, a.Question, a.desc, func(hits []questions.Hit) error {
		ids := make([]string, len(hits))
		byID := make(map[string]questions.Hit, len(hits))
		for i, h := range hits {
			ids[i], byID[h.Device] = h.Device, h
		}
		devices, err := s.cfg.Fleet.Devices(ctx, v.caller, ids)
		if err != nil {
			return err
		}
		if out == nil {
			begin()
		}
		for _, d := range devices {
			record := deviceRecord(d)
			if shows {
				record = append(record, harmless(plainHit(shown, byID[d.ID])))
			}
			out.Write(record)
		}
		if out.Flush(); out.Error() != nil {
			return gone
		}
		// Each part has its own time: a slow line may take all day for the whole.
		http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(writeWithin))
		return nil
	})
	switch {
	case errors.Is(err, gone):
		return nil
	case err != nil && out == nil: // before the head is sent, so that a refusal is one
		return refusedQuestion(err)
	case err != nil:
		// What was sent cannot be taken back: the connection breaks instead of an
		// end that looks like one.
		s.cfg.Log.Error("exporting an answer", "error", err)
		panic(http.ErrAbortHandler)
	case out == nil:
		begin()
		out.Flush()
	}
	return nil
}

// plainHit is a value as the API gives it.
func plainHit(r reading.Reading, h questions.Hit) string {
	switch {
	case !h.Known:
		return ""
	case r.Kind != reading.Number:
		return h.Text
	case r.Unit == reading.UnixMilli:
		return time.UnixMilli(h.Number).UTC().Format(time.DateOnly)
	}
	return strconv.FormatInt(h.Number, 10)
}
