package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
	"hausmeister/proto/ident"
)

// rolloutDevicesMain is the list of a rollout's devices, by the word that each has.
type rolloutDevicesMain struct {
	Back, Name  string
	Compliance  string
	All         whyRow
	Whys        []whyRow
	Rows        []rolloutDeviceRow
	First, Next string
}

type rolloutDeviceRow struct {
	Href, Name, Model string
	School, Owner     string
	State             mark
	Reason            string
	Version, Ring     string
	Day               string
}

// whyShapes are the shapes of the words; those without are on their way by themselves.
var whyShapes = map[rollout.Why]string{rollout.Current: "ok", rollout.WhyBegan: "run", rollout.WhyWaits: "run", rollout.WhyUndone: "crit", rollout.WhyRefused: "warn", rollout.WhyDrift: "warn",
	rollout.WhyBlocked: "off", rollout.WhyUnfit: "off", rollout.WhyOff: "off", rollout.WhyRevoked: "off", rollout.WhyEnded: "off"}

func (v *visit) whyMark(why rollout.Why) mark {
	shape := whyShapes[why]
	if shape == "" {
		shape = "idle"
	}
	return mark{shape, v.say.Say("why." + string(why))}
}

// whyReason says in words what a device waits for, or why it refused or went back.
func (v *visit) whyReason(d rollout.DeviceState) string {
	if key := "why.reason." + d.Because(); v.say.Has(key) {
		return v.say.Say(key)
	}
	return d.Because()
}

func (s *Server) rolloutDevicesPage(v *visit) error {
	ctx, id := v.r.Context(), v.r.PathValue("id")
	why := rollout.Why(v.asked.Get("why"))
	if why != "" && !slices.Contains(rollout.Whys, why) {
		return &badRequest{"why", "no such word"}
	}
	after := v.asked.Get("after")
	if after != "" && !ident.ValidID(after) {
		return &badRequest{"after", "this list did not give it"}
	}
	r, err := s.cfg.Rollouts.Rollout(ctx, v.caller, id)
	if err != nil {
		return err
	}
	c, err := s.cfg.Rollouts.Compliance(ctx, v.caller, id)
	if err != nil {
		return err
	}
	main := rolloutDevicesMain{Back: "/rollouts/" + id, Name: v.versionName(r.Product, r.Version), Whys: v.whyRows(r, c, why),
		All: whyRow{Word: v.say.Say("devices.all"), Href: "/rollouts/" + id + "/devices", Devices: c.Devices, Current: why == ""}}
	if p := c.Permille(); p >= 0 {
		main.Compliance = v.say.Say("rollout.devices.compliance", "share", v.say.Percent(p), "n", c.Due)
	}
	states, err := s.cfg.Rollouts.DeviceStates(ctx, v.caller, id, why, after, pageSize+1)
	if err != nil {
		return err
	}
	kept := url.Values{}
	if why != "" {
		kept.Set("why", string(why))
	}
	if after != "" {
		main.First = withQuery(main.All.Href, kept)
	}
	if len(states) > pageSize {
		states = states[:pageSize]
		kept.Set("after", states[pageSize-1].Device)
		main.Next = withQuery(main.All.Href, kept)
	}
	if main.Rows, err = v.rolloutDeviceRows(states); err != nil {
		return err
	}
	p := v.at("updates", v.say.Say("rollout.devices.title", "what", main.Name), main)
	return v.show(http.StatusOK, "rollout-devices", p)
}

func (v *visit) rolloutDeviceRows(states []rollout.DeviceState) (rows []rolloutDeviceRow, err error) {
	ids := make([]string, len(states))
	for i, d := range states {
		ids[i] = d.Device
	}
	found, err := v.s.cfg.Fleet.Devices(v.r.Context(), v.caller, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]fleet.Device, len(found))
	for _, d := range found {
		byID[d.ID] = d
	}
	for _, st := range states {
		d, ok := byID[st.Device]
		if !ok {
			continue // it went meanwhile
		}
		row := rolloutDeviceRow{Href: "/devices/" + d.ID, Name: d.Label(), Model: d.Model, School: d.SchoolName, Owner: d.OwnerName, State: v.whyMark(st.Why), Reason: v.whyReason(st), Version: st.Version}
		if st.Ring > 0 {
			row.Ring = v.say.Number(int64(st.Ring))
		}
		if !st.Day.IsZero() {
			row.Day = v.say.Day(st.Day, v.s.cfg.Now())
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// deviceUpdateCard is how far a device is on its way to the version that it should have.
type deviceUpdateCard struct {
	State         mark
	Text          string
	Facts         []about
	Href, Windows string
}

// deviceUpdate tells it; nil where nothing goes over the fleet.
func (v *visit) deviceUpdate(d fleet.Device) (*deviceUpdateCard, error) {
	ctx := v.r.Context()
	if v.caller.Allow(access.ReadRollouts) != nil || d.State == fleet.StateRevoked {
		return nil, nil
	}
	st, id, err := v.s.cfg.Rollouts.DeviceState(ctx, v.caller, d.ID)
	if errors.Is(err, access.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := v.s.cfg.Rollouts.Rollout(ctx, v.caller, id)
	if err != nil {
		return nil, err
	}
	card := &deviceUpdateCard{State: v.whyMark(st.Why), Text: v.say.Say("why.text."+string(st.Why), "version", r.Version, "n", len(r.Rings), "ring", r.Ring), Href: "/rollouts/" + id, Windows: "/owners/" + d.Owner + "/updates"}
	if reason := v.whyReason(st); reason != "" {
		card.Text += " " + v.say.Say("why.because", "reason", reason)
	}
	add := func(label, text, href string) {
		if text != "" {
			card.Facts = append(card.Facts, about{Label: v.say.Say(label), Text: text, Href: href})
		}
	}
	add("updates.has", st.Version, "")
	add("updates.wanted", r.Version, card.Href)
	if st.Ring > 0 {
		add("rollout.ring.word", v.say.Say("rollout.ring_of", "ring", st.Ring, "n", len(r.Rings)), "")
	}
	if !st.Day.IsZero() {
		add("updates.told", v.say.Day(st.Day, v.s.cfg.Now()), "")
	}
	return card, nil
}
