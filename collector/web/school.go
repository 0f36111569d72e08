package web

import (
	"net"
	"net/http"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/crowd"
	"hausmeister/collector/fleet"
	"hausmeister/proto/finding"
)

// schoolMain is the page of one school.
type schoolMain struct {
	Name, Owner, Code, Kind string
	Count                   string
	States                  []stateCount
	Ways                    []wayRow
	Notes                   []string // what is in the way
	Findings                []findingRow
	List, Sheet, Edit       string // addresses; no Edit for whom may not
	Hours                   string // when devices of the owner may begin updates
	Done                    string
}

type stateCount struct {
	State         mark
	Href, Devices string
	Meter         int64
}

// wayRow is how many devices come by a way.
type wayRow struct {
	Word, Devices string
	Meter         int64 // of 1000
}

// askedSchool is what is known of the school that a request is about, for its page and
// the API alike.
func (v *visit) askedSchool() (school fleet.School, counts fleet.Counts, ways fleet.Ways, open []fleet.CodeCount, err error) {
	ctx, data := v.r.Context(), v.s.cfg.Fleet
	if school, err = data.School(ctx, v.caller, v.r.PathValue("id")); err != nil {
		return
	}
	if counts, err = data.Counts(ctx, v.caller, fleet.Filter{School: school.ID}); err != nil {
		return
	}
	if ways, err = data.Ways(ctx, v.caller, school.ID); err != nil {
		return
	}
	open, err = data.SchoolFindings(ctx, v.caller, school.ID)
	return
}

func (s *Server) schoolPage(v *visit) error {
	school, counts, ways, open, err := v.askedSchool()
	if err != nil {
		return err
	}
	q, title := question{school: school.ID}, school.Title()
	if strings.HasPrefix(title, school.Kind+" "+school.Code) {
		school.Kind, school.Code = "", "" // they are said
	}
	main := schoolMain{Name: title, Owner: school.OwnerName, Code: school.Code, Kind: school.Kind, List: q.href(), Sheet: "/schools/" + school.ID + "/sheet", Hours: "/owners/" + school.Owner + "/updates",
		Count: v.say.Say("devices.count", "n", counts.Total), Ways: v.wayRows(ways, false), Notes: v.obstacles(ways, false)}
	if v.caller.Allow(access.WriteSchools) == nil {
		main.Edit = "/schools/" + school.ID + "/edit"
	}
	main.Done = v.done()
	for _, state := range fleet.States {
		if n := counts.States[state]; n > 0 {
			main.States = append(main.States, stateCount{v.mark(state), q.withState(state), v.say.Number(n), n * 1000 / max(counts.Total, 1)})
		}
	}
	for _, c := range open {
		row, ok := finding.ByCode(c.Code)
		if !ok {
			continue // only a newer version of this program has words for it
		}
		r := findingRow{Severity: v.severityMark(c.Severity), Href: q.withFinding(c.Code), Title: pick(v.say.Lang, row.Title), Devices: c.Devices}
		if c.Calm() {
			r.Severity = mark{"idle", v.say.Say("quiet.calm")}
		}
		main.Findings = append(main.Findings, r)
	}
	return v.show(http.StatusOK, "school", v.at("schools", title, main))
}

// some writes a number of devices. What leaves the house says of a few only that
// they are few: they would tell of single people.
func (v *visit) some(n int64, outside bool) string {
	if outside && n > 0 && n < crowd.FewPersons {
		return v.say.Say("findings.few", "n", crowd.FewPersons)
	}
	return v.say.Number(n)
}

func (v *visit) wayRows(w fleet.Ways, outside bool) (rows []wayRow) {
	for _, one := range []struct {
		word string
		n    int64
	}{{"school.way.quic", w.QUIC}, {"school.way.tcp", w.TCP}, {"school.way.proxy", w.Proxy}, {"school.way.unknown", w.Devices - w.QUIC - w.TCP - w.Proxy}} {
		if one.n > 0 || one.word == "school.way.quic" {
			row := wayRow{Word: v.say.Say(one.word), Devices: v.some(one.n, outside)}
			if !outside || one.n >= crowd.FewPersons {
				row.Meter = one.n * 1000 / max(w.Devices, 1)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// obstacles says what devices met in networks, whoever's they were.
func (v *visit) obstacles(w fleet.Ways, outside bool) (out []string) {
	for _, one := range []struct {
		word string
		n    int64
	}{{"school.inspected", w.Inspected}, {"school.udp", w.UDPBlocked}, {"school.login", w.Login}, {"school.portal", w.Portal}} {
		if one.n > 0 {
			out = append(out, v.say.Say(one.word, "devices", v.some(one.n, outside)))
		}
	}
	for _, issuer := range w.Issuers {
		out = append(out, v.say.Say("school.issuer", "name", issuer.Name))
	}
	return out
}

// sheetMain is the page for the people of a school's network.
type sheetMain struct {
	School, Owner, Code, Day string
	Host, Port               string
	Ways                     []wayRow
	Notes                    []string
	Asks                     []string
	Contact                  string
	May                      bool // the reader can give a contact
	Back                     string
}

// address is where devices come to.
func (v *visit) address() (host, port string) {
	address := v.s.cfg.Address
	if address == "" {
		address = v.r.Host
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, "443"
	}
	return host, port
}

func (s *Server) sheetPage(v *visit) error {
	ctx := v.r.Context()
	school, err := s.cfg.Fleet.School(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	ways, err := s.cfg.Fleet.Ways(ctx, v.caller, school.ID)
	if err != nil {
		return err
	}
	house, err := s.cfg.Access.House(ctx)
	if err != nil {
		return err
	}
	main := sheetMain{School: school.Title(), Owner: school.OwnerName, Code: school.Code, Day: v.say.Date(s.cfg.Now()), Ways: v.wayRows(ways, true), Notes: v.obstacles(ways, true),
		Contact: house.Contact, May: v.caller.Owners == nil && v.maySettings(), Back: "/schools/" + school.ID}
	main.Host, main.Port = v.address()
	for _, ask := range []string{"sheet.ask.name", "sheet.ask.ports", "sheet.ask.tls", "sheet.ask.proxy", "sheet.ask.idle", "sheet.ask.portal"} {
		main.Asks = append(main.Asks, v.say.Say(ask, "host", main.Host, "port", main.Port))
	}
	return v.show(http.StatusOK, "sheet", v.at("schools", v.say.Say("sheet.title", "school", school.Title()), main))
}

// apiIssuer is who inspects TLS; devices is null where they are fewer than five.
type apiIssuer struct {
	Name    string `json:"name" is:"text"`
	Devices *int64 `json:"devices"`
}

// apiWays is how the devices of a school come to us, and what they met; numbers below
// five are null.
type apiWays struct {
	QUIC       *int64      `json:"quic"`
	TCP        *int64      `json:"tcp_only"`
	Proxy      *int64      `json:"tcp_through_proxy"`
	Inspected  *int64      `json:"tls_inspected"`
	UDPBlocked *int64      `json:"udp_blocked"`
	Login      *int64      `json:"proxy_needs_login"`
	Portal     *int64      `json:"captive_portal"`
	Issuers    []apiIssuer `json:"inspection_issuers"`
}

func waysOf(w fleet.Ways) apiWays {
	return apiWays{few(w.QUIC), few(w.TCP), few(w.Proxy), few(w.Inspected), few(w.UDPBlocked), few(w.Login), few(w.Portal),
		each(w.Issuers, func(i fleet.Issuer) apiIssuer { return apiIssuer{i.Name, few(i.Devices)} })}
}

// apiSchoolPage is a school, how its devices are, what is open about them, and how
// they come to us.
type apiSchoolPage struct {
	apiSchoolItem
	Kind     string           `json:"kind" is:"text"`
	Devices  int64            `json:"devices"`
	States   []apiStateCount  `json:"states"`
	Findings []apiOpenFinding `json:"findings"`
	Ways     apiWays          `json:"ways"`
}

func (s *Server) apiSchool(v *visit) error {
	school, counts, ways, open, err := v.askedSchool()
	if err != nil {
		return err
	}
	return v.sendJSON(apiSchoolPage{schoolItem(school), school.Kind, counts.Total, statesOf(counts), each(open, openFinding), waysOf(ways)})
}

func schoolItem(s fleet.School) apiSchoolItem {
	return apiSchoolItem{s.ID, s.Code, s.Title(), apiPlace{s.Owner, s.OwnerName}}
}

// apiSheet is what the devices of a school need of a network, and how they come to
// us. Numbers below five are null, and there is no sum to reckon them from.
type apiSheet struct {
	ID         string        `json:"id" is:"uuid"` // of the school
	School     apiSchoolItem `json:"school"`
	Host       string        `json:"host" is:"text"`
	Port       string        `json:"port" is:"number"`
	Protocols  []string      `json:"protocols" is:"protocol"`
	Inspection bool          `json:"tls_inspection_allowed"`
	Contact    string        `json:"contact" is:"text"`
	apiWays
}

// protocols are those by which devices come.
var protocols = []string{"udp", "tcp"}

// few hides a number of a few people.
func few(n int64) *int64 {
	if n > 0 && n < crowd.FewPersons {
		return nil
	}
	return &n
}

func (s *Server) apiSheet(v *visit) error {
	ctx := v.r.Context()
	school, err := s.cfg.Fleet.School(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	w, err := s.cfg.Fleet.Ways(ctx, v.caller, school.ID)
	if err != nil {
		return err
	}
	house, err := s.cfg.Access.House(ctx)
	if err != nil {
		return err
	}
	out := apiSheet{ID: school.ID, School: schoolItem(school), Protocols: protocols, Contact: house.Contact, apiWays: waysOf(w)}
	out.Host, out.Port = v.address()
	return v.sendJSON(out)
}
