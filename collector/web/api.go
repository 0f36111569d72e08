package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// apiItem is a device in the API. Fields are added, never changed.
type apiItem struct {
	ID              string     `json:"id"`
	Name            string     `json:"name"` // what pages call it
	InventoryNumber *string    `json:"inventory_number"`
	SerialNumber    *string    `json:"serial_number"`
	Manufacturer    string     `json:"manufacturer"`
	Model           string     `json:"model"`
	OS              string     `json:"os"`
	Owner           apiPlace   `json:"owner"`
	School          *apiSchool `json:"school"`
	State           string     `json:"state"`
	LastContact     *string    `json:"last_contact"` // a day; times of day would tell when somebody works
	BatteryCharge   *int64     `json:"battery_charge_permille"`
	VolumeFree      *int64     `json:"system_volume_free_bytes"`
	Labels          []string   `json:"labels"`
}

type apiPlace struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type apiSchool struct {
	ID   string `json:"id"`
	Code string `json:"code"`
	Name string `json:"name"`
}

type apiList struct {
	Items  []apiItem `json:"items"`
	Total  int64     `json:"total"`
	Cursor *string   `json:"cursor"` // null on the last page
}

// apiReading is one row of the table of readings: its value, its values by
// instance, or the reason why there is none.
type apiReading struct {
	Unit      string        `json:"unit,omitempty"`
	Value     any           `json:"value,omitempty"`
	Absent    string        `json:"absent,omitempty"`
	Instances []apiInstance `json:"instances,omitempty"`
}

type apiInstance struct {
	Instance string `json:"instance"`
	Value    any    `json:"value,omitempty"`
	Absent   string `json:"absent,omitempty"`
}

type apiDeviceBody struct {
	apiItem
	BootTime *string               `json:"boot_time"`        // a day; with a look the time, as last_contact
	Began    *string               `json:"connection_began"` // of the last connection; with a look only
	Readings map[string]apiReading `json:"readings"`
}

func (s *Server) apiDevices(v *visit) error {
	filter, err := s.apiFilter(v)
	if err != nil {
		return err
	}
	page, err := s.cfg.Fleet.List(v.r.Context(), v.caller, filter)
	switch {
	case errors.Is(err, fleet.ErrCursor):
		return &badRequest{"cursor", "this list did not give it"}
	case errors.Is(err, fleet.ErrWords):
		return &badRequest{"q", fmt.Sprintf("want at most %d words", fleet.MaxWords)}
	case errors.Is(err, fleet.ErrInvalid):
		return &badRequest{"sort", "want one of label, model, school, last_contact, battery, disk_free, or one of them with - before it"}
	case err != nil:
		return err
	}
	list := apiList{Items: make([]apiItem, 0, len(page.Items)), Total: page.Total, Cursor: present(page.Cursor)}
	for _, d := range page.Items {
		list.Items = append(list.Items, item(d))
	}
	return v.sendJSON(list)
}

func (s *Server) apiFilter(v *visit) (fleet.Filter, error) {
	values := v.asked
	q, err := ask(values)
	if err != nil {
		return fleet.Filter{}, err
	}
	filter := q.filter()
	if values.Has("limit") {
		if filter.Limit, err = strconv.Atoi(values.Get("limit")); err != nil || filter.Limit < 1 || filter.Limit > fleet.MaxLimit {
			return fleet.Filter{}, &badRequest{"limit", fmt.Sprintf("want a number from 1 to %d", fleet.MaxLimit)}
		}
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
	body := apiDeviceBody{apiItem: item(d), Readings: apiReadings(latest.Values)}
	for _, value := range latest.Values {
		if value.Reading.ID == reading.BootTime && value.Absent == hmpb.Absent_ABSENT_UNSPECIFIED {
			body.BootTime = present(time.UnixMilli(value.Number).UTC().Format(time.DateOnly))
		}
	}
	if !latest.Booted.IsZero() {
		body.BootTime = present(latest.Booted.Format(apiTime))
		row, _ := reading.ByID(reading.BootTime)
		told := body.Readings[row.Name]
		told.Value = *body.BootTime
		body.Readings[row.Name] = told
	}
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
	if d.Battery.Known {
		it.BatteryCharge = &d.Battery.Value
	}
	if d.DiskFree.Known {
		it.VolumeFree = &d.DiskFree.Value
	}
	return it
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
