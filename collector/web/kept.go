package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"hausmeister/collector/access"
	questions "hausmeister/collector/question"
)

type keptRow struct {
	Href, Name, Conditions, By, Answer, Asked string
	Delete                                    string
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
