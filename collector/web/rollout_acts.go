package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
)

// What persons do to a rollout. Who stops it does so with one press and says later
// why; what goes on, over more devices, or not back asks for the reason first. Each form
// but that of a pause is of a rollout as it was seen: it takes back no halt that came
// since, nor what another person decided.

// rolloutAct is a form about a rollout, for the page that asks and the one that does.
type rolloutAct struct {
	done string // word of the page after it
	// ask gives the form; without Action there is nothing to be done, and the text says why.
	ask func(v *visit, r rollout.Rollout) (title, text string, f form, err error)
	// do does it; next and done are another page and its word, empty = those of all.
	do func(v *visit, r rollout.Rollout, typed url.Values) (next, done string, err error)
}

// acting is the rollout that a form is about, for who may act.
func (v *visit) acting() (rollout.Rollout, error) {
	if !v.mayRollOut() {
		return rollout.Rollout{}, access.ErrForbidden
	}
	return v.s.cfg.Rollouts.Rollout(v.r.Context(), v.caller, v.r.PathValue("id"))
}

// page asks.
func (a rolloutAct) page(v *visit) error {
	r, err := v.acting()
	if err != nil {
		return err
	}
	title, text, f, err := a.ask(v, r)
	if errors.Is(err, rollout.ErrState) {
		return v.acted("/rollouts/"+r.ID, "rollout_moved", nil)
	}
	if err != nil {
		return err
	}
	return v.showAct(http.StatusOK, r, title, text, f)
}

// showAct shows a form about a rollout as it was read.
func (v *visit) showAct(code int, r rollout.Rollout, title, text string, f form) (err error) {
	if f.Hidden["was"], err = seenAs(r); err != nil {
		return err
	}
	return v.showForm(code, "updates", title, text, f)
}

// post does it, or shows the form again with what is wrong.
func (a rolloutAct) post(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	r, err := v.acting()
	if err != nil {
		return err
	}
	next, done, err := a.do(v.asSeen(r.ID, typed), r, typed)
	var wrong *wrongField
	switch {
	case errors.Is(err, rollout.ErrReason):
		wrong = &wrongField{"reason", "rollout.reason.wrong"}
	case moved(err):
		return v.acted("/rollouts/"+r.ID, "rollout_moved", nil)
	case !errors.As(err, &wrong):
		return v.acted(cmp.Or(next, "/rollouts/"+r.ID), cmp.Or(done, a.done), err)
	}
	title, text, f, err := a.ask(v, r)
	if err != nil {
		return err
	}
	f.fill(typed)
	f.refuse(wrong.field, v.say.Say(wrong.word))
	return v.showAct(http.StatusUnprocessableEntity, r, title, text, f)
}

// seenAs is how a rollout is, for the forms about it.
func seenAs(r rollout.Rollout) (string, error) { return sumOf("rollout", ofRollout(r)) }

// asSeen is the visit of a form whose first change is refused when the rollout is not as
// the form knew it.
func (v *visit) asSeen(id string, typed url.Values) *visit {
	at := *v
	at.r = v.r.WithContext(v.unchanged(typed.Get("was"), func(ctx context.Context) (string, error) {
		r, err := v.s.cfg.Rollouts.Rollout(ctx, v.caller, id)
		if err != nil {
			return "", err
		}
		return seenAs(r)
	}))
	return &at
}

// moved says whether nothing was done since the rollout is another way than was thought.
func moved(err error) bool { return errors.Is(err, rollout.ErrState) || errors.Is(err, errStale) }

// wrongField is a field that cannot be so, and the key of the text about it.
type wrongField struct{ field, word string }

func (w *wrongField) Error() string { return w.field + ": " + w.word }

// rolloutForm is a form of a rollout that asks why.
func (v *visit) rolloutForm(r rollout.Rollout, act, send string, more ...field) form {
	return form{Action: "/rollouts/" + r.ID + "/" + act, Send: v.say.Say(send), Cancel: "/rollouts/" + r.ID, Fields: append(more, v.reasonField()), Hidden: map[string]string{}}
}

// atOnce does what needs no page before it: it can be taken back, and may be said
// later why.
func (s *Server) atOnce(verb func(Rollouts) rolloutVerb, done string) func(*visit) error {
	return func(v *visit) error {
		typed, err := v.typed()
		if err != nil {
			return err
		}
		at := "/rollouts/" + v.r.PathValue("id")
		err = verb(s.cfg.Rollouts)(v.r.Context(), v.caller, v.r.PathValue("id"), cmp.Or(strings.TrimSpace(typed.Get("reason")), rollout.Unsaid))
		if errors.Is(err, rollout.ErrState) {
			return v.acted(at, "rollout_moved", nil)
		}
		return v.acted(at, done, err)
	}
}

// noteReason adds what was not said when somebody stopped at once.
func (s *Server) noteReason(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	err = s.cfg.Rollouts.Note(v.r.Context(), v.caller, id, typed.Get("reason"))
	if errors.Is(err, rollout.ErrReason) {
		return s.showRollout(v, http.StatusUnprocessableEntity, func(m *rolloutMain) {
			m.Note, m.NoteTyped, m.NoteError = "/rollouts/"+id+"/note", typed.Get("reason"), v.say.Say("rollout.reason.wrong")
		})
	}
	return v.acted("/rollouts/"+id, "rollout_noted", err)
}

// resumeAct goes on. After a pause that is one press; after a halt of the gate somebody
// says what he knows that the gate does not.
func (s *Server) resumeAct() rolloutAct {
	return rolloutAct{
		done: "rollout_resumed",
		ask: func(v *visit, r rollout.Rollout) (string, string, form, error) {
			if r.State != rollout.Halted && r.State != rollout.Paused {
				return "", "", form{}, rollout.ErrState
			}
			text := v.rolloutSentence(r) + " " + v.evidenceSentence(r.Evidence, len(r.Rings))
			if r.State == rollout.Halted { // a pause was a person's
				text += " " + v.say.Say("rollout.resume.text")
			}
			return v.say.Say("rollout.resume.title", "what", v.versionName(r.Product, r.Version)), text, v.rolloutForm(r, "resume", "rollout.resume"), nil
		},
		do: func(v *visit, r rollout.Rollout, typed url.Values) (next, done string, err error) {
			reason := typed.Get("reason")
			if r.State == rollout.Paused {
				reason = cmp.Or(strings.TrimSpace(reason), rollout.Unsaid)
			}
			return "", "", s.cfg.Rollouts.Resume(v.r.Context(), v.caller, r.ID, reason)
		},
	}
}

// approveAct is the second person's word.
func (s *Server) approveAct() rolloutAct {
	return rolloutAct{
		done: "rollout_approved",
		ask: func(v *visit, r rollout.Rollout) (string, string, form, error) {
			if !r.MayApprove {
				if r.NeedsSecond {
					return "", "", form{}, rollout.ErrSecond
				}
				return "", "", form{}, rollout.ErrState
			}
			word, more := "rollout.approve.text", r.Rings[len(r.Rings)-1].Devices-r.Rings[r.Ring-1].Devices
			if r.State == rollout.Waiting {
				word, more = "rollout.approve.urgent", r.Rings[len(r.Rings)-1].Devices
			}
			text := v.say.Say(word, "who", v.who(r.StartedBy), "when", v.say.Time(r.Started), "n", more) + " " + v.evidenceSentence(r.Evidence, len(r.Rings))
			title := "rollout.approve.title"
			switch {
			case r.First == "":
				title, text = "rollout.approve.title.first", text+" "+v.say.Say("rollout.approve.first")
			case r.First != r.StartedBy:
				text += " " + v.say.Say("rollout.approve.second", "who", r.First)
			}
			return v.say.Say(title, "what", v.versionName(r.Product, r.Version)), text, v.rolloutForm(r, "approve", "rollout.approve"), nil
		},
		do: func(v *visit, r rollout.Rollout, typed url.Values) (next, done string, err error) {
			if r.First == "" {
				done = "rollout_approved_first"
			}
			return "", done, s.cfg.Rollouts.Approve(v.r.Context(), v.caller, r.ID, typed.Get("reason"))
		},
	}
}

// promoteAct goes on before the gate finds it due.
func (s *Server) promoteAct() rolloutAct {
	return rolloutAct{
		done: "rollout_promoted",
		ask: func(v *visit, r rollout.Rollout) (string, string, form, error) {
			p, err := s.cfg.Rollouts.Preview(v.r.Context(), v.caller, r.ID)
			if err != nil {
				return "", "", form{}, err
			}
			f := v.rolloutForm(r, "promote", "rollout.promote")
			f.Hidden["ring"] = strconv.Itoa(p.Ring)
			text := v.say.Say("rollout.promote.text", "n", p.Adds, "ring", p.Ring, "all", p.Devices) + " " + v.evidenceSentence(p.Evidence, len(r.Rings))
			switch {
			case p.Wide && !p.May, p.Asked != "" && p.Waiting:
				return "", "", form{}, rollout.ErrSecond
			case p.Waiting:
				text += " " + v.say.Say("rollout.promote.first")
				f.Send = v.say.Say("rollout.promote.ask")
			case p.Asked != "":
				text += " " + v.say.Say("rollout.promote.second", "who", p.Asked)
			}
			return v.say.Say("rollout.promote.title", "ring", p.Ring), text, f, nil
		},
		do: func(v *visit, r rollout.Rollout, typed url.Values) (next, done string, err error) {
			ring, err := strconv.Atoi(typed.Get("ring"))
			if err != nil || ring < 1 {
				return "", "", &badRequest{"ring", "want the ring that was looked at"}
			}
			p, err := s.cfg.Rollouts.PromoteTo(v.r.Context(), v.caller, r.ID, ring, typed.Get("reason"))
			if p.Waiting {
				done = "rollout_asked"
			}
			return "", done, err
		},
	}
}

// abortAct ends it for good, which its page says in numbers first.
func (s *Server) abortAct() rolloutAct {
	return rolloutAct{
		done: "rollout_aborted",
		ask: func(v *visit, r rollout.Rollout) (string, string, form, error) {
			if !r.Ended.IsZero() {
				return "", "", form{}, rollout.ErrState
			}
			var have, fly, rest int64
			for _, ring := range r.Rings {
				have, fly, rest = have+ring.OK+ring.Had, fly+ring.InFlight, rest+ring.Bad+ring.Silent+ring.Open
			}
			text := strings.Join([]string{v.say.Say("rollout.abort.text"), v.say.Say("rollout.abort.have", "n", have),
				v.say.Say("rollout.abort.fly", "n", fly), v.say.Say("rollout.abort.rest", "n", rest)}, " ")
			f := v.rolloutForm(r, "abort", "rollout.abort")
			f.Danger = true
			return v.say.Say("rollout.abort.title", "what", v.versionName(r.Product, r.Version)), text, f, nil
		},
		do: func(v *visit, r rollout.Rollout, typed url.Values) (next, done string, err error) {
			return "", "", s.cfg.Rollouts.Abort(v.r.Context(), v.caller, r.ID, typed.Get("reason"))
		},
	}
}

// rollBackAct starts the release that is signed as the way back.
func (s *Server) rollBackAct() rolloutAct {
	return rolloutAct{
		done: "rollout_started",
		ask: func(v *visit, r rollout.Rollout) (string, string, form, error) {
			ways, err := v.waysBack(r)
			if err != nil || len(ways) == 0 {
				return "", "", form{}, cmp.Or(err, error(rollout.ErrState))
			}
			to := field{Name: "release", Label: v.say.Say("rollout.back.to"), Help: v.say.Say("rollout.back.help"), Type: "select", Value: ways[0].ID}
			for _, w := range ways {
				to.Options = append(to.Options, option{w.ID, v.versionName(w.Product, w.Version)})
			}
			f := v.rolloutForm(r, "rollback", "rollout.back", to)
			f.Danger = true
			return v.say.Say("rollout.back.title", "what", v.versionName(r.Product, r.Version)), v.say.Say("rollout.back.text", "version", r.Version), f, nil
		},
		do: func(v *visit, r rollout.Rollout, typed url.Values) (next, done string, err error) {
			id, err := s.cfg.Rollouts.RollBack(v.r.Context(), v.caller, r.ID, typed.Get("release"), typed.Get("reason"))
			return "/rollouts/" + id, "", err
		},
	}
}

// partAct leaves a part of the devices out.
func (s *Server) partAct() rolloutAct {
	return rolloutAct{
		done: "part_blocked",
		ask: func(v *visit, r rollout.Rollout) (string, string, form, error) {
			if !r.Ended.IsZero() {
				return "", "", form{}, rollout.ErrState
			}
			known, err := v.partValues()
			if err != nil {
				return "", "", form{}, err
			}
			what := field{Name: "dimension", Label: v.say.Say("rollout.part.dimension"), Type: "select", Value: gate.Dimensions[0]}
			value := field{Name: "value", Label: v.say.Say("rollout.part.value"), Help: v.say.Say("rollout.part.help"), Max: 200}
			for _, d := range gate.Dimensions {
				what.Options = append(what.Options, option{d, v.say.Say("rollout.dimension." + d)})
				for name := range known[d] {
					value.List = append(value.List, name)
				}
			}
			slices.Sort(value.List)
			return v.say.Say("rollout.part.title"), v.say.Say("rollout.part.text"), v.rolloutForm(r, "parts", "rollout.part.block", what, value), nil
		},
		do: func(v *visit, r rollout.Rollout, typed url.Values) (next, done string, err error) {
			known, err := v.partValues()
			if err != nil {
				return "", "", err
			}
			part := gate.Stratum{Dimension: typed.Get("dimension"), Value: strings.TrimSpace(typed.Get("value"))}
			if names, ok := known[part.Dimension]; ok {
				if part.Value, ok = names[part.Value]; !ok {
					return "", "", &wrongField{"value", "rollout.part.unknown"}
				}
			}
			err = s.cfg.Rollouts.Block(v.r.Context(), v.caller, r.ID, part, true, typed.Get("reason"))
			if errors.Is(err, rollout.ErrInvalid) {
				err = &wrongField{"value", "rollout.part.unknown"}
			}
			return "", "", err
		},
	}
}

// partValues are the parts that can be named, by dimension and name. Which antivirus
// there is nobody lists.
func (v *visit) partValues() (map[string]map[string]string, error) {
	ctx := v.r.Context()
	known := map[string]map[string]string{"owner": {}}
	owners, err := v.ownerNames()
	if err != nil {
		return nil, err
	}
	for id, name := range owners {
		known["owner"][name] = id
	}
	for dimension, list := range map[string]func(context.Context, access.Caller) ([]string, error){"model": v.s.cfg.Fleet.Models, "os_build": v.s.cfg.Fleet.Builds} {
		names, err := list(ctx, v.caller)
		if err != nil {
			return nil, err
		}
		known[dimension] = map[string]string{}
		for _, name := range names {
			known[dimension][name] = name
		}
	}
	return known, nil
}

// freePart lets a part in again, with one press: it can be left out again.
func (s *Server) freePart(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	part := gate.Stratum{Dimension: typed.Get("dimension"), Value: typed.Get("value")}
	err = s.cfg.Rollouts.Block(v.asSeen(id, typed).r.Context(), v.caller, id, part, false, rollout.Unsaid)
	if moved(err) {
		return v.acted("/rollouts/"+id, "rollout_moved", nil)
	}
	return v.acted("/rollouts/"+id, "part_freed", err)
}
