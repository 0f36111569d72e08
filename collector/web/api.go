package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// apiItem is a device in the API. Fields are added, never changed.
type apiItem struct {
	ID              string     `json:"id" is:"uuid"`
	Name            string     `json:"name" is:"text"` // what pages call it
	InventoryNumber *string    `json:"inventory_number" is:"text"`
	SerialNumber    *string    `json:"serial_number" is:"text"`
	Manufacturer    string     `json:"manufacturer" is:"text"`
	Model           string     `json:"model" is:"text"`
	OS              string     `json:"os" is:"text"`
	Owner           apiPlace   `json:"owner"`
	School          *apiSchool `json:"school"`
	State           string     `json:"state" is:"state"`
	LastContact     *string    `json:"last_contact" is:"day_or_time"` // a day; times of day would tell when somebody works
	BatteryCharge   *int64     `json:"battery_charge_permille"`
	VolumeFree      *int64     `json:"system_volume_free_bytes"`
	Labels          []string   `json:"labels" is:"text"`

	Finding *apiMainFinding `json:"finding"` // null = nothing is open that counts
	Columns map[string]any  `json:"columns,omitempty"`
}

// apiMainFinding is the worst that is open about a device and that nobody takes care
// of, and how many others there are.
type apiMainFinding struct {
	Code     string `json:"code" is:"text"`
	Severity string `json:"severity" is:"severity"`
	More     int64  `json:"more"`
}

type apiPlace struct {
	ID   string `json:"id" is:"uuid"`
	Name string `json:"name" is:"text"`
}

type apiSchool struct {
	ID   string `json:"id" is:"uuid"`
	Code string `json:"code" is:"text"`
	Name string `json:"name" is:"text"`
}

// apiReading is one row of the table of readings: its value, its values by
// instance, or the reason why there is none.
type apiReading struct {
	Unit      string        `json:"unit,omitempty" is:"unit"`
	Value     any           `json:"value,omitempty"`
	Absent    string        `json:"absent,omitempty" is:"absent"`
	Instances []apiInstance `json:"instances,omitempty"`
}

type apiInstance struct {
	Instance string `json:"instance" is:"text"`
	Value    any    `json:"value,omitempty"`
	Absent   string `json:"absent,omitempty" is:"absent"`
}

type apiDeviceBody struct {
	apiItem
	BootTime  *string               `json:"boot_time" is:"day_or_time"` // a day; with a look the time, as last_contact
	Connected bool                  `json:"connected"`                  // also where its state is that something is wrong
	Began     *string               `json:"connection_began" is:"time"` // of the last connection; with a look only
	Readings  map[string]apiReading `json:"readings"`
}

func (s *Server) apiDevices(v *visit) error {
	filter, err := s.apiFilter(v)
	if err != nil {
		return err
	}
	columns, err := v.askedColumns()
	if err != nil {
		return err
	}
	filter.Details = detailsOf(chosenColumns(columns))
	filter.Details.Findings = true
	page, err := s.cfg.Fleet.List(v.r.Context(), v.caller, filter)
	switch {
	case errors.Is(err, fleet.ErrCursor):
		return &badRequest{"cursor", "this list did not give it"}
	case errors.Is(err, fleet.ErrWords):
		return &badRequest{"q", fmt.Sprintf("want at most %d words", fleet.MaxWords)}
	case errors.Is(err, fleet.ErrInvalid):
		return &badRequest{"sort", "want one of " + strings.Join(texts(fleet.Sorts), ", ") + ", or one of them with - before it"}
	case err != nil:
		return err
	}
	out := list[apiItem]{Items: make([]apiItem, 0, len(page.Items)), Total: page.Total, Cursor: present(page.Cursor)}
	devices, err := v.listed(page.Items, columns)
	if err != nil {
		return err
	}
	for _, d := range devices {
		it := item(d.Device)
		it.Columns = columnValues(columns, d)
		out.Items = append(out.Items, it)
	}
	return v.sendJSON(out)
}

func (s *Server) apiFilter(v *visit) (fleet.Filter, error) {
	values := v.asked
	q, err := ask(values)
	if err != nil {
		return fleet.Filter{}, err
	}
	filter := q.filter()
	if filter.Limit, err = v.limit(); err != nil {
		return fleet.Filter{}, err
	}
	if filter.School != "" {
		school, err := s.school(v, filter.School)
		if errors.Is(err, errNoSchool) {
			return fleet.Filter{}, &badRequest{"school", "want the id or the number of a school"}
		}
		if err != nil {
			return fleet.Filter{}, err
		}
		filter.School = school.ID
	}
	return filter, nil
}

func (s *Server) apiDevice(v *visit) error {
	ctx := v.r.Context()
	d, err := s.cfg.Fleet.Device(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	latest, err := s.cfg.Health.Latest(ctx, v.caller, d.ID)
	if err != nil {
		return err
	}
	findings, err := s.cfg.Health.Findings(ctx, v.caller, d.ID)
	if err != nil {
		return err
	}
	d.Main, d.More = mainFinding(findings)
	body := apiDeviceBody{apiItem: item(d), BootTime: present(bootTime(latest)), Connected: latest.Connected, Readings: readingsOf(latest)}
	if !latest.Began.IsZero() {
		body.Began = present(latest.Began.Format(apiTime))
	}
	if !latest.Contact.IsZero() {
		body.LastContact = present(latest.Contact.Format(apiTime))
	}
	return v.sendJSON(body)
}

func item(d fleet.Device) apiItem {
	it := apiItem{ID: d.ID, Name: d.Label(), InventoryNumber: present(d.Inventory), SerialNumber: present(d.Serial),
		Manufacturer: d.Manufacturer, Model: d.Model, OS: d.OS, Owner: apiPlace{d.Owner, d.OwnerName}, State: string(d.State), Labels: append([]string{}, d.Labels...)}
	if d.School != "" {
		it.School = &apiSchool{d.School, d.SchoolCode, d.SchoolName}
	}
	if !d.LastDay.IsZero() {
		it.LastContact = present(d.LastDay.UTC().Format(time.DateOnly))
	}
	if d.Main.Code != "" {
		it.Finding = &apiMainFinding{d.Main.Code, severityName(d.Main.Severity), int64(d.More)}
	}
	it.BatteryCharge, it.VolumeFree = number(d.Battery), number(d.DiskFree)
	return it
}

// mainFinding is the worst of the findings that count, and how many others do.
func mainFinding(all []health.Finding) (worst fleet.MainFinding, more int) {
	for _, f := range all {
		if !f.Cleared.IsZero() || f.Quiet != nil {
			continue
		}
		more++
		if worst.Code == "" || f.Severity > worst.Severity || f.Severity == worst.Severity && f.Code < worst.Code {
			worst = fleet.MainFinding{Code: f.Code, Severity: f.Severity}
		}
	}
	return worst, max(more-1, 0)
}

// askedColumns are the columns of the list that a call asks for, in the list's order.
func (v *visit) askedColumns() ([]string, error) {
	text := v.asked.Get("columns")
	if text == "" {
		return nil, nil
	}
	if err := checkColumns(strings.Split(text, ",")); err != nil {
		return nil, err
	}
	return someColumns(text), nil
}

// columnValues are what columns of the list hold of a device, in base units; null
// where nobody knows.
func columnValues(columns []string, d listedDevice) map[string]any {
	var out map[string]any
	for _, c := range chosenColumns(columns) {
		if out == nil {
			out = map[string]any{}
		}
		out[c.id] = columnValue[c.id](d)
	}
	return out
}

// columnValue has the value of each of listColumns.
var columnValue = map[string]func(listedDevice) any{
	"model":   func(d listedDevice) any { return joined(d.Manufacturer, d.Model) },
	"serial":  func(d listedDevice) any { return present(d.Serial) },
	"school":  func(d listedDevice) any { return present(d.SchoolName) },
	"owner":   func(d listedDevice) any { return d.OwnerName },
	"finding": func(d listedDevice) any { return item(d.Device).Finding },
	"labels":  func(d listedDevice) any { return append([]string{}, d.Labels...) },
	"system":  func(d listedDevice) any { return present(d.OS) },
	"build":   func(d listedDevice) any { return present(d.Build) },
	"path":    func(d listedDevice) any { return present(d.Path) },
	"agent":   func(d listedDevice) any { return present(d.Agent) },
	"update":  func(d listedDevice) any { return columnUpdateOf(d) },
	"memory":  func(d listedDevice) any { return number(d.Daily.MemoryTotal) },
	"boot":    func(d listedDevice) any { return number(d.Daily.BootDuration) },
	"updates": func(d listedDevice) any { return number(d.Daily.UpdatesPending) },
	"health":  func(d listedDevice) any { return number(d.Daily.BatteryHealth) },
	"battery": func(d listedDevice) any { return number(d.Battery) },
	"free":    func(d listedDevice) any { return number(d.DiskFree) },
	"seen":    func(d listedDevice) any { return item(d.Device).LastContact },
}

// apiColumnUpdate is how far the update of a device is.
type apiColumnUpdate struct {
	Why    string  `json:"why" is:"why"`     // current, or why it is not
	Reason *string `json:"reason" is:"text"` // of waits, refused, rolled_back and unfit
}

func columnUpdateOf(d listedDevice) *apiColumnUpdate {
	if d.update.Why == "" {
		return nil
	}
	u := updateOf(d.update, "")
	return &apiColumnUpdate{u.Why, u.Reason}
}

func number(o fleet.Opt) *int64 {
	if !o.Known {
		return nil
	}
	return &o.Value
}

func present(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func apiReadings(values []health.Value) map[string]apiReading {
	out := map[string]apiReading{}
	for _, v := range values { // by instance within each reading
		value, absent := apiValue(v)
		entry := out[v.Reading.Name]
		entry.Unit = apiUnit(v.Reading)
		if v.Reading.Instanced && v.Instance != "" {
			entry.Instances = append(entry.Instances, apiInstance{v.Instance, value, absent})
		} else {
			entry.Value, entry.Absent = value, absent
		}
		out[v.Reading.Name] = entry
	}
	return out
}

// apiStateCount is how many devices are in a state.
type apiStateCount struct {
	ID      string `json:"id" is:"state"`
	Devices int64  `json:"devices"`
}

func statesOf(c fleet.Counts) []apiStateCount {
	return each(fleet.States, func(s fleet.State) apiStateCount { return apiStateCount{string(s), c.States[s]} })
}

// apiCounts counts the devices of a filter by state.
func (s *Server) apiCounts(v *visit) error {
	filter, err := s.apiFilter(v)
	if err != nil {
		return err
	}
	counts, err := s.cfg.Fleet.Counts(v.r.Context(), v.caller, filter)
	if errors.Is(err, fleet.ErrWords) {
		return &badRequest{"q", fmt.Sprintf("want at most %d words", fleet.MaxWords)}
	}
	if err != nil {
		return err
	}
	return sendList(v, statesOf(counts))
}

// apiUnit is the unit of the value as the API gives it: moments become days.
func apiUnit(row reading.Reading) string {
	if row.Unit == reading.UnixMilli {
		return "date"
	}
	return string(row.Unit)
}

func apiValue(v health.Value) (value any, absent string) {
	switch {
	case v.Absent != hmpb.Absent_ABSENT_UNSPECIFIED:
		return nil, absentName(v.Absent)
	case v.Reading.Kind != reading.Number:
		return v.Text, ""
	case v.Reading.Unit == reading.UnixMilli:
		return time.UnixMilli(v.Number).UTC().Format(time.DateOnly), ""
	}
	return v.Number, ""
}

func (v *visit) sendJSON(body any) error { return v.sendJSONAs(http.StatusOK, body) }

func (v *visit) sendJSONAs(code int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	v.send(code, "application/json", append(b, '\n'))
	return nil
}

func (s *Server) healthz(v *visit) error {
	v.send(http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
	return nil
}

// readyz says whether requests that need the store would be answered.
func (s *Server) readyz(v *visit) error {
	if err := s.cfg.Ready(v.r.Context()); err != nil {
		s.cfg.Log.Warn("not ready", "error", err)
		v.send(http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("not ready\n"))
		return nil
	}
	return s.healthz(v)
}
