package web_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/collector/web"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
)

// literals are the texts in the Go files of the pages that could be keys, and
// those that begin one ("state." + state).
func literals(t *testing.T) (whole, begin map[string]bool) {
	t.Helper()
	whole, begin = map[string]bool{}, map[string]bool{}
	for _, pattern := range []string{"*.go", "words/*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					s, _ := strconv.Unquote(lit.Value)
					whole[s] = true
					if beginning.MatchString(s) {
						begin[s] = true
					}
				}
				return true
			})
		}
	}
	return whole, begin
}

var beginning = regexp.MustCompile(`^[a-z]{3,}\.([a-z]+\.)?$`)

// actions are those of the audit record, as the code of the collector names them.
func actions(t *testing.T) (all []string) {
	t.Helper()
	action := regexp.MustCompile(`"((?:claim|credential|device|finding|house|job|look|owner|question|release|repository|retention|rollout|school|standard_software|token|user|view|window)\.[a-z_]+)"`)
	files, _ := filepath.Glob("../*/*.go")
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "../web/") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range action.FindAllStringSubmatch(string(source), -1) {
			all = append(all, m[1])
		}
	}
	if len(all) < 15 {
		t.Fatalf("found the actions %q only", all)
	}
	return all
}

func TestEveryKeyIsUsedAndThere(t *testing.T) {
	b, err := os.ReadFile("words/de.json")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(b, &keys); err != nil {
		t.Fatal(err)
	}
	used, begin := literals(t)
	call := regexp.MustCompile(`\.T "([^"]+)"`)
	files, _ := filepath.Glob("templates/*.html")
	for _, name := range files {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(page), -1) {
			used[m[1]] = true
			if keys[m[1]] == nil {
				t.Errorf("%s uses the key %s, which is missing", name, m[1])
			}
		}
	}
	for key := range keys {
		head, rest, _ := strings.Cut(key, ".")
		second, _, _ := strings.Cut(rest, ".")
		if !used[key] && !begin[head+"."] && !begin[head+"."+second+"."] {
			t.Errorf("no page uses the key %s", key)
		}
	}
	// What is put together must be there for each value.
	var must []string
	for _, s := range fleet.States {
		must = append(must, "state."+string(s))
	}
	for n, name := range hmpb.Absent_name {
		if n != 0 {
			must = append(must, "absent."+strings.ToLower(strings.TrimPrefix(name, "ABSENT_")))
		}
	}
	for _, f := range web.AllProblems() {
		f = strings.TrimPrefix(f, "urn:hausmeister:problem:")
		must = append(must, "error."+f+".title", "error."+f+".text")
	}
	for _, kind := range health.EventKinds {
		if kind := string(kind); strings.HasPrefix(kind, "finding_") {
			must = append(must, "events."+kind)
		}
	}
	for _, class := range []health.KeptClass{health.KeptReports, health.KeptMinutes, health.KeptDays, health.KeptFindings, health.KeptSoftware, health.KeptLooks} {
		must = append(must, "settings.keep."+string(class))
	}
	for _, r := range access.Roles {
		must = append(must, "role."+string(r))
	}
	for _, a := range actions(t) {
		must = append(must, "audit.action."+a)
	}
	for _, s := range rollout.States {
		must = append(must, "rollout.state."+string(s), "rollout.sentence."+string(s))
	}
	must = append(must, "why."+rollout.Behind)
	for _, why := range rollout.Whys {
		must = append(must, "why."+string(why), "why.text."+string(why))
	}
	for n, name := range hmpb.UpdateReason_name {
		if n != 0 {
			must = append(must, "why.reason."+strings.ToLower(strings.TrimPrefix(name, "UPDATE_REASON_")))
		}
	}
	must = append(must, "why.reason."+rollout.DeviceState{Newer: true}.Because())
	for _, cause := range gate.Causes {
		must = append(must, "rollout.cause."+string(cause))
	}
	for _, dimension := range gate.Dimensions {
		must = append(must, "rollout.dimension."+dimension)
	}
	for _, kind := range rollout.DaysKinds {
		must = append(must, "hours.kind."+string(kind))
	}
	for _, role := range []string{manifest.Root, manifest.Targets, manifest.Snapshot, manifest.Timestamp} {
		must = append(must, "updates.role."+role)
	}
	for _, d := range manifest.Delegations() {
		must = append(must, "updates.role."+d.Role)
	}
	for _, v := range rollout.Verbs {
		must = append(must, "audit.action.rollout."+v)
	}
	for _, key := range must {
		if keys[key] == nil {
			t.Errorf("the key %s is missing", key)
		}
	}
	literal := regexp.MustCompile(`^(absent|accessibility|account|api|audit|chart|claims|device|devices|done|error|events|failed|findings|form|format|frame|group|hours|jobs|keys|list|live|people|prefs|question|quiet|revoke|role|rollout|school|schools|search|settings|sheet|signin|state|tokens|updates|views|why)\.[a-z_.-]+[a-z]$`)
	for s := range used {
		if literal.MatchString(s) && keys[s] == nil {
			t.Errorf("the code names the key %s, which is missing", s)
		}
	}
}

// TestOneVerbForOneAct: page, API and record call the same act by the same verb, so
// that who reads of it in one place finds it in the others. The verbs are those of the
// glossary (a claim, a token and a device are revoked; sessions are ended).
func TestOneVerbForOneAct(t *testing.T) {
	for _, act := range []struct {
		en, de string // what each text must hold, in lower case
		keys   []string
	}{
		{"creat", "angelegt|anlegen", []string{"claims.make", "tokens.make", "people.make", "api.call.postClaims", "api.call.postTokens", "api.call.postUsers",
			"audit.action.claim.created", "audit.action.token.created", "audit.action.user.created", "tokens.made", "people.made", "claims.made_on"}},
		{"revoke", "sperr", []string{"claims.revoke", "claims.revoke.title", "claims.state.revoked", "api.call.postClaimsIdRevoke", "audit.action.claim.revoked",
			"done.claim_revoked", "done.token_revoked", "tokens.revoke", "tokens.revoke.title", "tokens.state.revoked", "api.call.postTokensIdRevoke", "audit.action.token.revoked",
			"revoke.send", "revoke.title", "device.revoke", "device.revoked", "done.revoked", "state.revoked", "api.call.postDevicesIdRevoke", "audit.action.device.revoked"}},
		{"end", "beend", []string{"account.end", "account.end_others", "people.sessions.end", "done.sessions", "api.call.postUsersIdSessionsEnd", "audit.action.user.sessions_ended"}},
		{"disable", "still", []string{"people.disable", "people.state.disabled", "done.disabled", "api.call.postUsersIdDisable", "audit.action.user.disabled"}},
		{"enable", "freige", []string{"people.enable", "done.enabled", "api.call.postUsersIdEnable", "audit.action.user.enabled"}},
		{"remov", "entfern", []string{"device.unlabel", "done.unlabelled", "jobs.act.unlabel", "api.call.postDevicesIdLabelsRemove", "audit.action.device.unlabelled"}},
		{"save", "speicher", []string{"question.keep", "question.keep.title", "api.call.postQuestions", "audit.action.question.saved", "views.save", "api.call.postViews", "audit.action.view.saved"}},
		{"delete", "lösch", []string{"question.delete", "api.call.postQuestionsIdDelete", "audit.action.question.deleted", "api.call.postViewsIdDelete", "audit.action.view.deleted"}},
	} {
		for lang, verb := range map[string]string{"en": act.en, "de": act.de} {
			b, err := os.ReadFile("words/" + lang + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var words map[string]any
			if err := json.Unmarshal(b, &words); err != nil {
				t.Fatal(err)
			}
			for _, key := range act.keys {
				said, _ := words[key].(string)
				if !regexp.MustCompile(verb).MatchString(strings.ToLower(said)) {
					t.Errorf("%s of %s.json says %q, want the verb %q", key, lang, said, verb)
				}
			}
		}
	}
}
