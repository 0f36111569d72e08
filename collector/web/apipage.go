package web

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/access"
)

// apiMain is the page about the API: what the signed-in person's role may call.
type apiMain struct {
	Login string // the command that signs the person in
	May   bool   // the caller may make tokens
	Calls []apiCall
}

type apiCall struct {
	ID, Method, Path, Summary string
	Note                      string
	Query, Events             []apiParam
	Example                   string
	Words                     []apiParam // that stand in the example for something else
}

type apiParam struct{ Name, Meaning string }

func (s *Server) apiPage(v *visit) error {
	host := "https://" + v.r.Host
	main := apiMain{Login: signInCommand(host, v.caller.Name), May: v.caller.Allow(access.WriteUsers) == nil}
	seen, err := v.samples()
	if err != nil {
		return err
	}
	for _, rt := range s.routes {
		c, ok := calls[rt.method+" "+rt.path]
		if !ok || c.Needs != "" && v.caller.Allow(c.Needs) != nil {
			continue
		}
		shown := apiCall{ID: operationID(rt), Method: rt.method, Path: rt.path, Summary: c.summary(rt, v.say), Note: c.note(v.say)}
		shown.Example, shown.Words = seen.fill(rt, c.example(rt, host, s.cfg.Now()))
		for _, p := range c.Query {
			shown.Query = append(shown.Query, apiParam{p.Name, p.meaning(v.say) + p.values()})
		}
		for _, name := range c.Events {
			shown.Events = append(shown.Events, apiParam{name, v.say.Say("api.event." + name)})
		}
		main.Calls = append(main.Calls, shown)
	}
	return v.show(http.StatusOK, "api", v.at("api", v.say.Say("api.title"), main))
}

// shownValues is how many values of a parameter have room on the page; of more the
// description has the list.
const shownValues = 20

// values are those that a parameter can have, where they are few.
func (p param) values() string {
	all, _ := kinds[p.Is]["enum"].([]string)
	all = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return strings.HasPrefix(s, "-") }) // the same from the other end
	if len(all) < 2 || len(all) > shownValues {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// signInCommand asks for the password and keeps the secret of a session in TOKEN. The
// shell writes the password as JSON, and printf hands it over, so that it is no argument
// of a program, which everybody on the machine would see. A login needs no care: access
// takes letters, digits and a few signs.
func signInCommand(host, login string) string {
	return `printf 'Password: '; IFS= read -rs PASSWORD; B='\'; Q='"'; T=$'\t'; PASSWORD=${PASSWORD//"$B"/"$B$B"}; PASSWORD=${PASSWORD//"$Q"/"$B$Q"}; PASSWORD=${PASSWORD//"$T"/"${B}t"}; ` +
		`export TOKEN=$(printf '{"login":"` + login + `","password":"%s"}' "$PASSWORD" | curl -s -H 'Content-Type: application/json' --data-binary @- ` + host + `/api/v1/sign-in | sed 's/.*"secret":"\([^"]*\)".*/\1/'); unset PASSWORD`
}

// example is a command that works once TOKEN holds a token, and with what samples put
// for {id}, {session} and the words in capitals.
func (c call) example(rt route, host string, now time.Time) string {
	address := host + rt.path
	between := "?"
	for _, p := range c.Query {
		if p.Required || p.Shown {
			address += between + p.Name + "=" + examples[p.Name]
			between = "&"
		}
	}
	command := `curl`
	if !c.Stranger {
		command += ` -H "Authorization: Bearer $TOKEN"`
	}
	if rt.method != http.MethodGet {
		command += " -X " + rt.method
	}
	if c.Body != nil {
		command += ` -H "Content-Type: application/json" -d '` + body(reflect.TypeOf(c.Body), now) + "'"
	}
	return command + ` "` + address + `"`
}

// examples are values that fit the parameters and fields of these names.
var examples = map[string]string{
	"contact": "Helpdesk, 069 90009 123", "q": "lifebook", "reading": "memory_used", "code": "disk_low", "class": "minutes", "language": "de", "theme": "dark", "by": "model", "keys": "on", "of": "model", "password": "PASSWORD", "old": "PASSWORD", "new": "Rote Laternen am Fluss", "reason": "Anruf: seit Montag langsam", "owner": "OWNER", "owners": "OWNER",
	"login": "eva", "role": "read", "name": "grafana", "label": "LibreOffice", "act": "unlabel", "release": "RELEASE", "if": "battery_charge.lt.600",
}

// shownFields stand in examples though a call may do without.
var shownFields = map[string]bool{"cap": true, "owners": true, "language": true, "theme": true, "contact": true}

// bodies are the fields that an example needs beside or instead of those that
// examples gives, by the type of the body.
var bodies = map[reflect.Type]map[string]any{
	reflect.TypeFor[apiNewJob]():       {"act": "label", "label": "Rückruf", "filter": map[string]any{"q": "lifebook"}},
	reflect.TypeFor[apiRevocation]():   {"name": "NUMBER", "reason": "Verlust gemeldet"},
	reflect.TypeFor[apiViewChange]():   {"name": "Stille Geräte", "filter": map[string]any{"state": "silent"}},
	reflect.TypeFor[apiNewView]():      {"name": "Stille Geräte", "filter": map[string]any{"state": "silent"}},
	reflect.TypeFor[apiNewClaim]():     {"cap": 10},
	reflect.TypeFor[apiQuietOne]():     {"instance": "C:"},
	reflect.TypeFor[apiOneFinding]():   {"instance": "C:"},
	reflect.TypeFor[apiNewWindow]():    {"lessons_from": "07:45", "lessons_to": "16:00"},
	reflect.TypeFor[apiNewDays]():      {"kind": "closed", "from": "2026-12-07", "to": "2026-12-11"},
	reflect.TypeFor[apiDaysID]():       {"id": "DAYS"},
	reflect.TypeFor[apiBlockPart]():    {"dimension": "model", "value": "LIFEBOOK A3510", "blocked": true},
	reflect.TypeFor[apiNewPromotion](): {"ring": 2},
	reflect.TypeFor[apiSignIn]():       {"login": "LOGIN", "password": "PASSWORD"},
	reflect.TypeFor[apiNewQuestion]():  {"name": "Schwache Akkus", "if": []string{"battery_health.lt.700"}},
}

// claimLife is how long the claim of an example is valid.
const claimLife = 30 * 24 * time.Hour

// body writes the required fields of a type with values that fit them.
func body(t reflect.Type, now time.Time) string {
	fields := map[string]any{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous || options == "omitempty" && !shownFields[name]:
		case name == "expires":
			fields[name] = stamp(now.Add(claimLife))
		case f.Type.Kind() == reflect.Slice:
			fields[name] = []string{cmp.Or(examples[name], "LibreOffice")}
		case f.Type.Kind() == reflect.Int64:
			fields[name] = 10
		default:
			fields[name] = examples[name]
		}
	}
	maps.Copy(fields, bodies[t])
	b, _ := json.Marshal(fields) // texts and numbers, cannot fail
	return string(b)
}
