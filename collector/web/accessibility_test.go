package web_test

import (
	"strings"
	"testing"

	"hausmeister/collector/access"
)

// TestAccessibilityStatement is there for anybody, with whom to tell and who helps if
// that does not; the account menu and the sign-in page lead to it.
func TestAccessibilityStatement(t *testing.T) {
	w := newWorld(t)
	const feedback, enforcement = `href="https://lbit.hessen.de/buergerinnen-und-buerger/feedback-mechanismus"`, `href="https://lbit.hessen.de/Durchsetzungs-und-Ueberwachungsstelle/Durchsetzungsverfahren-beantragen"`
	for lang, words := range map[string][]string{
		"de": {`<html lang="de"`, "HVBIT", "WCAG 2.1", "teilweise", "So 29.11.2026", "Leichter Sprache", "Gebärdensprache", "sechs Wochen", "Der Betreiber hat hier noch keinen Kontakt genannt"},
		"en": {`<html lang="en"`, "HVBIT", "WCAG 2.1", "in part", "Sun 29 Nov 2026", "easy language", "Sign Language", "six weeks", "The operator has named no contact here yet"},
	} {
		for who, b := range map[string]*browser{"a stranger": w.browser(), "a reader": w.signedIn("read")} {
			res := b.get("/accessibility", "Cookie", "__Host-lang="+lang)
			body := strings.ReplaceAll(res.body, "\u00a0", " ")
			for _, word := range append(words, feedback, enforcement) {
				if !strings.Contains(body, word) {
					t.Errorf("%s reads no %q in %s", who, word, lang)
				}
			}
			if res.StatusCode != 200 || strings.Contains(body, `href="/settings"`) {
				t.Errorf("%s: %d, or a way to settings that he may not open", who, res.StatusCode)
			}
		}
	}
	if !strings.Contains(w.browser().get("/sign-in").body, `href="/accessibility"`) {
		t.Error("the sign-in page does not lead to the statement")
	}
	if !strings.Contains(w.signedIn("read").get("/devices").body, `<a class="item" href="/accessibility">`) {
		t.Error("the account menu does not lead to the statement")
	}
	if body := w.signedIn("admin").get("/accessibility").body; !strings.Contains(body, `href="/settings"`) || !strings.Contains(body, `href="/accessibility" aria-current="page"`) {
		t.Error("an administrator is not led to where the contact is set, or the menu does not say where he is")
	}
	w.must(w.access.SetHouse(t.Context(), operator, func(h *access.House) { h.Contact = "Leitstelle <IT>, 069 90009 123, leitstelle@schule.invalid" }))
	w.advance(11e9) // another collector's pages know it by now
	if body := w.browser().get("/accessibility").body; !strings.Contains(body, "Leitstelle &lt;IT&gt;, 069 90009 123, leitstelle@schule.invalid") || strings.Contains(body, "keinen Kontakt") {
		t.Error("the statement does not name the house's contact")
	}
}
