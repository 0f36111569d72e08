package web

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/reading"
)

// drawing is a reading whose history the page of a device draws.
type drawing struct {
	of    uint32
	level bool // a level stays what it was while the device is off, a flow does not
	total uint32
	limit int64 // permille of total, or a value of the reading itself; 0 = none
}

// drawings in the order of the page. Limits are those of the findings.
var drawings = []drawing{
	{of: reading.VolumeFree, level: true, total: reading.VolumeTotal, limit: 100},
	{of: reading.MemoryUsed, total: reading.MemoryTotal},
	{of: reading.CPUUsed},
	{of: reading.BatteryCharge},
	{of: reading.BatteryHealth, level: true, limit: 600},
	{of: reading.Temperature},
}

// stretch is a choice of how much is drawn.
type stretch struct {
	name         string
	long         time.Duration
	fine, coarse time.Duration // steps with a look and without; 0 = not without
	row          time.Duration // of the table
}

var stretches = []stretch{
	{"24h", 24 * time.Hour, 5 * time.Minute, 0, time.Hour},
	{"7d", 7 * health.Day, 30 * time.Minute, health.Day, health.Day},
	{"30d", 30 * health.Day, 2 * time.Hour, health.Day, health.Day},
}

// chartsMain is the part of a device page about what was.
type chartsMain struct {
	Stretches []listView
	Shut      bool // this stretch opens with a reason only
	Daily     bool // what is shown is by days, for want of one
	Charts    []chart
	Empty     string // why there are none
}

type chart struct {
	ID, Title, Caption string
	Data               string // JSON for the drawing
	Legend             []mark // of what is drawn beside the line
	Rows               []chartRow
	CSV                string
}

type chartRow struct{ When, Min, Mean, Max string }

// plot is what the script draws. Times are seconds, values are scaled to Unit.
type plot struct {
	Times     []int64       `json:"t"`
	Low       []json.Number `json:"lo"`
	Mid       []json.Number `json:"mid"`
	High      []json.Number `json:"hi"`
	Unit      string        `json:"unit"`
	Step      int64         `json:"step"`
	From      int64         `json:"from"`
	To        int64         `json:"to"`
	Level     bool          `json:"level"`
	Share     bool          `json:"share"` // from 0 to 100
	Limit     json.Number   `json:"limit,omitempty"`
	LimitWord string        `json:"limitWord,omitempty"`
	Before    [][2]int64    `json:"before"` // the device was not here yet
	Off       [][2]int64    `json:"off"`    // nothing is known: the device was off
	None      [][2]int64    `json:"none"`   // it was on and told nothing of this
	Lang      string        `json:"lang"`
	Day       bool          `json:"day"` // points are days, without a time of day
}

// firstValues is how long the first values of a device take to be drawn: they come with
// the quarter of an hour, which the agent and the line may be late with.
const firstValues = 20 * time.Minute

// charts reads what is drawn of a device. Without a look 24 hours are shut, and
// the longer stretches are by days.
func (v *visit) charts(d fleet.Device, look bool, latest []health.Value) (chartsMain, error) {
	st, device := stretches[1], d.ID
	if i := slices.IndexFunc(stretches, func(s stretch) bool { return s.name == v.asked.Get("range") }); i >= 0 {
		st = stretches[i]
	}
	main := chartsMain{}
	for _, s := range stretches {
		main.Stretches = append(main.Stretches, listView{Href: "/devices/" + device + "?range=" + s.name, Word: v.say.Say("chart." + s.name), Current: s.name == st.name})
	}
	step := st.fine
	if !look {
		step = st.coarse
		main.Daily = true
	}
	if step == 0 {
		main.Shut = true
		return main, nil
	}
	to := v.s.cfg.Now()
	from := to.Add(-st.long)
	if step == health.Day {
		from = from.Add(health.Day).Truncate(health.Day)
		to = to.Add(health.Day - 1).Truncate(health.Day)
	}
	var histories []health.History
	var drawn []drawing
	on := map[int64]bool{}
	since, err := v.since(d)
	if err != nil {
		return main, err
	}
	for _, d := range drawings {
		row, _ := reading.ByID(d.of)
		h, err := v.s.cfg.Health.History(v.r.Context(), v.caller, device, health.Span{Reading: row.Name, From: from, To: to, Step: step})
		switch {
		case errors.Is(err, health.ErrLookNeeded): // it ended this moment
			main.Shut = true
			return main, nil
		case err != nil:
			return main, err
		case len(h.Points) == 0:
			continue
		}
		for _, p := range h.Points {
			on[p.T] = true
		}
		histories, drawn = append(histories, h), append(drawn, d)
	}
	for i, h := range histories {
		main.Charts = append(main.Charts, v.chart(device, h, drawn[i], st, from, to, since, on, latest))
	}
	main.Empty = v.say.Say("chart.empty")
	if v.s.cfg.Now().Sub(d.Admitted) < firstValues {
		main.Empty = v.say.Say("chart.first", "n", int(firstValues/time.Minute))
	}
	return main, nil
}

// since is when a device was admitted, or the first day of values that came along from
// before that, in Unix milliseconds.
func (v *visit) since(d fleet.Device) (int64, error) {
	first, err := v.s.cfg.Health.Since(v.r.Context(), v.caller, d.ID)
	if err != nil || first.IsZero() {
		return d.Admitted.UnixMilli(), err
	}
	return min(d.Admitted.UnixMilli(), first.UnixMilli()), nil
}

func (v *visit) chart(device string, h health.History, d drawing, st stretch, from, to time.Time, since int64, on map[int64]bool, latest []health.Value) chart {
	row, step := h.Reading, h.Step.Milliseconds()
	scale, unit := scaleOf(row, h)
	p := plot{Step: step / 1000, From: from.UnixMilli() / 1000, To: to.UnixMilli() / 1000, Unit: unit, Level: d.level,
		Share: row.Unit == reading.Permille, Lang: string(v.say.Lang), Day: h.Step%health.Day == 0,
		Before: [][2]int64{}, Off: [][2]int64{}, None: [][2]int64{}}
	number := func(n int64) json.Number { return json.Number(strconv.FormatFloat(float64(n)/scale, 'g', 4, 64)) }
	for _, pt := range h.Points {
		p.Times = append(p.Times, pt.T/1000)
		p.Low, p.Mid, p.High = append(p.Low, number(pt.Min)), append(p.Mid, number(pt.Mean)), append(p.High, number(pt.Max))
	}
	have := map[int64]bool{}
	for _, pt := range h.Points {
		have[pt.T] = true
	}
	first := from.UnixMilli() - from.UnixMilli()%step
	for t := first; t < to.UnixMilli() && t < v.s.cfg.Now().UnixMilli(); t += step {
		switch {
		case t+step <= since:
			p.Before = extend(p.Before, t/1000, step/1000)
		case !on[t]:
			p.Off = extend(p.Off, t/1000, step/1000)
		case !have[t]:
			p.None = extend(p.None, t/1000, step/1000)
		}
	}
	if limit, ok := limitOf(d, h, latest); ok {
		p.Limit, p.LimitWord = number(limit), v.say.Say("chart.limit", "value", v.written(row, limit))
	}
	data, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("web: encoding a chart: %v", err)) // numbers and texts of ours
	}
	c := chart{ID: "chart-" + row.Name, Title: pick(v.say.Lang, row.Word), Data: string(data),
		CSV: "/devices/" + device + "/history.csv?reading=" + row.Name + "&range=" + st.name}
	if h.Instance != "" {
		c.Title += " · " + v.instance(h.Instance)
	}
	c.Legend = v.legend(p)
	c.Caption = v.story(row, d, h)
	c.Rows = v.chartRows(row, h, st)
	return c
}

// legend names what the drawing has beside its line, by the same shapes.
func (v *visit) legend(p plot) (keys []mark) {
	if p.LimitWord != "" {
		keys = append(keys, mark{"limit", p.LimitWord})
	}
	if len(p.Before) > 0 {
		keys = append(keys, mark{"before", v.say.Say("chart.before")})
	}
	if len(p.Off) > 0 {
		keys = append(keys, mark{"off", v.say.Say("chart.off")})
	}
	if len(p.None) > 0 {
		keys = append(keys, mark{"none", v.say.Say("chart.none")})
	}
	for i := 1; p.Level && i < len(p.Times); i++ {
		if p.Times[i]-p.Times[i-1] > p.Step {
			return append(keys, mark{"bridge", v.say.Say("chart.bridge")})
		}
	}
	return keys
}

// extend adds a step to the last stretch if it follows it.
func extend(all [][2]int64, t, step int64) [][2]int64 {
	if n := len(all); n > 0 && all[n-1][1] == t {
		all[n-1][1] = t + step
		return all
	}
	return append(all, [2]int64{t, t + step})
}

// scaleOf gives what one of the unit on the axis is.
func scaleOf(row reading.Reading, h health.History) (scale float64, unit string) {
	var most int64
	for _, p := range h.Points {
		most = max(most, p.Max)
	}
	switch row.Unit {
	case reading.Permille:
		return 10, "%"
	case reading.MilliCelsius:
		return 1000, "°C"
	case reading.Bytes:
		base := 1000.0
		if !row.Instanced {
			base = 1024 // of main memory, see measure
		}
		scale, unit = base*base, "MB"
		if float64(most) >= scale*base {
			scale, unit = scale*base, "GB"
		}
		return scale, unit
	case reading.Milliseconds:
		return 1000, "s"
	}
	return 1, ""
}

// limitOf is the value at which a finding is raised.
func limitOf(d drawing, h health.History, latest []health.Value) (int64, bool) {
	switch {
	case d.limit == 0:
		return 0, false
	case d.total == 0:
		return d.limit, true
	}
	for _, value := range latest {
		if value.Reading.ID == d.total && value.Instance == h.Instance && value.Number > 0 {
			return value.Number / 1000 * d.limit, true
		}
	}
	return 0, false
}

func (v *visit) written(row reading.Reading, n int64) string {
	return measure(v.say, n, row.Unit, !row.Instanced, v.s.cfg.Now())
}

func (v *visit) instance(name string) string {
	if w := reading.InstanceWord(name); w.DE != "" {
		return pick(v.say.Lang, w)
	}
	return name
}

// story says in a sentence what the drawing shows.
func (v *visit) story(row reading.Reading, d drawing, h health.History) string {
	first, last := h.Points[0], h.Points[len(h.Points)-1]
	if d.level {
		from, to := v.written(row, first.Mean), v.written(row, last.Mean)
		if from == to {
			return v.say.Say("chart.same", "value", to)
		}
		key := "chart.rose"
		if last.Mean < first.Mean {
			key = "chart.fell"
		}
		return v.say.Say(key, "from", from, "to", to)
	}
	var sum, n, most int64
	for _, p := range h.Points {
		sum, n, most = sum+p.Mean, n+1, max(most, p.Max)
	}
	return v.say.Say("chart.mean", "mean", v.written(row, sum/n), "max", v.written(row, most))
}

// chartRows are the drawing as a table, by hours or days.
func (v *visit) chartRows(row reading.Reading, h health.History, st stretch) (rows []chartRow) {
	type sum struct{ t, low, high, total, n int64 }
	var sums []sum
	every := st.row.Milliseconds()
	for _, p := range h.Points {
		t := p.T - p.T%every
		if n := len(sums); n == 0 || sums[n-1].t != t {
			sums = append(sums, sum{t: t, low: p.Min, high: p.Max})
		}
		s := &sums[len(sums)-1]
		s.low, s.high, s.total, s.n = min(s.low, p.Min), max(s.high, p.Max), s.total+p.Mean, s.n+1
	}
	for _, s := range slices.Backward(sums) {
		when := v.say.Date(time.UnixMilli(s.t).UTC())
		if st.row < health.Day {
			when = v.say.Time(time.UnixMilli(s.t))
		}
		rows = append(rows, chartRow{when, v.written(row, s.low), v.written(row, s.total/s.n), v.written(row, s.high)})
	}
	return rows
}

// historyCSV gives the points of one drawing as the page shows them.
func (s *Server) historyCSV(v *visit) error {
	i := slices.IndexFunc(stretches, func(st stretch) bool { return st.name == v.asked.Get("range") })
	row, known := reading.ByName(v.asked.Get("reading"))
	if i < 0 || !known {
		return &badRequest{"range", "want a reading, and 24h, 7d or 30d"}
	}
	st, device := stretches[i], v.r.PathValue("id")
	d, err := s.cfg.Fleet.Device(v.r.Context(), v.caller, device)
	if err != nil {
		return err
	}
	until, err := s.cfg.Health.Looking(v.r.Context(), v.caller, device)
	if err != nil {
		return err
	}
	step := st.fine
	if until.IsZero() {
		step = st.coarse
	}
	if step == 0 {
		return health.ErrLookNeeded
	}
	now := s.cfg.Now()
	h, err := s.cfg.Health.History(v.r.Context(), v.caller, device, health.Span{Reading: row.Name, From: now.Add(-st.long), To: now, Step: step})
	if err != nil {
		return err
	}
	head := v.w.Header()
	head.Set("Content-Type", "text/csv; charset=utf-8")
	head.Set("Content-Disposition", `attachment; filename="hausmeister-`+fileName(d.Label())+"-"+row.Name+"-"+st.name+`.csv"`)
	out := csv.NewWriter(v.w)
	out.Write([]string{"time", "unit", "min", "mean", "max"})
	for _, p := range h.Points {
		t := time.UnixMilli(p.T).UTC().Format(apiTime)
		if step == health.Day {
			t = t[:len(time.DateOnly)]
		}
		out.Write([]string{t, string(row.Unit), strconv.FormatInt(p.Min, 10), strconv.FormatInt(p.Mean, 10), strconv.FormatInt(p.Max, 10)})
	}
	out.Flush() // the peer may be gone; nobody else needs to know
	return nil
}

// fileName is a name in letters that no system's files mind, and that need no
// quoting in a header.
func fileName(name string) string {
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	}), "-")
}
