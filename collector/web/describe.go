package web

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/web/words"
)

// call is what a program needs to know of a route of the API. The parameters
// that it names are those that the route accepts. What it does is said by the text
// api.call. and its operation's id.
type call struct {
	Needs access.Permission
	Query []param
	Body  any // a value of the type that is read
	Gives any // a value of the type that is answered
	Made  bool
	CSV   bool // answers with lines of values instead of Gives
	// Stream is the key of what is to be known of a stream that does not end; Gives
	// is the data of each of its Events, whose texts are api.event. and the name.
	Stream   string
	Events   []string
	Person   bool // only for a person who is signed in, not for a token
	Stranger bool // for whoever has neither yet
}

// param is a parameter; its meaning is the text api.param. and Says.
type param struct {
	Name     string
	Says     string // empty = as Name
	Is       string // of kinds; empty = text
	Required bool
	Many     bool // may be given more than once
	Commas   bool // several of them with commas between
	Shown    bool // in the example, though a call may do without
}

func (p param) meaning(say *words.Speaker) string {
	return say.Say("api.param." + cmp.Or(p.Says, p.Name))
}

func (c call) summary(rt route, say *words.Speaker) string {
	return say.Say("api.call." + operationID(rt))
}

var (
	limitParam  = param{Name: "limit", Is: "limit"}
	ifParam     = param{Name: "if", Many: true, Shown: true}
	showParam   = param{Name: "show", Is: "reading"}
	orderParam  = param{Name: "order", Is: "order"}
	cursorParam = param{Name: "cursor"}
	// Of a list that is read as a whole.
	shortPage = []param{{Name: "limit", Says: "limit.all", Is: "any_limit"}, cursorParam}

	whichParams = []param{{Name: "q"}, {Name: "state", Is: "state"}, {Name: "school"}, {Name: "finding", Is: "finding"}, {Name: "label"}, {Name: "model"}, {Name: "os_build"}, {Name: "update", Is: "update"}}
	dayParams   = []param{{Name: "action"}, {Name: "from", Says: "from.day", Is: "day"}, {Name: "to", Says: "to.day", Is: "day"}}
)

// calls describes every route under /api/v1; a test holds both against each other.
var calls = map[string]call{
	"GET /api/v1/devices": {Needs: access.ReadDevices, Gives: list[apiItem]{}, Query: slices.Concat(whichParams,
		[]param{{Name: "sort", Is: "sort"}, {Name: "columns", Is: "column", Commas: true}, limitParam, cursorParam})},
	"GET /api/v1/devices.csv":       {Needs: access.ReadDevices, CSV: true, Query: slices.Concat(whichParams, []param{{Name: "sort", Is: "sort"}})},
	"GET /api/v1/counts":            {Needs: access.ReadDevices, Gives: list[apiStateCount]{}, Query: slices.Concat(slices.DeleteFunc(slices.Clone(whichParams), func(p param) bool { return p.Name == "state" }), shortPage)},
	"GET /api/v1/devices/{id}/live": {Needs: access.LookDevices, Gives: apiLiveEvent{}, Stream: "api.stream.live", Events: liveEvents},
	"GET /api/v1/devices/{id}/jobs": {Needs: access.ReadDevices, Gives: list[apiDeviceJob]{}, Query: shortPage},
	"GET /api/v1/devices/{id}":      {Needs: access.ReadDevices, Gives: apiDeviceBody{}},
	"GET /api/v1/devices/{id}/history": {Needs: access.ReadDevices, Gives: apiHistory{}, Query: []param{
		{Name: "reading", Is: "reading", Required: true}, {Name: "instance"},
		{Name: "from", Is: "time"}, {Name: "to", Is: "time"},
		{Name: "step", Is: "step"}}},
	"GET /api/v1/devices/{id}/findings":       {Needs: access.ReadDevices, Gives: list[apiFinding]{}, Query: shortPage},
	"GET /api/v1/devices/{id}/inventory":      {Needs: access.ReadDevices, Gives: apiSoftware{}, Query: shortPage},
	"GET /api/v1/devices/{id}/looks":          {Needs: access.ReadDevices, Gives: list[apiLook]{}, Query: shortPage},
	"POST /api/v1/devices/{id}/looks":         {Needs: access.LookDevices, Body: apiNewLook{}, Gives: apiLook{}, Made: true},
	"POST /api/v1/devices/{id}/labels":        {Needs: access.WriteDevices, Body: apiLabel{}, Gives: apiDeviceBody{}},
	"POST /api/v1/devices/{id}/labels/remove": {Needs: access.WriteDevices, Body: apiLabel{}, Gives: apiDeviceBody{}},
	"POST /api/v1/devices/{id}/revoke":        {Needs: access.RevokeDevices, Body: apiRevocation{}, Gives: apiDeviceBody{}},
	"GET /api/v1/views":                       {Needs: access.ReadDevices, Gives: list[apiView]{}, Query: shortPage},
	"POST /api/v1/views":                      {Needs: access.ReadDevices, Body: apiNewView{}, Gives: apiView{}, Made: true},
	"GET /api/v1/views/{id}":                  {Needs: access.ReadDevices, Gives: apiView{}},
	"POST /api/v1/views/{id}":                 {Needs: access.ReadDevices, Body: apiViewChange{}, Gives: apiView{}},
	"POST /api/v1/views/{id}/delete":          {Needs: access.ReadDevices, Gives: apiView{}},
	"POST /api/v1/views/{id}/restore":         {Needs: access.ReadDevices, Gives: apiView{}},
	"GET /api/v1/labels":                      {Needs: access.ReadDevices, Gives: list[apiLabelCount]{}, Query: shortPage},
	"GET /api/v1/jobs":                        {Needs: access.WriteDevices, Gives: list[apiJob]{}, Query: []param{limitParam, cursorParam}},
	"POST /api/v1/jobs":                       {Needs: access.WriteDevices, Body: apiNewJob{}, Gives: apiJob{}, Made: true},
	"GET /api/v1/jobs/{id}":                   {Needs: access.ReadDevices, Gives: apiJob{}},
	"GET /api/v1/jobs/{id}/devices": {Needs: access.ReadDevices, Gives: list[apiJobDevice]{},
		Query: []param{{Name: "outcome", Is: "outcome"}, limitParam, cursorParam}},
	"POST /api/v1/jobs/{id}/undo":     {Needs: access.WriteDevices, Gives: apiJob{}},
	"GET /api/v1/findings":            {Needs: access.ReadDevices, Gives: list[apiOpenFinding]{}, Query: shortPage},
	"GET /api/v1/devices/{id}/events": {Needs: access.ReadDevices, Gives: list[apiEvent]{}, Query: []param{limitParam, cursorParam}},
	"GET /api/v1/findings/{id}/spread": {Needs: access.ReadDevices, Gives: list[apiShare]{},
		Query: slices.Concat([]param{{Name: "by", Is: "dimension", Required: true}}, shortPage)},
	"POST /api/v1/devices/{id}/findings/quiet": {Needs: access.QuietFindings, Body: apiQuietOne{}, Gives: apiQuiet{}},
	"POST /api/v1/devices/{id}/findings/loud":  {Needs: access.QuietFindings, Body: apiOneFinding{}, Gives: list[apiFinding]{}},
	"GET /api/v1/findings/{id}/quiets":         {Needs: access.ReadDevices, Gives: list[apiQuiet]{}, Query: shortPage},
	"POST /api/v1/findings/{id}/quiet":         {Needs: access.QuietFindings, Body: apiQuietMany{}, Gives: apiJob{}, Made: true},
	"POST /api/v1/quiets/{id}/end":             {Needs: access.QuietFindings, Gives: apiQuiet{}},
	"GET /api/v1/events":                       {Needs: access.ReadDevices, Gives: apiChangeEvent{}, Stream: "api.stream.changes", Events: changeEvents()},
	"GET /api/v1/house":                        {Needs: access.WriteSettings, Gives: apiHouse{}},
	"POST /api/v1/house":                       {Needs: access.WriteSettings, Body: apiNewHouse{}, Gives: apiHouse{}},
	"GET /api/v1/owners/{id}/retention":        {Needs: access.ReadDevices, Gives: list[apiKept]{}, Query: shortPage},
	"POST /api/v1/owners/{id}/retention":       {Needs: access.WriteSettings, Body: apiNewKept{}, Gives: list[apiKept]{}},
	"GET /api/v1/search": {Needs: access.ReadDevices, Gives: list[apiFound]{}, Query: slices.Concat([]param{
		{Name: "q", Says: "q.search", Required: true}}, shortPage)},
	"GET /api/v1/looks":     {Needs: access.ReadDevices, Gives: list[apiLookMonth]{}, Query: shortPage},
	"GET /api/v1/catalogue": {Gives: list[apiField]{}, Query: shortPage},
	"GET /api/v1/owners":    {Needs: access.ReadSchools, Gives: list[apiOwner]{}, Query: shortPage},
	"GET /api/v1/schools": {Needs: access.ReadSchools, Gives: list[apiSchoolState]{},
		Query: []param{{Name: "q", Says: "q.schools"}, {Name: "kind"}, {Name: "owner", Is: "uuid"}, {Name: "trouble", Is: "yes"}, {Name: "sort", Says: "sort.schools", Is: "school_sort"}, limitParam, cursorParam}},
	"GET /api/v1/schools/{id}":                       {Needs: access.ReadDevices, Gives: apiSchoolPage{}},
	"GET /api/v1/owners/{id}":                        {Needs: access.ReadSchools, Gives: apiOwner{}},
	"POST /api/v1/owners/{id}":                       {Needs: access.WriteSchools, Body: apiNewOwner{}, Gives: apiOwner{}},
	"POST /api/v1/schools/{id}":                      {Needs: access.WriteSchools, Body: apiNewSchool{}, Gives: apiSchoolItem{}},
	"GET /api/v1/schools/{id}/sheet":                 {Needs: access.ReadSchools, Gives: apiSheet{}},
	"GET /api/v1/owners/{id}/software":               {Needs: access.WriteSettings, Gives: apiStandardList{}, Query: shortPage},
	"POST /api/v1/owners/{id}/software":              {Needs: access.WriteSettings, Body: apiNewStandard{}, Gives: apiStandardList{}},
	"POST /api/v1/owners/{id}/software/remove":       {Needs: access.WriteSettings, Body: apiLabel{}, Gives: apiStandardList{}},
	"GET /api/v1/claims":                             {Needs: access.ReadClaims, Gives: list[apiClaim]{}, Query: []param{limitParam, cursorParam}},
	"POST /api/v1/claims":                            {Needs: access.WriteClaims, Body: apiNewClaim{}, Gives: apiClaim{}, Made: true},
	"GET /api/v1/claims/{id}":                        {Needs: access.ReadClaims, Gives: apiClaim{}},
	"POST /api/v1/claims/{id}/revoke":                {Needs: access.WriteClaims, Gives: apiClaim{}},
	"GET /api/v1/users":                              {Needs: access.ReadUsers, Gives: list[apiUser]{}, Query: shortPage},
	"POST /api/v1/users":                             {Needs: access.WriteUsers, Body: apiNewUser{}, Gives: apiUser{}, Made: true},
	"GET /api/v1/users/{id}":                         {Needs: access.ReadUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/role":                   {Needs: access.WriteUsers, Body: apiRole{}, Gives: apiUser{}},
	"POST /api/v1/users/{id}/password":               {Needs: access.WriteUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/disable":                {Needs: access.WriteUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/enable":                 {Needs: access.WriteUsers, Gives: apiUser{}},
	"GET /api/v1/users/{id}/sessions":                {Needs: access.ReadUsers, Gives: list[apiSession]{}, Query: shortPage},
	"POST /api/v1/users/{id}/sessions/{session}/end": {Needs: access.WriteUsers, Gives: apiUser{}},
	"POST /api/v1/users/{id}/sessions/end":           {Needs: access.WriteUsers, Gives: apiUser{}},
	"GET /api/v1/tokens":                             {Needs: access.ReadUsers, Gives: list[apiToken]{}, Query: shortPage},
	"POST /api/v1/tokens":                            {Needs: access.WriteUsers, Body: apiNewToken{}, Gives: apiToken{}, Made: true},
	"GET /api/v1/tokens/{id}":                        {Needs: access.ReadUsers, Gives: apiToken{}},
	"POST /api/v1/tokens/{id}/revoke":                {Needs: access.WriteUsers, Gives: apiToken{}},
	"GET /api/v1/audit":                              {Needs: access.ReadAudit, Gives: list[apiEntry]{}, Query: slices.Concat(dayParams, []param{limitParam, cursorParam})},
	"GET /api/v1/audit.csv":                          {Needs: access.ReadAudit, CSV: true, Query: dayParams},
	"GET /api/v1/audit/state":                        {Needs: access.ReadAudit, Gives: apiRecordState{}},
	"POST /api/v1/sign-in":                           {Stranger: true, Body: apiSignIn{}, Gives: apiSecret{}},
	"POST /api/v1/sign-out":                          {Person: true, Gives: apiAccount{}},
	"GET /api/v1/account":                            {Gives: apiAccount{}},
	"POST /api/v1/account/password":                  {Person: true, Body: apiNewPassword{}, Gives: apiAccount{}},
	"GET /api/v1/account/choices":                    {Person: true, Gives: apiChoices{}},
	"POST /api/v1/account/choices":                   {Person: true, Body: apiNewChoices{}, Gives: apiChoices{}},
	"GET /api/v1/account/sessions":                   {Person: true, Gives: list[apiOwnSession]{}, Query: shortPage},
	"POST /api/v1/account/sessions/end":              {Person: true, Gives: list[apiOwnSession]{}},
	"POST /api/v1/account/sessions/{id}/end":         {Person: true, Gives: list[apiOwnSession]{}},
	"GET /api/v1/answer": {Needs: access.ReadDevices, Gives: apiAnswer{},
		Query: []param{ifParam, showParam, orderParam, limitParam, cursorParam}},
	"GET /api/v1/answer/values":                    {Needs: access.ReadDevices, Gives: list[apiAnswerValue]{}, Query: slices.Concat([]param{{Name: "of", Is: "asked", Required: true}}, shortPage)},
	"GET /api/v1/answer/devices.csv":               {Needs: access.ReadDevices, CSV: true, Query: []param{ifParam, showParam, orderParam}},
	"GET /api/v1/questions":                        {Needs: access.ReadDevices, Gives: list[apiQuestion]{}, Query: shortPage},
	"POST /api/v1/questions":                       {Needs: access.ReadDevices, Body: apiNewQuestion{}, Gives: apiQuestion{}, Made: true},
	"GET /api/v1/questions/{id}":                   {Needs: access.ReadDevices, Gives: apiQuestion{}},
	"POST /api/v1/questions/{id}":                  {Needs: access.ReadDevices, Body: apiNewQuestion{}, Gives: apiQuestion{}},
	"POST /api/v1/questions/{id}/delete":           {Needs: access.ReadDevices, Gives: list[apiQuestion]{}},
	"POST /api/v1/questions/{id}/restore":          {Needs: access.ReadDevices, Gives: apiQuestion{}},
	"GET /api/v1/questions/{id}/answer":            {Needs: access.ReadDevices, Gives: apiAnswer{}, Query: []param{orderParam, limitParam, cursorParam}},
	"GET /api/v1/devices/{id}/update":              {Needs: access.ReadRollouts, Gives: apiUpdate{}},
	"GET /api/v1/owners/{id}/updates":              {Needs: access.ReadRollouts, Gives: apiWindow{}},
	"POST /api/v1/owners/{id}/updates":             {Needs: access.WriteSettings, Body: apiNewWindow{}, Gives: apiWindow{}},
	"POST /api/v1/owners/{id}/updates/days":        {Needs: access.WriteSettings, Body: apiNewDays{}, Gives: apiWindow{}},
	"POST /api/v1/owners/{id}/updates/days/remove": {Needs: access.WriteSettings, Body: apiDaysID{}, Gives: apiWindow{}},
	"GET /api/v1/repository":                       {Needs: access.ReadRollouts, Gives: apiRepository{}},
	"GET /api/v1/trains":                           {Needs: access.ReadRollouts, Gives: list[apiTrain]{}, Query: shortPage},
	"GET /api/v1/releases":                         {Needs: access.ReadRollouts, Gives: list[apiRelease]{}, Query: shortPage},
	"GET /api/v1/releases/{id}":                    {Needs: access.ReadRollouts, Gives: apiRelease{}},
	"POST /api/v1/releases/{id}/block":             {Needs: access.RunRollouts, Body: apiReason{}, Gives: apiRelease{}},
	"GET /api/v1/rollouts":                         {Needs: access.ReadRollouts, Gives: list[apiRollout]{}, Query: []param{{Name: "limit", Is: "limit"}, cursorParam}},
	"POST /api/v1/rollouts":                        {Needs: access.RunRollouts, Body: apiNewRollout{}, Gives: apiRolloutBody{}, Made: true},
	"GET /api/v1/rollouts/{id}":                    {Needs: access.ReadRollouts, Gives: apiRolloutBody{}},
	"GET /api/v1/rollouts/{id}/devices": {Needs: access.ReadRollouts, Gives: list[apiUpdate]{},
		Query: []param{{Name: "why", Is: "why"}, limitParam, cursorParam}},
	"GET /api/v1/rollouts/{id}/compliance": {Needs: access.ReadRollouts, Gives: apiCompliance{}},
	"GET /api/v1/rollouts/{id}/next":       {Needs: access.ReadRollouts, Gives: apiPromotion{}},
	"POST /api/v1/rollouts/{id}/promote":   {Needs: access.RunRollouts, Body: apiNewPromotion{}, Gives: apiPromotion{}},
	"POST /api/v1/rollouts/{id}/pause":     {Needs: access.RunRollouts, Body: apiReason{}, Gives: apiRolloutBody{}},
	"POST /api/v1/rollouts/{id}/resume":    {Needs: access.RunRollouts, Body: apiReason{}, Gives: apiRolloutBody{}},
	"POST /api/v1/rollouts/{id}/abort":     {Needs: access.RunRollouts, Body: apiReason{}, Gives: apiRolloutBody{}},
	"POST /api/v1/rollouts/{id}/note":      {Needs: access.RunRollouts, Body: apiReason{}, Gives: apiRolloutBody{}},
	"POST /api/v1/rollouts/{id}/approve":   {Needs: access.RunRollouts, Person: true, Body: apiReason{}, Gives: apiRolloutBody{}},
	"POST /api/v1/rollouts/{id}/rollback":  {Needs: access.RunRollouts, Body: apiNewRollout{}, Gives: apiRolloutBody{}, Made: true},
	"POST /api/v1/rollouts/{id}/parts":     {Needs: access.RunRollouts, Body: apiBlockPart{}, Gives: apiRolloutBody{}},
	"GET /api/v1/openapi.json":             {Gives: map[string]any{}},
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
		paths[rt.path][strings.ToLower(rt.method)] = c.describe(rt, sc, s.say[words.English])
	}
	sc.of(reflect.TypeFor[apiProblem](), "")
	properties := sc[schemaName(reflect.TypeFor[apiProblem]())].(map[string]any)["properties"].(map[string]any)
	properties["type"] = map[string]any{"type": "string", "enum": allProblems(), "description": "Stable: programs tell problems apart by it. Title and detail are for people and may change."}
	sc.of(reflect.TypeFor[apiChangeEvent](), "")
	sc.of(reflect.TypeFor[apiLiveEvent](), "")
	return json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "Hausmeister", "version": "1", "description": "Health of loan devices, and what admits and sees them. Fields are added within this version, never changed. A change with If-Match happens only if nobody else changed the thing since its ETag was read; a call without an ETag says so. " +
			"Programs send an API token; a person signs in by POST /api/v1/sign-in, sends the secret of the session in its place, and acts under his own name. " +
			"A token or a person may make 50 calls a second, 500 at once; more get 429 with Retry-After. Times are RFC 3339 in UTC; what a device tells is given by days, finer only after a look."},
		"security":   []any{map[string]any{"token": []string{}}},
		"paths":      paths,
		"components": map[string]any{"schemas": sc, "securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}}},
	}, "", " ")
}

func (c call) describe(rt route, sc schemas, say *words.Speaker) map[string]any {
	params := []any{}
	for part := range strings.SplitSeq(rt.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			params = append(params, map[string]any{"name": name, "in": "path", "required": true, "schema": kindOf(pathKind(rt.path, name))})
		}
	}
	for _, p := range c.Query {
		params = append(params, p.describe(say))
	}
	code := http.StatusOK
	if c.Made {
		code = http.StatusCreated
	}
	problem := map[string]any{"description": "A problem, RFC 9457; x-problem-types are those that this call can answer", "x-problem-types": c.problems(rt), "content": map[string]any{"application/problem+json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/Problem"}}}}
	var mime string
	var schema map[string]any
	switch {
	case c.CSV:
		mime, schema = "text/csv", map[string]any{"type": "string"}
	case c.Stream != "":
		mime, schema = "text/event-stream", map[string]any{"type": "string", "contentMediaType": "text/event-stream", "description": "Each data line is a " + schemaName(reflect.TypeOf(c.Gives)) + " as JSON."}
	default:
		mime, schema = "application/json", sc.of(reflect.TypeOf(c.Gives), "")
	}
	out := map[string]any{
		"summary": c.summary(rt, say), "operationId": operationID(rt), "parameters": params,
		"responses": map[string]any{
			strconv.Itoa(code): map[string]any{"description": http.StatusText(code), "content": map[string]any{mime: map[string]any{"schema": schema}}},
			"default":          problem,
		},
	}
	header := func(name, description string, schema map[string]any) {
		out["parameters"] = append(out["parameters"].([]any), map[string]any{"name": name, "in": "header", "required": false, "schema": schema, "description": description})
	}
	text := map[string]any{"type": "string"}
	if c.Made {
		header("Idempotency-Key", "A key of your choice that nobody guesses: the same request with it is carried out once in 24 hours, and answered alike.", map[string]any{"type": "string", "minLength": 16, "maxLength": 200})
	}
	thing := taggedBy(rt)
	responses := out["responses"].(map[string]any)
	switch {
	case thing != "" && rt.method == http.MethodGet:
		responses[strconv.Itoa(code)].(map[string]any)["headers"] = map[string]any{"ETag": map[string]any{"schema": text,
			"description": "Names what of it calls can change, as it is now; for If-Match of such a call."}}
	case thing != "":
		header("If-Match", "The ETag of GET "+thing+": if it was changed since, nothing is done and the answer is 412.", text)
		responses["412"] = maps.Clone(problem)
		responses["412"].(map[string]any)["x-problem-types"] = []string{problemType("precondition-failed")}
	}
	if c.resumes() {
		header("Last-Event-ID", "The id of the last event that you have. You hear what you missed in up to seven days; when that is not known, a reset says to look at everything anew.", text)
	}
	out["description"] = c.description(rt, say)
	if c.Stranger {
		out["security"] = []any{}
	}
	if c.Body != nil {
		out["requestBody"] = map[string]any{"required": true, "content": map[string]any{"application/json": map[string]any{"schema": sc.of(reflect.TypeOf(c.Body), "")}}}
	}
	return out
}

// resumes says whether a stream goes on where its listener was.
func (c call) resumes() bool {
	_, ok := c.Gives.(apiChangeEvent)
	return c.Stream != "" && ok
}

// note is what is to be known of a call beside its summary, empty for most.
func (c call) note(say *words.Speaker) string {
	switch {
	case c.Person:
		return say.Say("api.note.person")
	case c.Stranger:
		return say.Say("api.note.stranger")
	case c.Stream != "":
		return say.Say(c.Stream)
	}
	return ""
}

// description is all that is to be known of a call beside its summary.
func (c call) description(rt route, say *words.Speaker) string {
	var parts []string
	if c.Needs != "" {
		parts = append(parts, "Needs "+string(c.Needs)+".")
	}
	if note := c.note(say); note != "" {
		parts = append(parts, note)
	}
	if rt.method != http.MethodGet && taggedBy(rt) == "" {
		parts = append(parts, say.Say("api.note.unconditional"))
	}
	for _, name := range c.Events {
		parts = append(parts, name+": "+say.Say("api.event."+name)+".")
	}
	return strings.Join(parts, " ")
}

func (p param) describe(say *words.Speaker) map[string]any {
	schema := kindOf(cmp.Or(p.Is, "text"))
	out := map[string]any{"name": p.Name, "in": "query", "required": p.Required, "description": p.meaning(say)}
	if p.Many || p.Commas {
		schema = map[string]any{"type": "array", "items": schema}
	}
	if p.Commas {
		out["style"], out["explode"] = "form", false
	}
	out["schema"] = schema
	return out
}

// operationID names a call for generated clients: getDevicesIdHistory.
func operationID(rt route) string {
	id := strings.ToLower(rt.method)
	for part := range strings.SplitSeq(strings.TrimPrefix(rt.path, "/api/v1/"), "/") {
		part = strings.Trim(part, "{}")
		name, ending, _ := strings.Cut(part, ".")
		for word := range strings.SplitSeq(name, "-") {
			id += strings.ToUpper(word[:1]) + word[1:]
		}
		if ending == "csv" { // beside the same in JSON
			id += "Csv"
		}
	}
	return id
}

// schemas are the types of the API by name.
type schemas map[string]any

// of gives the schema of a type whose texts and numbers are of a kind, which may be
// empty; of a struct with a name, a reference to it.
func (sc schemas) of(t reflect.Type, kind string) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return map[string]any{"anyOf": []any{sc.of(t.Elem(), kind), map[string]any{"type": "null"}}}
	case reflect.String:
		return kindOf(cmp.Or(kind, "text"))
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		if kind == "" {
			return map[string]any{"type": "integer"}
		}
		return kindOf(kind)
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": sc.of(t.Elem(), kind)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": sc.of(t.Elem(), kind)}
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
		schema := sc.of(f.Type, f.Tag.Get("is"))
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

// schemaName is Claim for apiClaim and ClaimPage for list[apiClaim].
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
