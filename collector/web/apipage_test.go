package web_test

import (
	"encoding/pem"
	"html"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cmp"
	"encoding/json"
	"hausmeister/collector/access"
	"hausmeister/proto/hmpb"
	"time"
)

// TestSignInCommand: the command on the page about the API is run as it is copied, by bash
// with curl, and its token works, whatever the password has in it.
func TestSignInCommand(t *testing.T) {
	w := newWorld(t)
	authority := filepath.Join(t.TempDir(), "authority.pem")
	w.must(os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ts.Certificate().Raw}), 0o600))
	command := regexp.MustCompile(`data-copy="(printf [^"]*)"`)
	for login, password := range map[string]string{
		"ordinary":  "Rote Laternen am Fluss",
		"quotes":    `"Rote" 'Laternen' "am Fluss\"`,
		"backslash": `\Rote\n\\Laternen\u0041\`,
		"umlauts":   "Grüße für Öl & Süßes, 100 %s €",
		"shell":     "$(exit) `exit` ${PATH} & !! * ; # \\&",
		"spaces":    "  vorne und hinten  ",
		"tab":       "Rote\tLaternen am Fluss",
	} {
		_, err := w.access.CreateUser(t.Context(), operator, access.NewUser{Login: login, Password: password, Role: access.RoleRead})
		w.must(err)
		b := w.browser()
		if res := b.post("/sign-in", url.Values{"name": {login}, "password": {password}, "next": {"/api"}}); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s: signing in at the page = %d", login, res.StatusCode)
		}
		found := command.FindStringSubmatch(b.get("/api").body)
		if found == nil {
			t.Fatalf("%s: the page has no command", login)
		}
		shell := exec.CommandContext(t.Context(), "bash", "-c", html.UnescapeString(found[1])+`; printf '%s' "$TOKEN"`)
		shell.Env = append(os.Environ(), "CURL_CA_BUNDLE="+authority)
		shell.Stdin = strings.NewReader(password + "\n")
		out, err := shell.CombinedOutput()
		token := strings.TrimPrefix(string(out), "Password: ")
		if err != nil || token == "" || strings.ContainsAny(token, "{ ") {
			t.Errorf("%s: the command gives %q, %v; want a token", login, out, err)
			continue
		}
		var account struct{ Name string }
		if w.api(token, "/api/v1/account", &account); account.Name != login {
			t.Errorf("%s: the token is of %q", login, account.Name)
		}
	}
}

// curl is a command of the API's page.
var curl = regexp.MustCompile(`^curl(?: -H "Authorization: Bearer \$TOKEN")?(?: -X (POST))?(?: -H "Content-Type: application/json" -d '([^']*)')? "(https://[^"]+)"$`)

// example is a call on the page of the API.
type example struct{ method, path, line, section string }

func examplesOf(page string) (out []example) {
	head := regexp.MustCompile(`<span class="mono">(GET|POST) (/api/v1[^<]*)</span>`)
	copied := regexp.MustCompile(`data-copy="([^"]+)"`)
	for _, section := range strings.Split(page, "<section ")[1:] {
		h, c := head.FindStringSubmatch(section), copied.FindStringSubmatch(section)
		if h != nil && c != nil {
			out = append(out, example{h[1], html.UnescapeString(h[2]), html.UnescapeString(c[1]), section})
		}
	}
	return out
}

// TestAPIPage: its examples work as they stand, and a role sees what it may call.
func TestAPIPage(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	admin := w.token("t", access.RoleAdmin, nil)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_WARNING)
	page := w.signedIn("admin").get("/api")
	examples := examplesOf(page.body)
	if len(examples) < 25 {
		t.Fatalf("%d examples", len(examples))
	}
	made := map[string]string{"devices": ids[0], "owners": w.ownerID("Landkreis Ahorn"), "schools": w.schoolID("Landkreis Ahorn", "S0001"), "findings": "disk_low"}
	releases, days := w.releases(), w.closedDays()
	made["releases"] = releases["0.9.0"]
	number := w.api(admin, "/api/v1/devices/"+ids[1], nil).body
	number = regexp.MustCompile(`"name":\s*"([^"]+)"`).FindStringSubmatch(number)[1]
	run := func(line, method, address, body string) {
		u, err := url.Parse(address)
		if err != nil || w.url != "https://"+u.Host {
			t.Errorf("%s leads to %v, %v", line, u, err)
			return
		}
		if u.Path == "/api/v1/events" {
			w.listen(t, admin, "").next(t)
			return
		}
		kind := strings.Split(u.Path, "/")[3]
		id := made[kind]
		if strings.HasSuffix(u.Path, "/live") {
			w.listenAt(t, strings.ReplaceAll(u.Path, "$ID", id), admin, "").next(t)
			return
		}
		bearer := admin
		if strings.HasPrefix(u.Path, "/api/v1/account/") || u.Path == "/api/v1/sign-out" {
			bearer, id = w.person(t)
		}
		if strings.HasSuffix(u.Path, "/$ID/revoke") && kind == "devices" {
			id = ids[1]
		}
		release := releases["1.0.0"]
		if kind == "rollouts" { // what an example before left on its way is newer than the next one's
			list, err := w.rollouts.List(t.Context(), operator)
			w.must(err)
			for _, r := range list {
				if r.Ended.IsZero() {
					w.must(w.rollouts.Abort(t.Context(), operator, r.ID, "Ende des Beispiels"))
				}
			}
		}
		if kind == "rollouts" && strings.Contains(u.Path, "$ID") || strings.HasSuffix(u.Path, "/update") {
			began := w.began(releases["1.1.0"])
			defer w.rollouts.Abort(t.Context(), operator, began, "Ende des Beispiels")
			switch {
			case strings.HasSuffix(u.Path, "/rollback"):
				release = releases["1.0.1"]
			case strings.HasSuffix(u.Path, "/approve"):
				bearer, _ = w.signIn(t, "release") // a second person
			case strings.HasSuffix(u.Path, "/resume"):
				w.must(w.rollouts.Pause(t.Context(), operator, began, "für das Beispiel"))
			}
			if kind == "rollouts" {
				id = began
			}
		}
		if id == "" && strings.Contains(u.Path, "$ID") {
			t.Errorf("%s: nothing to call it with", line)
			return
		}
		body = strings.NewReplacer("OWNER", made["owners"], "NUMBER", number, "PASSWORD", password, "RELEASE", release, "DAYS", days).Replace(body)
		if u.Path == "/api/v1/sign-in" {
			body = strings.Replace(body, "eva", "admin", 1)
		}
		res := w.browser().do(cmp.Or(method, http.MethodGet), strings.ReplaceAll(u.RequestURI(), "$ID", id), strings.NewReader(body), "Authorization", "Bearer "+bearer, "Content-Type", "application/json")
		if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
			t.Errorf("%s = %d %s", line, res.StatusCode, res.body)
		}
		var thing struct{ ID string }
		if json.Unmarshal([]byte(res.body), &thing) == nil && method != "" {
			if kind == "findings" && strings.HasSuffix(u.Path, "/quiet") {
				// The act of a group is a job's, which takes a moment.
				var acts struct{ Items []struct{ ID string } }
				for wait := time.Minute; len(acts.Items) == 0; wait -= 50 * time.Millisecond {
					if wait < 0 {
						t.Fatalf("%s: no act after a minute; its job: %s", line, w.browser().do(http.MethodGet, "/api/v1/jobs/"+thing.ID, nil, "Authorization", "Bearer "+admin).body)
					}
					time.Sleep(50 * time.Millisecond)
					w.api(admin, "/api/v1/findings/disk_low/quiets", &acts)
				}
				made["quiets"] = acts.Items[0].ID
			} else if made[kind] == "" {
				made[kind] = thing.ID
			}
		}
	}
	// What makes something comes first, for the calls that need its id; what
	// deletes it, last.
	turn := func(method, line string) int {
		switch {
		case method != "" && !strings.Contains(line, "$ID"):
			return 0
		case strings.Contains(line, "/delete"):
			return 2
		case strings.Contains(line, "/restore"):
			return 3
		case strings.HasSuffix(line, "/live\""): // with the look that is opened before
			return 2
		}
		return 1
	}
	for now := range 4 {
		for _, e := range examples {
			m := curl.FindStringSubmatch(e.line)
			if m == nil {
				t.Errorf("no command: %s", e.line)
				continue
			}
			// Here the calls make what the others are about.
			u, err := url.Parse(m[3])
			w.must(err)
			address := "https://" + u.Host + strings.ReplaceAll(e.path, "{id}", "$ID")
			if u.RawQuery != "" {
				address += "?" + u.RawQuery
			}
			if turn(m[1], address+"\"") == now {
				run(e.line, m[1], address, m[2])
			}
		}
		w.must(w.fleet.RunJobs(t.Context()))
	}
	if body := w.signedIn("read").get("/api").body; strings.Contains(body, "/api/v1/users") || !strings.Contains(body, "/api/v1/devices") {
		t.Error("a role that may read devices only sees other calls")
	}
}
