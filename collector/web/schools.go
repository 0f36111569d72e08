package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"hausmeister/collector/fleet"
)

// schoolsMain is the page of the schools and how they reach us.
type schoolsMain struct {
	Query       string
	Count       string
	Rows        []schoolRow
	First, Next string
}

type schoolRow struct {
	Name, Owner, Href         string
	Devices, Connected        int64
	Critical, Warning, Silent int64
	Reach                     string
}

func (s *Server) schoolsPage(v *visit) error {
	query, cursor := strings.TrimSpace(v.asked.Get("s")), v.asked.Get("cursor")
	page, err := s.cfg.Fleet.SchoolStates(v.r.Context(), v.caller, query, cursor, pageSize)
	kept := url.Values{}
	if query != "" {
		kept.Set("s", query)
	}
	switch {
	case errors.Is(err, fleet.ErrCursor):
		return v.redirect(withQuery("/schools", kept))
	case errors.Is(err, fleet.ErrWords), errors.Is(err, fleet.ErrInvalid):
		return &badRequest{"s", "want at most " + strconv.Itoa(fleet.MaxWords) + " words"}
	case err != nil:
		return err
	}
	main := schoolsMain{Query: query, Count: v.say.Say("schools.count", "n", page.Total)}
	for _, c := range page.Items {
		main.Rows = append(main.Rows, schoolRow{Name: c.Title(), Owner: c.OwnerName, Href: "/schools/" + c.ID, Devices: c.Devices,
			Connected: c.Connected, Critical: c.Critical, Warning: c.Warning, Silent: c.Silent, Reach: v.reach(c)})
	}
	if cursor != "" {
		main.First = withQuery("/schools", kept)
	}
	if page.Cursor != "" {
		kept.Set("cursor", page.Cursor)
		main.Next = withQuery("/schools", kept)
	}
	return v.show(http.StatusOK, "schools-page", v.at("schools", v.say.Say("schools.title"), main))
}

// reach says how a school's devices come to us, where that is not the best way.
func (v *visit) reach(c fleet.SchoolState) string {
	var parts []string
	for _, p := range []struct {
		key string
		n   int64
	}{{"schools.tcp", c.TCP}, {"schools.proxy", c.Proxy}, {"schools.inspected", c.Inspected}} {
		if p.n > 0 {
			parts = append(parts, v.say.Say(p.key, "n", p.n))
		}
	}
	return strings.Join(parts, " ")
}

// apiSchoolState is a school, how its devices are, and how they reach us.
type apiSchoolState struct {
	apiSchoolItem
	Devices   int64 `json:"devices"`
	Connected int64 `json:"connected"`
	Critical  int64 `json:"critical"`
	Warning   int64 `json:"warning"`
	Silent    int64 `json:"silent"`
	TCP       int64 `json:"tcp_only"`
	Proxy     int64 `json:"tcp_through_proxy"`
	Inspected int64 `json:"tls_inspected"`
}

func (s *Server) apiSchools(v *visit) error {
	limit, err := v.limit()
	if err != nil {
		return err
	}
	page, err := s.cfg.Fleet.SchoolStates(v.r.Context(), v.caller, v.asked.Get("q"), v.asked.Get("cursor"), limit)
	switch {
	case errors.Is(err, fleet.ErrCursor):
		return &badRequest{"cursor", "this list did not give it"}
	case errors.Is(err, fleet.ErrWords), errors.Is(err, fleet.ErrInvalid):
		return &badRequest{"q", "want at most " + strconv.Itoa(fleet.MaxWords) + " words"}
	case err != nil:
		return err
	}
	out := list[apiSchoolState]{Items: make([]apiSchoolState, len(page.Items)), Total: page.Total, Cursor: present(page.Cursor)}
	for i, c := range page.Items {
		out.Items[i] = apiSchoolState{apiSchoolItem{c.ID, c.Code, c.Title(), apiPlace{c.Owner, c.OwnerName}},
			c.Devices, c.Connected, c.Critical, c.Warning, c.Silent, c.TCP, c.Proxy, c.Inspected}
	}
	return v.sendJSON(out)
}
