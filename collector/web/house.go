package web

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/health"
)

// houseEvery is how late a change of the house's looks by another collector shows.
const houseEvery = 10 * time.Second

// house holds how the pages look to people who chose nothing else, so that not every
// page asks for it.
type house struct {
	mu sync.Mutex
	// below is guarded by mu
	at  time.Time
	now access.House
}

// houseNow is what holds now. A database that is away changes nothing.
func (s *Server) houseNow(ctx context.Context) access.House {
	s.house.mu.Lock()
	defer s.house.mu.Unlock()
	if now := s.cfg.Now(); s.house.at.IsZero() || now.Sub(s.house.at) >= houseEvery {
		s.house.at = now
		if h, err := s.cfg.Access.House(ctx); err == nil {
			s.house.now = h
		}
	}
	return s.house.now
}

// forget makes the next page ask anew.
func (h *house) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = time.Time{}
}

func (v *visit) houseForm(h access.House) form {
	language := field{Name: "language", Label: v.say.Say("prefs.language"), Help: v.say.Say("settings.house.language.help"), Type: "select", Value: h.Language,
		Options: []option{{"", v.say.Say("settings.house.browser")}, {"de", "Deutsch"}, {"en", "English"}}}
	theme := field{Name: "theme", Label: v.say.Say("prefs.theme"), Type: "select", Value: h.Theme,
		Options: []option{{"", v.say.Say("prefs.theme.system")}, {"light", v.say.Say("prefs.theme.light")}, {"dark", v.say.Say("prefs.theme.dark")}}}
	return form{Action: "/settings/house", Send: v.say.Say("quiet.send"), Fields: []field{language, theme,
		{Name: "contact", Label: v.say.Say("settings.house.contact"), Help: v.say.Say("settings.house.contact.help"), Value: h.Contact, Max: 200, Optional: true}}}
}

// changed says when and by whom something was changed last; empty = never.
func (v *visit) changed(at time.Time, by string, names map[string]string) string {
	if at.IsZero() {
		return ""
	}
	return v.say.Say("settings.changed", "when", v.say.Time(at), "who", v.party(by, names))
}

func (s *Server) setHouse(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	err = s.cfg.Access.SetHouse(v.r.Context(), v.caller, func(h *access.House) {
		for name, value := range map[string]*string{"language": &h.Language, "theme": &h.Theme, "contact": &h.Contact} {
			if typed.Has(name) {
				*value = typed.Get(name)
			}
		}
	})
	s.house.forget()
	if errors.Is(err, access.ErrInvalid) {
		return s.showSettings(v, http.StatusUnprocessableEntity, func(m *settingsMain) {
			if m.House != nil {
				m.House.fill(typed)
				m.House.refuse("contact", v.say.Say("settings.house.wrong"))
			}
		})
	}
	return v.acted("/settings", "house", err)
}

// keptFact is a class of values whose time cannot be changed.
type keptFact struct{ Label, Text string }

// maySettings says whether the caller may change settings.
func (v *visit) maySettings() bool { return v.caller.Allow(access.WriteSettings) == nil }

// fillRetention shows how long each class is kept for an owner.
func (v *visit) fillRetention(main *settingsMain, names map[string]string) error {
	all, err := v.s.cfg.Health.Retention(v.r.Context(), v.caller, main.Owner)
	if err != nil {
		return err
	}
	main.Retention = form{Action: "/settings/retention", Send: v.say.Say("quiet.send"), Hidden: map[string]string{"owner": main.Owner}}
	for _, k := range all {
		label := v.say.Say("settings.keep." + string(k.Class))
		if k.Least == k.Most {
			main.Fixed = append(main.Fixed, keptFact{label, v.say.Say("format.days", "n", k.Days)})
			continue
		}
		help := v.say.Say("settings.keep.bounds", "least", k.Least, "most", k.Most)
		if last := v.changed(k.Changed, k.By, names); last != "" {
			help += " " + last
		}
		main.Retention.Fields = append(main.Retention.Fields, field{Name: string(k.Class), Label: label, Help: help, Type: "number", Value: strconv.FormatInt(k.Days, 10), Max: 4})
	}
	return nil
}

// setRetention takes the form. A field that does not do comes back with its bounds,
// and nothing is changed.
func (s *Server) setRetention(v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	owner := typed.Get("owner")
	all, err := s.cfg.Health.Retention(v.r.Context(), v.caller, owner)
	if err != nil {
		return err
	}
	set, wrong := map[health.KeptClass]int64{}, map[string]string{}
	for _, k := range all {
		if k.Least == k.Most {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(typed.Get(string(k.Class))), 10, 64)
		if err != nil || n < k.Least || n > k.Most {
			wrong[string(k.Class)] = v.say.Say("settings.keep.wrong", "least", k.Least, "most", k.Most)
			continue
		}
		set[k.Class] = n
	}
	if len(wrong) > 0 {
		return s.showSettings(v, http.StatusUnprocessableEntity, func(m *settingsMain) {
			m.Retention.fill(typed)
			for _, name := range slices.Sorted(maps.Keys(wrong)) {
				m.Retention.refuse(name, wrong[name])
			}
		})
	}
	if err := s.cfg.Health.SetRetention(v.r.Context(), v.caller, owner, set); err != nil {
		return err
	}
	return v.redirect("/settings?owner=" + owner + "&done=kept")
}

// apiHouse is how the pages look to people who chose nothing else (empty leaves it to
// their browser), and whom schools call.
type apiHouse struct {
	Language string  `json:"language" is:"house_language"`
	Theme    string  `json:"theme" is:"house_theme"`
	Contact  string  `json:"contact" is:"text"`
	Changed  *string `json:"changed" is:"time"` // null = never
	By       string  `json:"by,omitempty" is:"text"`
}

// apiNewHouse changes what it names; what is missing or null stays.
type apiNewHouse struct {
	Language *string `json:"language,omitempty" is:"house_language"`
	Theme    *string `json:"theme,omitempty" is:"house_theme"`
	Contact  *string `json:"contact,omitempty" is:"text"`
}

func (s *Server) apiGetHouse(v *visit) error {
	if err := v.caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	h, err := s.cfg.Access.House(v.r.Context())
	if err != nil {
		return err
	}
	out := apiHouse{Language: h.Language, Theme: h.Theme, Contact: h.Contact, By: h.By}
	if !h.Changed.IsZero() {
		out.Changed = present(h.Changed.Format(apiTime))
	}
	return v.sendJSON(out)
}

func (s *Server) apiSetHouse(v *visit) error {
	var body apiNewHouse
	if err := v.readJSON(&body); err != nil {
		return err
	}
	err := s.cfg.Access.SetHouse(v.r.Context(), v.caller, func(h *access.House) {
		for _, one := range []struct{ value, asked *string }{{&h.Language, body.Language}, {&h.Theme, body.Theme}, {&h.Contact, body.Contact}} {
			if one.asked != nil {
				*one.value = *one.asked
			}
		}
	})
	s.house.forget()
	if err != nil {
		return err
	}
	return s.apiGetHouse(v)
}

// apiKept is how long a class of values is kept for an owner; where least and most
// are equal it cannot be changed.
type apiKept struct {
	ID      string  `json:"id" is:"kept"`
	Days    int64   `json:"days"`
	Least   int64   `json:"least"`
	Most    int64   `json:"most"`
	Changed *string `json:"changed" is:"time"` // null = never
	By      string  `json:"by,omitempty" is:"text"`
}

func (s *Server) apiRetention(v *visit) error {
	all, err := s.cfg.Health.Retention(v.r.Context(), v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	items := make([]apiKept, len(all))
	for i, k := range all {
		items[i] = apiKept{ID: string(k.Class), Days: k.Days, Least: k.Least, Most: k.Most}
		if !k.Changed.IsZero() {
			items[i].Changed = present(k.Changed.Format(apiTime))
		}
		if v.caller.Allow(access.ReadAudit) == nil {
			items[i].By = k.By
		}
	}
	return sendList(v, items)
}

// apiNewKept is how many days a class is to be kept.
type apiNewKept struct {
	Class string `json:"class" is:"kept"`
	Days  int64  `json:"days" is:"days"`
}

func (s *Server) apiSetRetention(v *visit) error {
	var body apiNewKept
	if err := v.readJSON(&body); err != nil {
		return err
	}
	err := s.cfg.Health.SetRetention(v.r.Context(), v.caller, v.r.PathValue("id"), map[health.KeptClass]int64{health.KeptClass(body.Class): body.Days})
	if errors.Is(err, health.ErrRetention) {
		_, text, _ := strings.Cut(err.Error(), health.ErrRetention.Error()+": ")
		return &badRequest{"days", text}
	}
	if err != nil {
		return err
	}
	return s.apiRetention(v)
}
