package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
)

// hits is how many of a kind the page of a search shows; the lists have the rest.
const hits = 8

// hit is something that a search found.
type hit struct{ kind, id, name, more, href string }

// hitKinds are the kinds of hits.
var hitKinds = []string{hitDevice, hitSchool, hitPerson, hitRollout, hitRelease}

const (
	hitDevice  = "device"
	hitSchool  = "school"
	hitPerson  = "person"
	hitRollout = "rollout"
	hitRelease = "release" // of which no rollout began
)

// found is what a search gives, of each kind some.
type found struct {
	exact            []hit // whose handle is what was typed
	devices, schools []hit
	people           []hit
	versions         []hit
	allDevices       int64
	allSchools       int
}

// search looks in all that the caller may see: devices, schools, versions, and people for
// who may see those.
func (v *visit) search(query string) (found, error) {
	var f found
	for _, find := range []func(string, *found) error{v.handles, v.searchDevices, v.searchSchools, v.searchPeople, v.searchVersions} {
		if err := find(query, &f); err != nil {
			return found{}, err
		}
	}
	return f, nil
}

// handles finds what is called so: a device by inventory number or serial, a school
// by its number, a person by login. A handle of several names none of them.
func (v *visit) handles(query string, f *found) error {
	ctx := v.r.Context()
	device, err := v.s.cfg.Fleet.FindDevice(ctx, v.caller, query)
	switch {
	case err == nil:
		d, err := v.s.cfg.Fleet.Device(ctx, v.caller, device)
		if err != nil {
			return err
		}
		f.exact = append(f.exact, deviceHit(d))
	case !errors.Is(err, access.ErrNotFound) && !errors.Is(err, fleet.ErrInvalid):
		return err
	}
	school, err := v.s.cfg.Fleet.FindSchool(ctx, v.caller, query)
	switch {
	case err == nil:
		f.exact = append(f.exact, schoolHit(school))
	case !errors.Is(err, access.ErrNotFound) && !errors.Is(err, fleet.ErrInvalid):
		return err
	}
	if v.caller.Allow(access.ReadUsers) != nil {
		return nil
	}
	u, err := v.s.cfg.Access.User(ctx, v.caller, query)
	if err == nil {
		f.exact = append(f.exact, v.personHit(u))
	}
	if errors.Is(err, access.ErrNotFound) {
		return nil
	}
	return err
}

func (v *visit) searchDevices(query string, f *found) error {
	page, err := v.s.cfg.Fleet.List(v.r.Context(), v.caller, fleet.Filter{Query: query, Limit: hits})
	f.allDevices = page.Total
	for _, d := range page.Items {
		f.devices = append(f.devices, deviceHit(d))
	}
	return err
}

func (v *visit) searchSchools(query string, f *found) error {
	some, all, err := v.s.cfg.Fleet.SearchSchools(v.r.Context(), v.caller, query, hits)
	f.allSchools = all
	for _, s := range some {
		f.schools = append(f.schools, schoolHit(s))
	}
	return err
}

func (v *visit) searchPeople(query string, f *found) error {
	if v.caller.Allow(access.ReadUsers) != nil {
		return nil
	}
	users, err := v.s.cfg.Access.Users(v.r.Context(), v.caller)
	for _, u := range users {
		if strings.Contains(strings.ToLower(u.Login), strings.ToLower(query)) && len(f.people) < hits {
			f.people = append(f.people, v.personHit(u))
		}
	}
	return err
}

// searchVersions finds versions with their rollouts: those that are called so are exact.
func (v *visit) searchVersions(query string, f *found) error {
	version := strings.TrimPrefix(query, "v")
	if v.caller.Allow(access.ReadRollouts) != nil || version == "" || strings.Trim(version, "0123456789.") != "" {
		return nil
	}
	all, err := v.s.cfg.Rollouts.Find(v.r.Context(), v.caller, version)
	for _, r := range all {
		if h := v.versionHit(r); r.Exact {
			f.exact = append(f.exact, h)
		} else if len(f.versions) < hits {
			f.versions = append(f.versions, h)
		}
	}
	return err
}

func (v *visit) versionHit(r rollout.Found) hit {
	h := hit{hitRelease, r.Release, v.versionName(r.Product, r.Version), inRow(v.channel(r.Channel), v.say.Say("updates.ready")), "/updates"}
	if r.Rollout != "" {
		h.kind, h.id, h.href = hitRollout, r.Rollout, "/rollouts/"+r.Rollout
		h.more = inRow(v.channel(r.Channel), v.say.Say("rollout.state."+string(r.State)), v.say.Day(r.Started, v.s.cfg.Now()))
	}
	return h
}

func deviceHit(d fleet.Device) hit {
	place := d.SchoolName
	if place == "" {
		place = d.OwnerName
	}
	return hit{hitDevice, d.ID, d.Label(), inRow(joined(d.Manufacturer, d.Model), place), "/devices/" + d.ID}
}

// inRow joins the texts that there are.
func inRow(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), ", ")
}

func schoolHit(s fleet.School) hit {
	return hit{hitSchool, s.ID, s.Title(), s.Code + ", " + s.OwnerName, "/schools/" + s.ID}
}

func (v *visit) personHit(u access.User) hit {
	return hit{hitPerson, u.ID, u.Login, v.roleWord(u.Role), "/people/" + u.ID}
}

// searchMain is the page of what a search found.
type searchMain struct {
	Groups    []hitGroup
	Empty     string
	EmptyText string
}

type hitGroup struct {
	ID, Title string
	Hits      []hitLine
	All       string // address of the whole list; empty = that was all
	AllWord   string
}

type hitLine struct{ Href, Name, More string }

// searchPage leads to what is called exactly so, or shows what it found.
func (s *Server) searchPage(v *visit) error {
	query := strings.TrimSpace(v.asked.Get("q"))
	switch {
	case query == "":
		return v.redirect("/devices")
	case len(query) > 200:
		return &badRequest{"q", "want at most 200 bytes of text"}
	case fleet.TooManyWords(query):
		return v.showSearch(query, searchMain{Empty: v.say.Say("devices.words"), EmptyText: v.say.Say("devices.words.text", "n", fleet.MaxWords)})
	}
	f, err := v.search(query)
	if err != nil {
		return err
	}
	if len(f.exact) == 1 {
		return v.redirect(f.exact[0].href)
	}
	main := searchMain{}
	add := func(id, title string, list []hit, all, allWord string) {
		if len(list) == 0 {
			return
		}
		g := hitGroup{ID: id, Title: v.say.Say(title), All: all, AllWord: allWord}
		for _, h := range list {
			g.Hits = append(g.Hits, hitLine{h.href, h.name, h.more})
		}
		main.Groups = append(main.Groups, g)
	}
	devices, schools := "", ""
	if f.allDevices > int64(len(f.devices)) {
		devices = question{query: query}.href()
	}
	if f.allSchools > len(f.schools) {
		schools = withQuery("/schools", url.Values{"s": {query}})
	}
	add("exact", "search.exact", f.exact, "", "")
	add("devices", "devices.title", f.devices, devices, v.say.Say("search.all.devices", "n", f.allDevices))
	add("schools", "schools.title", f.schools, schools, v.say.Say("search.all.schools", "n", f.allSchools))
	add("versions", "search.versions", f.versions, "", "")
	add("people", "people.title", f.people, "", "")
	if len(main.Groups) == 0 {
		main.Empty, main.EmptyText = v.say.Say("search.none"), v.say.Say("search.none.text")
		if v.caller.Allow(access.ReadUsers) == nil {
			main.EmptyText += " " + v.say.Say("search.none.people")
		}
	}
	return v.showSearch(query, main)
}

func (v *visit) showSearch(query string, main searchMain) error {
	p := v.framed(v.page(v.say.Say("search.title"), main))
	p.Query = query
	return v.show(http.StatusOK, "search", p)
}

// apiFound is something that a search found. exact: its handle is what was asked for.
type apiFound struct {
	ID    string `json:"id" is:"uuid"`
	Kind  string `json:"kind" is:"hit"` // device, school, person, rollout, or release without one
	Name  string `json:"name" is:"text"`
	Exact bool   `json:"exact"`
}

func (s *Server) apiSearch(v *visit) error {
	query := strings.TrimSpace(v.asked.Get("q"))
	if query == "" || len(query) > 200 || fleet.TooManyWords(query) {
		return &badRequest{"q", "want 1 to 6 words, 200 bytes at most"}
	}
	f, err := v.search(query)
	if err != nil {
		return err
	}
	items, seen := []apiFound{}, map[string]bool{}
	for i, list := range [][]hit{f.exact, f.devices, f.schools, f.people, f.versions} {
		for _, h := range list {
			if !seen[h.id] {
				seen[h.id] = true
				items = append(items, apiFound{h.id, h.kind, h.name, i == 0})
			}
		}
	}
	return sendList(v, items)
}
