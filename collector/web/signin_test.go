package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestSignInAndOut(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	res := b.get("/devices?state=silent")
	if want := "/sign-in?next=" + url.QueryEscape("/devices?state=silent"); res.Header.Get("Location") != want {
		t.Fatalf("a stranger is led to %q, want %q", res.Header.Get("Location"), want)
	}
	page := b.get(res.Header.Get("Location"), "Accept-Language", "de")
	for _, want := range []string{`name="next" value="/devices?state=silent"`, `autocomplete="username"`, `autocomplete="current-password"`, `lang="de"`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the sign-in page lacks %s", want)
		}
	}
	res = b.post("/sign-in", url.Values{"name": {"admin"}, "password": {password}, "next": {"/devices?state=silent"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices?state=silent" {
		t.Fatalf("signing in = %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	cookie := res.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-session=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q lacks %s", cookie, want)
		}
	}
	if strings.Contains(cookie, "Domain") {
		t.Errorf("cookie %q goes to other hosts", cookie)
	}
	if res := b.get("/sign-in"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the sign-in page for somebody signed in = %d, want a way on", res.StatusCode)
	}
	u, _ := url.Parse(w.url)
	old := b.c.Jar.Cookies(u)
	if res := b.post("/sign-out", nil); res.Header.Get("Location") != "/sign-in?out" {
		t.Errorf("signing out leads to %q", res.Header.Get("Location"))
	}
	// The secret is dead, not only forgotten by this browser.
	b.c.Jar.SetCookies(u, old)
	if res := b.get("/devices"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("with the cookie of an ended session = %d, want 303", res.StatusCode)
	}
}

// TestSessionIsNew: a session that somebody planted beforehand does not become
// the victim's, and the one before ends.
func TestSessionIsNew(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("read")
	u, _ := url.Parse(w.url)
	before := b.c.Jar.Cookies(u)
	b.post("/sign-in", url.Values{"name": {"admin"}, "password": {password}})
	if after := b.c.Jar.Cookies(u); after[0].Value == before[0].Value {
		t.Error("signing in kept the secret that the browser came with")
	}
	other := w.browser()
	other.c.Jar.SetCookies(u, before)
	if res := other.get("/devices"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the session before = %d, want ended", res.StatusCode)
	}
}

func TestSecretIsRenewed(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	u, _ := url.Parse(w.url)
	before := b.c.Jar.Cookies(u)[0].Value
	w.advance(61 * time.Minute)
	b.get("/schools", "Sec-Fetch-Dest", "empty")
	if got := b.c.Jar.Cookies(u)[0].Value; got != before {
		t.Error("a part of a page renewed the secret")
	}
	b.get("/devices", "Sec-Fetch-Dest", "document")
	if got := b.c.Jar.Cookies(u)[0].Value; got == before {
		t.Error("the secret is an hour old and was not renewed")
	}
	w.advance(2 * time.Minute)
	old := w.browser()
	old.c.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Value: before, Path: "/", Secure: true}})
	if res := old.get("/devices"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("with the secret before the renewal = %d, want 303", res.StatusCode)
	}
}

func TestWrongPassword(t *testing.T) {
	w := newWorld(t)
	const sentence = "Konto oder Passwort stimmt nicht."
	bodies := map[string]string{}
	for _, name := range []string{"admin", "gibtesnicht"} {
		res := w.browser().post("/sign-in", url.Values{"name": {name}, "password": {"falsch"}}, "Accept-Language", "de")
		if res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, sentence) || res.Header.Get("Set-Cookie") != "" {
			t.Errorf("wrong password of %s = %d, cookie %q", name, res.StatusCode, res.Header.Get("Set-Cookie"))
		}
		if !strings.Contains(res.body, `value="`+name+`"`) {
			t.Error("the name has to be typed again")
		}
		if strings.Contains(res.body, "falsch") {
			t.Error("the page says the password back")
		}
		bodies[name] = strings.ReplaceAll(res.body, name, "X")
	}
	if bodies["admin"] != bodies["gibtesnicht"] {
		t.Error("the page differs for an account that there is and one that there is not")
	}
	if res := w.browser().post("/sign-in", url.Values{"name": {"admin"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("without a password = %d, want 422", res.StatusCode)
	}
}

// TestSlowedPerAccount: a school is one address, so the account is slowed.
func TestSlowedPerAccount(t *testing.T) {
	w := newWorld(t)
	try := func(name, pw string) answer {
		return w.browser().post("/sign-in", url.Values{"name": {name}, "password": {pw}}, "Accept-Language", "de")
	}
	var last answer
	for range 8 {
		last = try("support", "falsch")
	}
	if last.StatusCode != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" || !strings.Contains(last.body, "Zu viele Versuche") {
		t.Errorf("the eighth wrong password = %d, Retry-After %q", last.StatusCode, last.Header.Get("Retry-After"))
	}
	if res := try("support", password); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the right password meanwhile = %d, want 429", res.StatusCode)
	}
	if res := try("admin", password); res.StatusCode != http.StatusSeeOther {
		t.Errorf("another account from the same address = %d, want 303", res.StatusCode)
	}
	w.advance(2 * time.Minute)
	if res := try("support", password); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after the wait = %d, want 303", res.StatusCode)
	}
}

func TestPreferences(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	if res := b.post("/preferences", url.Values{"lang": {"en"}, "back": {"/devices?state=new"}}); res.Header.Get("Location") != "/devices?state=new" {
		t.Errorf("led back to %q", res.Header.Get("Location"))
	}
	b.post("/preferences", url.Values{"theme": {"dark"}, "back": {"https://evil.example"}})
	b.post("/preferences", url.Values{"keys": {"off"}})
	body := b.get("/keys").body
	for _, want := range []string{`lang="en"`, `data-theme="dark"`, `data-keys="off"`, "Switch single keys on"} {
		if !strings.Contains(body, want) {
			t.Errorf("after choosing, the page lacks %s", want)
		}
	}
	b.post("/preferences", url.Values{"theme": {""}, "keys": {"on"}, "lang": {"xx"}})
	body = b.get("/keys").body
	if strings.Contains(body, "data-theme") || strings.Contains(body, `data-keys="off"`) || !strings.Contains(body, `lang="en"`) {
		t.Error("taking theme and keys back did not work, or an unknown language was taken")
	}
	if !strings.Contains(w.browser().get("/sign-in", "Accept-Language", "fr, en;q=0.8, de;q=0.5").body, `lang="en"`) {
		t.Error("the language of the browser is not asked")
	}
	if !strings.Contains(w.browser().get("/sign-in").body, `lang="de"`) {
		t.Error("German is not what is spoken without a choice")
	}
}
