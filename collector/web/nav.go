package web

import "hausmeister/collector/access"

// place is a page of the side bar.
type place struct {
	ID, Href, Icon string
	Word           string // key of its name
	Key            string // pressed after g
	Needs          access.Permission
}

// places are the groups of the side bar, as ui.md 3 orders them; a role sees
// what it may open.
var places = []struct {
	Word  string
	Pages []place
}{
	{"frame.care", []place{
		{"devices", "/devices", "laptop", "devices.title", "g", access.ReadDevices},
		{"findings", "/findings", "finding", "findings.title", "h", access.ReadDevices},
	}},
	{"frame.stock", []place{
		{"schools", "/schools", "school", "schools.title", "s", access.ReadSchools},
		{"claims", "/claims", "claim", "claims.title", "c", access.ReadClaims},
		{"updates", "/updates", "update", "updates.title", "a", access.ReadRollouts},
	}},
	{"frame.trust", []place{
		{"questions", "/questions", "question", "question.title", "f", access.ReadDevices},
		{"audit", "/audit", "record", "audit.title", "p", access.ReadAudit},
		{"catalogue", "/catalogue", "shield", "catalogue.title", "k", access.ReadDevices},
	}},
	{"frame.admin", []place{
		{"people", "/people", "people", "people.title", "r", access.ReadUsers},
		{"api", "/api", "api", "api.title", "o", access.ReadDevices},
		{"settings", "/settings", "settings", "settings.title", "e", access.WriteSettings},
	}},
}

// navGroup is a group of the side bar as somebody sees it.
type navGroup struct {
	Word  string
	Items []navItem
}

type navItem struct {
	Href, Word, Key string
	Picture         icon
	Current         string // aria-current
	Count           int64  // -1 = none
}

// Nav is the side bar.
func (w view) Nav() (groups []navGroup) {
	for _, p := range places {
		g := navGroup{Word: w.T(p.Word)}
		for _, page := range p.Pages {
			if w.v.caller.Allow(page.Needs) != nil {
				continue
			}
			it := navItem{Href: page.Href, Word: w.T(page.Word), Key: page.Key, Picture: w.Icon(page.Icon), Count: -1}
			if page.ID == "devices" {
				it.Current, it.Count = w.Current, w.Devices
				if it.Current == "" && w.Place == page.ID {
					it.Current = "true" // a page that leads away from the list
				}
			} else if page.ID == w.Place {
				it.Current = "page"
			}
			g.Items = append(g.Items, it)
		}
		if len(g.Items) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// at makes a page that is reached by the side bar.
func (v *visit) at(id, title string, main any) view {
	p := v.framed(v.page(title, main))
	p.Place = id
	return p
}
