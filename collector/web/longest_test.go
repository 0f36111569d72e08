package web_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hausmeister/collector/access"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
	"hausmeister/testenv/need"
)

// TestStatesWithoutColour is point 10 of ui.md's checklist: every state is told by a
// shape of its own and a word, wherever it stands, so that nothing is lost in
// grey-scale or to somebody who sees no colours.
func TestStatesWithoutColour(t *testing.T) {
	need.Plain(t)
	w := newWorld(t)
	ids := w.fill(120)
	w.fillsUp(ids[0], hmpb.Severity_SEVERITY_CRITICAL)
	w.fillsUp(ids[3], hmpb.Severity_SEVERITY_WARNING)
	w.raise(ids[0], finding.RestartPending, "", hmpb.Severity_SEVERITY_NOTICE)
	w.fillsUp(ids[6], hmpb.Severity_SEVERITY_WARNING)
	_, err := w.health.QuietFinding(t.Context(), operator, ids[6], finding.DiskLow, "C:", health.NewQuiet{Reason: "SSD ist bestellt"})
	w.must(err)
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "admin"})
	// Of all shapes no two are drawn alike, and each has lines or a form, not only a fill.
	const drawn = `[...document.querySelectorAll("symbol[id^='s-']")].filter(e => e.id !== "s-brand").map(e => e.id.slice(2) + " " + e.innerHTML.replace(/(fill|stroke)="[^"]*"/g, ""))`
	tb.open("/devices")
	var forms []string
	for _, symbol := range eval[[]string](tb, drawn) {
		name, form, _ := strings.Cut(symbol, " ")
		if slices.Contains(forms, form) {
			t.Errorf("the shape %s is drawn as another one", name)
		}
		forms = append(forms, form)
	}
	// What is shaped, as shape and word: a shape that is too small, or not painted, has none.
	const told = `[...document.querySelectorAll("main .state")].map(e => { const svg = e.querySelector("svg"), r = svg?.getBoundingClientRect(), use = svg?.querySelector("use");
		const there = use && document.querySelector(use.getAttribute("href")) && r.width >= 12 && r.height >= 12;
		return (there ? use.getAttribute("href") : "none") + " " + e.innerText.trim(); })`
	for state, want := range map[fleet.State]string{
		fleet.StateCritical: "#s-crit Kritisch", fleet.StateWarning: "#s-warn Warnung", fleet.StateConnected: "#s-ok Verbunden", fleet.StateOK: "#s-ok In Ordnung",
		fleet.StateSilent: "#s-idle Still", fleet.StateNew: "#s-info Neu", fleet.StateRevoked: "#s-off Gesperrt",
	} {
		tb.open("/devices?state=" + string(state))
		got := eval[[]string](tb, told)
		if len(got) == 0 || slices.ContainsFunc(got, func(s string) bool { return s != want }) {
			t.Errorf("the list of %s tells %q, want each %q", state, got, want)
		}
		tb.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-open]").click()`))
		tb.wait(`!!document.querySelector("#state")`)
		if got := eval[[]string](tb, told); len(got) == 0 || got[0] != want {
			t.Errorf("the page of a device that is %s tells %q, want %q", state, got, want)
		}
	}
	tb.open("/findings")
	if got, want := eval[[]string](tb, told), []string{"#s-crit Kritisch", "#s-info Zur Kenntnis"}; !slices.Equal(got, want) {
		t.Errorf("the findings tell %q, want %q", got, want)
	}
	tb.open("/devices/" + ids[0])
	const noted = `[...document.querySelectorAll(".finding h2")].map(e => e.querySelector("use").getAttribute("href") + " " + e.querySelector(".hide").textContent.trim())`
	if got, want := eval[[]string](tb, noted), []string{"#s-crit Kritisch:", "#s-info Zur Kenntnis:"}; !slices.Equal(got, want) {
		t.Errorf("the findings of a device tell %q, want %q", got, want)
	}
	// A mark in a cell of the list stands beside a text, and a bar beside its number.
	tb.open("/devices?columns=finding,free,battery")
	if bare := eval[[]string](tb, `[...document.querySelectorAll(".devices .sign")].filter(e => !e.parentElement.innerText.trim() || e.getBoundingClientRect().width < 12).map(e => e.parentElement.outerHTML)`); len(bare) > 0 {
		t.Errorf("marks without a text: %q", bare)
	}
	if n := eval[int](tb, `document.querySelectorAll(".devices .sign").length`); n < 3 {
		t.Errorf("%d marks in the list, want those of the findings and of full disks", n)
	}
	tb.clean()
}

// TestLongestWordsHold is point 27: names as long as they may be, and words as long
// as German makes them, stay within their pages, and what is cut off says so.
func TestLongestWordsHold(t *testing.T) {
	need.Plain(t)
	w := newWorld(t)
	const word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
	const owner = "Landeswohlfahrtsverband Rheingau-Taunus-Wetterau und Zweckverbandsbeschulungsgemeinschaft"
	_, err := w.fleet.ImportSchools(t.Context(), operator, strings.NewReader("schul_id;schultraeger;schulform;name;geraete\n"+
		"S0001;"+owner+";Förderschule;Schule mit Förderschwerpunkt Sprache am "+word+";60\n"+
		"S0002-AUSSENSTELLE-NORD;"+owner+";Berufliche Schule mit Beruflichem Gymnasium und Fachoberschule;;20\n"))
	w.must(err)
	id := w.admit(owner, "S0001", "FUJITSU Technology Solutions Beschaffungsgesellschaft", "LIFEBOOK A3510 Sonderausstattung Schulträgerausschreibung 2021", "DEMO7K24031ABCDEFGHIJKLMNOPQRSTUVWXYZ", "windows", "LDK-SCHULTRAEGER-2021-0000000000004711")
	other := w.admit(owner, "S0002-AUSSENSTELLE-NORD", "LENOVO", "ThinkPad", "DEMO7K24032", "linux", "")
	for _, device := range []string{id, other} {
		w.report(device, notebook(1)...)
		w.fillsUp(device, hmpb.Severity_SEVERITY_CRITICAL)
		w.raise(device, finding.SoftwareMissing, word+" "+word, hmpb.Severity_SEVERITY_WARNING)
	}
	w.report(id, append(notebook(1), txt(reading.OSName, "", word), txt(reading.OSBuild, "", strings.Repeat("10.0.26100.", 6)))...)
	w.must(w.fleet.SetLabel(t.Context(), operator, id, strings.Repeat("Rückruf", 5), true))
	w.must(w.fleet.SetLabel(t.Context(), operator, id, "Rechtsschutzversicherungsgesellschaften", true))
	_, err = w.fleet.SaveView(t.Context(), operator, fleet.View{Sharing: fleet.ViewAll, Name: "Sommerferienaustauschprogrammgeräteliste", Filter: fleet.Filter{Query: "lifebook"}})
	w.must(err)
	w.user(strings.Repeat("grundschulverwaltung.", 2)+"x", access.RoleSupport, nil)
	_, err = w.health.OpenLook(t.Context(), access.Caller{Kind: access.KindUser, ID: "x", Name: word, Role: access.RoleSupport}, id, word+word)
	w.must(err)
	_, err = w.health.QuietFinding(t.Context(), operator, id, finding.DiskLow, "C:", health.NewQuiet{Reason: word + word})
	w.must(err)
	// Text that is cut off without saying so, and text that leaves the page.
	const lost = `(() => { const out = [];
		for (const e of document.querySelectorAll("main *")) {
			if (!e.checkVisibility() || e.closest(".hide, svg, .plot, datalist, [aria-hidden=true], .devices thead") || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
			const s = getComputedStyle(e), r = e.getBoundingClientRect();
			if (r.width === 0 || s.position === "absolute" && s.clipPath !== "none") continue;
			if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && s.overflowX === "hidden" && s.textOverflow !== "ellipsis") out.push("cut: " + e.outerHTML.slice(0, 120));
			const ends = (p) => p && (getComputedStyle(p).textOverflow === "ellipsis" && getComputedStyle(p).overflowX === "hidden" && p.getBoundingClientRect().right <= innerWidth + 1 || ends(p.parentElement));
			if (r.right > innerWidth + 1 && !e.closest(".across.scrolls, .views, .scroll") && !ends(e.parentElement)) out.push("outside: " + e.outerHTML.slice(0, 120));
		}
		for (const e of document.querySelectorAll("main .number")) { const td = e.closest("td").getBoundingClientRect(), r = e.getBoundingClientRect(); if (r.right > td.right + 1 || e.scrollWidth > e.clientWidth + 1) out.push("a number is cut: " + e.outerHTML); }
		for (const e of document.querySelectorAll("main button, main .button")) if (e.checkVisibility() && !/\s/.test(e.innerText.trim()) && e.getBoundingClientRect().height > 36) out.push("a word is broken: " + e.outerHTML.slice(0, 120));
		const brand = document.querySelector(".brand"), words = document.createRange(); words.selectNodeContents(brand);
		const who = document.querySelector(".account summary").getBoundingClientRect(), name = words.getBoundingClientRect();
		if (name.right > who.left && name.bottom > who.top && name.top < who.bottom) out.push("the account lies over the name of the program");
		return out.slice(0, 5); })()`
	pages := map[string]string{"list": "/devices", "list-many": "/devices?columns=model,serial,school,owner,finding,labels,system,build", "device": "/devices/" + id, "findings": "/findings", "finding": "/findings/software_missing",
		"quiet": "/findings/disk_low", "school": "/schools/" + w.schoolID(owner, "S0001"), "schools": "/schools", "search": "/search?q=lifebook", "views": "/views"}
	for name, path := range pages {
		t.Run(name, func(t *testing.T) {
			tb := w.tab(t, looks{lang: "de", theme: "light", as: strings.Repeat("grundschulverwaltung.", 2) + "x"})
			tb.open(path)
			for _, width := range []int64{1366, 683, 320} {
				tb.do(chromedp.EmulateViewport(width, 768))
				tb.noSideways()
				if got := eval[[]string](tb, lost); len(got) > 0 {
					t.Errorf("at %d px: %q", width, got)
				}
				if width != 683 {
					tb.shot("longest-" + name + map[int64]string{1366: "", 320: "-320"}[width])
				}
			}
			tb.accessible()
			tb.clean()
		})
	}
}
