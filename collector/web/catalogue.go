package web

import (
	"net/http"

	"hausmeister/proto/reading"
)

// catalogueMain is the page of everything that a device may tell.
type catalogueMain struct {
	Classes []catalogueClass
	Never   []string
	Looks   []lookMonthRow
}

type lookMonthRow struct {
	Month          string
	Looks, Devices int64
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
	months, err := s.cfg.Health.LookMonths(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	for _, m := range months {
		main.Looks = append(main.Looks, lookMonthRow{m.Month.Format("01/2006"), m.Looks, m.Devices})
	}
	return v.show(http.StatusOK, "catalogue", v.at("catalogue", v.say.Say("catalogue.title"), main))
}
