package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"rsc.io/qr"

	"hausmeister/collector/access"
	"hausmeister/collector/enroll"
)

type claimsMain struct {
	May         bool // the caller may make claims
	Done        string
	Rows        []claimRow
	First, Next string
}

type claimRow struct {
	Place, Note, Made, Expires, Used string
	State                            mark
	Meter                            int64 // of 1000
	Revoke                           string
}

func (s *Server) claimsPage(v *visit) error {
	before := v.asked.Get("before")
	claims, err := s.cfg.Claims.LatestClaims(v.r.Context(), v.caller, before, pageSize+1)
	if err != nil {
		return err
	}
	names, err := v.placeNames()
	if err != nil {
		return err
	}
	main := claimsMain{May: v.caller.Allow(access.WriteClaims) == nil, Done: v.done()}
	if before != "" {
		main.First = "/claims"
	}
	if len(claims) > pageSize {
		claims = claims[:pageSize]
		main.Next = "/claims?before=" + claims[pageSize-1].ID
	}
	for _, c := range claims {
		main.Rows = append(main.Rows, v.claimRow(c, names, main.May))
	}
	return v.show(http.StatusOK, "claims", v.at("claims", v.say.Say("claims.title"), main))
}

// placeNames are names of owners and schools by id.
func (v *visit) placeNames() (map[string]string, error) {
	names, err := v.ownerNames()
	if err != nil {
		return nil, err
	}
	schools, err := v.s.cfg.Fleet.Schools(v.r.Context(), v.caller)
	for _, s := range schools {
		names[s.ID] = s.Title()
	}
	return names, err
}

func (v *visit) claimRow(c enroll.Claim, names map[string]string, may bool) claimRow {
	now := v.s.cfg.Now()
	r := claimRow{Place: names[c.Owner], Note: c.Note, Made: v.say.Day(c.Created, now), Expires: v.say.Day(c.Expires, now),
		Used: v.say.Say("claims.used", "used", c.Used, "cap", c.Cap), Meter: c.Used * 1000 / max(c.Cap, 1)}
	if c.School != "" {
		r.Place = names[c.School] + ", " + r.Place
	}
	switch {
	case !c.Revoked.IsZero():
		r.State = mark{"off", v.say.Say("claims.state.revoked")}
	case !c.Expires.After(now):
		r.State = mark{"idle", v.say.Say("claims.state.expired")}
	case c.Used >= c.Cap:
		r.State = mark{"info", v.say.Say("claims.state.used_up")}
	default:
		r.State = mark{"ok", v.say.Say("claims.state.valid")}
		if may {
			r.Revoke = "/claims/" + c.ID + "/revoke"
		}
	}
	return r
}

// newClaimForm asks for a claim.
func (v *visit) newClaimForm() (form, error) {
	owners, err := v.s.cfg.Fleet.Owners(v.r.Context(), v.caller)
	if err != nil {
		return form{}, err
	}
	owner := field{Name: "owner", Label: v.say.Say("device.owner"), Type: "select"}
	for _, o := range owners {
		owner.Options = append(owner.Options, option{o.ID, o.Name})
	}
	expires := field{Name: "days", Label: v.say.Say("claims.life"), Help: v.say.Say("claims.life.help"), Type: "select", Value: "30"}
	for _, days := range []int{7, 30, 90, 365} {
		expires.Options = append(expires.Options, option{strconv.Itoa(days), v.say.Say("format.days", "n", days)})
	}
	f := form{Action: "/claims", Send: v.say.Say("claims.make"), Cancel: "/claims", Fields: []field{
		owner,
		{Name: "school", Label: v.say.Say("device.school"), Help: v.say.Say("claims.school.help"), Type: "school", Max: 300, Optional: true},
		{Name: "cap", Label: v.say.Say("claims.cap"), Help: v.say.Say("claims.cap.help"), Type: "number", Value: "10", Max: 7},
		expires,
		{Name: "note", Label: v.say.Say("claims.note"), Help: v.say.Say("claims.note.help"), Max: 200, Optional: true},
	}}
	f.hideOnce()
	return f, nil
}

func (s *Server) newClaimPage(v *visit) error {
	if err := v.caller.Allow(access.WriteClaims); err != nil {
		return err
	}
	f, err := v.newClaimForm()
	if err != nil {
		return err
	}
	return v.showForm(http.StatusOK, "claims", v.say.Say("claims.new"), v.say.Say("claims.new.text"), f)
}

// formMain is a page that is one form.
type formMain struct {
	Text string
	Form form
}

func (v *visit) showForm(code int, place, title, text string, f form) error {
	p := v.at(place, title, formMain{text, f})
	p.Back = f.Action
	if v.r.Method == http.MethodGet {
		p.Back = v.r.URL.RequestURI()
	}
	return v.show(code, "form-page", p)
}

type claimMain struct {
	Claim, Place, Used, Expires, Note string
	Command                           string
	QR                                qrPath
}

// makeClaim answers with the claim itself: it exists in this answer only.
func (s *Server) makeClaim(v *visit) error {
	if err := v.caller.Allow(access.WriteClaims); err != nil {
		return err
	}
	typed, err := v.typed()
	if err != nil {
		return err
	}
	f, err := v.newClaimForm()
	if err != nil {
		return err
	}
	f.fill(typed)
	days, _ := strconv.Atoi(typed.Get("days"))
	n := enroll.NewClaim{Owner: typed.Get("owner"), Note: strings.TrimSpace(typed.Get("note")), Expires: s.cfg.Now().Add(time.Duration(days) * 24 * time.Hour)}
	if n.Cap, err = strconv.ParseInt(strings.TrimSpace(typed.Get("cap")), 10, 64); err != nil || n.Cap < 1 || n.Cap > enroll.MaxCap {
		f.refuse("cap", v.say.Say("claims.cap.wrong", "most", enroll.MaxCap))
	}
	school, err := s.school(v, strings.TrimSpace(typed.Get("school")))
	switch {
	case errors.Is(err, errNoSchool):
		f.refuse("school", v.say.Say("claims.school.wrong"))
	case err != nil:
		return err
	case school.ID != "" && school.Owner != n.Owner:
		f.refuse("school", v.say.Say("claims.school.other"))
	}
	n.School = school.ID
	if f.refused() {
		return v.showForm(http.StatusUnprocessableEntity, "claims", v.say.Say("claims.new"), v.say.Say("claims.new.text"), f)
	}
	id, text, err := v.madeOnce(typed, func() (string, string, error) {
		c, text, err := s.cfg.Claims.CreateClaim(v.r.Context(), v.caller, n)
		return c.ID, text, err
	})
	if err != nil {
		return err
	}
	c, err := s.claim(v, id)
	if err != nil {
		return err
	}
	return v.showClaim(c, text)
}

func (v *visit) showClaim(c enroll.Claim, text string) error {
	names, err := v.placeNames()
	if err != nil {
		return err
	}
	main := claimMain{Claim: text, Place: names[c.Owner], Note: c.Note, Used: v.say.Number(c.Cap),
		Expires: v.say.Date(c.Expires), Command: "hausmeister-agent enroll '" + text + "'"} // a shell would end it at & and #
	if c.School != "" {
		main.Place = names[c.School] + ", " + main.Place
	}
	if main.QR, err = drawQR(text); err != nil {
		return err
	}
	p := v.at("claims", v.say.Say("claims.made"), main)
	p.Back = "/claims"
	return v.show(http.StatusCreated, "claim", p)
}

// qrPath is a QR code as the path of an SVG: one square of side 1 a module.
type qrPath struct {
	Size int // with the quiet zone of four modules on each side (ISO/IEC 18004)
	Path string
}

func drawQR(text string) (qrPath, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return qrPath{}, fmt.Errorf("drawing the QR code of a claim: %w", err)
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+4, y+4, run, run)
			}
			x += run + 1
		}
	}
	return qrPath{code.Size + 8, b.String()}, nil
}

// claim finds one that the caller may see.
func (s *Server) claim(v *visit, id string) (enroll.Claim, error) {
	return s.cfg.Claims.Claim(v.r.Context(), v.caller, id)
}

// revokeClaimPage says what revoking a claim means before it is done.
func (s *Server) revokeClaimPage(v *visit) error {
	if err := v.caller.Allow(access.WriteClaims); err != nil {
		return err
	}
	c, err := s.claim(v, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	f := form{Action: "/claims/" + c.ID + "/revoke", Send: v.say.Say("claims.revoke"), Cancel: "/claims", Danger: true}
	names, err := v.placeNames()
	if err != nil {
		return err
	}
	text := []string{v.claimName(c, cmp.Or(names[c.School], names[c.Owner])) + ".",
		v.say.Say("claims.revoke.used", "n", c.Used), v.say.Say("claims.revoke.text", "n", c.Cap-c.Used)}
	return v.showForm(http.StatusOK, "claims", v.say.Say("claims.revoke.title"), strings.Join(text, " "), f)
}

func (s *Server) revokeClaim(v *visit) error {
	if err := s.cfg.Claims.RevokeClaim(v.r.Context(), v.caller, v.r.PathValue("id")); err != nil {
		return err
	}
	return v.acted("/claims", "claim_revoked", nil)
}
