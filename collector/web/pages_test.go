package web_test

import (
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

var rowLink = regexp.MustCompile(`<a data-open href="/devices/([0-9a-f-]{36})"`)

func rowsOf(body string) (ids []string) {
	for _, m := range rowLink.FindAllStringSubmatch(body, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// text is what stands on the page, without markup.
func text(body string) string {
	body = regexp.MustCompile(`(?s)<(script|style|svg).*?</(script|style|svg)>`).ReplaceAllString(body, " ")
	body = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " ")
	return strings.Join(strings.Fields(html.UnescapeString(strings.ReplaceAll(body, "\u00a0", "·"))), " ")
}

func TestListPages(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(120)
	b := w.signedIn("support")
	seen := map[string]bool{}
	next, pages := "/devices", 0
	for next != "" {
		res := b.get(next)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("GET %s = %d", next, res.StatusCode)
		}
		rows := rowsOf(res.body)
		if pages++; pages < 3 && len(rows) != 50 {
			t.Errorf("page %d has %d rows, want 50", pages, len(rows))
		}
		for _, id := range rows {
			if seen[id] {
				t.Errorf("device %s stands on two pages", id)
			}
			seen[id] = true
		}
		next = ""
		if m := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(res.body); m != nil {
			next = html.UnescapeString(m[1])
		}
		if pages == 2 && !strings.Contains(text(res.body), "51–100 von 120") {
			t.Errorf("the second page does not say where it is: %s", text(res.body))
		}
		// The address alone restores the view.
		if again := b.get(res.Request.URL.RequestURI()); again.body != res.body {
			t.Error("the same address gives another page")
		}
	}
	if len(seen) != len(ids) || pages != 3 {
		t.Errorf("%d devices on %d pages, want %d on 3", len(seen), pages, len(ids))
	}
	// A cursor of yesterday's order is no error page.
	if res := b.get("/devices?cursor=veraltet&from=51"); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices" {
		t.Errorf("a foreign cursor = %d to %q, want the first page", res.StatusCode, res.Header.Get("Location"))
	}
}

func TestListSearchAndFilters(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	b := w.signedIn("read")
	first, err := w.fleet.Device(t.Context(), operator, ids[0])
	w.must(err)
	find := func(query string) ([]string, string) {
		t.Helper()
		res := b.get("/devices?" + query)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("GET /devices?%s = %d", query, res.StatusCode)
		}
		return rowsOf(res.body), text(res.body)
	}
	for _, q := range []string{"AH-02317", "ah-02317", "DEMO7K24031"} {
		if rows, _ := find("q=" + q); len(rows) != 1 || rows[0] != ids[0] {
			t.Errorf("searching %q finds %v, want %s", q, rows, ids[0])
		}
	}
	if rows, _ := find("q=" + url.QueryEscape("lifebook ahorntal")); len(rows) == 0 || len(rows) == 60 {
		t.Errorf("searching model and school finds %d", len(rows))
	}
	rows, page := find("state=revoked")
	if len(rows) == 0 || !strings.Contains(page, "Zustand: Gesperrt") || !strings.Contains(page, "Zurücksetzen") {
		t.Errorf("the filter by state shows %d rows and %q", len(rows), page)
	}
	rows, page = find("school=" + first.School)
	if len(rows) != 10 || !strings.Contains(page, "Schule: Gymnasium Ahorntal") || !strings.Contains(page, "10 von 60") {
		t.Errorf("the filter by school shows %d rows and %q", len(rows), page)
	}
	// Typed by number or name, the address gets the id.
	for _, typed := range []string{"S0001", "s0001", "Gymnasium Ahorntal", "Gymnasium Ahorntal S0001, Landkreis Ahorn"} {
		res := b.get("/devices?state=&school=" + url.QueryEscape(typed))
		if want := "/devices?school=" + first.School; res.Header.Get("Location") != want {
			t.Errorf("typing %q leads to %q, want %q", typed, res.Header.Get("Location"), want)
		}
	}
	if rows, page = find("school=Nirgendschule"); len(rows) != 0 || !strings.Contains(page, "Keine Schule heißt „Nirgendschule“") {
		t.Errorf("an unknown school shows %q", page)
	}
	if rows, page = find("q=gibtesnicht"); len(rows) != 0 || !strings.Contains(page, "Kein Gerät passt") || !strings.Contains(page, "Letzten Filter entfernen") {
		t.Errorf("no match shows %q", page)
	}
	if rows, page = find("state=ok&q=" + url.QueryEscape("a b c d e f g")); len(rows) != 0 || !strings.Contains(page, "Zu viele Wörter") ||
		!strings.Contains(page, "höchstens 6 Wörtern") || !strings.Contains(page, "Zustand: In Ordnung") || !strings.Contains(page, "Alle 60 ") {
		t.Errorf("seven words show %q", page)
	}
	// The counts of the views are those of the question.
	if _, page = find("q=lifebook"); !strings.Contains(page, "Alle 30 ") {
		t.Errorf("the views count %q", page)
	}
	// Suggestions are lines that the field understands.
	res := b.get("/schools/options?school=kiefern")
	if want := `<option value="KGS Kiefernhöhe S0101, Landkreis Kiefer"></option>`; res.body != want {
		t.Errorf("suggestions for kiefern = %q, want %q", res.body, want)
	}
	// htmx gets the address without the empty fields of the form.
	if got := b.get("/devices?q=lifebook&state=&school=", "HX-Request", "true").Header.Get("HX-Push-Url"); got != "/devices?q=lifebook" {
		t.Errorf("HX-Push-Url = %q", got)
	}
}

// TestWorstFindingIsTheState: the list, its filters and counts, the device's own
// page and the API call a device what its worst open finding says.
func TestWorstFindingIsTheState(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(8)
	b, token := w.signedIn("support"), w.token("probe", access.RoleRead, nil)
	id := ids[0]
	check := func(what, state, word, shape string) {
		t.Helper()
		list := b.get("/devices?state=" + state)
		if rows := rowsOf(list.body); !slices.Contains(rows, id) {
			t.Errorf("%s: the list of state %s has %v, want %s in it", what, state, rows, id)
		}
		all := b.get("/devices").body
		before, _, _ := strings.Cut(all, `<a data-open href="/devices/`+id)
		first := before[strings.LastIndex(before, "<tr"):]
		if !strings.HasSuffix(text(first), " auswählen "+word) || !strings.Contains(first, "#s-"+shape) {
			t.Errorf("%s: the row begins with %q, want %s with the shape %s", what, text(first), word, shape)
		}
		if page := text(b.get("/devices/" + id).body); !strings.Contains(page, word) {
			t.Errorf("%s: the device's own page does not say %s", what, word)
		}
		var body struct{ State string }
		w.api(token, "/api/v1/devices/"+id, &body)
		if body.State != state {
			t.Errorf("%s: the API says %q, want %q", what, body.State, state)
		}
	}
	w.fillsUp(id, hmpb.Severity_SEVERITY_WARNING)
	check("warning", "warning", "Warnung", "warn")
	w.fillsUp(id, hmpb.Severity_SEVERITY_CRITICAL)
	check("critical", "critical", "Kritisch", "crit")
	if got := rowsOf(b.get("/devices?state=critical").body); len(got) != 1 {
		t.Errorf("critical are %v, want one", got)
	}
	w.tell(id, hmpb.Entry_builder{Finding: hmpb.Finding_builder{Code: new(finding.DiskLow), Raised: new(false), Instance: new("C:"), Severity: hmpb.Severity_SEVERITY_CRITICAL.Enum()}.Build()}.Build())
	if got := rowsOf(b.get("/devices?state=critical").body); len(got) != 0 {
		t.Errorf("critical are %v after the finding was cleared, want none", got)
	}
}

func TestListSorts(t *testing.T) {
	w := newWorld(t)
	w.fill(60)
	b := w.signedIn("read")
	for _, by := range []string{"battery", "disk_free", "last_contact", "school", "model"} {
		up, down := b.get("/devices?sort="+by), b.get("/devices?sort=-"+by)
		if !strings.Contains(up.body, `aria-sort="ascending"`) || !strings.Contains(down.body, `aria-sort="descending"`) {
			if by != "model" { // no column of its own
				t.Errorf("sort=%s: the head does not say so", by)
			}
		}
		if a, z := rowsOf(up.body), rowsOf(down.body); a[0] == z[0] {
			t.Errorf("sort=%s: both directions begin alike", by)
		}
	}
	if res := b.get("/devices?sort=farbe"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown order = %d, want 400", res.StatusCode)
	}
}

func TestNoDevicesYet(t *testing.T) {
	w := newWorld(t)
	page := text(w.signedIn("admin").get("/devices").body)
	for _, want := range []string{"Noch keine Geräte", "Aufnahmecode", "hausmeister-collector claim create"} {
		if !strings.Contains(page, want) {
			t.Errorf("the empty list lacks %q: %s", want, page)
		}
	}
	w.importSchools() // with owners
	if page := w.signedIn("admin").get("/devices").body; !strings.Contains(page, `href="/claims/new"`) || strings.Contains(page, "hausmeister-collector") {
		t.Errorf("for an administrator the empty list has no way to a claim: %s", text(page))
	}
	page = w.signedIn("read").get("/devices").body
	if !strings.Contains(text(page), "Bitten Sie jemanden mit der Rolle") || strings.Contains(page, "/claims/new") || strings.Contains(page, "hausmeister-collector") {
		t.Errorf("for others the empty list does not say whom to ask: %s", text(page))
	}
}

func TestDevicePage(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(40)
	b := w.signedIn("support")
	page := text(b.get("/devices/" + ids[0]).body)
	for _, want := range []string{"AH-02317", "FUJITSU LIFEBOOK A3510", "Verbunden", "3,0·GB von 7,7·GB belegt", "4,1·GB frei von 256·GB", "38·% geladen",
		"entlädt", "48·°C", "866·Mbit/s", "Debian GNU/Linux 12 (bookworm)", "Letzter Neustart Fr·20.11.", "DEMO7K24031", "Gymnasium Ahorntal", "Landkreis Ahorn", "14·MB", "0,03·% eines Kerns"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	desktop := text(b.get("/devices/" + ids[4]).body)
	if !strings.Contains(desktop, "Dieses Gerät hat keinen Akku.") || strings.Contains(desktop, "0·% geladen") {
		t.Errorf("a device without battery shows %s", desktop)
	}
	// Every reason has its words, and an absent reading is never 0.
	id := w.admit("Landkreis Ahorn", "S0002", "X", "Y", "SER-1", "linux", "")
	for why, words := range map[hmpb.Absent]string{
		hmpb.Absent_ABSENT_NO_HARDWARE: "nicht vorhanden", hmpb.Absent_ABSENT_NOT_SUPPORTED: "kann dieses System nicht sagen", hmpb.Absent_ABSENT_DENIED: "Zugriff verweigert",
		hmpb.Absent_ABSENT_TIMEOUT: "Lesen dauerte zu lange", hmpb.Absent_ABSENT_FAILED: "Lesen misslungen", hmpb.Absent_ABSENT_OUT_OF_RANGE: "Messwert unglaubwürdig",
	} {
		w.report(id, num(reading.CPUCores, "", 2), absent(reading.CPUUsed, why), absent(reading.MemoryUsed, why))
		page := text(b.get("/devices/" + id).body)
		if strings.Count(page, words) != 2 || strings.Contains(page, " 0·%") {
			t.Errorf("absent for %v shows %s", why, page)
		}
	}
}

// TestAbsentFacts: what the device could not read has a line with the reason,
// and what it has none of has one line, not two that deny each other.
func TestAbsentFacts(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	b := w.signedIn("support")
	var hw ident.Hardware
	hw.OS, hw.InstallID = "linux", [16]byte{7}
	id := w.admitHardware("Landkreis Ahorn", "S0001", hw)
	w.report(id, num(reading.MemoryTotal, "", 8<<30), num(reading.MemoryUsed, "", 3<<30), num(reading.SwapTotal, "", 0), absent(reading.SwapUsed, hmpb.Absent_ABSENT_NO_HARDWARE),
		absent(reading.Manufacturer, hmpb.Absent_ABSENT_NOT_SUPPORTED), absent(reading.Model, hmpb.Absent_ABSENT_FAILED), absent(reading.Serial, hmpb.Absent_ABSENT_DENIED),
		txt(reading.LinkState, "wired", "up"), absent(reading.LinkSpeed, hmpb.Absent_ABSENT_TIMEOUT))
	page := text(b.get("/devices/" + id).body)
	for _, want := range []string{"Seriennummer nicht lesbar: Zugriff verweigert", "Hersteller nicht lesbar: kann dieses System nicht sagen", "Modell nicht lesbar: Lesen misslungen",
		"Auslagerungsspeicher keiner", "Lesen dauerte zu lange"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "Auslagerungsspeicher belegt") || strings.Contains(page, " 0·B") {
		t.Errorf("a device without swap shows how much of it is used:\n%s", page)
	}
	w.report(id, num(reading.MemoryTotal, "", 8<<30), absent(reading.SwapTotal, hmpb.Absent_ABSENT_NO_HARDWARE), absent(reading.SwapUsed, hmpb.Absent_ABSENT_NO_HARDWARE))
	if page = text(b.get("/devices/" + id).body); strings.Count(page, "Auslagerungsspeicher") != 1 || !strings.Contains(page, "Auslagerungsspeicher keiner") || strings.Contains(page, "nicht lesbar") {
		t.Errorf("a device that has no swap shows:\n%s", page)
	}
	w.report(id, num(reading.SwapTotal, "", 2<<30), num(reading.SwapUsed, "", 0))
	if page = text(b.get("/devices/" + id).body); !strings.Contains(page, "Auslagerungsspeicher belegt 0·B") {
		t.Errorf("a device that uses none of its swap shows:\n%s", page)
	}
}

// TestInstancesHaveWords: what stands on the wire for adapters and places is
// not what people call them.
func TestInstancesHaveWords(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "X", "Y", "SER-1", "linux", "AH-1")
	w.report(id, num(reading.Temperature, "cpu", 48_000), num(reading.Temperature, "case", 31_000), txt(reading.LinkState, "wired", "down"),
		txt(reading.LinkState, "wifi", "up"), txt(reading.LinkState, "wifi 2", "up"), num(reading.VolumeTotal, "/home", 100), num(reading.VolumeFree, "/home", 50))
	for lang, want := range map[string][]string{
		"de": {"Prozessor 48·°C", "Gehäuse 31·°C", "Kabel ", "WLAN ", "WLAN 2 ", "/home "},
		"en": {"Processor 48·°C", "Case 31·°C", "Wired ", "Wi-Fi ", "Wi-Fi 2 ", "/home "},
	} {
		page := text(w.signedIn("support").get("/devices/"+id, "Accept-Language", lang).body)
		for _, words := range want {
			if !strings.Contains(page, words) {
				t.Errorf("the page in %s lacks %q:\n%s", lang, words, page)
			}
		}
		for _, wire := range []string{"wired", "wifi", " cpu", "case "} {
			if strings.Contains(page, wire) {
				t.Errorf("the page in %s shows %q:\n%s", lang, wire, page)
			}
		}
	}
}

// TestEveryReadingIsShown: a new line of the table needs a place on the page.
func TestEveryReadingIsShown(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "Hersteller", "Modell", "SERIE-1", "linux", "AH-1")
	var state []*hmpb.Reading
	for r := range reading.All() {
		instance := ""
		if r.Instanced {
			instance = "teil"
		}
		switch r.Kind {
		case reading.Number:
			state = append(state, num(r.ID, instance, max(r.Min, min(r.Max, 7))))
		case reading.Code:
			state = append(state, txt(r.ID, instance, r.Codes[0].Code))
		case reading.Text:
			state = append(state, txt(r.ID, instance, "text-"+r.Name))
		}
	}
	w.report(id, state...)
	body := w.signedIn("admin").get("/devices/" + id).body
	elsewhere := map[string]bool{"manufacturer": true, "model": true, "serial": true, // what the device is
		"memory_total": true, "memory_used": true, "volume_total": true, "volume_free": true, "cpu_used": true, "battery_charge": true} // figures and meters
	for r := range reading.All() {
		if !elsewhere[r.Name] && !strings.Contains(body, `sse-swap="`+r.Name) {
			t.Errorf("reading %s has no place on the device page", r.Name)
		}
	}
}

// TestErrorPagesKeepTheFrame: the side bar counts the devices also beside an error.
func TestErrorPagesKeepTheFrame(t *testing.T) {
	w := newWorld(t)
	w.fill(4)
	count := regexp.MustCompile(`Geräte <span class="n">4</span>`)
	b := w.signedIn("admin")
	for path, code := range map[string]int{"/devices/none": 404, "/nirgends": 404, "/devices?state=kaputt": 400} {
		if res := b.get(path); res.StatusCode != code || !count.MatchString(res.body) {
			t.Errorf("GET %s = %d, want %d with the number of devices in the side bar", path, res.StatusCode, code)
		}
		if res := w.browser().get(path); count.MatchString(res.body) {
			t.Errorf("GET %s tells a stranger how many devices there are", path)
		}
	}
}

// TestNoTimesOfDay: what is finer than a day tells when a teacher works.
func TestNoTimesOfDay(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(60)
	token := w.token("probe", access.RoleAdmin, nil)
	clock := regexp.MustCompile(`\b([01]\d|2[0-3]):[0-5]\d\b|T\d\d:|\b1[67]\d{11}\b`)
	b := w.signedIn("admin")
	var pages []string
	for _, id := range ids {
		pages = append(pages, "/devices/"+id, "/api/v1/devices/"+id, "/devices/"+id+"/events", "/api/v1/devices/"+id+"/events")
	}
	for _, p := range append(pages, "/devices", "/devices?state=silent", "/api/v1/devices?limit=500") {
		body := ""
		if strings.HasPrefix(p, "/api/") {
			body = w.api(token, p, nil).body
		} else {
			body = text(b.get(p).body)
		}
		if found := clock.FindString(body); found != "" {
			t.Errorf("GET %s tells the time %q", p, found)
		}
	}
}

func TestHostileTexts(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	const bad = `<img src=x onerror=alert(1)>"'`
	id := w.admit("Landkreis Ahorn", "S0001", bad, bad, "SER-9", "linux", "AH-9")
	w.report(id, txt(reading.OSName, "", bad), num(reading.VolumeTotal, bad, 100), num(reading.VolumeFree, bad, 50), txt(reading.LinkState, bad, "up"))
	b := w.signedIn("admin")
	for _, p := range []string{"/devices", "/devices/" + id, "/devices?q=" + url.QueryEscape(bad), "/devices?school=" + url.QueryEscape(bad)} {
		if body := b.get(p).body; strings.Contains(body, "<img") || strings.Contains(body, `onerror=alert(1)>"`) {
			t.Errorf("GET %s carries markup of a device or a question", p)
		}
	}
}

func TestStaticFiles(t *testing.T) {
	w := newWorld(t)
	page := w.browser().get("/sign-in").body
	refs := regexp.MustCompile(`/static/[a-z-]+\.[0-9a-f]{10}\.(css|js|svg|woff2)`).FindAllString(page, -1)
	if len(refs) < 2 {
		t.Fatalf("the page names %v", refs)
	}
	for _, ref := range refs {
		res := w.browser().get(ref, "Accept-Encoding", "gzip")
		if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("GET %s = %d, Cache-Control %q", ref, res.StatusCode, res.Header.Get("Cache-Control"))
		}
		packed := res.Header.Get("Content-Encoding") == "gzip"
		if font := strings.HasSuffix(ref, "woff2"); packed == font {
			t.Errorf("GET %s: gzip %v", ref, packed)
		}
		if res := w.browser().get(ref, "Accept-Encoding", "gzip;q=0"); res.Header.Get("Content-Encoding") != "" {
			t.Errorf("GET %s without gzip = %q", ref, res.Header.Get("Content-Encoding"))
		}
		if strings.Contains(res.body, "http://") && strings.HasSuffix(ref, "css") {
			t.Errorf("%s names another host", ref)
		}
	}
	if res := w.browser().get("/static/style.0000000000.css"); res.StatusCode != http.StatusNotFound {
		t.Errorf("another hash = %d, want 404", res.StatusCode)
	}
}

// TestWithoutNPM: a program that was built in a bare clone shows proper pages.
func TestWithoutNPM(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(3)
	w.web.WithoutNPM()
	b := w.signedIn("admin")
	for _, p := range []string{"/devices", "/devices/" + ids[0], "/keys"} {
		res := b.get(p)
		if res.StatusCode != http.StatusOK || strings.Contains(res.body, "<script") || !strings.Contains(res.body, "/static/style.") {
			t.Errorf("GET %s = %d without npm's files, or asks for them", p, res.StatusCode)
		}
	}
}

// TestNothingInline: the policy refuses styles and scripts inside a page.
func TestNothingInline(t *testing.T) {
	files, _ := filepath.Glob("templates/*.html")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`(?i)\sstyle=|\son[a-z]+=|<style|javascript:|hx-on|hx-vals=.js`).Find(b); found != nil {
			t.Errorf("%s holds %q", f, found)
		}
	}
}

// TestClockInWords: a clock that is off by nothing that counts is right.
func TestClockInWords(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK", "DEMO1", "windows", "AH-1")
	b := w.signedIn("read")
	for offset, want := range map[int64]string{-20: "richtig", 0: "richtig", 450: "richtig", -180_000: "3\u00a0min vor", 180_000: "3\u00a0min nach"} {
		w.report(id, num(reading.BootTime, "", monday.UnixMilli()), num(reading.ClockOffset, "", offset))
		body := b.get("/devices/" + id).body
		if want = `<dt>Uhr</dt><dd class="v" sse-swap="clock_offset">` + want + `</dd>`; !strings.Contains(body, want) {
			t.Errorf("with an offset of %d ms the page has no %q", offset, want)
		}
	}
}

// TestMomentsNeedALook: when a device was started and last heard of has a time of
// day on its page and in the API while the caller's look is open, else a day.
func TestMomentsNeedALook(t *testing.T) {
	w := newWorld(t)
	w.importSchools()
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK", "DEMO1", "windows", "AH-1")
	session := w.connect(id)
	w.advance(4 * time.Minute)
	w.report(id, num(reading.BootTime, "", monday.Add(-90*time.Minute).UnixMilli()))
	w.disconnect(id, session)
	w.advance(7 * time.Minute)
	w.look("support", id)
	for name, open := range map[string]bool{"support": true, "admin": false, "read": false} {
		page := w.signedIn(name).get("/devices/" + id).body
		if strings.Contains(page, "23.11.2026, 10:34") != open || strings.Contains(page, "23.11.2026, 10:30") != open || strings.Contains(page, "Letzte Verbindung") != open || strings.Contains(page, "23.11.2026, 09:00") != open {
			t.Errorf("%s with a look %v: the page tells times of day otherwise", name, open)
		}
	}
	b, bearer := w.signedIn("read"), "Bearer "+w.token("desk", access.RoleSupport, nil)
	for _, open := range []bool{false, true} {
		if open {
			res := b.do(http.MethodPost, "/api/v1/devices/"+id+"/looks", strings.NewReader(`{"reason":"Anruf"}`), "Authorization", bearer, "Content-Type", "application/json")
			if res.StatusCode != http.StatusCreated {
				t.Fatalf("a look = %d %s", res.StatusCode, res.body)
			}
		}
		body := b.get("/api/v1/devices/"+id, "Authorization", bearer).body
		if strings.Contains(body, `"last_contact":"2026-11-23T09:34:00.000Z"`) != open || strings.Contains(body, `"connection_began":"2026-11-23T09:30:00.000Z"`) != open || strings.Contains(body, `"boot_time":"2026-11-23T08:00:00.000Z"`) != open ||
			strings.Contains(body, `"boot_time":"2026-11-23"`) == open || strings.Contains(body, `"last_contact":"2026-11-23"`) == open {
			t.Errorf("with a look %v: %s", open, body)
		}
		for step, want := range map[string]int{"3600": 200, "82800": 200, "86400": 200} {
			if !open && step != "86400" {
				want = 403
			}
			if res := b.get("/api/v1/devices/"+id+"/history?reading=cpu_used&step="+step, "Authorization", bearer); res.StatusCode != want {
				t.Errorf("steps of %s s with a look %v = %d, want %d", step, open, res.StatusCode, want)
			}
		}
	}
}

// TestHistoryFileName: files of several devices lie beside each other, each by the
// number that stands on the device, in letters that every system takes.
func TestHistoryFileName(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(2)
	w.must(w.fleet.SetInventory(t.Context(), operator, ids[1], `Öst/23 "b"; x=1`))
	b := w.signedIn("support")
	for id, want := range map[string]string{
		ids[0]: `attachment; filename="hausmeister-AH-02317-memory_used-7d.csv"`,
		ids[1]: `attachment; filename="hausmeister-st-23-b-x-1-memory_used-7d.csv"`,
	} {
		res := b.get("/devices/" + id + "/history.csv?reading=memory_used&range=7d")
		if got := res.Header.Get("Content-Disposition"); res.StatusCode != http.StatusOK || got != want {
			t.Errorf("history.csv = %d, Content-Disposition %q, want %q", res.StatusCode, got, want)
		}
	}
}
