package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	questions "hausmeister/collector/question"
)

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
