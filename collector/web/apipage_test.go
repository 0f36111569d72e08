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

	"hausmeister/collector/access"
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
