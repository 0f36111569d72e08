package web_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
)

// apiNumbers are the rings of a rollout as the API has them.
type apiNumbers struct {
	Rings []struct {
		Adds, Devices, OK, Bad, Had, Silent, Open, Reached int64
		InFlight                                           int64 `json:"in_flight"`
	}
}

// Where a rollout was ended and is started again, all pages and the API count who has the
// version from the first one as having it: on the page, in the list and before it ends.
func TestNumbersOfARolloutStartedAgain(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := storesPaced(t, d, quietLog, lookRings).serve()
		ids := w.fill(30)
		w.releases()
		owners, err := w.fleet.Owners(t.Context(), operator)
		w.must(err)
		for _, o := range owners { // nobody teaches
			w.must(w.rollouts.SetWindow(t.Context(), operator, rollout.Window{Owner: o.ID}))
		}
		first := w.began(w.releaseID("1.1.0"))
		took := 0
		w.sweep(ids, func(_ int, o *hmpb.Offer) *hmpb.Update { took++; return committed(o) })
		if took < 2 {
			t.Fatalf("%d devices took it, too few for a test", took)
		}
		w.advance(time.Minute)
		w.must(w.rollouts.Abort(t.Context(), releaser("m.sommer"), first, "zu früh gestartet"))
		w.must(w.exec(`UPDATE health_agents SET version = '1.1.0' WHERE device_id IN (SELECT device_id FROM rollout_members WHERE outcome = 1)`))
		again := w.began(w.releaseID("1.1.0"))
		var got apiNumbers
		w.api(w.token("numbers", access.RoleRead, nil), "/api/v1/rollouts/"+again, &got)
		had := int64(0)
		for i, r := range got.Rings {
			if sum := r.OK + r.Bad + r.InFlight + r.Had + r.Silent + r.Open; sum != r.Adds || r.OK+r.Reached != 0 {
				t.Errorf("ring %d = %+v, whose numbers add up to %d", i+1, r, sum)
			}
			had += r.Had
		}
		all := got.Rings[len(got.Rings)-1].Devices
		if had < int64(took)-1 || had > int64(took) { // one that is revoked has no place in the next
			t.Errorf("%d of %d devices had it, want the %d that took it before", had, all, took)
		}
		b := w.signedIn("release")
		if page := text(b.get("/updates").body); !strings.Contains(page, strconv.FormatInt(had, 10)+" von "+strconv.FormatInt(all, 10)) {
			t.Errorf("the list does not say %d of %d", had, all)
		}
		end := text(b.get("/rollouts/" + again + "/abort").body)
		for _, part := range []string{strconv.FormatInt(had, 10) + " Geräte haben die Version und behalten sie.", strconv.FormatInt(all-had, 10) + " Geräte bekommen sie hiermit nicht mehr."} {
			if !strings.Contains(end, part) {
				t.Errorf("the page that ends it lacks %q: %s", part, end)
			}
		}
	})
}

// Where all have the version the page of updates does not ask why some do not.
func TestAllHaveIt(t *testing.T) {
	w := newWorld(t)
	w.fill(12)
	w.releases()
	w.began(w.releaseID("1.1.0"))
	why, all := "Warum Geräte 1.1.0 noch nicht haben", "Alle Geräte und ihr Stand"
	b := w.signedIn("admin")
	if body := text(b.get("/updates").body); !strings.Contains(body, why) || strings.Contains(body, all) {
		t.Errorf("nobody has it, and the page says: %s", body)
	}
	w.must(w.exec(`INSERT INTO health_agents (device_id, version) SELECT id, '1.1.0' FROM devices WHERE id NOT IN (SELECT device_id FROM health_agents)`))
	w.must(w.exec(`UPDATE health_agents SET version = '1.1.0'`))
	w.advance(time.Hour)
	if body := text(b.get("/updates").body); strings.Contains(body, why) || !strings.Contains(body, all) {
		t.Errorf("all have it, and the page says: %s", body)
	}
}

// What the words around rollouts say: of the last ring no risk, which nothing waits for; a
// question only after a halt; no sign of success where nothing was done; the reason of the
// operator as a person's; a launcher that was never signed here as one from elsewhere; and
// from a release that may not begin a way back to the rollouts.
func TestWordsAroundRollouts(t *testing.T) {
	w := storesPaced(t, peopled(t), quietLog, lookRings).serve()
	ids := w.fill(60)
	runs, halted, _ := w.rolled(ids)
	b := w.signedIn("release")
	has := func(page string, parts ...string) string {
		t.Helper()
		body := b.get(page).body
		for _, part := range parts {
			if !strings.Contains(text(body), part) && !strings.Contains(body, part) {
				t.Errorf("%s lacks %q", page, part)
			}
		}
		return body
	}
	const question, risk = "Was wissen Sie, das die Prüfung nicht weiß?", "Risiko muss unter"
	has("/rollouts/"+halted+"/resume", "von 4,20. "+question)
	has("/rollouts/"+runs, risk)
	w.must(w.rollouts.Pause(t.Context(), access.System("operator"), runs, "der Betrieb fragt nach"))
	body := has("/rollouts/"+runs+"?done=rollout_moved", `class="note warn" role="status"`)
	if !strings.Contains(body, "<q>der Betrieb fragt nach</q>") {
		t.Error("the operator's reason is not shown as his own words")
	}
	if body := has("/rollouts/" + runs + "/resume"); strings.Contains(text(body), question) {
		t.Error("who goes on after a pause is asked what the gate does not know")
	}
	w.must(w.exec(`UPDATE rollout_decisions SET evidence = replace(evidence, '"Ring":2', '"Ring":3'), ring = 2 WHERE rollout_id = '` + runs + `' AND verb IN ('paused', 'part_blocked')`))
	if before, _, _ := strings.Cut(text(has("/rollouts/"+runs, "Stufe 3: ")), "Nächste Stufe begonnen"); strings.Contains(before, risk) || strings.Contains(before, "Risiko über") {
		t.Errorf("of the last ring it is said which risk it waits for: %s", before)
	}
	w.must(w.exec(`UPDATE rollout_trains SET version = '2.2.0' WHERE product = 'launcher' AND version = '2.3.0'`))
	has("/updates", "Nicht von hier Starter·2.2.0")
	for _, res := range []answer{b.get("/releases/" + w.releaseID("0.9.0") + "/rollout"), b.post("/releases/"+w.releaseID("0.9.0")+"/rollout", url.Values{"reason": {"falsche Zeile"}})} {
		if res.StatusCode != http.StatusConflict || !strings.Contains(res.body, `<a class="button" href="/updates">`) {
			t.Errorf("a release that may not begin = %d, without the way to the rollouts", res.StatusCode)
		}
	}
}
