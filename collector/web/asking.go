package web

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	questions "hausmeister/collector/question"
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
