package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"hausmeister/collector/access"
	"hausmeister/collector/calendar"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/rollout"
	"hausmeister/collector/web"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

// description is the part of an OpenAPI document that the test reads.
type description struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Parameters  []struct{ Name, In string }
		RequestBody *struct{}
		Responses   map[string]struct{}
	}
	Components struct{ Schemas map[string]any }
}

// TestDescriptionIsTheAPI holds the OpenAPI document against the routes, and
// real answers of every call against its schemas, in which for this test nothing
// may stand that is not described.
func TestDescriptionIsTheAPI(t *testing.T) {
	w := newWorld(t)
	filled := w.fill(6)
	known := w.known()
	state, off := "state", "off"
	w.raise(filled[0], finding.FirewallOff, "", hmpb.Severity_SEVERITY_WARNING, hmpb.Argument_builder{Name: &state, Text: &off}.Build())
	admin := w.token("admin", access.RoleAdmin, nil)
	var raw map[string]any
	w.api(admin, "/api/v1/openapi.json", &raw)
	var doc description
	w.api(admin, "/api/v1/openapi.json", &doc)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %q", doc.OpenAPI)
	}
	var routes, described []string
	for _, rt := range w.web.Routes() {
		if strings.HasPrefix(rt.Path, "/api/") {
			routes = append(routes, rt.Method+" "+rt.Path)
		}
	}
	ids := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, c := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
			if ids[c.OperationID] {
				t.Errorf("two calls are named %s", c.OperationID)
			}
			ids[c.OperationID] = true
		}
	}
	slices.Sort(routes)
	slices.Sort(described)
	if diff := cmp.Diff(routes, described); diff != "" {
		t.Errorf("routes (-) and description (+) differ:\n%s", diff)
	}
	if diff := cmp.Diff(web.DescribedCalls(), described); diff != "" {
		t.Errorf("calls without a route (-):\n%s", diff)
	}
	schema := compiler(t, raw)
	claim, _, err := w.enroll.CreateClaim(t.Context(), operator, enroll.NewClaim{Owner: w.ownerID("Landkreis Ahorn"), Cap: 3, Expires: w.clock().AddDate(0, 0, 1)})
	w.must(err)
	user, err := w.access.User(t.Context(), operator, "read")
	w.must(err)
	w.signedIn("read")
	open, err := w.access.Sessions(t.Context(), operator, user.ID)
	w.must(err)
	_, tok, err := w.access.CreateToken(t.Context(), operator, access.NewToken{Name: "other", Role: access.RoleRead})
	w.must(err)
	_, err = w.health.QuietFinding(t.Context(), operator, known, "disk_low", "C:", health.NewQuiet{Reason: "SSD ist bestellt"})
	w.must(err)
	quiets, err := w.health.Quiets(t.Context(), operator, "disk_low")
	w.must(err)
	job, err := w.fleet.StartJob(t.Context(), operator, fleet.NewJob{Act: fleet.ActLabel, Label: "Austausch", Devices: []string{known}})
	w.must(err)
	w.must(w.fleet.RunJobs(t.Context()))
	token, err := w.access.Token(t.Context(), admin)
	w.must(err)
	view, err := w.fleet.SaveView(t.Context(), token, fleet.View{Sharing: fleet.ViewOwn, Name: "Beispiel"})
	w.must(err)
	_, err = w.health.OpenLook(t.Context(), token, known, "Anruf wegen Langsamkeit") // for the live stream
	w.must(err)
	releases := w.releases()
	examples := map[string]string{ // a body for each call that takes one
		"POST /api/v1/devices/{id}/looks":              `{"reason":"Anruf wegen Langsamkeit"}`,
		"POST /api/v1/devices/{id}/labels":             `{"label":"Rückruf"}`,
		"POST /api/v1/devices/{id}/labels/remove":      `{"label":"rückruf"}`,
		"POST /api/v1/devices/{id}/revoke":             `{"name":"AH-2021-0815","reason":"Verlust"}`,
		"POST /api/v1/views":                           `{"name":"Stille Akkus","filter":{"state":"silent"},"sort":"-battery","columns":["battery","seen"]}`,
		"POST /api/v1/views/{id}":                      `{"name":"Stille Akkus 2","filter":{"q":"x"}}`,
		"POST /api/v1/jobs":                            `{"act":"label","label":"Rückruf","filter":{"q":"lifebook"}}`,
		"POST /api/v1/devices/{id}/findings/quiet":     `{"code":"firewall_off","reason":"SSD ist bestellt","until":"2026-12-01"}`,
		"POST /api/v1/devices/{id}/findings/loud":      `{"code":"firewall_off"}`,
		"POST /api/v1/findings/{id}/quiet":             `{"reason":"Bekannt, neues Abbild kommt","until":"2026-12-01"}`,
		"POST /api/v1/owners/{id}":                     `{"name":"Landkreis Ahorn"}`,
		"POST /api/v1/schools/{id}":                    `{"name":"Gymnasium am Ahornberg"}`,
		"POST /api/v1/house":                           `{"language":"de","theme":"","contact":"Helpdesk, 069 90009 123"}`,
		"POST /api/v1/owners/{id}/retention":           `{"class":"minutes","days":14}`,
		"POST /api/v1/claims":                          `{"owner":"` + w.ownerID("Landkreis Ahorn") + `","cap":2,"expires":"2026-12-24T08:00:00Z","note":"LS"}`,
		"POST /api/v1/users":                           `{"login":"eva","role":"read","all_owners":true}`,
		"POST /api/v1/users/{id}/role":                 `{"role":"support","owners":["` + w.ownerID("Landkreis Ahorn") + `"]}`,
		"POST /api/v1/owners/{id}/software":            `{"names":["libreoffice"],"least_version":"7"}`,
		"POST /api/v1/owners/{id}/software/remove":     `{"label":"libreoffice"}`,
		"POST /api/v1/questions":                       `{"name":"Leere Akkus","if":["battery_charge.lt.600"],"shared":true}`,
		"POST /api/v1/questions/{id}":                  `{"name":"Volle Akkus","if":["battery_charge.ge.600"],"show":"battery_health"}`,
		"POST /api/v1/sign-in":                         `{"login":"admin","password":"` + password + `"}`,
		"POST /api/v1/account/password":                `{"old":"` + password + `","new":"Rote Laternen am Fluss"}`,
		"POST /api/v1/account/choices":                 `{"language":"en","theme":"","columns":["model","seen"]}`,
		"POST /api/v1/rollouts":                        `{"release":"` + releases["1.0.0"] + `","reason":"neue Version"}`,
		"POST /api/v1/rollouts/{id}/promote":           `{"ring":2,"reason":"in zwei Schulen gesehen"}`,
		"POST /api/v1/rollouts/{id}/pause":             `{"reason":"Helpdesk fragt nach"}`,
		"POST /api/v1/rollouts/{id}/resume":            `{"reason":"es war das Netz"}`,
		"POST /api/v1/rollouts/{id}/abort":             `{"reason":"falscher Kanal"}`,
		"POST /api/v1/rollouts/{id}/note":              `{"reason":"die Schule hat angerufen"}`,
		"POST /api/v1/rollouts/{id}/approve":           `{"reason":"alles gesehen"}`,
		"POST /api/v1/rollouts/{id}/rollback":          `{"release":"` + releases["1.0.1"] + `","reason":"startet nicht"}`,
		"POST /api/v1/rollouts/{id}/parts":             `{"dimension":"model","value":"LIFEBOOK A3510","blocked":true,"reason":"Firmware fehlt"}`,
		"POST /api/v1/owners/{id}/updates":             `{"lessons_from":"07:45","lessons_to":"16:00","bytes_per_second":250000,"parallel":3}`,
		"POST /api/v1/owners/{id}/updates/days":        `{"kind":"closed","from":"2026-12-07","to":"2026-12-11","name":"Prüfungen"}`,
		"POST /api/v1/owners/{id}/updates/days/remove": `{"id":"` + w.closedDays() + `"}`,
		"POST /api/v1/releases/{id}/block":             `{"reason":"startet nicht"}`,
		"POST /api/v1/tokens":                          `{"name":"neu","role":"read","all_owners":true,"expires":"2027-01-01T00:00:00Z"}`,
	}
	for _, name := range described {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(name, " ")
			id, bearer := known, admin
			switch {
			case strings.Contains(path, "/account/"), strings.HasSuffix(path, "/sign-out"):
				bearer, id = w.person(t)
			case strings.Contains(path, "/views/"):
				id = view.ID
			case strings.Contains(path, "/jobs/"):
				id = job.ID
			case strings.Contains(path, "/releases/"):
				id = releases["0.9.0"]
			case strings.Contains(path, "/rollouts/"):
				id = w.began(releases["1.1.0"]) // of its own for each call, since verbs end what others need
				defer w.rollouts.Abort(t.Context(), operator, id, "Ende des Beispiels")
				if strings.HasSuffix(path, "/approve") {
					bearer, _ = w.signIn(t, "release") // a second person
				}
				if strings.HasSuffix(path, "/resume") {
					w.must(w.rollouts.Pause(t.Context(), operator, id, "für das Beispiel"))
				}
			case strings.HasSuffix(path, "/update"):
				defer w.rollouts.Abort(t.Context(), operator, w.began(releases["1.1.0"]), "Ende des Beispiels")
			case strings.Contains(path, "/claims/"):
				id = claim.ID
			case strings.Contains(path, "/schools/{id}"):
				id = w.schoolID("Landkreis Ahorn", "S0001")
			case strings.Contains(path, "/findings/{id}"):
				id = "firewall_off"
			case strings.Contains(path, "/quiets/"):
				id = quiets[0].ID
			case strings.Contains(path, "/users/"):
				id = user.ID
			case strings.Contains(path, "/owners/"):
				id = w.ownerID("Landkreis Ahorn")
			case strings.Contains(path, "/tokens/"):
				id = tok.ID
			case strings.Contains(path, "/questions/"):
				if id = kept(t, w, admin); strings.HasSuffix(path, "/restore") {
					w.must(w.asked.Delete(t.Context(), token, id))
				}
			}
			address := strings.NewReplacer("{id}", id, "{session}", open[0].ID).Replace(path)
			if strings.HasSuffix(path, "/spread") {
				address += "?by=model"
			}
			switch {
			case strings.HasSuffix(path, "/answer/values"):
				address += "?of=model"
			case strings.Contains(path, "/v1/answer"):
				address += "?if=battery_charge.ge.0&if=os.is.windows"
			}
			if strings.HasSuffix(path, "/search") {
				address += "?q=AH-2021-0815"
			}
			if strings.HasSuffix(path, "/history") {
				address += "?reading=memory_used"
			}
			call := doc.Paths[path][strings.ToLower(method)]
			body, has := examples[name]
			if has != (call.RequestBody != nil) {
				t.Fatalf("described body %v, example %v", call.RequestBody != nil, has)
			}
			var match []string
			send := func(address, body string, more ...string) answer {
				headers := append([]string{"Authorization", "Bearer " + bearer}, more...)
				if body != "" {
					headers = append(headers, "Content-Type", "application/json")
				}
				return w.browser().do(method, address, strings.NewReader(body), headers...)
			}
			if has {
				if err := schema(t, fmt.Sprintf("/paths/%s/%s/requestBody/content/application~1json/schema", pointer(path), strings.ToLower(method)), body); err != nil {
					t.Errorf("the example is not what is described: %v", err)
				}
				if res := send(address, strings.Replace(body, "{", `{"kein_feld":1,`, 1)); res.StatusCode != http.StatusBadRequest {
					t.Errorf("a field that is not described: %d, want 400", res.StatusCode)
				}
			}
			stream := map[string]string{"/api/v1/events": "ChangeEvent", "/api/v1/devices/{id}/live": "LiveEvent"}[path]
			if stream != "" {
				first := w.listenAt(t, address, bearer, "").next(t)
				if err := schema(t, "/components/schemas/"+stream, first.data); err != nil {
					t.Errorf("the event is not what is described: %v\n%s", err, first.data)
				}
				if res := send(address+"?kein_parameter=1", ""); res.StatusCode != http.StatusBadRequest {
					t.Errorf("a parameter that is not described: %d, want 400", res.StatusCode)
				}
				return
			}
			changes := hasParameter(call.Parameters, "If-Match")
			if thing := web.TaggedBy(method, path); changes != (thing != "" && method == http.MethodPost) {
				t.Errorf("If-Match is described: %v, the call changes %q", changes, thing)
			} else if changes {
				at := strings.ReplaceAll(thing, "{id}", id)
				tag := w.api(bearer, at, nil).Header.Get("ETag")
				if tag == "" {
					t.Fatalf("GET %s has no ETag", at)
				}
				res := send(address, body, "If-Match", `"of another day"`)
				if res.StatusCode != http.StatusPreconditionFailed || !strings.Contains(res.body, `"urn:hausmeister:problem:precondition-failed"`) {
					t.Errorf("with a stale If-Match = %d %s, want 412", res.StatusCode, res.body)
				}
				if err := schema(t, "/components/schemas/Problem", res.body); err != nil {
					t.Errorf("the 412 is not what is described: %v", err)
				}
				if again := w.api(bearer, at, nil).Header.Get("ETag"); again != tag {
					t.Errorf("the refused call changed the thing: %s, then %s", tag, again)
				}
				match = []string{"If-Match", tag}
			}
			res := send(address, body, match...)
			code := fmt.Sprint(res.StatusCode)
			if _, ok := call.Responses[code]; !ok {
				t.Fatalf("%s %s = %s %s, described are %v", method, address, code, res.body, slices.Collect(maps.Keys(call.Responses)))
			}
			if path != "/api/v1/openapi.json" && !strings.HasSuffix(path, ".csv") {
				if err := schema(t, fmt.Sprintf("/paths/%s/%s/responses/%s/content/application~1json/schema", pointer(path), strings.ToLower(method), code), res.body); err != nil {
					t.Errorf("the answer is not what is described: %v\n%s", err, res.body)
				}
			}
			between := "?"
			if strings.Contains(address, "?") {
				between = "&"
			}
			if strings.HasSuffix(path, "/sign-out") || strings.HasSuffix(path, "/sessions/{id}/end") {
				bearer, _ = w.person(t) // that of before is signed out
			}
			res = send(address+between+"kein_parameter=1", body)
			if gone := strings.HasSuffix(path, "/delete") && res.StatusCode == http.StatusNotFound; res.StatusCode != http.StatusBadRequest && !gone {
				t.Errorf("a parameter that is not described: %d, want 400", res.StatusCode)
			}
			if err := schema(t, "/components/schemas/Problem", res.body); err != nil {
				t.Errorf("the problem is not what is described: %v", err)
			}
		})
	}
}

func hasParameter(all []struct{ Name, In string }, name string) bool {
	return slices.ContainsFunc(all, func(p struct{ Name, In string }) bool { return p.Name == name })
}

// person signs somebody new in to the API, and gives the secret and the id of the session.
func (w *world) person(t *testing.T) (secret, session string) {
	t.Helper()
	login := fmt.Sprintf("person%d", w.people.Add(1))
	w.user(login, access.RoleAdmin, nil)
	return w.signIn(t, login)
}

func (w *world) signIn(t *testing.T, login string) (secret, session string) {
	t.Helper()
	res := w.browser().do(http.MethodPost, "/api/v1/sign-in", strings.NewReader(`{"login":"`+login+`","password":"`+password+`"}`), "Content-Type", "application/json")
	var got struct{ Secret string }
	if err := json.Unmarshal([]byte(res.body), &got); err != nil || res.StatusCode != http.StatusOK || got.Secret == "" {
		t.Fatalf("POST /api/v1/sign-in as %s = %d %s", login, res.StatusCode, res.body)
	}
	var account struct{ Session string }
	w.api(got.Secret, "/api/v1/account", &account)
	return got.Secret, account.Session
}

// kept keeps a question and gives its id.
func kept(t *testing.T, w *world, token string) string {
	t.Helper()
	res := w.browser().do(http.MethodPost, "/api/v1/questions", strings.NewReader(`{"name":"x","if":["battery_charge.lt.600"]}`), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	var q struct{ ID string }
	if err := json.Unmarshal([]byte(res.body), &q); err != nil || q.ID == "" {
		t.Fatalf("keeping a question = %d %s", res.StatusCode, res.body)
	}
	return q.ID
}

// pointer escapes a path for a JSON pointer within an address.
func pointer(path string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path)
}

// compiler gives a check of a text against a part of the document, with every
// object closed: what is answered must be described.
func compiler(t *testing.T, doc map[string]any) func(t *testing.T, part, text string) error {
	t.Helper()
	closed, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	closed = bytes.ReplaceAll(closed, []byte(`"properties":{`), []byte(`"additionalProperties":false,"properties":{`))
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(closed))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("api.json", parsed); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, part, text string) error {
		t.Helper()
		s, err := c.Compile("api.json#" + part)
		if err != nil {
			t.Fatalf("%s: %v", part, err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return s.Validate(value)
	}
}

// releases publishes and imports some versions, of which 1.0.1 is the way back from
// 1.1.0; their ids by version.
func (w *world) releases() map[string]string {
	w.t.Helper()
	repo, dir := tufrepo.NewFleet(w.clock), w.t.TempDir()
	for _, r := range []manifest.Release{{Version: "0.9.0"}, {Version: "1.0.0"}, {Version: "1.1.0"}, {Version: "1.0.1", RollbackOf: "1.1.0"}} {
		r.OS = "windows"
		repo.Release(manifest.RoleStable, r, []byte("program "+r.Version))
	}
	w.must(repo.WriteTo(dir))
	_, err := w.rollouts.Import(w.t.Context(), operator, dir, repo.Root())
	w.must(err)
	all, err := w.rollouts.Releases(w.t.Context(), operator)
	w.must(err)
	ids := map[string]string{}
	for _, r := range all {
		ids[r.Version] = r.ID
	}
	return ids
}

// began is a rollout that runs. A person began it: a program may not, once the one before
// was ended with a part left out.
func (w *world) began(release string) string {
	w.t.Helper()
	w.advance(time.Second) // so that it is known which was before which
	id, err := w.rollouts.Start(w.t.Context(), releaser("m.sommer"), release, "neue Version")
	w.must(err)
	w.must(w.rollouts.Care(w.t.Context()))
	return id
}

// closedDays are some of an owner.
func (w *world) closedDays() string {
	w.t.Helper()
	id, err := w.rollouts.AddDays(w.t.Context(), operator, w.ownerID("Landkreis Ahorn"), rollout.Days{Kind: rollout.Closed, Span: calendar.Span{From: "2026-12-14", To: "2026-12-15"}})
	w.must(err)
	return id
}
