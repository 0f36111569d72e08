package web

import (
	"net/http"
	"slices"
	"strings"

	"hausmeister/collector/access"
)

// faults are all that faultOf can find, with what the API calls them for good.
var faults = []fault{
	{http.StatusBadRequest, "bad-request"},
	{http.StatusUnauthorized, "unauthenticated"},
	{http.StatusUnauthorized, "sign-in-refused"},
	{http.StatusForbidden, "forbidden"},
	{http.StatusForbidden, "person-needed"},
	{http.StatusForbidden, "self"},
	{http.StatusForbidden, "look-needed"},
	{http.StatusForbidden, "second-person"},
	{http.StatusForbidden, "cross-site"},
	{http.StatusNotFound, "not-found"},
	{http.StatusMethodNotAllowed, "method-not-allowed"},
	{http.StatusConflict, "exists"},
	{http.StatusConflict, "under-way"},
	{http.StatusConflict, "not-undoable"},
	{http.StatusConflict, "too-many-questions"},
	{http.StatusConflict, "rollout-state"},
	{http.StatusConflict, "older-release"},
	{http.StatusPreconditionFailed, "precondition-failed"},
	{http.StatusRequestEntityTooLarge, "too-large"},
	{http.StatusUnprocessableEntity, "idempotency-key"},
	{http.StatusTooManyRequests, "rate-limited"},
	{http.StatusTooManyRequests, "too-many-streams"},
	{http.StatusServiceUnavailable, "too-many-streams"},
	{http.StatusServiceUnavailable, "unavailable"},
	{http.StatusServiceUnavailable, "question-busy"},
	{http.StatusServiceUnavailable, "question-too-long"},
	{http.StatusInternalServerError, "internal"},
}

// problemType is the type of a problem in the API, RFC 9457.
func problemType(name string) string { return "urn:hausmeister:problem:" + name }

// ownProblems are those that some calls have beside what all calls of their kind have.
var ownProblems = map[string][]string{
	"POST /api/v1/sign-in":                     {"sign-in-refused", "rate-limited"},
	"POST /api/v1/account/password":            {"self"},
	"GET /api/v1/devices/{id}/live":            {"look-needed", "too-many-streams"},
	"GET /api/v1/events":                       {"too-many-streams"},
	"GET /api/v1/devices/{id}/history":         {"look-needed"},
	"GET /api/v1/answer":                       {"question-busy", "question-too-long"},
	"GET /api/v1/answer/devices.csv":           {"question-busy", "question-too-long"},
	"GET /api/v1/questions/{id}/answer":        {"question-busy", "question-too-long"},
	"POST /api/v1/questions":                   {"too-many-questions"},
	"POST /api/v1/questions/{id}/restore":      {"too-many-questions"},
	"POST /api/v1/views":                       {"exists"},
	"POST /api/v1/views/{id}":                  {"exists"},
	"POST /api/v1/views/{id}/restore":          {"exists"},
	"POST /api/v1/jobs":                        {"not-found"},
	"POST /api/v1/jobs/{id}/undo":              {"not-undoable"},
	"POST /api/v1/users":                       {"exists"},
	"POST /api/v1/users/{id}/role":             {"self"},
	"POST /api/v1/users/{id}/password":         {"self"},
	"POST /api/v1/users/{id}/disable":          {"self"},
	"POST /api/v1/users/{id}/enable":           {"self"},
	"POST /api/v1/owners/{id}":                 {"exists"},
	"POST /api/v1/schools/{id}":                {"exists"},
	"POST /api/v1/tokens":                      {"exists"},
	"GET /api/v1/repository":                   {"not-found"},
	"POST /api/v1/rollouts":                    {"not-found", "rollout-state", "older-release", "exists", "person-needed"},
	"POST /api/v1/rollouts/{id}/promote":       {"rollout-state", "second-person"},
	"POST /api/v1/rollouts/{id}/approve":       {"rollout-state", "older-release", "second-person"},
	"POST /api/v1/rollouts/{id}/pause":         {"rollout-state"},
	"POST /api/v1/rollouts/{id}/resume":        {"rollout-state", "older-release", "person-needed"},
	"POST /api/v1/rollouts/{id}/abort":         {"rollout-state"},
	"POST /api/v1/rollouts/{id}/rollback":      {"rollout-state", "older-release", "exists", "person-needed"},
	"POST /api/v1/rollouts/{id}/parts":         {"rollout-state", "person-needed"},
	"POST /api/v1/releases/{id}/block":         {"rollout-state"},
	"GET /api/v1/rollouts/{id}/next":           {"rollout-state"},
	"POST /api/v1/devices/{id}/findings/quiet": {"exists"},
	"POST /api/v1/findings/{id}/quiet":         {"exists"},
}

// problems are the types that a call can answer, sorted.
func (c call) problems(rt route) (out []string) {
	has := map[string]bool{"bad-request": true, "unavailable": true, "internal": true}
	add := func(when bool, names ...string) {
		for _, name := range names {
			has[name] = has[name] || when
		}
	}
	add(!c.Stranger, "unauthenticated", "rate-limited")
	add(c.Needs != "", "forbidden")
	add(c.Needs == access.WriteUsers, "self")
	add(c.Person, "person-needed")
	add(rt.method != http.MethodGet, "cross-site", "too-large")
	add(c.Made, "idempotency-key", "under-way")
	add(rt.method != http.MethodGet && taggedBy(rt) != "", "precondition-failed")
	add(strings.Contains(rt.path, "{"), "not-found")
	add(true, ownProblems[rt.method+" "+rt.path]...)
	for _, name := range allProblems() {
		if has[strings.TrimPrefix(name, problemType(""))] {
			out = append(out, name)
		}
	}
	return out
}

// allProblems are all types.
func allProblems() []string {
	names := make([]string, len(faults))
	for i, f := range faults {
		names[i] = problemType(f.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
