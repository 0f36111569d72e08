package web

import (
	"net/http"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
	"hausmeister/proto/finding"
	"hausmeister/proto/reading"
)

// listColumn is a column of the list that a person may choose; state and device
// are always there. Its word is devices.column.ID.
type listColumn struct {
	id      string
	class   string
	sort    fleet.Sort // empty = it cannot be sorted by
	details fleet.Details
	fill    func(v *visit, q question, d listedDevice) listCell
}

// listCell is a cell of the list; without Text, Tags and Href it is blank.
type listCell struct {
	Class, Label string
	Shape        string // of what is wrong with it
	Text, Dim    string // the end of a long one is cut off, of Dim first
	Number       string // behind Text, and never cut off
	Href         string
	Tags         []string
}

func (c listCell) Blank() bool { return c.Text == "" && c.Dim == "" && len(c.Tags) == 0 }

// listColumns are all of them, in the order in which the list shows them.
var listColumns = []listColumn{
	{id: "model", fill: func(v *visit, q question, d listedDevice) listCell {
		return listCell{Text: joined(d.Manufacturer, d.Model)}
	}},
	{id: "serial", class: "mono", fill: func(v *visit, q question, d listedDevice) listCell { return listCell{Text: d.Serial} }},
	{id: "school", sort: fleet.BySchool, fill: schoolCell},
	{id: "owner", fill: func(v *visit, q question, d listedDevice) listCell { return listCell{Text: d.OwnerName} }},
	{id: "finding", class: "wide", details: fleet.Details{Findings: true}, fill: findingCell},
	{id: "labels", class: "wide", fill: func(v *visit, q question, d listedDevice) listCell { return listCell{Tags: d.Labels} }},
	{id: "system", fill: func(v *visit, q question, d listedDevice) listCell { return listCell{Text: v.system(d.OS)} }},
	{id: "build", fill: func(v *visit, q question, d listedDevice) listCell { return listCell{Text: d.Build} }},
	{id: "path", fill: pathCell},
	{id: "agent", details: fleet.Details{Agent: true}, fill: func(v *visit, q question, d listedDevice) listCell { return listCell{Text: d.Agent} }},
	{id: updateColumn, class: "wide", fill: updateCell},
	{id: "memory", class: "num", details: fleet.Details{Daily: true}, fill: dailyCell(reading.MemoryTotal, func(d fleet.Daily) fleet.Opt { return d.MemoryTotal })},
	{id: "boot", class: "num", details: fleet.Details{Daily: true}, fill: dailyCell(reading.BootDuration, func(d fleet.Daily) fleet.Opt { return d.BootDuration })},
	{id: "updates", class: "num", details: fleet.Details{Daily: true}, fill: dailyCell(reading.UpdatesPending, func(d fleet.Daily) fleet.Opt { return d.UpdatesPending })},
	{id: "health", class: "num", details: fleet.Details{Daily: true}, fill: dailyCell(reading.BatteryHealth, func(d fleet.Daily) fleet.Opt { return d.BatteryHealth })},
	{id: "battery", class: "num", sort: fleet.ByBattery, fill: func(v *visit, q question, d listedDevice) listCell {
		if !d.Battery.Known {
			return listCell{}
		}
		return listCell{Text: v.say.Percent(d.Battery.Value)}
	}},
	{id: "free", class: "num", sort: fleet.ByDisk, fill: freeCell},
	{id: "seen", class: "seen", sort: fleet.ByContact, fill: func(v *visit, q question, d listedDevice) listCell {
		if d.LastDay.IsZero() {
			return listCell{Text: v.say.Say("devices.never")}
		}
		return listCell{Text: v.say.Day(d.LastDay, v.s.cfg.Now())}
	}},
}

// updateColumn is how far the update of a device is.
const updateColumn = "update"

// listedDevice is a device with what the list knows of it beside the fleet.
type listedDevice struct {
	fleet.Device
	update rollout.DeviceState // without Why = there is nothing to take, or nobody asked
}

// listed adds to devices what these columns show of them.
func (v *visit) listed(devices []fleet.Device, columns []string) ([]listedDevice, error) {
	out := make([]listedDevice, len(devices))
	var ids []string
	for i, d := range devices {
		if out[i].Device = d; d.State != fleet.StateRevoked {
			ids = append(ids, d.ID)
		}
	}
	if !slices.Contains(columns, updateColumn) || v.caller.Allow(access.ReadRollouts) != nil {
		return out, nil
	}
	states, err := v.s.cfg.Rollouts.StatesOf(v.r.Context(), v.caller, ids)
	for i := range out {
		out[i].update = states[out[i].ID]
	}
	return out, err
}

// updateCell is the word with its reason: where it is not what it should be the sign, too.
func updateCell(v *visit, q question, d listedDevice) listCell {
	if d.update.Why == "" {
		return listCell{}
	}
	c := listCell{Text: v.updateWord(string(d.update.Why)), Dim: v.whyReason(d.update)}
	if m := v.whyMark(d.update.Why); m.Shape == "crit" || m.Shape == "warn" {
		c.Shape = m.Shape
	}
	return c
}

// usualColumns are those of whoever has chosen none.
var usualColumns = []string{"school", "finding", "battery", "free", "seen"}

// mostColumns is how many beside state and device can still be read together; where
// there is no room for them the table scrolls in its own region.
const mostColumns = 8

// fullDisk is the share of a volume, in permille, below which its cell carries a
// mark (TE-5).
const fullDisk = 100

func schoolCell(v *visit, q question, d listedDevice) listCell {
	c := listCell{Class: "wide", Dim: d.OwnerName}
	if d.School != "" {
		c.Text, c.Href = d.SchoolName, q.withSchool(d.School)
		// A school without a name is told from others of its kind by its number.
		if kind, ok := strings.CutSuffix(d.SchoolName, " "+d.SchoolCode); ok {
			c.Text, c.Number = kind, d.SchoolCode
		}
	}
	if slices.Contains(q.columns, "owner") {
		c.Dim = ""
	}
	return c
}

// findingCell is the worst that is open, with the number of the others.
func findingCell(v *visit, q question, d listedDevice) listCell {
	row, ok := finding.ByCode(d.Main.Code)
	if !ok {
		return listCell{}
	}
	c := listCell{Shape: v.severityMark(d.Main.Severity).Shape, Text: pick(v.say.Lang, row.Title)}
	if d.More > 0 {
		c.Dim = "+" + v.say.Number(int64(d.More))
	}
	return c
}

func pathCell(v *visit, q question, d listedDevice) listCell {
	row, _ := reading.ByID(reading.CollectorPath)
	if word, ok := row.CodeWord(d.Path); ok {
		return listCell{Text: pick(v.say.Lang, word)}
	}
	return listCell{Text: d.Path}
}

func freeCell(v *visit, q question, d listedDevice) listCell {
	if !d.DiskFree.Known {
		return listCell{}
	}
	c := listCell{Text: v.say.Bytes(d.DiskFree.Value)}
	if d.DiskPermille.Known && d.DiskPermille.Value < fullDisk {
		c.Shape = "warn"
	}
	return c
}

// dailyCell is a reading of the last day that is merged.
func dailyCell(number uint32, of func(fleet.Daily) fleet.Opt) func(*visit, question, listedDevice) listCell {
	row, _ := reading.ByID(number)
	return func(v *visit, _ question, d listedDevice) listCell {
		n := of(d.Daily)
		if !n.Known {
			return listCell{}
		}
		return listCell{Text: measure(v.say, n.Value, row.Unit, true, v.s.cfg.Now())}
	}
}

// columnChoice is the name under which access keeps the columns of a person.
const columnChoice = "devices.columns"

// someColumns leaves of a list of ids those that there are, in their order.
func someColumns(text string) (ids []string) {
	asked := strings.Split(text, ",")
	for _, c := range listColumns {
		if slices.Contains(asked, c.id) && len(ids) < mostColumns {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// columnsOf are the columns of the list for this visit: those of the address, else
// those that the person chose, else the usual ones.
func (v *visit) columnsOf(q question) ([]string, error) {
	if len(q.shown) > 0 {
		return q.shown, nil
	}
	kept, err := v.s.cfg.Access.Choice(v.r.Context(), v.caller, columnChoice)
	if ids := someColumns(kept); len(ids) > 0 {
		return ids, err
	}
	return usualColumns, err
}

// chosenColumns are the rows of listColumns with these ids.
func chosenColumns(ids []string) (out []listColumn) {
	for _, c := range listColumns {
		if slices.Contains(ids, c.id) {
			out = append(out, c)
		}
	}
	return out
}

func detailsOf(columns []listColumn) (d fleet.Details) {
	for _, c := range columns {
		d.Findings = d.Findings || c.details.Findings
		d.Daily = d.Daily || c.details.Daily
		d.Agent = d.Agent || c.details.Agent
	}
	return d
}

// cells are the cells of a device, beside its state and name.
func (v *visit) listCells(q question, columns []listColumn, d listedDevice) (cells []listCell) {
	for _, c := range columns {
		cell := c.fill(v, q, d)
		cell.Class = strings.TrimSpace(cell.Class + " " + c.class)
		cell.Label = v.say.Say("devices.column." + c.id)
		cells = append(cells, cell)
	}
	return cells
}

func (v *visit) columnsField(chosen []string) field {
	f := field{Name: "column", Label: v.say.Say("devices.columns.legend"), Type: "checks", Values: chosen}
	for _, c := range listColumns {
		f.Options = append(f.Options, option{c.id, v.say.Say("devices.column." + c.id)})
	}
	return f
}

// setColumns keeps what a person chose of the list's columns.
func (s *Server) setColumns(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	value := ""
	if !typed.Has("usual") {
		if n := len(typed["column"]); n > mostColumns {
			f := form{Action: "/devices/columns", Send: v.say.Say("devices.columns.keep"), Cancel: "/devices", Hidden: map[string]string{"back": typed.Get("back")},
				Fields: []field{v.columnsField(typed["column"])}}
			f.refuse("column", v.say.Say("devices.columns.many", "n", n-mostColumns))
			return v.showForm(http.StatusUnprocessableEntity, "devices", v.say.Say("devices.columns.legend"), v.say.Say("devices.columns.most"), f)
		}
		value = strings.Join(someColumns(strings.Join(typed["column"], ",")), ",")
	}
	if err := s.cfg.Access.SetChoice(v.r.Context(), v.caller, columnChoice, value); err != nil {
		return err
	}
	to := typed.Get("back")
	if !strings.HasPrefix(to, "/devices") {
		to = "/devices"
	}
	return v.redirect(localPath(to))
}
