package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"hausmeister/collector/access"
	"hausmeister/collector/crowd"
	"hausmeister/collector/fleet"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// findingsMain is the page of what is open about how many devices.
type findingsMain struct {
	Rows []findingRow
	News string // address of the stream of what changed
}

type findingRow struct {
	Severity    mark
	Href, Title string
	Devices     int64
	Share       string
	Meter       int64  // of 1000
	Quiet       string // where somebody takes care of it
}

// severityMark is a severity's shape and word.
func (v *visit) severityMark(s hmpb.Severity) mark {
	switch s {
	case hmpb.Severity_SEVERITY_CRITICAL:
		return mark{"crit", v.say.Say("severity.critical")}
	case hmpb.Severity_SEVERITY_WARNING:
		return mark{"warn", v.say.Say("severity.warning")}
	}
	return mark{"info", v.say.Say("severity.notice")}
}

func (s *Server) findingsPage(v *visit) error {
	main := findingsMain{News: v.newsHref(question{})}
	open, err := s.cfg.Fleet.OpenFindings(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	all, err := s.cfg.Fleet.Total(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	for _, c := range open {
		row, ok := finding.ByCode(c.Code)
		if !ok {
			continue // only a newer version of this program has words for it
		}
		permille := c.Devices * 1000 / max(all, 1)
		r := findingRow{Severity: v.severityMark(c.Severity), Href: "/findings/" + c.Code, Title: pick(v.say.Lang, row.Title),
			Devices: c.Devices, Share: v.say.Percent(permille), Meter: permille}
		switch {
		case c.Calm():
			r.Severity = mark{"idle", v.say.Say("quiet.calm")}
		case c.Quiet > 0:
			r.Quiet = v.say.Say("quiet.some", "n", c.Quiet)
		}
		main.Rows = append(main.Rows, r)
	}
	return v.show(http.StatusOK, "findings", v.at("findings", v.say.Say("findings.title"), main))
}

// findingMain is the page of one finding over all devices.
type findingMain struct {
	Severity mark
	Count    string
	List     string // address of the devices that have it
	Spreads  []spreadCard
	News     string // address of the stream of what changed
	Done     string
	Quiets   []quietLine
	May      string // address of the form that makes it quiet; empty = not for this role
	Loud     string // where it is undone
	Note     *jobView
}

type spreadCard struct {
	ID, Title string
	Rows      []spreadRow
	Hidden    string // why numbers are left out, or all of it
}

type spreadRow struct {
	Name, Href, Devices, Share string
	Meter                      int64
}

var dimensions = []struct {
	by   fleet.Dimension
	word string
}{{fleet.ByModels, "findings.by.model"}, {fleet.ByBuilds, "findings.by.build"}, {fleet.BySchools, "findings.by.school"}}

func (s *Server) findingPage(v *visit) error {
	ctx := v.r.Context()
	row, ok := finding.ByCode(v.r.PathValue("code"))
	if !ok {
		return errNoPage
	}
	filter := fleet.Filter{Finding: row.Code}
	news := v.newsHref(question{finding: row.Code})
	open, ok, err := s.cfg.Fleet.OpenFinding(ctx, v.caller, row.Code)
	if err != nil {
		return err
	}
	if !ok {
		open.Severity = row.Least
	}
	main := findingMain{News: news, Severity: v.severityMark(open.Severity), Count: v.say.Say("findings.devices", "n", open.Devices), List: question{finding: row.Code}.href()}
	if err := v.fillQuiets(&main, row.Code, open); err != nil {
		return err
	}
	if main.Note, err = v.noteAsked("/findings/" + row.Code); err != nil {
		return err
	}
	if ok {
		shares, err := s.cfg.Fleet.Spreads(ctx, v.caller, filter)
		if err != nil {
			return err
		}
		for _, d := range dimensions {
			main.Spreads = append(main.Spreads, v.spreadCard(row.Code, d.by, d.word, shares[d.by]))
		}
	}
	return v.show(http.StatusOK, "finding", v.at("findings", pick(v.say.Lang, row.Title), main))
}

// fillQuiets says who takes care of a finding.
func (v *visit) fillQuiets(main *findingMain, code string, open fleet.CodeCount) error {
	main.Done = v.done()
	if open.Devices > 0 && open.Calm() {
		main.Severity = mark{"idle", v.say.Say("quiet.calm")}
	}
	if v.caller.Allow(access.QuietFindings) == nil {
		main.Loud = "/findings/" + code + "/loud"
		if open.Devices > open.Quiet {
			main.May = "/findings/" + code + "/quiet"
		}
	}
	all, err := v.s.cfg.Health.Quiets(v.r.Context(), v.caller, code)
	for _, q := range all {
		main.Quiets = append(main.Quiets, v.quietLine(q))
	}
	return err
}

// told are the shares of a distribution of which one number at least is told. A group
// alone without a number would be known by how many devices there are.
func told(shares []fleet.Share) []fleet.Share {
	if slices.ContainsFunc(shares, func(s fleet.Share) bool { return !s.Hidden }) {
		return shares
	}
	return nil
}

func (v *visit) spreadCard(code string, by fleet.Dimension, word string, all []fleet.Share) spreadCard {
	shares := told(all)
	card := spreadCard{ID: string(by), Title: v.say.Say(word), Rows: v.spreadRows(code, by, shares)}
	switch {
	case len(shares) < len(all):
		card.Hidden = v.say.Say("question.spread.few", "n", crowd.FewPersons)
	case slices.ContainsFunc(shares, func(s fleet.Share) bool { return s.Hidden }):
		card.Hidden = v.say.Say("question.hidden.why", "n", crowd.FewPersons)
	}
	return card
}

func (v *visit) spreadRows(code string, by fleet.Dimension, shares []fleet.Share) (rows []spreadRow) {
	for i, s := range shares {
		r := spreadRow{Name: s.Name, Devices: v.say.Number(s.Devices)}
		switch {
		case s.Name == "" && i == len(shares)-1 && len(shares) > 1:
			r.Name = v.say.Say("findings.rest")
		case s.Name == "":
			r.Name = v.say.Say("findings.unknown")
		case by == fleet.BySchools:
			r.Href = question{finding: code, school: s.Key}.href()
		case by == fleet.ByModels:
			r.Href = question{finding: code, model: s.Key}.href()
		case by == fleet.ByBuilds:
			r.Href = question{finding: code, build: s.Key}.href()
		}
		if s.Hidden {
			r.Devices, r.Share = v.say.Say("question.hidden"), ""
		} else {
			permille := s.Devices * 1000 / max(s.Of, 1)
			r.Share, r.Meter = v.say.Say("findings.share", "share", v.say.Percent(permille), "of", s.Of), permille
		}
		rows = append(rows, r)
	}
	return rows
}

// apiOpenFinding is a finding that is open about some devices.
type apiOpenFinding struct {
	ID       string   `json:"id" is:"text"` // its code
	Severity string   `json:"severity" is:"severity"`
	Devices  int64    `json:"devices"`
	Quiet    int64    `json:"quiet"` // of these, where somebody takes care of it
	Title    apiWords `json:"title"`
}

func (s *Server) apiOpenFindings(v *visit) error {
	open, err := s.cfg.Fleet.OpenFindings(v.r.Context(), v.caller)
	if err != nil {
		return err
	}
	return sendList(v, each(open, openFinding))
}

func openFinding(c fleet.CodeCount) apiOpenFinding {
	out := apiOpenFinding{ID: c.Code, Severity: severityName(c.Severity), Devices: c.Devices, Quiet: c.Quiet}
	if row, ok := finding.ByCode(c.Code); ok {
		out.Title = both(row.Title)
	}
	return out
}

// apiShare is how many devices are alike: null where they are fewer than five, which
// would tell of single people, and where they would tell how many those are.
type apiShare struct {
	ID      string `json:"id" is:"text"` // the model, build, or the school's id; empty = unknown or the rest
	Name    string `json:"name" is:"text"`
	Devices *int64 `json:"devices"`
	Of      *int64 `json:"of"`
}

func (s *Server) apiSpread(v *visit) error {
	row, ok := finding.ByCode(v.r.PathValue("id"))
	if !ok {
		return errNoPage
	}
	by := fleet.Dimension(v.asked.Get("by"))
	shares, err := s.cfg.Fleet.Spread(v.r.Context(), v.caller, fleet.Filter{Finding: row.Code}, by)
	if errors.Is(err, fleet.ErrInvalid) {
		return &badRequest{"by", fmt.Sprintf("want %s, %s or %s", fleet.ByModels, fleet.ByBuilds, fleet.BySchools)}
	}
	if err != nil {
		return err
	}
	shares = told(shares)
	items := make([]apiShare, len(shares))
	for i, sh := range shares {
		items[i] = apiShare{ID: sh.Key, Name: sh.Name}
		if !sh.Hidden {
			items[i].Devices, items[i].Of = &sh.Devices, &sh.Of
		}
	}
	return sendList(v, items)
}
