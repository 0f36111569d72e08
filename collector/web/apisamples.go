package web

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/proto/finding"
)

// The examples of the API's page are about things that the signed-in person sees: the
// first device, its school, the latest claim. Where there is none yet, and where a copied
// line would do what cannot be undone, a word in capitals stands in its place, and the
// page says what to put there.

// samples are those things.
type samples struct {
	v       *visit
	ids     map[string]string // by the first part of a path, empty = there is none
	session string            // of ids["users"]
	body    map[string]string // by the word that stands for it
}

// asked remembers a thing; none of a kind, or a kind out of the caller's reach, is none.
func (s *samples) asked(kind, id string, err error) error {
	if errors.Is(err, access.ErrForbidden) || errors.Is(err, access.ErrNotFound) {
		err = nil
	}
	if err == nil && id != "" {
		s.ids[kind] = id
	}
	return err
}

// first gives the id of the first of these.
func first[T any](all []T, id func(T) string) string {
	if len(all) == 0 {
		return ""
	}
	return id(all[0])
}

func (v *visit) samples() (*samples, error) {
	s := &samples{v: v, ids: map[string]string{}, body: map[string]string{}}
	for _, find := range []func() error{s.places, s.things, s.people, s.releases} {
		if err := find(); err != nil {
			return nil, err
		}
	}
	s.body["LOGIN"], s.body["OWNER"] = v.caller.Name, s.ids["owners"]
	return s, nil
}

func (s *samples) places() error {
	ctx, caller, cfg := s.v.r.Context(), s.v.caller, s.v.s.cfg
	page, err := cfg.Fleet.List(ctx, caller, fleet.Filter{Limit: 1, Sort: fleet.ByLabel})
	if err := s.asked("devices", first(page.Items, func(d fleet.Device) string { return d.ID }), err); err != nil {
		return err
	}
	owners, err := cfg.Fleet.Owners(ctx, caller)
	owner := first(owners, func(o fleet.Owner) string { return o.ID })
	school := ""
	if len(page.Items) > 0 {
		owner, school = page.Items[0].Owner, page.Items[0].School
	}
	if err := s.asked("owners", owner, err); err != nil {
		return err
	}
	if school == "" {
		schools, err := cfg.Fleet.SchoolStates(ctx, caller, fleet.SchoolFilter{Limit: 1})
		return s.asked("schools", first(schools.Items, func(c fleet.SchoolState) string { return c.ID }), err)
	}
	return s.asked("schools", school, nil)
}

func (s *samples) things() error {
	ctx, caller, cfg := s.v.r.Context(), s.v.caller, s.v.s.cfg
	open, err := cfg.Fleet.OpenFindings(ctx, caller)
	code := cmp.Or(first(open, func(c fleet.CodeCount) string { return c.Code }), finding.DiskLow)
	if err := s.asked("findings", code, err); err != nil {
		return err
	}
	quiets, err := cfg.Health.Quiets(ctx, caller, code)
	if err := s.asked("quiets", first(each(quiets, quietJSON), func(q apiQuiet) string { return q.ID }), err); err != nil {
		return err
	}
	claims, err := cfg.Claims.LatestClaims(ctx, caller, "", 1)
	if err := s.asked("claims", first(each(claims, claimOf), func(c apiClaim) string { return c.ID }), err); err != nil {
		return err
	}
	jobs, err := cfg.Fleet.Jobs(ctx, caller, "", 1)
	if err := s.asked("jobs", first(jobs, func(j fleet.Job) string { return j.ID }), err); err != nil {
		return err
	}
	views, err := cfg.Fleet.Views(ctx, caller)
	if err := s.asked("views", first(views, func(sv fleet.View) string { return sv.ID }), err); err != nil {
		return err
	}
	kept, err := cfg.Questions.List(ctx, caller)
	return s.asked("questions", first(each(kept, questionOf), func(q apiQuestion) string { return q.ID }), err)
}

// people are somebody else where there is one: one's own account is changed by others.
func (s *samples) people() error {
	ctx, caller, cfg := s.v.r.Context(), s.v.caller, s.v.s.cfg
	s.ids["account"] = s.v.session
	users, err := cfg.Access.Users(ctx, caller)
	if len(users) > 1 {
		users = slices.DeleteFunc(users, func(u access.User) bool { return u.ID == caller.ID || u.Disabled })
	}
	if err := s.asked("users", first(users, func(u access.User) string { return u.ID }), err); err != nil {
		return err
	}
	if s.ids["users"] != "" {
		open, err := cfg.Access.Sessions(ctx, caller, s.ids["users"])
		if err != nil {
			return err
		}
		s.session = first(open, func(o access.OpenSession) string { return o.ID })
	}
	tokens, err := cfg.Access.Tokens(ctx, caller)
	return s.asked("tokens", first(tokens, func(t access.Token) string { return t.ID }), err)
}

func (s *samples) releases() error {
	ctx, caller, cfg := s.v.r.Context(), s.v.caller, s.v.s.cfg
	if cfg.Rollouts == nil {
		return nil
	}
	releases, err := cfg.Rollouts.Releases(ctx, caller)
	if err := s.asked("releases", first(each(releases, releaseOf), func(r apiRelease) string { return r.ID }), err); err != nil {
		return err
	}
	s.body["RELEASE"] = s.ids["releases"]
	rollouts, err := cfg.Rollouts.Page(ctx, caller, "", 1)
	if err := s.asked("rollouts", first(each(rollouts, rolloutOf), func(r apiRollout) string { return r.ID }), err); err != nil {
		return err
	}
	if s.ids["owners"] == "" {
		return nil
	}
	w, err := cfg.Rollouts.Window(ctx, caller, s.ids["owners"])
	if len(w.Days) > 0 {
		s.body["DAYS"] = w.Days[0].ID
	}
	return s.asked("", "", err)
}

// given are the calls that give what a word stands for.
var given = map[string]string{"OWNER": "GET /api/v1/owners", "RELEASE": "GET /api/v1/releases", "DAYS": "GET /api/v1/owners/{id}/updates", "SESSION": "GET /api/v1/users/{id}/sessions"}

// fill puts the things into the address of an example and into its body, and gives the
// words that are left, each with what to put there.
func (s *samples) fill(rt route, command string) (filled string, left []apiParam) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(rt.path, "/api/v1/"), "/")
	say := s.v.say
	put := func(word, value string) {
		if !strings.Contains(command, word) {
			return
		}
		if value != "" {
			command = strings.ReplaceAll(command, word, value)
			return
		}
		meaning := ""
		switch call := cmp.Or(given[word], "GET /api/v1/"+kind); word {
		case "PASSWORD":
			meaning = say.Say("api.word.password")
		case "NUMBER":
			meaning = say.Say("api.word.number")
		case "ID":
			if kind == "quiets" {
				call = "GET /api/v1/findings/{id}/quiets"
			}
			meaning = say.Say("api.word.none", "call", call)
		default:
			meaning = say.Say("api.word.none", "call", call)
		}
		left = append(left, apiParam{word, meaning})
	}
	id := s.ids[kind]
	if final(rt) {
		id = ""
		command = strings.ReplaceAll(command, "{id}", "ID")
		if strings.Contains(command, "/ID") {
			left = append(left, apiParam{"ID", say.Say("api.word.final", "call", "GET /api/v1/"+kind)})
		}
	} else {
		command = strings.ReplaceAll(command, "{id}", cmp.Or(id, "ID"))
		if id == "" && strings.Contains(rt.path, "{id}") {
			put("ID", "")
		}
	}
	command = strings.ReplaceAll(command, "{session}", cmp.Or(s.session, "SESSION"))
	if s.session == "" {
		put("SESSION", "")
	}
	for _, word := range []string{"OWNER", "RELEASE", "DAYS", "LOGIN", "PASSWORD", "NUMBER"} {
		put(word, s.body[word])
	}
	if rt.path == "/api/v1/devices/{id}/update" && s.ids["rollouts"] == "" {
		left = append(left, apiParam{"404", say.Say("api.word.rollout")})
	}
	if rt.path == "/api/v1/devices/{id}/live" {
		left = append(left, apiParam{"403", say.Say("api.word.look", "call", "POST /api/v1/devices/{id}/looks")})
	}
	return command, left
}

// final says that a call does what cannot be undone, so that no copied line does it.
func final(rt route) bool {
	if rt.method == "GET" {
		return false
	}
	for _, end := range []string{"/revoke", "/abort", "/disable", "/password", "/block", "/rollback"} {
		if strings.HasSuffix(rt.path, end) && strings.Contains(rt.path, "{id}") {
			return true
		}
	}
	return false
}
