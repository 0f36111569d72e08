package web

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/access"
)

// call is what a program needs to know of a route of the API. The parameters
// that it names are those that the route accepts.
type call struct {
	Summary string
	Needs   access.Permission
	Query   []param
	Body    any // a value of the type that is read
	Gives   any // a value of the type that is answered
	Made    bool
	CSV     bool // answers with lines of values instead of Gives
	Stream  bool // Gives is the data of each event of a stream that does not end
}

type param struct {
	Name, Meaning string
	Number        bool
	Required      bool
	Many          bool // may be given more than once
	Shown         bool // in the example, though a call may do without
}

// list is the answer of a list that is given whole.
type list[T any] struct {
	Items  []T     `json:"items"`
	Total  int     `json:"total"`
	Cursor *string `json:"cursor"`
}

var (
	limitParam  = param{Name: "limit", Meaning: "how many items at most, 1 to 500", Number: true}
	ifParam     = param{Name: "if", Meaning: "a condition as name.operator.value, in base units, such as battery_charge.lt.600 (lt, le, eq, ge, gt; texts and facts: is, not, contains); all that are given must hold. Names are readings of the catalogue and model, manufacturer, owner, school, school_kind, os, agent, finding", Many: true, Shown: true}
	showParam   = param{Name: "show", Meaning: "name of the reading whose values are given; else that of the first condition"}
	orderParam  = param{Name: "order", Meaning: "asc or desc by that reading"}
	cursorParam = param{Name: "cursor", Meaning: "where the next page begins, as the one before said"}
)

// calls describes every route under /api/v1; a test holds both against each other.
var calls = map[string]call{
	"GET /api/v1/devices": {Summary: "Devices, by page", Needs: access.ReadDevices, Gives: apiList{}, Query: []param{
		{Name: "q", Meaning: "words that each stand in inventory no., serial no., model or school"},
		{Name: "state", Meaning: "one of the states"}, {Name: "school", Meaning: "id or number of a school"}, {Name: "finding", Meaning: "code of what is open about the devices"}, {Name: "label", Meaning: "a label that they hold"},
		{Name: "sort", Meaning: "label, model, school, last_contact, battery or disk_free; with - before it from the other end"}, limitParam, cursorParam}},
	"GET /api/v1/devices/{id}": {Summary: "A device and its latest values", Needs: access.ReadDevices, Gives: apiDeviceBody{}},
	"GET /api/v1/devices/{id}/history": {Summary: "The values of a reading over time", Needs: access.ReadDevices, Gives: apiHistory{}, Query: []param{
		{Name: "reading", Meaning: "name of the reading, see the catalogue", Required: true}, {Name: "instance", Meaning: "which of several, such as C:"},
		{Name: "from", Meaning: "time, RFC 3339"}, {Name: "to", Meaning: "time, RFC 3339"},
		{Name: "step", Meaning: "seconds between points; less than 86400 needs a look", Number: true}}},
	"GET /api/v1/devices/{id}/findings":       {Summary: "What somebody should know about a device", Needs: access.ReadDevices, Gives: list[apiFinding]{}},
	"GET /api/v1/devices/{id}/inventory":      {Summary: "Installed software and its changes", Needs: access.ReadDevices, Gives: apiSoftware{}},
	"GET /api/v1/devices/{id}/looks":          {Summary: "Who looked at a device", Needs: access.ReadDevices, Gives: list[apiLook]{}},
	"POST /api/v1/devices/{id}/looks":         {Summary: "Open what is finer than a day, for an hour and with a reason", Needs: access.LookDevices, Body: apiNewLook{}, Gives: apiLook{}, Made: true},
	"POST /api/v1/devices/{id}/labels":        {Summary: "Give a device a label", Needs: access.WriteDevices, Body: apiLabel{}, Gives: apiDeviceBody{}},
	"POST /api/v1/devices/{id}/labels/remove": {Summary: "Take a label from a device", Needs: access.WriteDevices, Body: apiLabel{}, Gives: apiDeviceBody{}},
	"POST /api/v1/devices/{id}/revoke":        {Summary: "Take back a device's credentials; it comes back only with a new claim", Needs: access.RevokeDevices, Body: apiRevocation{}, Gives: apiDeviceBody{}},
	"GET /api/v1/views":                       {Summary: "Saved views of the list: one's own, those of one's owners and those of all", Needs: access.ReadDevices, Gives: list[apiView]{}},
	"POST /api/v1/views":                      {Summary: "Save a view", Needs: access.ReadDevices, Body: apiNewView{}, Gives: apiView{}, Made: true},
	"GET /api/v1/views/{id}":                  {Summary: "A saved view, by id or slug", Needs: access.ReadDevices, Gives: apiView{}},
	"POST /api/v1/views/{id}":                 {Summary: "Change name, filter, order or columns of a view", Needs: access.ReadDevices, Body: apiViewChange{}, Gives: apiView{}},
	"POST /api/v1/views/{id}/delete":          {Summary: "Delete a view", Needs: access.ReadDevices, Gives: apiView{}},
	"GET /api/v1/labels":                      {Summary: "Labels and how many devices hold them", Needs: access.ReadDevices, Gives: list[apiLabelCount]{}},
	"GET /api/v1/jobs":                        {Summary: "Changes of many devices, the latest first", Needs: access.ReadDevices, Gives: apiPage[apiJob]{}, Query: []param{limitParam, cursorParam}},
	"POST /api/v1/jobs":                       {Summary: "Change many devices: label, unlabel or school, for devices by id or all that fit a filter", Needs: access.WriteDevices, Body: apiNewJob{}, Gives: apiJob{}, Made: true},
	"GET /api/v1/jobs/{id}":                   {Summary: "A change of many devices, and how far it has come", Needs: access.ReadDevices, Gives: apiJob{}},
	"GET /api/v1/jobs/{id}/devices": {Summary: "What became of each device", Needs: access.ReadDevices, Gives: apiPage[apiJobDevice]{},
		Query: []param{{Name: "outcome", Meaning: "only these: waiting, changed, same, other_owner, restored or kept"}, limitParam, cursorParam}},
	"POST /api/v1/jobs/{id}/undo":     {Summary: "Put back what devices had before, but for what was changed since", Needs: access.WriteDevices, Gives: apiJob{}},
	"GET /api/v1/findings":            {Summary: "What is open about how many devices, the worst first", Needs: access.ReadDevices, Gives: list[apiOpenFinding]{}},
	"GET /api/v1/devices/{id}/events": {Summary: "What happened to a device, by whole days, the latest first", Needs: access.ReadDevices, Gives: apiPage[apiEvent]{}, Query: []param{limitParam, cursorParam}},
	"GET /api/v1/findings/{id}/spread": {Summary: "Who has a finding, by model, build or school; groups of fewer than five have no numbers", Needs: access.ReadDevices, Gives: list[apiShare]{},
		Query: []param{{Name: "by", Meaning: "model, os_build or school", Required: true}}},
	"POST /api/v1/devices/{id}/findings/quiet": {Summary: "Say that somebody takes care of a finding: until the day given, or until it is cleared or gets worse", Needs: access.QuietFindings, Body: apiQuietOne{}, Gives: apiQuiet{}},
	"POST /api/v1/devices/{id}/findings/loud":  {Summary: "Undo that at this device", Needs: access.QuietFindings, Body: apiOneFinding{}, Gives: list[apiFinding]{}},
	"GET /api/v1/findings/{id}/quiets":         {Summary: "Who takes care of a finding, why and until when, the latest first", Needs: access.ReadDevices, Gives: list[apiQuiet]{}},
	"POST /api/v1/findings/{id}/quiet":         {Summary: "Say that somebody takes care of a finding at all devices, or at those of a model, build, school or owner", Needs: access.QuietFindings, Body: apiQuietMany{}, Gives: apiQuiet{}},
	"POST /api/v1/quiets/{id}/end":             {Summary: "Undo that at all devices", Needs: access.QuietFindings, Gives: apiQuiet{}},
	"GET /api/v1/events":                       {Summary: "What happens to devices, as it happens: findings that are raised, cleared, acknowledged, snoozed or count again, and first contacts", Needs: access.ReadDevices, Gives: apiChangeEvent{}, Stream: true},
	"GET /api/v1/house":                        {Summary: "How the pages look to people who chose nothing else, and whom schools call", Needs: access.WriteSettings, Gives: apiHouse{}},
	"POST /api/v1/house":                       {Summary: "Change that: language de or en, theme light or dark; empty leaves it to the browser", Needs: access.WriteSettings, Body: apiNewHouse{}, Gives: apiHouse{}},
	"GET /api/v1/owners/{id}/retention":        {Summary: "How many days each class of values is kept for an owner", Needs: access.ReadDevices, Gives: list[apiKept]{}},
	"POST /api/v1/owners/{id}/retention":       {Summary: "Change that for a class, within its bounds; what is older is deleted within hours", Needs: access.WriteSettings, Body: apiNewKept{}, Gives: list[apiKept]{}},
	"GET /api/v1/search": {Summary: "Devices, schools and (for who may see them) people; first what is called exactly so, then some of each kind", Needs: access.ReadDevices, Gives: list[apiFound]{}, Query: []param{
		{Name: "q", Meaning: "inventory no., serial no., number of a school, login, or words", Required: true}}},
	"GET /api/v1/catalogue": {Summary: "Every value that a device may tell", Gives: list[apiField]{}},
	"GET /api/v1/owners":    {Summary: "School authorities", Needs: access.ReadSchools, Gives: list[apiOwner]{}},
	"GET /api/v1/schools": {Summary: "Schools, how their devices are and how they reach us", Needs: access.ReadSchools, Gives: list[apiSchoolState]{},
		Query: []param{{Name: "q", Meaning: "words that each stand in code, name, kind or owner"}, limitParam, cursorParam}},
	"GET /api/v1/schools/{id}/sheet":           {Summary: "What a school's devices need of its network, how they come to us, and what is in the way; numbers below five are null", Needs: access.ReadSchools, Gives: apiSheet{}},
	"GET /api/v1/owners/{id}/software":         {Summary: "Programs that each device of an owner must have", Needs: access.WriteSettings, Gives: list[apiStandardProgram]{}},
	"POST /api/v1/owners/{id}/software":        {Summary: "Add such a program, or replace the one of its label", Needs: access.WriteSettings, Body: apiNewStandard{}, Gives: list[apiStandardProgram]{}},
	"POST /api/v1/owners/{id}/software/remove": {Summary: "Take such a program off the list", Needs: access.WriteSettings, Body: apiLabel{}, Gives: list[apiStandardProgram]{}},
	"GET /api/v1/claims":                       {Summary: "Claims, the latest first", Needs: access.ReadClaims, Gives: apiPage[apiClaim]{}, Query: []param{limitParam, cursorParam}},
	"POST /api/v1/claims":                      {Summary: "Make a claim", Needs: access.WriteClaims, Body: apiNewClaim{}, Gives: apiClaim{}, Made: true},
	"GET /api/v1/claims/{id}":                  {Summary: "A claim without its secret", Needs: access.ReadClaims, Gives: apiClaim{}},
	"POST /api/v1/claims/{id}/revoke":          {Summary: "End a claim", Needs: access.WriteClaims, Gives: apiClaim{}},
	"GET /api/v1/users":                        {Summary: "Accounts of people", Needs: access.ReadUsers, Gives: list[apiUser]{}},
	"POST /api/v1/users":                       {Summary: "Make an account", Needs: access.WriteUsers, Body: apiNewUser{}, Gives: apiUser{}, Made: true},
	"GET /api/v1/users/{id}":                   {Summary: "An account", Needs: access.ReadUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/role":             {Summary: "Change role and owners of an account", Needs: access.WriteUsers, Body: apiRole{}, Gives: apiUser{}},
	"POST /api/v1/users/{id}/password":         {Summary: "Give an account a new password", Needs: access.WriteUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/disable":          {Summary: "Let an account sign in no more", Needs: access.WriteUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/enable":           {Summary: "Let an account sign in again", Needs: access.WriteUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/sessions/end":     {Summary: "End the sessions of an account", Needs: access.WriteUsers, Gives: apiUser{}},
	"GET /api/v1/tokens":                       {Summary: "API tokens without their secrets", Needs: access.ReadUsers, Gives: list[apiToken]{}},
	"POST /api/v1/tokens":                      {Summary: "Make an API token", Needs: access.WriteUsers, Body: apiNewToken{}, Gives: apiToken{}, Made: true},
	"GET /api/v1/tokens/{id}":                  {Summary: "An API token without its secret", Needs: access.ReadUsers, Gives: apiToken{}},
	"POST /api/v1/tokens/{id}/revoke":          {Summary: "End an API token", Needs: access.WriteUsers, Gives: apiToken{}},
	"GET /api/v1/audit": {Summary: "Who changed or looked at what, the latest first", Needs: access.ReadAudit, Gives: apiPage[apiEntry]{}, Query: []param{
		{Name: "action", Meaning: "an action, or the subject before its dot"}, {Name: "from", Meaning: "first day, in UTC"}, {Name: "to", Meaning: "last day, in UTC"}, limitParam, cursorParam}},
	"GET /api/v1/answer": {Summary: "How many devices the conditions are true of, which, and since when", Needs: access.ReadDevices, Gives: apiAnswer{},
		Query: []param{ifParam, showParam, orderParam, limitParam, cursorParam}},
	"GET /api/v1/answer/devices.csv":     {Summary: "All devices that the conditions are true of, as CSV", Needs: access.ReadDevices, CSV: true, Query: []param{ifParam, showParam, orderParam}},
	"GET /api/v1/questions":              {Summary: "Questions that are kept: one's own, and those for everybody", Needs: access.ReadDevices, Gives: list[apiQuestion]{}},
	"POST /api/v1/questions":             {Summary: "Keep a question", Needs: access.ReadDevices, Body: apiNewQuestion{}, Gives: apiQuestion{}, Made: true},
	"GET /api/v1/questions/{id}":         {Summary: "A question that is kept", Needs: access.ReadDevices, Gives: apiQuestion{}},
	"POST /api/v1/questions/{id}":        {Summary: "Change a question that is kept", Needs: access.ReadDevices, Body: apiNewQuestion{}, Gives: apiQuestion{}},
	"POST /api/v1/questions/{id}/delete": {Summary: "Delete a question that is kept", Needs: access.ReadDevices, Gives: list[apiQuestion]{}},
	"GET /api/v1/questions/{id}/answer":  {Summary: "The answer to a question that is kept", Needs: access.ReadDevices, Gives: apiAnswer{}, Query: []param{orderParam, limitParam, cursorParam}},
	"GET /api/v1/openapi.json":           {Summary: "This description", Gives: map[string]any{}},
}

// accepts says whether the route takes these parameters.
func (c call) accepts(asked url.Values) error {
	var names []string
	single := maps.Clone(asked)
	for _, p := range c.Query {
		names = append(names, p.Name)
		if p.Many {
			delete(single, p.Name)
		}
	}
	return only(single, names...)
}

// openAPI is the description as OpenAPI 3.1. It is made from calls and the Go
// types of bodies and answers by their json tags: a pointer may be null, what
// has omitempty may be missing. A library would need a tag on each field to say
// the same a second time.
func (s *Server) openAPI() ([]byte, error) {
	sc := schemas{}
	paths := map[string]map[string]any{}
	for _, rt := range s.routes {
		c, ok := calls[rt.method+" "+rt.path]
		if !ok {
			continue
		}
		if paths[rt.path] == nil {
			paths[rt.path] = map[string]any{}
		}
		paths[rt.path][strings.ToLower(rt.method)] = c.describe(rt, sc)
	}
	sc.of(reflect.TypeFor[apiProblem]())
	sc.of(reflect.TypeFor[apiChangeEvent]())
	return json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "Hausmeister", "version": "1", "description": "Health of loan devices, and what admits and sees them. Fields are added within this version, never changed. A change with If-Match happens only if nobody else changed the thing since its ETag was read. " +
			"A token may make 50 calls a second, 500 at once; more get 429 with Retry-After. Times are RFC 3339 in UTC; what a device tells is given by days, finer only after a look."},
		"security":   []any{map[string]any{"token": []string{}}},
		"paths":      paths,
		"components": map[string]any{"schemas": sc, "securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}}},
	}, "", " ")
}

func (c call) describe(rt route, sc schemas) map[string]any {
	params := []any{}
	for part := range strings.SplitSeq(rt.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			params = append(params, map[string]any{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
	}
	for _, p := range c.Query {
		kind := "string"
		if p.Number {
			kind = "integer"
		}
		schema := map[string]any{"type": kind}
		if p.Many {
			schema = map[string]any{"type": "array", "items": schema}
		}
		params = append(params, map[string]any{"name": p.Name, "in": "query", "required": p.Required, "description": p.Meaning, "schema": schema})
	}
	code := http.StatusOK
	if c.Made {
		code = http.StatusCreated
	}
	problem := map[string]any{"description": "A problem, RFC 9457", "content": map[string]any{"application/problem+json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/Problem"}}}}
	var mime string
	var schema map[string]any
	switch {
	case c.CSV:
		mime, schema = "text/csv", map[string]any{"type": "string"}
	case c.Stream:
		mime, schema = "text/event-stream", map[string]any{"type": "string", "contentMediaType": "text/event-stream", "description": "Each data line is a " + schemaName(reflect.TypeOf(c.Gives)) + " as JSON."}
	default:
		mime, schema = "application/json", sc.of(reflect.TypeOf(c.Gives))
	}
	out := map[string]any{
		"summary": c.Summary, "operationId": operationID(rt), "parameters": params,
		"responses": map[string]any{
			strconv.Itoa(code): map[string]any{"description": http.StatusText(code), "content": map[string]any{mime: map[string]any{"schema": schema}}},
			"default":          problem,
		},
	}
	if c.Made {
		out["parameters"] = append(params, map[string]any{"name": "Idempotency-Key", "in": "header", "required": false, "schema": map[string]any{"type": "string", "minLength": 16, "maxLength": 200},
			"description": "A key of your choice that nobody guesses: the same request with it is carried out once in 24 hours, and answered alike."})
	}
	if thing := taggedBy(rt); thing != "" {
		responses := out["responses"].(map[string]any)
		if rt.method == http.MethodGet {
			responses[strconv.Itoa(code)].(map[string]any)["headers"] = map[string]any{"ETag": map[string]any{"schema": map[string]any{"type": "string"},
				"description": "Names what of it calls can change, as it is now; for If-Match of such a call."}}
		} else {
			out["parameters"] = append(params, map[string]any{"name": "If-Match", "in": "header", "required": false, "schema": map[string]any{"type": "string"},
				"description": "The ETag of GET " + thing + ": if it was changed since, nothing is done and the answer is 412."})
			responses["412"] = problem
		}
	}
	if c.Stream {
		out["parameters"] = append(params, map[string]any{"name": "Last-Event-ID", "in": "header", "required": false, "schema": map[string]any{"type": "string"},
			"description": "The id of the last event that you have. You hear what you missed in up to seven days; when that is not known, a reset says to look at everything anew."})
	}
	if c.Needs != "" {
		out["description"] = "Needs " + string(c.Needs) + "."
	}
	if c.Stream {
		out["description"] = "Needs " + string(c.Needs) + ". Server-sent events. The first one is begin, or reset; a comment comes each 10 s; end comes before the stream ends because the token may no longer listen. " +
			"Changes of devices out of sight of the token do not come. When a device connects, disconnects or reports is not told: it would tell by the minute when somebody works. " +
			"A token may have 8 streams; one that reads nothing for 30 s is cut, and goes on by its Last-Event-ID."
	}
	if c.Body != nil {
		out["requestBody"] = map[string]any{"required": true, "content": map[string]any{"application/json": map[string]any{"schema": sc.of(reflect.TypeOf(c.Body))}}}
	}
	return out
}

// operationID names a call for generated clients: getDevicesIdHistory.
func operationID(rt route) string {
	id := strings.ToLower(rt.method)
	for part := range strings.SplitSeq(strings.TrimPrefix(rt.path, "/api/v1/"), "/") {
		part = strings.Trim(part, "{}")
		name, _, _ := strings.Cut(part, ".")
		id += strings.ToUpper(name[:1]) + name[1:]
	}
	return id
}

// schemas are the types of the API by name.
type schemas map[string]any

// of gives the schema of a type; of a struct with a name, a reference to it.
func (sc schemas) of(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return map[string]any{"anyOf": []any{sc.of(t.Elem()), map[string]any{"type": "null"}}}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": sc.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": sc.of(t.Elem())}
	case reflect.Struct:
		name := schemaName(t)
		if _, ok := sc[name]; !ok {
			sc[name] = nil // of itself: a type that holds itself finds the name taken
			sc[name] = sc.object(t)
		}
		return map[string]any{"$ref": "#/components/schemas/" + name}
	}
	return map[string]any{} // any
}

func (sc schemas) object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := sc.of(f.Type)
		if f.Type.Kind() == reflect.Slice && name == "items" {
			schema["type"] = "array" // a list may be empty, never null
		}
		properties[name] = schema
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

// schemaName is Claim for apiClaim and ClaimPage for apiPage[apiClaim].
func schemaName(t reflect.Type) string {
	outer, inner, generic := strings.Cut(t.Name(), "[")
	outer = strings.TrimPrefix(outer, "api")
	if !generic {
		return outer
	}
	inner = strings.TrimSuffix(inner[strings.LastIndex(inner, ".")+1:], "]")
	return strings.TrimPrefix(inner, "api") + strings.ToUpper(outer[:1]) + outer[1:]
}

func (s *Server) apiOpenAPI(v *visit) error {
	body, err := s.openAPI()
	if err != nil {
		return err
	}
	v.send(http.StatusOK, "application/json", append(body, '\n'))
	return nil
}

// describedCalls are the names of all calls, sorted.
func describedCalls() []string { return slices.Sorted(maps.Keys(calls)) }
