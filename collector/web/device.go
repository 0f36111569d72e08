package web

import (
	"html/template"
	"net/http"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/reading"
)

type deviceMain struct {
	Name, Model string
	States      []mark // of a device that something is wrong with also that it is connected
	Sentence    string
	Crumbs      []link
	Live        string    // address of the stream; empty = nothing may change by itself
	ByDay       bool      // there are values, and no look that would open live ones
	Groups      [][]group // columns of cards
	Aside       []group   // cards below what the device is
	About       []about
	Findings    []noted
	Done        string
	Events      []eventDay
	AllEvents   string // address of the page of all events
	Software    string // address of the page of what is installed
	Look        lookMain
	History     chartsMain
	Labels      labelsMain
	LabelError  string // what is wrong with the label that was typed
	LabelTyped  string
	Jobs        []deviceJobRow
	Update      *deviceUpdateCard // nil = nothing goes over the fleet
	Revoke      string            // address; empty = the role may not, or it is done
}

// labelsMain are the labels of a device, and where they are changed.
type labelsMain struct {
	Held        []link
	Known       []string // suggestions
	Set, Remove string   // addresses; empty = the role may not
}

// about is one line of what the device is.
type about struct {
	Label, Text, Href string
	Copy              bool // a code that people copy
	Absent            bool // Text is a reason
}

func (s *Server) devicePage(v *visit) error { return s.showDevice(v, http.StatusOK, nil) }

// showDevice shows the page of a device; change, if any, has the last word on it.
func (s *Server) showDevice(v *visit, code int, change func(*deviceMain)) error {
	ctx := v.r.Context()
	d, err := s.cfg.Fleet.Device(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	latest, err := s.cfg.Health.Latest(ctx, v.caller, d.ID)
	if err != nil {
		return err
	}
	main := deviceMain{Name: d.Label(), Model: joined(d.Manufacturer, d.Model)}
	main.Crumbs = []link{{"", d.OwnerName}}
	if d.School != "" {
		main.Crumbs = append(main.Crumbs, link{"/schools/" + d.School, d.SchoolName})
	}
	sheet := newSheet(v.say, s.pages, s.cfg.Now(), latest.Values)
	sheet.booted = latest.Booted
	main.About = v.about(d, sheet, latest)
	if len(latest.Values) > 0 {
		columns := sheet.columns()
		main.Groups, main.Aside = columns[:2], columns[2]
	}
	if main.Findings, err = v.findings(d.ID); err != nil {
		return err
	}
	main.States, main.Sentence = v.condition(d, latest.Connected, main.Findings)
	if main.Look, err = v.look(d.ID); err != nil {
		return err
	}
	main.Look.Past = d.State == fleet.StateRevoked
	main.ByDay = main.Look.Until == "" && latest.Version != "" && !main.Look.Past
	if !main.ByDay && !main.Look.Past {
		main.Live = "/devices/" + d.ID + "/live"
	}
	if main.History, err = v.charts(d, main.Look.Until != "", latest.Values); err != nil {
		return err
	}
	t, err := v.timeline(d.ID, time.Time{}, eventsCard)
	if err != nil {
		return err
	}
	if main.Events, err = v.eventDays(d.ID, t, eventsCard); err != nil {
		return err
	}
	main.AllEvents = "/devices/" + d.ID + "/events"
	main.Done = v.done()
	main.Software = "/devices/" + d.ID + "/software"
	if d.State != fleet.StateRevoked && v.caller.Allow(access.RevokeDevices) == nil {
		main.Revoke = "/devices/" + d.ID + "/revoke"
	}
	if main.Labels, err = v.labels(d); err != nil {
		return err
	}
	if main.Jobs, err = v.deviceJobs(d.ID); err != nil {
		return err
	}
	if main.Update, err = v.deviceUpdate(d); err != nil {
		return err
	}
	if change != nil {
		change(&main)
	}
	p := v.framed(v.page(d.Label(), main))
	p.Current = "true" // below the list, not the list itself
	p.Back = "/devices/" + d.ID
	if code == http.StatusOK {
		p.Back = v.r.URL.RequestURI() // with the stretch of the charts
	}
	return v.show(code, "device", p)
}

func (v *visit) labels(d fleet.Device) (main labelsMain, err error) {
	for _, l := range d.Labels {
		main.Held = append(main.Held, link{question{label: l}.href(), l})
	}
	if v.caller.Allow(access.WriteDevices) != nil {
		return main, nil
	}
	main.Set, main.Remove = "/devices/"+d.ID+"/labels", "/devices/"+d.ID+"/labels/remove"
	main.Known, err = v.s.cfg.Fleet.LabelNames(v.r.Context(), v.caller)
	return main, err
}

// condition is a device's state and the sentence about it. A device that something
// is wrong with is not called healthy, whether or not it is connected.
func (v *visit) condition(d fleet.Device, connected bool, findings []noted) ([]mark, string) {
	n, states := loud(findings), []mark{v.mark(d.State)}
	switch d.State {
	case fleet.StateCritical, fleet.StateWarning:
		n = max(n, 1) // it may have been cleared since the state was read
		if connected {
			states = append(states, v.mark(fleet.StateConnected))
		}
	case fleet.StateConnected, fleet.StateOK:
	default:
		n = 0
	}
	if n > 0 {
		return states, v.say.Say("device.noted", "n", n)
	}
	return states, v.sentence(d)
}

// sentence says how the device is and what to do.
func (v *visit) sentence(d fleet.Device) string {
	now := v.s.cfg.Now()
	switch d.State {
	case fleet.StateConnected:
		return v.say.Say("device.connected")
	case fleet.StateOK:
		return v.say.Say("device.ok", "day", v.say.Day(d.LastDay, now))
	case fleet.StateSilent:
		return v.say.Say("device.silent", "n", v.say.DaysSince(d.LastDay, now))
	case fleet.StateRevoked:
		return v.say.Say("device.revoked")
	}
	return v.say.Say("device.new")
}

// about is what the record says of the device. What is not in it because the
// device could not read it has its reason from the sheet.
func (v *visit) about(d fleet.Device, sheet *sheet, latest health.Latest) []about {
	var lines []about
	add := func(label, text, href string, code bool) {
		if text != "" {
			lines = append(lines, about{Label: v.say.Say(label), Text: text, Href: href, Copy: code})
		}
	}
	add("device.inventory", d.Inventory, "", true)
	told := func(label, text string, number uint32, code bool) {
		why := sheet.unread(number)
		if text != "" || why == "" {
			add(label, text, "", code)
			return
		}
		lines = append(lines, about{Label: v.say.Say(label), Text: v.say.Say("device.unread", "why", why), Absent: true})
	}
	told("device.serial", d.Serial, reading.Serial, true)
	told("device.manufacturer", d.Manufacturer, reading.Manufacturer, false)
	told("device.model", d.Model, reading.Model, false)
	add("device.system", v.system(d.OS), "", false)
	if d.School != "" {
		add("device.school", d.SchoolName, question{school: d.School}.href(), false)
	}
	add("device.owner", d.OwnerName, "", false)
	seen := v.say.Say("devices.never")
	if !d.LastDay.IsZero() {
		seen = v.say.Day(d.LastDay, v.s.cfg.Now())
	}
	switch {
	case latest.Began.IsZero():
		add("devices.seen.long", seen, "", false)
	case latest.Connected:
		add("device.since.connected", v.say.Time(latest.Began), "", false)
	default:
		add("device.last", v.say.Say("device.last.span", "from", v.say.Time(latest.Began), "to", v.say.Time(latest.Contact)), "", false)
	}
	add("device.id", d.ID, "", true)
	return lines
}

// joined puts the maker before the model unless the model says it already.
func joined(maker, model string) string {
	if maker == "" || len(model) >= len(maker) && model[:len(maker)] == maker {
		return model
	}
	if model == "" {
		return maker
	}
	return maker + " " + model
}

// liveCells are the cells of a device as they are now: its state, the sentence
// about it, and every reading.
// sample, if any, is newer than what is stored. last says that no other will come,
// because the device is revoked.
func (v *visit) liveCells(sample []health.Value) (cells []cell, last bool, err error) {
	ctx := v.r.Context()
	d, err := v.s.cfg.Fleet.Device(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return nil, false, err
	}
	latest, err := v.s.cfg.Health.Latest(ctx, v.caller, d.ID)
	if err != nil {
		return nil, false, err
	}
	findings, err := v.findings(d.ID)
	if err != nil {
		return nil, false, err
	}
	states, sentence := v.condition(d, latest.Connected, findings)
	sheet := newSheet(v.say, v.s.pages, v.s.cfg.Now(), append(latest.Values, sample...)) // the later one counts
	sheet.booted = latest.Booted
	cells = []cell{
		{"state", sheet.render("pills", states)},
		{"sentence", template.HTML(template.HTMLEscapeString(sentence))},
	}
	return append(cells, sheet.cells()...), d.State == fleet.StateRevoked, nil
}
