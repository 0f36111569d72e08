package web

import (
	"net/http"

	"hausmeister/proto/reading"
)

// catalogueMain is the page of everything that a device may tell.
type catalogueMain struct {
	Classes  []catalogueClass
	Never    []string
	Accounts []catalogueRow // what is kept of those who sign in here
	Kept     []retainedRow
	Looks    []lookMonthRow
}

type lookMonthRow struct {
	Month          string
	Looks, Devices int64
}

// retainedRow is how long a class of values is kept: at most, and really.
type retainedRow struct {
	Word, Most string
	Holds      []string // a line for each owner that differs
}

type catalogueClass struct {
	Word, Audience string
	Rows           []catalogueRow
}

type catalogueRow struct {
	Word, Name, Unit, Purpose, Retention string
	Audience                             string // empty = that of the class
}

// cataloguePage shows the field catalogue, and how often somebody looked closer. It is open to everybody who signs
// in, and a print of it is what staff councils get.
func (s *Server) cataloguePage(v *visit) error {
	say := func(w reading.Words) string { return pick(v.say.Lang, w) }
	var err error
	main := catalogueMain{Never: []string{v.say.Say("catalogue.never.person"), v.say.Say("catalogue.never.network"), v.say.Say("catalogue.never.work")}}
	for _, class := range []reading.Class{reading.Thing, reading.Use, reading.Identity} {
		c := catalogueClass{Word: say(class.Word()), Audience: say(class.Audience())}
		for _, f := range reading.Catalogue() {
			if f.Class == class {
				row := catalogueRow{say(f.Word), f.Name, string(f.Unit), say(f.Purpose), say(f.Retain), ""}
				if f.Audience != class.Audience() {
					row.Audience = say(f.Audience)
				}
				c.Rows = append(c.Rows, row)
			}
		}
		main.Classes = append(main.Classes, c)
	}
	for _, name := range []string{"account", "client", "opened", "seen"} {
		until := v.say.Say("catalogue.accounts.session")
		if name == "account" {
			until = v.say.Say("catalogue.accounts.stays")
		}
		main.Accounts = append(main.Accounts, catalogueRow{Word: v.say.Say("catalogue.accounts." + name), Purpose: v.say.Say("catalogue.accounts." + name + ".for"), Retention: until})
	}
	if main.Kept, err = v.retainedRows(); err != nil {
		return err
	}
	months, err := s.cfg.Health.LookMonths(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	for _, m := range months {
		main.Looks = append(main.Looks, lookMonthRow{m.Month.Format("01/2006"), m.Looks, m.Devices})
	}
	return v.show(http.StatusOK, "catalogue", v.at("catalogue", v.say.Say("catalogue.title"), main))
}

// retainedRows say what the catalogue allows, and what holds for the caller's owners: they
// may keep values for a shorter time. When that was changed is said, not by whom.
func (v *visit) retainedRows() ([]retainedRow, error) {
	usual, changed, err := v.s.cfg.Health.Retentions(v.r.Context(), v.caller)
	if err != nil {
		return nil, err
	}
	owners, err := v.s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	if err != nil {
		return nil, err
	}
	days := func(n int64) string { return v.say.Say("format.days", "n", n) }
	rows := make([]retainedRow, 0, len(usual)+1)
	for _, k := range usual {
		r := retainedRow{Word: v.say.Say("settings.keep." + string(k.Class)), Most: days(k.Catalogue)}
		for _, o := range owners {
			for _, c := range changed[o.ID] {
				if c.Class == k.Class {
					r.Holds = append(r.Holds, v.say.Say("catalogue.kept.owner", "owner", o.Name, "days", days(c.Days), "when", v.say.Day(c.Changed, v.s.cfg.Now())))
				}
			}
		}
		switch {
		case len(r.Holds) == 0:
			r.Holds = []string{days(k.Days)}
		case len(r.Holds) < len(owners):
			r.Holds = append(r.Holds, v.say.Say("catalogue.kept.others", "days", days(k.Days)))
		}
		rows = append(rows, r)
	}
	return append(rows, retainedRow{v.say.Say("settings.keep.audit"), "–", []string{v.say.Say("settings.keep.audit.text")}}), nil
}
