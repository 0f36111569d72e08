package web

import (
	"errors"
	"net/url"
	"slices"

	questions "hausmeister/collector/question"
	"hausmeister/proto/reading"
)

// apiAnswer is how many devices a question is true of: of devices that are what
// it asks for, known told each reading that it is about, and of those it is true
// of matching.
type apiAnswer struct {
	Devices  int64     `json:"devices"`
	Known    int64     `json:"known"`
	Matching int64     `json:"matching"`
	Prepared *string   `json:"prepared" is:"time"`   // when the daily rows were made ready; null = not yet
	Reading  *string   `json:"reading" is:"reading"` // whose values are given
	Unit     string    `json:"unit,omitempty" is:"unit"`
	Spread   []apiBar  `json:"spread"`
	Trend    []apiWeek `json:"trend"`
	Items    []apiHit  `json:"items"`
	Total    int64     `json:"total"`
	Cursor   *string   `json:"cursor" is:"text"`
}

// apiBar is a part of a distribution: of a number from from up to but without to
// (null = no end), of a text value. devices is null where they are fewer than
// five, which would tell of single people, and where that could be calculated. There
// are none where all could.
type apiBar struct {
	From    *int64  `json:"from"`
	To      *int64  `json:"to"`
	Value   *string `json:"value" is:"text"` // null of a number, and of all other texts together
	Devices *int64  `json:"devices"`
}

// apiWeek is one week of the trend. Numbers are null where one is fewer than five.
type apiWeek struct {
	Week     string `json:"week" is:"day"` // its Monday
	Known    *int64 `json:"known"`
	Matching *int64 `json:"matching"`
}

type apiHit struct {
	ID    string     `json:"id" is:"uuid"`
	Name  string     `json:"name" is:"text"`
	Model string     `json:"model" is:"text"`
	Owner apiPlace   `json:"owner"`
	Place *apiSchool `json:"school"`
	Value any        `json:"value"` // of the reading
}

func (s *Server) apiAnswer(v *visit) error {
	a, err := askingOf(v.asked)
	if err != nil {
		return err
	}
	return s.sendAnswer(v, a)
}

func (s *Server) apiSavedAnswer(v *visit) error {
	kept, err := s.cfg.Questions.Saved(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	a, err := askingOf(v.asked)
	if err != nil {
		return err
	}
	a.Question, a.saved = kept.Question, kept.ID
	return s.sendAnswer(v, a)
}

func (s *Server) sendAnswer(v *visit, a asking) error {
	ctx := v.r.Context()
	limit, err := v.limit()
	if err != nil {
		return err
	}
	got, hits, next, err := s.cfg.Questions.Ask(ctx, v.caller, a.Question, questions.Page{Desc: a.desc, Cursor: a.cursor, Limit: limit, Saved: a.saved})
	if err != nil {
		return refusedQuestion(err)
	}
	out := apiAnswer{Devices: got.Devices, Known: got.Known, Matching: got.Matching, Total: got.Matching, Cursor: present(next),
		Spread: []apiBar{}, Trend: []apiWeek{}, Items: []apiHit{}}
	if !got.Prepared.IsZero() {
		out.Prepared = present(stamp(got.Prepared))
	}
	shown, shows := a.Shown()
	if shows {
		out.Reading, out.Unit = &shown.Name, apiUnit(shown)
	}
	for _, b := range got.Bars {
		out.Spread = append(out.Spread, apiBarOf(shown, b))
	}
	for _, p := range got.Trend {
		point := apiWeek{Week: p.Week.Format("2006-01-02")}
		if !p.Few {
			point.Known, point.Matching = &p.Known, &p.Matching
		}
		out.Trend = append(out.Trend, point)
	}
	ids := make([]string, len(hits))
	values := map[string]any{}
	for i, h := range hits {
		ids[i] = h.Device
		switch {
		case h.Known && shown.Kind == reading.Number && shown.Unit != reading.UnixMilli:
			values[h.Device] = h.Number
		case h.Known:
			values[h.Device] = plainHit(shown, h)
		}
	}
	devices, err := s.cfg.Fleet.Devices(ctx, v.caller, ids)
	if err != nil {
		return err
	}
	for _, d := range devices {
		it := item(d)
		out.Items = append(out.Items, apiHit{ID: it.ID, Name: it.Name, Model: it.Model, Owner: it.Owner, Place: it.School, Value: values[d.ID]})
	}
	return v.sendJSON(out)
}

func apiBarOf(shown reading.Reading, b questions.Bar) apiBar {
	var out apiBar
	if shown.Kind == reading.Number {
		if !b.OpenLow {
			out.From = &b.From
		}
		if !b.OpenH {
			out.To = &b.To
		}
	} else if !b.Rest {
		out.Value = &b.Text
	}
	if !b.Few {
		out.Devices = &b.Devices
	}
	return out
}

// apiAnswerValue is a value that a condition can compare with.
type apiAnswerValue struct {
	ID string `json:"id" is:"text"`
}

// apiAnswerValues are the values that there are of a fact or of a reading that is a
// text. Numbers and days have none to choose from; owners, schools and findings have
// lists of their own.
func (s *Server) apiAnswerValues(v *visit) error {
	of := v.asked.Get("of")
	if !slices.Contains(askedNames(), of) {
		return &badRequest{"of", "want the name of a fact or a reading that can be asked for"}
	}
	values, err := s.cfg.Questions.Choices(v.r.Context(), v.caller, of)
	if err != nil {
		return err
	}
	if r, ok := reading.ByName(of); ok && r.Kind == reading.Code {
		for _, c := range r.Codes {
			values = append(values, c.Code)
		}
	}
	return sendList(v, each(values, func(value string) apiAnswerValue { return apiAnswerValue{value} }))
}

// askedNames are those that a condition can begin with.
func askedNames() []string {
	return append(texts(questions.Facts), each(questions.Readings(), func(r reading.Reading) string { return r.Name })...)
}

func (s *Server) apiAnswerCSV(v *visit) error {
	a, err := askingOf(v.asked)
	if err != nil {
		return err
	}
	return s.answerCSV(v, a)
}

// apiQuestion is a question that is kept, and its last answer for the owners
// whose devices the caller may see.
type apiQuestion struct {
	ID       string   `json:"id" is:"uuid"`
	Name     string   `json:"name" is:"text"`
	If       []string `json:"if" is:"text"`
	Show     *string  `json:"show" is:"reading"`
	Shared   bool     `json:"shared"`
	Own      bool     `json:"own"`
	Created  string   `json:"created" is:"time"`
	Answered *string  `json:"answered" is:"time"` // null = not yet
	Matching *int64   `json:"matching"`
	Known    *int64   `json:"known"`
}

func questionOf(s questions.Saved) apiQuestion {
	out := apiQuestion{ID: s.ID, Name: s.Name, If: []string{}, Show: present(s.Question.Show), Shared: s.Shared, Own: s.Own, Created: stamp(s.Created)}
	for _, c := range s.Question.Conditions {
		out.If = append(out.If, c.String())
	}
	if !s.Answered.IsZero() {
		out.Answered, out.Matching, out.Known = present(stamp(s.Answered)), &s.Matching, &s.Known
	}
	return out
}

// decided is what somebody decided about a question: an answer changes nothing of it.
func decided(s questions.Saved) apiQuestion {
	out := questionOf(s)
	out.Answered, out.Matching, out.Known = nil, nil, nil
	return out
}

func (s *Server) apiQuestions(v *visit) error {
	all, err := s.cfg.Questions.List(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	items := make([]apiQuestion, len(all))
	for i, kept := range all {
		items[i] = questionOf(kept)
	}
	return sendList(v, items)
}

func (s *Server) apiQuestion(v *visit) error {
	kept, err := s.cfg.Questions.Saved(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.sendJSON(questionOf(kept))
}

// apiNewQuestion is a question that shall be kept.
type apiNewQuestion struct {
	Name   string   `json:"name" is:"text"`
	If     []string `json:"if" is:"text"`
	Show   string   `json:"show,omitempty" is:"reading"`
	Shared bool     `json:"shared,omitempty"`
}

func (v *visit) draft() (questions.Draft, error) {
	var body apiNewQuestion
	if err := v.readJSON(&body); err != nil {
		return questions.Draft{}, err
	}
	a, err := askingOf(url.Values{"if": body.If, "show": {body.Show}})
	return questions.Draft{Name: body.Name, Question: a.Question, Shared: body.Shared}, err
}

func refusedDraft(err error) error {
	if invalid := (*questions.Invalid)(nil); errors.As(err, &invalid) && invalid.At < 0 {
		return &badRequest{"name", invalid.Why}
	}
	return refusedQuestion(err)
}

func (s *Server) apiSaveQuestion(v *visit) error {
	d, err := v.draft()
	if err != nil {
		return err
	}
	kept, err := s.cfg.Questions.Save(v.r.Context(), v.caller, d)
	if err != nil {
		return refusedDraft(err)
	}
	return v.sendMade("/api/v1/questions/"+kept.ID, questionOf(kept))
}

func (s *Server) apiChangeQuestion(v *visit) error {
	d, err := v.draft()
	if err != nil {
		return err
	}
	kept, err := s.cfg.Questions.Change(v.r.Context(), v.caller, v.r.PathValue("id"), d)
	if err != nil {
		return refusedDraft(err)
	}
	return v.sendJSON(questionOf(kept))
}

// apiDeleteQuestion answers with the questions that are left.
func (s *Server) apiDeleteQuestion(v *visit) error {
	if err := s.cfg.Questions.Delete(v.r.Context(), v.caller, v.r.PathValue("id")); err != nil {
		return err
	}
	return s.apiQuestions(v)
}

// apiRestoreQuestion brings back a question that was deleted not long ago.
func (s *Server) apiRestoreQuestion(v *visit) error {
	kept, err := s.cfg.Questions.Restore(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return refusedDraft(err)
	}
	return v.sendJSON(questionOf(kept))
}
