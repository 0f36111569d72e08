package web

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
)

// A revoked device comes back only with a new claim and somebody's hand on it.
// So it is named once more by whoever revokes it, and there is a reason.
const leastReason, mostReason = 3, 500

// revocation takes back a device's credentials after it has checked what was
// typed; what is wrong with that is a badRequest.
func (s *Server) revocation(v *visit, d fleet.Device, name, reason string) error {
	if err := v.caller.Allow(access.RevokeDevices); err != nil {
		return err
	}
	reason = strings.TrimSpace(reason)
	if n := utf8.RuneCountInString(reason); n < leastReason || n > mostReason {
		return &badRequest{"reason", "want a reason of 3 to 500 characters"}
	}
	if !strings.EqualFold(strings.TrimSpace(name), d.Label()) {
		return &badRequest{"name", "want the name of the device, so that it is not another one"}
	}
	return s.cfg.Claims.RevokeDevice(v.r.Context(), v.caller, d.ID, reason)
}

func (v *visit) revokeForm(d fleet.Device) (title, text string, f form) {
	f = form{Action: "/devices/" + d.ID + "/revoke", Send: v.say.Say("revoke.send"), Cancel: "/devices/" + d.ID, Danger: true, Fields: []field{
		{Name: "reason", Label: v.say.Say("revoke.reason"), Help: v.say.Say("revoke.reason.help"), Type: "text", Max: mostReason},
		{Name: "name", Label: v.say.Say("revoke.name"), Help: v.say.Say("revoke.name.help", "name", d.Label()), Type: "text", Max: 100},
	}}
	last := v.say.Say("devices.never")
	if !d.LastDay.IsZero() {
		last = v.say.Day(d.LastDay, v.s.cfg.Now())
	}
	what := inRow(joined(d.Manufacturer, d.Model), d.SchoolName, d.OwnerName)
	return v.say.Say("revoke.title", "name", d.Label()), v.say.Say("revoke.text", "what", what, "day", last), f
}

// revokePage says what revoking means before it is done: there is no way back.
func (s *Server) revokePage(v *visit) error { return s.showRevoke(v, http.StatusOK, nil) }

func (s *Server) showRevoke(v *visit, code int, change func(*form)) error {
	if err := v.caller.Allow(access.RevokeDevices); err != nil {
		return err
	}
	d, err := s.cfg.Fleet.Device(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	if d.State == fleet.StateRevoked {
		return v.redirect("/devices/" + d.ID) // which says so
	}
	title, text, f := v.revokeForm(d)
	if change != nil {
		change(&f)
	}
	return v.showForm(code, "devices", title, text, f)
}

func (s *Server) revokeDevice(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	d, err := s.cfg.Fleet.Device(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	err = s.revocation(v, d, typed.Get("name"), typed.Get("reason"))
	var bad *badRequest
	if errors.As(err, &bad) {
		return s.showRevoke(v, http.StatusUnprocessableEntity, func(f *form) {
			f.fill(typed)
			f.refuse(bad.field, v.say.Say("revoke."+bad.field+".wrong"))
		})
	}
	return v.acted("/devices/"+d.ID, "revoked", err)
}

// apiRevocation revokes a device, which is named so that it is not another one.
type apiRevocation struct {
	Name   string `json:"name" is:"text"` // as the device has it: inventory number, else serial number
	Reason string `json:"reason" is:"text"`
}

func (s *Server) apiRevokeDevice(v *visit) error {
	var body apiRevocation
	if err := v.readJSON(&body); err != nil {
		return err
	}
	d, err := s.cfg.Fleet.Device(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.revocation(v, d, body.Name, body.Reason); err != nil {
		return err
	}
	return s.apiDevice(v)
}
