package web_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/web"
)

// same says by which calls of the API a program does what a page does: names of
// operations with spaces between. What begins with a dash is instead the reason why
// there is none.
var same = map[string]string{
	"GET /{$}":           "- leads to the list of devices",
	"GET /sign-in":       "- a form; postSignIn is what it sends",
	"POST /sign-in":      "postSignIn",
	"POST /sign-out":     "postSignOut",
	"POST /preferences":  "postAccountChoices",
	"GET /accessibility": "- a statement to people that holds no data",
	"GET /keys":          "- which keys do what in a browser",
	"GET /api":           "getOpenapi",
	"GET /openapi.json":  "getOpenapi",

	"GET /devices":                          "getDevices getCounts getLabels getViews getAccountChoices",
	"GET /devices.csv":                      "getDevicesCsv",
	"POST /devices/columns":                 "postAccountChoices",
	"GET /search":                           "getSearch",
	"GET /news":                             "getEvents",
	"GET /devices/{id}":                     "getDevicesId getDevicesIdFindings getDevicesIdHistory getDevicesIdEvents getDevicesIdLooks getDevicesIdJobs getDevicesIdUpdate",
	"GET /devices/{id}/history.csv":         "getDevicesIdHistory",
	"GET /devices/{id}/live":                "getDevicesIdLive",
	"GET /devices/{id}/software":            "getDevicesIdInventory",
	"GET /devices/{id}/events":              "getDevicesIdEvents",
	"POST /devices/{id}/looks":              "postDevicesIdLooks",
	"POST /devices/{id}/labels":             "postDevicesIdLabels",
	"POST /devices/{id}/labels/remove":      "postDevicesIdLabelsRemove",
	"GET /devices/{id}/revoke":              "- a form; postDevicesIdRevoke is what it sends",
	"POST /devices/{id}/revoke":             "postDevicesIdRevoke",
	"GET /devices/{id}/findings/quiet":      "- a form; postDevicesIdFindingsQuiet is what it sends",
	"POST /devices/{id}/findings/quiet":     "postDevicesIdFindingsQuiet",
	"POST /devices/{id}/findings/loud":      "postDevicesIdFindingsLoud",
	"GET /jobs":                             "getJobs",
	"POST /jobs":                            "postJobs",
	"GET /jobs/new":                         "- a form; postJobs is what it sends",
	"GET /jobs/{id}":                        "getJobsId getJobsIdDevices",
	"GET /jobs/{id}/note":                   "getJobsId",
	"POST /jobs/{id}/undo":                  "postJobsIdUndo",
	"GET /views":                            "getViews",
	"POST /views":                           "postViews",
	"GET /views/new":                        "- a form; postViews is what it sends",
	"GET /views/{name}":                     "getViewsId",
	"GET /views/{name}/count":               "getViews",
	"GET /views/{name}/edit":                "- a form; postViewsId is what it sends",
	"POST /views/{name}/filter":             "postViewsId",
	"POST /questions/{id}":                  "postQuestionsId",
	"POST /questions/{id}/restore":          "postQuestionsIdRestore",
	"POST /views/{name}/edit":               "postViewsId",
	"POST /views/{name}/delete":             "postViewsIdDelete",
	"POST /views/{name}/restore":            "postViewsIdRestore",
	"GET /findings":                         "getFindings",
	"GET /findings/{code}":                  "getFindings getFindingsIdSpread getFindingsIdQuiets getDevices",
	"GET /findings/{code}/quiet":            "- a form; postFindingsIdQuiet is what it sends",
	"POST /findings/{code}/quiet":           "postFindingsIdQuiet",
	"POST /findings/{code}/loud":            "postQuietsIdEnd",
	"GET /questions":                        "getAnswer getQuestions getAnswerValues",
	"POST /questions":                       "postQuestions",
	"GET /questions.csv":                    "getAnswerDevicesCsv",
	"GET /questions/{id}":                   "getQuestionsId getQuestionsIdAnswer",
	"POST /questions/{id}/delete":           "postQuestionsIdDelete",
	"GET /schools":                          "getSchools",
	"GET /schools/{id}":                     "getSchoolsId",
	"GET /schools/{id}/edit":                "getSchoolsId",
	"POST /schools/{id}/edit":               "postSchoolsId",
	"GET /schools/{id}/sheet":               "getSchoolsIdSheet",
	"GET /schools/options":                  "getSchools",
	"GET /catalogue":                        "getCatalogue getLooks",
	"GET /claims":                           "getClaims",
	"POST /claims":                          "postClaims",
	"GET /claims/new":                       "- a form; postClaims is what it sends",
	"GET /claims/{id}/revoke":               "getClaimsId",
	"POST /claims/{id}/revoke":              "postClaimsIdRevoke",
	"GET /people":                           "getUsers getTokens",
	"POST /people":                          "postUsers",
	"GET /people/new":                       "- a form; postUsers is what it sends",
	"GET /people/{id}":                      "getUsersId getUsersIdSessions",
	"POST /people/{id}/role":                "postUsersIdRole",
	"POST /people/{id}/password":            "postUsersIdPassword",
	"POST /people/{id}/sessions":            "postUsersIdSessionsEnd postUsersIdSessionsSessionEnd",
	"POST /people/{id}/disable":             "postUsersIdDisable",
	"POST /people/{id}/enable":              "postUsersIdEnable",
	"POST /tokens":                          "postTokens",
	"GET /tokens/new":                       "- a form; postTokens is what it sends",
	"GET /tokens/{id}/revoke":               "getTokensId",
	"POST /tokens/{id}/revoke":              "postTokensIdRevoke",
	"GET /audit":                            "getAudit getAuditState",
	"GET /audit.csv":                        "getAuditCsv",
	"GET /account":                          "getAccount getAccountSessions getAccountChoices",
	"POST /account/password":                "postAccountPassword",
	"POST /account/sessions":                "postAccountSessionsEnd postAccountSessionsIdEnd",
	"GET /settings":                         "getHouse getOwners getOwnersIdRetention getOwnersIdSoftware",
	"POST /settings/house":                  "postHouse",
	"POST /settings/owner":                  "postOwnersId",
	"POST /settings/retention":              "postOwnersIdRetention",
	"POST /settings/software":               "postOwnersIdSoftware",
	"POST /settings/software/remove":        "postOwnersIdSoftwareRemove",
	"GET /updates":                          "getRepository getReleases getTrains getRollouts getRolloutsIdCompliance",
	"GET /releases/{id}/rollout":            "- a form; postRollouts is what it sends",
	"POST /releases/{id}/rollout":           "postRollouts",
	"GET /releases/{id}/block":              "- a form; postReleasesIdBlock is what it sends",
	"POST /releases/{id}/block":             "postReleasesIdBlock",
	"GET /rollouts/{id}":                    "getRolloutsId getRolloutsIdCompliance",
	"GET /rollouts/{id}/live":               "getRolloutsId",
	"GET /rollouts/{id}/devices":            "getRolloutsIdDevices getRolloutsIdCompliance",
	"POST /rollouts/{id}/pause":             "postRolloutsIdPause",
	"GET /rollouts/{id}/abort":              "- a form; postRolloutsIdAbort is what it sends",
	"POST /rollouts/{id}/abort":             "postRolloutsIdAbort",
	"POST /rollouts/{id}/note":              "postRolloutsIdNote",
	"GET /rollouts/{id}/resume":             "- a form; postRolloutsIdResume is what it sends",
	"POST /rollouts/{id}/resume":            "postRolloutsIdResume",
	"GET /rollouts/{id}/approve":            "- a form; postRolloutsIdApprove is what it sends",
	"POST /rollouts/{id}/approve":           "postRolloutsIdApprove",
	"GET /rollouts/{id}/promote":            "getRolloutsIdNext",
	"POST /rollouts/{id}/promote":           "postRolloutsIdPromote",
	"GET /rollouts/{id}/rollback":           "getReleases",
	"POST /rollouts/{id}/rollback":          "postRolloutsIdRollback",
	"GET /rollouts/{id}/parts":              "- a form; postRolloutsIdParts is what it sends",
	"POST /rollouts/{id}/parts":             "postRolloutsIdParts",
	"POST /rollouts/{id}/parts/free":        "postRolloutsIdParts",
	"GET /owners/{id}/updates":              "getOwnersIdUpdates",
	"POST /owners/{id}/updates":             "postOwnersIdUpdates",
	"POST /owners/{id}/updates/days":        "postOwnersIdUpdatesDays",
	"POST /owners/{id}/updates/days/remove": "postOwnersIdUpdatesDaysRemove",
	"GET /static/{file}":                    "- a part of pages that holds no data",
	"GET /healthz":                          "- for programs itself",
	"GET /readyz":                           "- for programs itself",
	"GET /metrics":                          "- for programs itself",
	"GET /updates/{file}":                   "- for agents itself",
	"GET /updates/metadata/{name}":          "- for agents itself",
}

// TestEveryPageHasItsCall: what a page does, a program can do as well. Every route of
// the mux that is not of the API has its line, and each line names calls that there
// are, of the same kind: what changes something by a call that does.
func TestEveryPageHasItsCall(t *testing.T) {
	w := newStores(t)
	operations := map[string]string{} // method by name
	pages := map[string]bool{}
	for _, rt := range w.web.Routes() {
		if strings.HasPrefix(rt.Path, "/api/") {
			operations[web.OperationID(rt.Method, rt.Path)] = rt.Method
			continue
		}
		pages[rt.Method+" "+rt.Path] = true
	}
	for _, problem := range unpaired(same, pages, operations) {
		t.Error(problem)
	}
	used := map[string]bool{}
	for _, names := range same {
		for _, name := range strings.Fields(names) {
			used[strings.TrimSuffix(name, ";")] = true
		}
	}
	for name := range operations {
		if !used[name] && !apart[name] {
			t.Errorf("%s does what no page does", name)
		}
	}
	// The test itself can fail.
	for what, broken := range map[string]func(map[string]string){
		"a page without a line":                func(m map[string]string) { delete(m, "GET /jobs") },
		"a call that there is not":             func(m map[string]string) { m["GET /jobs"] = "getJobz" },
		"a line of no page":                    func(m map[string]string) { m["GET /nirgends"] = "getJobs" },
		"a change by a call that changes none": func(m map[string]string) { m["POST /jobs"] = "getJobs" },
		"an empty line":                        func(m map[string]string) { m["GET /jobs"] = "" },
		"a reason for a change":                func(m map[string]string) { m["POST /jobs"] = "- because" },
	} {
		m := maps.Clone(same)
		broken(m)
		if len(unpaired(m, pages, operations)) == 0 {
			t.Errorf("%s goes unnoticed", what)
		}
	}
}

// apart are calls that no page makes on its own, for it has a list or knows the thing.
var apart = map[string]bool{"getViewsId": true, "getQuestionsId": true, "getClaimsId": true, "getTokensId": true, "getOwnersId": true, "getReleasesId": true}

func unpaired(same map[string]string, pages map[string]bool, operations map[string]string) (problems []string) {
	for page := range pages {
		if same[page] == "" {
			problems = append(problems, page+" says by which call of the API a program does the same")
		}
	}
	for page, names := range same {
		if !pages[page] {
			problems = append(problems, page+" is no page")
		}
		method, _, _ := strings.Cut(page, " ")
		if strings.HasPrefix(names, "- ") {
			if method == "POST" {
				problems = append(problems, page+" changes something, and no call does")
			}
			for _, word := range strings.Fields(names) {
				if strings.HasPrefix(word, "post") && operations[word] == "" {
					problems = append(problems, page+": no call is named "+word)
				}
			}
			continue
		}
		for _, name := range strings.Fields(names) {
			if operations[name] != method {
				problems = append(problems, page+": no call that does such a thing is named "+name)
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// untold is how a text that there is none of shows.
var untold = regexp.MustCompile("⟨[^⟩]*⟩")

// TestTextsOfTheAPIAreOfAKind: of each text in bodies, answers and parameters the
// description says what it can be, and each item of a list has an id. Each call has
// its words.
func TestTextsOfTheAPIAreOfAKind(t *testing.T) {
	for _, text := range web.UntoldTexts() {
		t.Error(text)
	}
	for _, column := range web.ColumnsWithoutValue() {
		t.Errorf("the column %s has no value in the API", column)
	}
	w := newStores(t)
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name   string
				Schema struct {
					Enum             []string
					Format           string
					Minimum, Maximum int
				}
			}
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Enum []string
					Type any
				}
			}
		}
	}
	res := w.serve().api(w.token("t", access.RoleRead, nil), "/api/v1/openapi.json", &doc)
	for _, name := range untold.FindAllString(res.body, -1) {
		t.Errorf("the description lacks the words of %s", name)
	}
	schemas := doc.Components.Schemas
	for what, lists := range map[string][2][]string{
		"states":   {schemas["Item"].Properties["state"].Enum, words(fleet.States)},
		"roles":    {schemas["User"].Properties["role"].Enum, words(access.Roles)},
		"acts":     {schemas["Job"].Properties["act"].Enum, words(fleet.Acts)},
		"classes":  {schemas["NewKept"].Properties["class"].Enum, words(health.KeptClasses)},
		"outcomes": {schemas["JobDevice"].Properties["outcome"].Enum, words(fleet.Outcomes)},
	} {
		if diff := cmp.Diff(lists[1], lists[0]); diff != "" {
			t.Errorf("%s of the program (-) and of the description (+):\n%s", what, diff)
		}
	}
	for _, p := range doc.Paths["/api/v1/devices"]["get"].Parameters {
		switch s := p.Schema; {
		case p.Name == "state" && len(s.Enum) != len(fleet.States), p.Name == "sort" && len(s.Enum) != 2*len(fleet.Sorts), p.Name == "limit" && (s.Minimum != 1 || s.Maximum != 500):
			t.Errorf("the parameter %s is described as %+v", p.Name, s)
		}
	}
}

func words[T ~string](list []T) (out []string) {
	for _, t := range list {
		out = append(out, string(t))
	}
	return out
}
