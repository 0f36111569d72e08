package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/fleet"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// holdsKey gives a device a credential, as an enrolment does.
func (w *world) holdsKey(id string) {
	w.t.Helper()
	w.must(w.db.Write(w.t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(w.t.Context(), `INSERT INTO credentials (spki, device, claim, replaces, issued_ms, expires_ms, epoch, epoch_store, reason)
			VALUES ($1, $2, '', $3, 0, 9000000000000, 0, $3, '')`, []byte(id), id, []byte{})
		if err == nil {
			_, err = tx.Exec(w.t.Context(), `INSERT INTO enrolled (device) VALUES ($1) ON CONFLICT DO NOTHING`, id)
		}
		return err
	}))
}

// TestRevokePage: a device is revoked on a page of its own that says what it
// means, by a reason and its number, and by nobody else.
func TestRevokePage(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(4)
	w.holdsKey(ids[0])
	w.holdsKey(ids[1])
	admin, support := w.signedIn("admin"), w.signedIn("support")
	page := "/devices/" + ids[0] + "/revoke"
	if body := support.get("/devices/" + ids[0]).body; strings.Contains(body, page) {
		t.Error("support is offered to revoke")
	}
	if res := support.get(page); res.StatusCode != http.StatusForbidden {
		t.Errorf("GET as support = %d, want 403", res.StatusCode)
	}
	right := url.Values{"reason": {"Verlust, Meldung 4711"}, "name": {"ah-02317 "}}
	if res := support.post(page, right); res.StatusCode != http.StatusForbidden {
		t.Errorf("POST as support = %d, want 403", res.StatusCode)
	}
	w.user("kiefer", access.RoleAdmin, []string{w.ownerID("Landkreis Kiefer")})
	if res := w.signedIn("kiefer").post(page, right); res.StatusCode != http.StatusNotFound {
		t.Errorf("POST as another owner's admin = %d, want 404", res.StatusCode)
	}
	if body := text(admin.get(page).body); !strings.Contains(body, "AH-02317 sperren") || !strings.Contains(body, "Das lässt sich nicht zurücknehmen.") || !strings.Contains(body, "Gymnasium Ahorntal") {
		t.Errorf("the page before says %s", body)
	}
	for want, typed := range map[string]url.Values{
		"Ein Grund von 3 bis 500 Zeichen.":        {"reason": {"x"}, "name": {"AH-02317"}},
		"Das ist nicht die Nummer dieses Geräts.": {"reason": {"Verlust <b>"}, "name": {"AH-02318"}},
	} {
		res := admin.post(page, typed)
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res.body), want) || !strings.Contains(res.body, `value="`+strings.ReplaceAll(strings.ReplaceAll(typed.Get("reason"), "<", "&lt;"), ">", "&gt;")+`"`) {
			t.Errorf("%v = %d %s, want 422, %q and the input kept", typed, res.StatusCode, text(res.body), want)
		}
	}
	ends := w.bus.Subscribe(bus.Revoked)
	defer ends.Close()
	res := admin.post(page, right)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices/"+ids[0]+"?done=revoked" {
		t.Fatalf("POST = %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	select {
	case e := <-ends.C:
		if e.Device != ids[0] {
			t.Errorf("told of %s", e.Device)
		}
	default:
		t.Error("live sessions are not told")
	}
	body := admin.get(res.Header.Get("Location")).body
	if !strings.Contains(text(body), "Das Gerät ist gesperrt.") || strings.Contains(body, page) {
		t.Errorf("after it the device says %s", text(body))
	}
	if d, err := w.fleet.Device(t.Context(), operator, ids[0]); err != nil || d.State != fleet.StateRevoked {
		t.Errorf("state = %s, %v", d.State, err)
	}
	if res := admin.get(page); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the page of a revoked device = %d, want to be led to it", res.StatusCode)
	}
	if body := text(admin.get("/audit?action=device.revoked").body); !strings.Contains(body, "Verlust, Meldung 4711") || !strings.Contains(body, "Aufbewahrung: 30") {
		t.Errorf("the record says %s", body)
	}
	// The API asks for the same.
	token := w.token("admin", access.RoleAdmin, nil)
	post := func(token, body string) answer {
		return w.browser().do(http.MethodPost, "/api/v1/devices/"+ids[1]+"/revoke", strings.NewReader(body), "Authorization", "Bearer "+token, "Content-Type", "application/json")
	}
	if res := post(token, `{"name":"AH-1","reason":"Verlust"}`); res.StatusCode != 400 || !strings.Contains(res.body, `"field":"name"`) {
		t.Errorf("another name = %d %s", res.StatusCode, res.body)
	}
	d, err := w.fleet.Device(t.Context(), operator, ids[1])
	w.must(err)
	right1 := `{"name":"` + d.Label() + `","reason":"Verlust"}`
	if res := post(w.token("support", access.RoleSupport, nil), right1); res.StatusCode != 403 {
		t.Errorf("as support = %d", res.StatusCode)
	}
	if res := post(token, right1); res.StatusCode != 200 || !strings.Contains(res.body, `"state":"revoked"`) {
		t.Errorf("revoking = %d %s", res.StatusCode, res.body)
	}
}

// TestRevokedDeviceOffersNothingLive: it tells nothing any more, so its page neither
// says Live nor offers to become so; what it told can still be looked at.
func TestRevokedDeviceOffersNothingLive(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(4)
	b := w.signedIn("support")
	path := "/devices/" + ids[0]
	live := []string{"sse-connect", "data-live=", "Mit einem Grund kommen sie live", "Die Werte kommen jede Sekunde"}
	if body := b.get(path).body; !strings.Contains(body, live[2]) {
		t.Fatalf("a device that is not revoked does not offer %q: %s", live[2], text(body))
	}
	w.look("support", ids[0])
	if body := b.get(path).body; !strings.Contains(body, live[0]) || !strings.Contains(body, live[1]) || !strings.Contains(body, live[3]) {
		t.Fatalf("an open look shows nothing live: %s", text(body))
	}
	tb := w.tab(t, looks{lang: "de", theme: "light", as: "support"})
	tb.open(path)
	tb.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)
	w.revoke(ids[0])
	tb.wait(`document.querySelector("#state").textContent.includes("Gesperrt") && document.querySelector("[data-live]").dataset.live === "ended"`)
	if got := eval[string](tb, `document.querySelector("[data-live-over]").innerText`); !strings.Contains(got, "das Gerät ist gesperrt") {
		t.Errorf("the page that was open says %q", got)
	}
	tb.clean()
	body := b.get(path).body
	for _, word := range live {
		if strings.Contains(body, word) {
			t.Errorf("the page of a revoked device has %q", word)
		}
	}
	if want := "Sie sehen, was das Gerät vor der Sperrung gemeldet hat."; !strings.Contains(body, want) {
		t.Errorf("the page of a revoked device with a look does not say %q: %s", want, text(body))
	}
	other := w.signedIn("admin").get(path).body
	for _, word := range live {
		if strings.Contains(other, word) {
			t.Errorf("the page of a revoked device without a look has %q", word)
		}
	}
	if res := b.get(path + "/live"); res.StatusCode != http.StatusOK || !strings.Contains(res.body, "event: over") || !strings.Contains(res.body, "event: end") {
		t.Errorf("its stream = %d %q, want an end", res.StatusCode, res.body)
	}
}

// TestRevokedCountsNoMore: pages and API leave out what is open about a revoked device;
// its own page keeps it.
func TestRevokedCountsNoMore(t *testing.T) {
	w := newWorld(t)
	ids := w.fill(8)
	for _, id := range ids[:2] {
		w.fillsUp(id, hmpb.Severity_SEVERITY_CRITICAL)
	}
	w.revoke(ids[0])
	b := w.signedIn("support")
	if body := b.get("/findings/disk_low").body; !strings.Contains(body, "1 Gerät hat diesen Hinweis.") {
		t.Error("the page of the finding counts the revoked device")
	}
	if body := b.get("/devices?finding=disk_low").body; strings.Contains(body, "/devices/"+ids[0]+`"`) || !strings.Contains(body, "/devices/"+ids[1]+`"`) {
		t.Error("the list of the finding has the revoked device, or not the other one")
	}
	if body := b.get("/devices/" + ids[0]).body; !strings.Contains(body, `<article class="finding crit`) {
		t.Error("the device's own page has lost what was found")
	}
	token := w.token("counts", access.RoleRead, nil)
	var all struct {
		Items []struct {
			ID      string
			Devices int64
		}
	}
	w.api(token, "/api/v1/findings", &all)
	if len(all.Items) != 1 || all.Items[0].Devices != 1 {
		t.Errorf("the API counts %+v, want one device", all.Items)
	}
	var list struct{ Total int64 }
	w.api(token, "/api/v1/devices?finding=disk_low", &list)
	if list.Total != 1 {
		t.Errorf("the API lists %d devices, want one", list.Total)
	}
}

// TestPagesOfARetiredDevice: 30 days after its revocation what a device told is gone;
// its page, its lists and the API stand, calmly and without values.
func TestPagesOfARetiredDevice(t *testing.T) {
	w := newWorld(t)
	ids, id, release := w.fill(2), "", w.releases()["1.1.0"]
	owners, err := w.fleet.Owners(t.Context(), operator)
	w.must(err)
	for _, o := range owners { // nobody teaches
		w.must(w.rollouts.SetWindow(t.Context(), operator, rollout.Window{Owner: o.ID}))
	}
	runs := w.began(release)
	w.sweep(ids, func(i int, o *hmpb.Offer) *hmpb.Update {
		id = ids[i]
		return step(o, hmpb.UpdateState_UPDATE_STATE_ROLLED_BACK, hmpb.UpdateReason_UPDATE_REASON_CRASHED, "")
	})
	w.holdsKey(id)
	if err := w.enroll.RevokeDevice(t.Context(), operator, id, "lost"); err != nil {
		t.Fatal(err)
	}
	w.advance(reading.KeepRetired + time.Hour)
	if _, err := w.health.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin, token := w.signedIn("admin"), w.token("admin", access.RoleAdmin, nil)
	listed := func(why string, want bool) {
		t.Helper()
		page := admin.get("/rollouts/" + runs + "/devices?why=" + why)
		if got := strings.Contains(page.body, `data-open href="/devices/`+id+`"`); page.StatusCode != http.StatusOK || got != want {
			t.Errorf("GET devices with the word %s = %d, lists the device: %v, want %v", why, page.StatusCode, got, want)
		}
	}
	listed("rolled_back", true)
	w.must(w.rollouts.Care(t.Context()))
	listed("rolled_back", false)
	listed("revoked", true)
	if d, err := w.fleet.Device(t.Context(), operator, id); err != nil || d.State != fleet.StateRevoked || !d.LastDay.IsZero() {
		t.Errorf("after the sweep the device is %+v, %v; want revoked, never heard of", d, err)
	}
	if l, err := w.health.Latest(t.Context(), operator, id); err != nil || len(l.Values) != 0 {
		t.Errorf("latest values = %+v, %v, want none", l.Values, err)
	}
	for _, page := range []string{"/devices/" + id, "/devices/" + id + "?range=30d", "/devices/" + id + "/events", "/devices/" + id + "/software", "/devices"} {
		if res := admin.get(page); res.StatusCode != http.StatusOK {
			t.Errorf("GET %s = %d", page, res.StatusCode)
		}
	}
	if body := text(admin.get("/devices/" + id).body); !strings.Contains(body, "30 Tage nach der Sperrung wird gelöscht, was es gemeldet hat") {
		t.Errorf("the page says %s", body)
	}
	if body := text(admin.get("/audit?action=device.values_deleted").body); !strings.Contains(body, "Meldungen des gesperrten Geräts gelöscht") {
		t.Errorf("the record says %s", body)
	}
	if body := text(admin.get("/audit?action=device.updates_deleted").body); !strings.Contains(body, "Meldungen zu Aktualisierungen des gesperrten Geräts gelöscht") {
		t.Errorf("the record says %s", body)
	}
	for _, path := range []string{"", "/history?reading=cpu_used", "/inventory", "/findings", "/events", "/looks"} {
		if res := w.api(token, "/api/v1/devices/"+id+path, nil); res.StatusCode != http.StatusOK {
			t.Errorf("GET .../%s = %d %s", path, res.StatusCode, res.body)
		}
	}
}
