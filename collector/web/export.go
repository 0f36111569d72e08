package web

import (
	"encoding/csv"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/fleet"
)

// exported is how many devices one query of an export reads.
const exported = 500

// devicesCSV streams exactly the devices that the list's address says, in its
// order: days only, as the list.
func (s *Server) devicesCSV(v *visit) error {
	q, err := ask(v.asked)
	if err != nil {
		return err
	}
	school, err := s.school(v, q.school)
	switch {
	case errors.Is(err, errNoSchool):
		return &badRequest{"school", "want the id or the number of a school"}
	case err != nil:
		return err
	}
	q.school = school.ID
	filter := q.first().filter()
	filter.Limit, filter.Details.Agent = exported, true
	page, err := s.cfg.Fleet.List(v.r.Context(), v.caller, filter)
	switch {
	case errors.Is(err, fleet.ErrInvalid), errors.Is(err, fleet.ErrWords):
		return &badRequest{"q", err.Error()}
	case err != nil: // before the head is sent, so that a refusal is one
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="hausmeister-devices-`+s.cfg.Now().In(v.say.Zone()).Format(time.DateOnly)+`.csv"`)
	out := csv.NewWriter(v.w)
	out.Write(deviceHead)
	for {
		devices, err := v.listed(page.Items, []string{updateColumn})
		if err != nil {
			s.breakOff(err)
		}
		for _, d := range devices {
			out.Write(deviceRecord(d))
		}
		if out.Flush(); out.Error() != nil || page.Cursor == "" {
			return nil // all of it, or the peer is gone
		}
		// Each part has its own time: a slow line may take all day for the whole.
		http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(writeWithin))
		filter.Cursor = page.Cursor
		if page, err = s.cfg.Fleet.List(v.r.Context(), v.caller, filter); err != nil {
			s.breakOff(err)
		}
	}
}

// breakOff ends an export that cannot go on. What was sent cannot be taken back: the
// connection breaks instead of an end that looks like one.
func (s *Server) breakOff(err error) {
	s.cfg.Log.Error("exporting devices", "error", err)
	panic(http.ErrAbortHandler)
}

// deviceHead names what deviceRecord gives.
var deviceHead = []string{"id", "name", "inventory_number", "serial_number", "manufacturer", "model", "os", "owner", "school_code", "school", "state",
	"last_contact", "battery_charge_permille", "system_volume_free_bytes", "labels", "agent_version", "update", "update_reason"}

func deviceRecord(d listedDevice) []string {
	day := ""
	if !d.LastDay.IsZero() {
		day = d.LastDay.UTC().Format(time.DateOnly)
	}
	number := func(o fleet.Opt) string {
		if !o.Known {
			return ""
		}
		return strconv.FormatInt(o.Value, 10)
	}
	return []string{d.ID, harmless(d.Label()), harmless(d.Inventory), harmless(d.Serial), harmless(d.Manufacturer), harmless(d.Model), d.OS, harmless(d.OwnerName),
		harmless(d.SchoolCode), harmless(d.SchoolName), string(d.State), day, number(d.Battery), number(d.DiskFree), harmless(strings.Join(d.Labels, ", ")),
		harmless(d.Agent), string(d.update.Why), d.update.Because()}
}
