package web

import (
	"errors"
	"net/url"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/proto/finding"
)

// chosen are the devices that a form is about: named ones, or all of a filter.
type chosen struct {
	ids    []string
	all    bool
	q      question // where it was asked from; with all, the filter
	school fleet.School
}

// chosenOf reads what was chosen, from an address or a posted form.
func (s *Server) chosenOf(v *visit, values url.Values) (chosen, error) {
	from, err := url.ParseQuery(values.Get("from"))
	if err != nil {
		return chosen{}, errForm
	}
	c := chosen{all: values.Get("all") == "1"}
	if c.q, err = ask(from); err != nil {
		return c, errForm
	}
	if c.school, err = s.school(v, c.q.school); errors.Is(err, errNoSchool) {
		return c, errForm
	} else if err != nil {
		return c, err
	}
	c.q.school = c.school.ID
	for _, id := range strings.Split(strings.Join(values["device"], ","), ",") {
		if id = strings.TrimSpace(id); id != "" {
			c.ids = append(c.ids, id)
		}
	}
	if !c.all && (len(c.ids) == 0 || len(c.ids) > fleet.MaxNamed) {
		return c, errNothingChosen
	}
	return c, nil
}

// errNothingChosen: a form about devices that names none.
var errNothingChosen = errors.New("no devices are chosen")

// errForm: a form comes back otherwise than the page made it, by an old page or by
// somebody's hand. Nothing is guessed: it could be done to other devices than meant.
var errForm = errors.New("a form is not as its page made it")

// hidden carries the choice through a form.
func (c chosen) hidden() map[string]string {
	h := map[string]string{"from": c.q.address()}
	if c.all {
		h["all"] = "1"
	} else {
		h["device"] = strings.Join(c.ids, ",")
	}
	return h
}

func (c chosen) job() fleet.NewJob {
	if c.all {
		f := c.q.first().filter()
		return fleet.NewJob{Filter: &f}
	}
	return fleet.NewJob{Devices: c.ids}
}

// listedNames are so many names of devices in a sentence.
const listedNames = 8

// chosenWords says which devices a form is about.
func (v *visit) chosenWords(c chosen) (string, error) {
	ctx := v.r.Context()
	if c.all {
		counts, err := v.s.cfg.Fleet.Counts(ctx, v.caller, c.q.filter())
		if err != nil {
			return "", err
		}
		n := counts.Total
		if c.q.state != "" {
			n = counts.States[c.q.state]
		}
		return v.say.Say("jobs.all", "n", n, "filter", v.filterWords(c.q, c.school.Title())), nil
	}
	var names []string
	for _, id := range c.ids[:min(len(c.ids), listedNames)] {
		d, err := v.s.cfg.Fleet.Device(ctx, v.caller, id)
		if errors.Is(err, access.ErrNotFound) {
			return "", errForm
		}
		if err != nil {
			return "", err
		}
		names = append(names, d.Label())
	}
	if more := len(c.ids) - len(names); more > 0 {
		names = append(names, v.say.Say("jobs.more", "n", more))
	}
	return v.say.Say("jobs.these", "n", len(c.ids), "names", strings.Join(names, ", ")), nil
}

// filterWords says in words what a filter leaves.
func (v *visit) filterWords(q question, school string) string {
	var parts []string
	if q.query != "" {
		parts = append(parts, v.say.Say("jobs.filter.query", "query", q.query))
	}
	if q.state != "" {
		parts = append(parts, v.say.Say("devices.chip.state", "state", v.say.Say("state."+string(q.state))))
	}
	if q.school != "" {
		parts = append(parts, v.say.Say("devices.chip.school", "school", school))
	}
	if row, ok := finding.ByCode(q.finding); ok {
		parts = append(parts, v.say.Say("devices.chip.finding", "finding", pick(v.say.Lang, row.Title)))
	}
	if q.label != "" {
		parts = append(parts, v.say.Say("devices.chip.label", "label", q.label))
	}
	if q.model != "" {
		parts = append(parts, v.say.Say("devices.chip.model", "model", q.model))
	}
	if q.build != "" {
		parts = append(parts, v.say.Say("devices.chip.os_build", "os_build", q.build))
	}
	if q.update != "" {
		parts = append(parts, v.say.Say("devices.chip.update", "update", v.updateWord(q.update)))
	}
	if len(parts) == 0 {
		return v.say.Say("jobs.filter.none")
	}
	return strings.Join(parts, ", ")
}
