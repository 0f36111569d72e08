package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
)

// noted is an open finding on a device page.
type noted struct {
	Shape           string // of its severity
	Word            string // of its severity
	Texts           finding.Texts
	Subject, Raised string

	Code, Instance string
	Quiet          *quietLine // nil = it counts
	May            string     // address of the form that makes it quiet; empty = not for this role
	Loud           string     // where it is undone
}

// loud counts those that nobody takes care of.
func loud(findings []noted) (n int) {
	for _, f := range findings {
		if f.Quiet == nil {
			n++
		}
	}
	return n
}

// findings are the open ones in words; one that only a newer version of this
// program knows is left out: there is nothing to say about it.
func (v *visit) findings(device string) ([]noted, error) {
	all, err := v.s.cfg.Health.Findings(v.r.Context(), v.caller, device)
	if err != nil {
		return nil, err
	}
	var out []noted
	for _, f := range all {
		row, ok := finding.ByCode(f.Code)
		if !ok || !f.Cleared.IsZero() {
			continue
		}
		n := noted{Shape: "info", Word: v.say.Say("severity.notice"), Texts: v.s.texts(v.say.Lang, row, f),
			Subject: v.subject(row, f), Raised: v.say.Day(f.Raised, v.s.cfg.Now()), Code: f.Code, Instance: f.Instance}
		if v.caller.Allow(access.QuietFindings) == nil {
			n.May = withQuery("/devices/"+device+"/findings/quiet", url.Values{"code": {f.Code}, "instance": {f.Instance}})
			n.Loud = "/devices/" + device + "/findings/loud"
		}
		if f.Quiet != nil {
			line := v.quietLine(*f.Quiet)
			n.Quiet = &line
		}
		switch f.Severity {
		case hmpb.Severity_SEVERITY_WARNING:
			n.Shape, n.Word = "warn", v.say.Say("severity.warning")
		case hmpb.Severity_SEVERITY_CRITICAL:
			n.Shape, n.Word = "crit", v.say.Say("severity.critical")
		}
		out = append(out, n)
	}
	return out, nil
}

// subject is what a finding is about, where that is one of several.
func (v *visit) subject(row finding.Finding, f health.Finding) string {
	if w, ok := row.InstanceWord(f.Instance); ok {
		return pick(v.say.Lang, w)
	}
	return f.Instance
}

// lookMain is the part of a device page about who may see it finer than by the
// day, and who did.
type lookMain struct {
	May    bool   // the caller may give a reason
	Until  string // of the caller's open look; empty = none
	Past   bool   // the device is revoked: there is what it told, and nothing new
	Action string
	Reason string // as typed, when it was refused
	Error  string
	Looks  []lookLine
}

type lookLine struct{ When, Who, Role, Reason string }

// shownLooks are so many on the page; the API has the rest.
const shownLooks = 10

func (v *visit) look(device string) (lookMain, error) {
	ctx := v.r.Context()
	main := lookMain{May: v.caller.Allow(access.LookDevices) == nil, Action: "/devices/" + device + "/looks"}
	until, err := v.s.cfg.Health.Looking(ctx, v.caller, device)
	if err != nil {
		return main, err
	}
	if !until.IsZero() {
		main.Until = v.say.Clock(until)
	}
	looks, err := v.s.cfg.Health.Looks(ctx, v.caller, device)
	if err != nil {
		return main, err
	}
	for _, l := range looks[:min(len(looks), shownLooks)] {
		main.Looks = append(main.Looks, lookLine{When: v.say.Time(l.Opened), Who: l.Name, Role: v.say.Say("role." + string(l.Role)), Reason: l.Reason})
	}
	return main, nil
}

// openLook takes the form of a device page. A reason that does not do comes
// back with the page, as it was typed.
func (s *Server) openLook(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return formError(err)
	}
	device, reason := v.r.PathValue("id"), v.r.PostForm.Get("reason")
	_, err := s.cfg.Health.OpenLook(v.r.Context(), v.caller, device, reason)
	if errors.Is(err, health.ErrReason) {
		return s.showDevice(v, http.StatusUnprocessableEntity, func(m *deviceMain) {
			m.Look.Error, m.Look.Reason = v.say.Say("look.reason.wrong"), reason
		})
	}
	if err != nil {
		return err
	}
	return v.redirect("/devices/" + device)
}

// softwareMain is the page of what is installed.
type softwareMain struct {
	Name     string
	Crumbs   []link
	Told     string // when; empty = never
	Count    string
	Programs []installed
	Days     []changedDay
}

type installed struct{ Name, Version string }

type changedDay struct {
	Day     string
	Changes []changeLine
}

type changeLine struct{ Sign, Word, Name, Text string }

func (s *Server) softwarePage(v *visit) error {
	ctx := v.r.Context()
	d, err := s.cfg.Fleet.Device(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	inv, err := s.cfg.Health.Inventory(ctx, v.caller, d.ID)
	if err != nil {
		return err
	}
	main := softwareMain{Name: d.Label(), Crumbs: []link{{"/devices/" + d.ID, d.Label()}}, Count: v.say.Say("software.count", "n", len(inv.Programs))}
	if !inv.Day.IsZero() {
		main.Told = v.say.Day(inv.Day, s.cfg.Now())
	}
	for _, p := range inv.Programs {
		main.Programs = append(main.Programs, installed{p.Name, p.Version})
	}
	main.Days = v.changedDays(inv.Changes)
	p := v.framed(v.page(v.say.Say("software.title"), main))
	p.Current = "true"
	return v.show(http.StatusOK, "software", p)
}

func (v *visit) changedDays(changes []health.InventoryChange) (days []changedDay) {
	var last time.Time
	for _, c := range changes {
		if len(days) == 0 || !c.Day.Equal(last) {
			last = c.Day
			days = append(days, changedDay{Day: v.say.Day(c.Day, v.s.cfg.Now())})
		}
		line := changeLine{Sign: "±", Word: v.say.Say("software.changed"), Name: c.Name, Text: c.From + " → " + c.To}
		switch {
		case c.Added:
			line.Sign, line.Word, line.Text = "+", v.say.Say("software.added"), c.To
		case c.Removed:
			line.Sign, line.Word, line.Text = "−", v.say.Say("software.removed"), c.From
		}
		day := &days[len(days)-1]
		day.Changes = append(day.Changes, line)
	}
	return days
}
