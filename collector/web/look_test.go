package web_test

import (
	"log/slog"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/question"
	"hausmeister/proto/block"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
	"hausmeister/testenv/need"
)

// TestEveryPageLooksRight opens each page in both languages and both themes in
// a real browser. One of each also narrow, and one held against the checklist.
func TestEveryPageLooksRight(t *testing.T) {
	need.Plain(t) // the browser does the work; the pages' other tests run under the detector
	w := storesPaced(t, peopled(t), slog.New(slog.DiscardHandler), lookRings).serve()
	ids := w.fill(120)
	runs, halted, waits := w.rolled(ids)
	bare := w.admitHardware("Landkreis Ahorn", "S0001", ident.Hardware{OS: "linux", InstallID: [16]byte{7}})
	w.report(bare, num(reading.MemoryTotal, "", 8<<30), num(reading.MemoryUsed, "", 3<<30), num(reading.SwapTotal, "", 0), absent(reading.SwapUsed, hmpb.Absent_ABSENT_NO_HARDWARE),
		absent(reading.Manufacturer, hmpb.Absent_ABSENT_NOT_SUPPORTED), absent(reading.Model, hmpb.Absent_ABSENT_NOT_SUPPORTED), absent(reading.Serial, hmpb.Absent_ABSENT_DENIED),
		num(reading.Temperature, "cpu", 48_000), num(reading.Temperature, "wifi", 41_000), num(reading.Temperature, "case", 31_000),
		txt(reading.LinkState, "wired", "down"), txt(reading.LinkState, "wifi", "up"), txt(reading.LinkState, "wifi 2", "down"), absent(reading.LinkSpeed, hmpb.Absent_ABSENT_NOT_SUPPORTED))
	known := w.known()
	w.fillsUp(ids[1], hmpb.Severity_SEVERITY_CRITICAL)
	w.fillsUp(ids[3], hmpb.Severity_SEVERITY_WARNING)
	w.user("looker", access.RoleSupport, nil)
	looker := w.look("looker", known)
	w.must(w.health.SetStandard(t.Context(), operator, w.ownerID("Landkreis Ahorn"), health.Standard{Names: []string{"LibreOffice", "libreoffice-core"}, LeastVersion: "25.2"}))
	claim, _, err := w.enroll.CreateClaim(t.Context(), operator, enroll.NewClaim{Owner: w.ownerID("Landkreis Ahorn"), Cap: 25, Expires: w.clock().AddDate(0, 0, 30), Note: "Lieferschein 4711"})
	w.must(err)
	_, token, err := w.access.CreateToken(t.Context(), operator, access.NewToken{Name: "grafana", Role: access.RoleRead})
	w.must(err)
	eva, err := w.access.User(t.Context(), operator, "support")
	w.must(err)
	job, undone := w.labelled(ids)
	w.must(w.fleet.SetLabel(t.Context(), operator, known, "A", true))
	view, err := w.fleet.SaveView(t.Context(), operator, fleet.View{Sharing: fleet.ViewAll, Name: "Still vor den Sommerferien", Filter: fleet.Filter{State: fleet.StateSilent}})
	w.must(err)
	_, err = w.fleet.SaveView(t.Context(), operator, fleet.View{Sharing: fleet.ViewOwner, Owner: w.ownerID("Landkreis Ahorn"), Name: "Rückruf", Filter: fleet.Filter{Label: "Rückruf"}})
	w.must(err)
	w.days(ids, 12)
	saved, err := w.asked.Save(t.Context(), access.Caller{Kind: access.KindUser, ID: eva.ID, Name: "support", Role: access.RoleSupport},
		question.Draft{Name: "Akkus für den Tausch", Question: question.Question{Conditions: []question.Condition{{Name: "battery_health", Op: question.Below, Value: "700"}}}})
	w.must(err)
	_, err = w.asked.Save(t.Context(), operator, question.Draft{Name: "Firewall aus, nach Schulform", Shared: true,
		Question: question.Question{Conditions: []question.Condition{{Name: "firewall", Op: question.Is, Value: "off"}, {Name: "school_kind", Op: question.Is, Value: "Gymnasium"}}}})
	w.must(err)
	for _, until := range []time.Time{{}, w.clock().AddDate(0, 0, 7)} {
		id := map[bool]string{true: ids[3], false: known}[until.IsZero()]
		_, err = w.health.QuietFinding(t.Context(), looker, id, finding.DiskLow, "C:",
			health.NewQuiet{Reason: "Größere SSD ist bestellt, Lieferung in der nächsten Woche", Until: until})
		w.must(err)
	}
	quiet, err := w.fleet.StartJob(t.Context(), looker, fleet.NewJob{Act: fleet.ActQuiet, Filter: &fleet.Filter{Finding: finding.DiskLow, Model: "MacBook Air 13″"}, Reason: "Neues Abbild kommt am Montag"})
	w.must(err)
	w.must(w.fleet.RunJobs(t.Context()))
	pages := []lookedAt{
		{"sign-in", "/sign-in", ""},
		{"accessibility-stranger", "/accessibility", ""},
		{"accessibility", "/accessibility", "admin"},
		{"list", "/devices", "admin"},
		{"list-filtered", "/devices?q=lifebook&state=connected", "support"},
		{"list-empty", "/devices?q=gibtesnicht", "read"},
		{"list-words", "/devices?q=eins+zwei+drei+vier+f%C3%BCnf+sechs+sieben", "read"},
		{"list-label", "/devices?label=R%C3%BCckruf&job=" + job.ID, "support"},
		{"list-all", "/devices?all=1", "admin"},
		{"views", "/views?done=deleted&deleted=x", "admin"},
		{"view-new", "/views/new?from=state%3Dsilent", "admin"},
		{"list-view", "/devices?state=silent&view=" + view.ID, "admin"},
		{"list-view-changed", "/devices?state=silent&q=lifebook&edits=" + view.ID + ".then", "admin"},
		{"jobs", "/jobs", "admin"},
		{"job", "/jobs/" + job.ID, "support"},
		{"job-undone", "/jobs/" + undone.ID, "admin"},
		{"job-new-label", "/jobs/new?what=label&device=" + ids[0] + "&device=" + ids[5], "support"},
		{"job-new-school", "/jobs/new?what=school&all=1&from=state%3Dsilent", "admin"},
		{"revoke", "/devices/" + ids[0] + "/revoke", "admin"},
		{"device-bare", "/devices/" + bare, "read"},
		{"device", "/devices/" + ids[0], "admin"},
		{"device-desktop", "/devices/" + ids[4], "support"},
		{"device-known", "/devices/" + known, "support"},
		{"device-known-day", "/devices/" + known + "?range=24h", "looker"},
		{"device-known-month", "/devices/" + known + "?range=30d", "read"},
		{"device-known-shut", "/devices/" + known + "?range=24h", "support"},
		{"events", "/devices/" + known + "/events", "support"},
		{"events-none", "/devices/" + known + "/events?before=2020-01-01", "read"},
		{"software", "/devices/" + known + "/software", "read"},
		{"software-none", "/devices/" + bare + "/software", "read"},
		{"questions", "/questions", "support"},
		{"question", "/questions?if=battery_health.lt.700&if=model.is.LIFEBOOK+A3510", "admin"},
		{"question-saved", "/questions?if=battery_health.lt.700&saved=" + saved.ID, "support"},
		{"question-changed", "/questions?if=battery_health.lt.600&if=model.contains.LIFEBOOK&edits=" + saved.ID + ".then", "support"},
		{"questions-deleted", "/questions?done=deleted&deleted=" + saved.ID, "support"},
		{"question-text", "/questions?if=os_build.contains.22&if=school_kind.not.KGS&order=desc", "read"},
		{"question-facts", "/questions?if=model.contains.LIFEBOOK", "read"},
		{"question-none", "/questions?if=boot_duration.gt.3600000", "read"},
		{"question-step", "/questions?if=battery_health.lt.700&what=volume_free", "support"},
		{"question-wrong", "/questions?if=battery_health.lt.700&what=memory_total&op=lt&value=viel", "support"},
		{"catalogue", "/catalogue", "read"},
		{"device-new", "/devices/" + ids[16], "read"},
		{"keys", "/keys", "admin"},
		{"findings", "/findings", "support"},
		{"finding", "/findings/disk_low", "read"},
		{"finding-job", "/findings/disk_low?job=" + quiet.ID, "support"},
		{"job-quiet", "/jobs/" + quiet.ID, "support"},
		{"finding-quiet", "/findings/disk_low/quiet", "support"},
		{"quiet-device", "/devices/" + known + "/findings/quiet?code=disk_low&instance=C:", "support"},
		{"finding-acts", "/findings/disk_low?done=quiet", "support"},
		{"list-agent", "/devices?columns=school,agent,update&update=behind", "read"},
		{"list-finding", "/devices?finding=disk_low", "read"},
		{"api", "/api", "admin"},
		{"schools", "/schools", "support"},
		{"search", "/search?q=a", "admin"},
		{"search-none", "/search?q=gibtesnicht", "read"},
		{"school", "/schools/" + w.schoolID("Landkreis Ahorn", "S0001"), "support"},
		{"school-edit", "/schools/" + w.schoolID("Landkreis Ahorn", "S0001") + "/edit", "admin"},
		{"sheet", "/schools/" + w.schoolID("Landkreis Ahorn", "S0001") + "/sheet", "admin"},
		{"schools-none", "/schools?s=gibtesnicht", "support"},
		{"updates", "/updates", "release"},
		{"updates-read", "/updates", "read"},
		{"rollout", "/rollouts/" + runs, "release"},
		{"rollout-halted", "/rollouts/" + halted, "admin"},
		{"rollout-waits", "/rollouts/" + waits, "release"},
		{"rollout-read", "/rollouts/" + runs, "support"},
		{"rollout-devices", "/rollouts/" + runs + "/devices", "support"},
		{"rollout-waiting", "/rollouts/" + runs + "/devices?why=waits", "read"},
		{"rollout-promote", "/rollouts/" + runs + "/promote", "release"},
		{"rollout-approve", "/rollouts/" + waits + "/approve", "release"},
		{"rollout-abort", "/rollouts/" + runs + "/abort", "release"},
		{"rollout-back", "/rollouts/" + runs + "/rollback", "release"},
		{"rollout-part", "/rollouts/" + runs + "/parts", "release"},
		{"rollout-resume", "/rollouts/" + halted + "/resume", "release"},
		{"release-start", "/releases/" + w.releaseID("1.0.0") + "/rollout", "release"},
		{"release-start-urgent", "/releases/" + w.releaseID("1.1.1") + "/rollout", "admin"},
		{"release-block", "/releases/" + w.releaseID("1.0.0") + "/block", "admin"},
		{"hours", "/owners/" + w.ownerID("Landkreis Ahorn") + "/updates", "admin"},
		{"hours-read", "/owners/" + w.ownerID("Landkreis Ahorn") + "/updates", "read"},
		{"settings", "/settings?owner=" + w.ownerID("Landkreis Ahorn") + "&done=saved", "admin"},
		{"claims", "/claims", "admin"},
		{"claim-new", "/claims/new", "admin"},
		{"claim-revoke", "/claims/" + claim.ID + "/revoke", "admin"},
		{"people", "/people", "admin"},
		{"person", "/people/" + eva.ID + "?done=role", "admin"},
		{"person-new", "/people/new", "admin"},
		{"token-new", "/tokens/new", "admin"},
		{"token-revoke", "/tokens/" + token.ID + "/revoke", "admin"},
		{"view-edit", "/views/" + view.ID + "/edit", "admin"},
		{"audit", "/audit", "admin"},
		{"audit-none", "/audit?from=2020-01-01&to=2020-01-02", "admin"},
		{"account", "/account", "support"},
		{"not-found", "/devices/none", "admin"},
		{"bad-request", "/devices?state=kaputt", "admin"},
	}
	// Several pages at once, each in a tab of its own in which it is loaded once in each
	// language; and each person signs in once.
	people := map[string]*browser{"": nil}
	for _, p := range pages {
		if people[p.as] == nil && p.as != "" {
			people[p.as] = w.signedIn(p.as)
		}
	}
	next := make(chan lookedAt)
	var lookers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		lookers.Go(func() {
			for p := range next {
				p.look(t, w, people[p.as])
			}
		})
	}
	for _, p := range pages {
		next <- p
	}
	close(next)
	lookers.Wait()
}

// lookedAt is a page that is looked at.
type lookedAt struct{ name, path, as string }

// look opens the page as this person. The theme changes in the open page as it does
// when the system's does, so that nothing is loaded again for it; what changes the
// page's size comes last in its language. Light English has the colours of light German
// and the words of dark English, and is looked at where there is time for all.
func (p lookedAt) look(t *testing.T, w *world, person *browser) {
	var tb *tab
	loaded := ""
	for _, look := range [][2]string{{"de", "dark"}, {"de", "light"}, {"en", "light"}, {"en", "dark"}} {
		lang, theme := look[0], look[1]
		if lang+theme == "enlight" && os.Getenv("HAUSMEISTER_LONG") != "1" && os.Getenv("HAUSMEISTER_SCREENSHOTS") == "" {
			continue
		}
		t.Run(p.name+"-"+lang+"-"+theme, func(t *testing.T) {
			fresh := loaded != lang
			if fresh {
				if tb != nil {
					tb.close()
				}
				tb = w.tab(t, looks{lang: lang, theme: theme, person: person, as: p.as, lasting: true})
				tb.prefers(theme)
				tb.open(p.path)
				loaded = lang
			} else {
				tb.t = t
				tb.turn(theme)
			}
			p.check(tb, lang, theme, fresh)
		})
	}
	if tb != nil {
		tb.close()
	}
}

func (p lookedAt) check(tb *tab, lang, theme string, fresh bool) {
	t := tb.t
	if p.as == "looker" {
		tb.wait(`document.querySelector("[data-live]")?.dataset.live === "on"`)
	}
	if eval[bool](tb, `/Das hat nicht geklappt|That did not work/.test(document.title)`) {
		t.Error("the page is an error")
	}
	if got := eval[string](tb, "document.documentElement.lang"); got != lang {
		t.Errorf("lang = %q, want %q", got, lang)
	}
	if got := eval[string](tb, "document.documentElement.dataset.theme"); got != theme {
		t.Errorf("theme = %q, want %q", got, theme)
	}
	tb.shot(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
	if fresh {
		tb.accessible()
	} else {
		tb.contrasts() // the same document in other colours
	}
	tb.noSideways()
	tb.still()
	switch lang + theme {
	case "delight":
		tb.checklist()
	case "endark":
		tb.narrow(p.name + "-" + lang + "-" + theme + "-320")
	}
	tb.clean()
}

// labelled has some devices labelled by a job, and another job undone.
func (w *world) labelled(ids []string) (done, undone fleet.Job) {
	w.t.Helper()
	ctx, admin := w.t.Context(), access.Caller{Kind: access.KindUser, ID: "somebody", Name: "m.winter", Role: access.RoleAdmin}
	done, err := w.fleet.StartJob(ctx, admin, fleet.NewJob{Act: fleet.ActLabel, Label: "Rückruf", Devices: ids[:9]})
	w.must(err)
	undone, err = w.fleet.StartJob(ctx, admin, fleet.NewJob{Act: fleet.ActLabel, Label: "Austausch im Sommer 2027", Filter: &fleet.Filter{Query: "lifebook"}})
	w.must(err)
	w.must(w.fleet.RunJobs(ctx))
	w.must(w.fleet.SetLabel(ctx, operator, ids[0], "Austausch im Sommer 2027", false))
	w.must(w.fleet.SetLabel(ctx, operator, ids[0], "Austausch im Sommer 2027", true))
	undone, err = w.fleet.UndoJob(ctx, admin, undone.ID)
	w.must(err)
	w.must(w.fleet.RunJobs(ctx))
	return done, undone
}

// days gives devices daily rows of so many weeks, as if they had told them.
func (w *world) days(ids []string, weeks int) {
	w.t.Helper()
	today := w.clock().UnixMilli() / 86_400_000
	w.must(w.db.Write(w.t.Context(), func(tx *db.Tx) error {
		for week := range weeks {
			day := today - 1 - int64(7*week)
			for i, id := range ids {
				n := int64(i)
				firewall := "on"
				if i%9 == 0 {
					firewall = "off"
				}
				_, err := tx.Exec(w.t.Context(), `INSERT INTO health_days (device_id, day, battery_charge, battery_health, volume_free, memory_total, os_build, firewall, boot_duration)
					VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, id, day, 380+n*61%600, 560+n*13%400+int64(week)*8, 4_100_000_000+n*9_700_000_000%200_000_000_000,
					int64(8)<<30, []string{"22621.4317", "22631.4460", "26100.2314"}[i%3], firewall, 14_000+n*1700%90_000)
				if err != nil {
					return err
				}
			}
			if _, err := tx.Exec(w.t.Context(), `INSERT INTO health_weeks (week, changes) VALUES ($1, 1) ON CONFLICT (week) DO UPDATE SET changes = health_weeks.changes + 1`, (day+3)/7); err != nil {
				return err
			}
		}
		return nil
	}))
	_, err := w.asked.Refresh(w.t.Context())
	w.must(err)
}

// known admits a device that tells every reading, has findings, a changed list
// of programs, and was looked at.
func (w *world) known() string {
	id := w.admit("Landkreis Ahorn", "S0001", "FUJITSU", "LIFEBOOK A3510", "DEMOKNOWN", "windows", "AH-2021-0815")
	var state []*hmpb.Reading
	for r := range reading.All() {
		instances := []string{""}
		if r.Instanced {
			instances = instancesOf(r.Name)
		}
		for _, instance := range instances {
			switch r.Kind {
			case reading.Number:
				state = append(state, num(r.ID, instance, plausible(r)))
			case reading.Code:
				state = append(state, txt(r.ID, instance, r.Codes[0].Code))
			case reading.Text:
				state = append(state, txt(r.ID, instance, "24H2"))
			}
		}
	}
	w.report(id, state...)
	state1, off := "state", "off"
	w.fillsUp(id, hmpb.Severity_SEVERITY_CRITICAL)
	w.raise(id, finding.FirewallOff, "", hmpb.Severity_SEVERITY_WARNING, hmpb.Argument_builder{Name: &state1, Text: &off}.Build())
	for _, programs := range [][]inventory.Program{
		{{Name: "7-Zip 24.08 (x64)", Version: "24.08"}, {Name: "Flash Player", Version: "32"}, {Name: "Mozilla Firefox", Version: "144.0"}},
		{{Name: "7-Zip 24.08 (x64)", Version: "24.08"}, {Name: "LibreOffice 25.8", Version: "25.8.2.2"}, {Name: "Mozilla Firefox", Version: "145.0"}},
	} {
		m, err := inventory.Pack(programs)
		w.must(err)
		w.tell(id, hmpb.Entry_builder{Inventory: m}.Build())
	}
	w.past(id)
	_, err := w.health.OpenLook(w.t.Context(), access.Caller{Kind: access.KindUser, ID: "somebody", Name: "m.winter", Role: access.RoleSupport}, id, "Anruf: seit Montag sehr langsam")
	w.must(err)
	return id
}

// raise lets a device tell a finding.
func (w *world) raise(id, code, instance string, severity hmpb.Severity, arguments ...*hmpb.Argument) {
	w.t.Helper()
	w.tell(id, hmpb.Entry_builder{Finding: hmpb.Finding_builder{Code: &code, Raised: new(true), Instance: &instance, Severity: &severity, Arguments: arguments}.Build()}.Build())
}

// fillsUp raises disk_low.
func (w *world) fillsUp(id string, severity hmpb.Severity) {
	w.t.Helper()
	bytes := func(name string, n int64) *hmpb.Argument {
		return hmpb.Argument_builder{Name: &name, Number: &n}.Build()
	}
	w.raise(id, finding.DiskLow, "C:", severity, bytes("free", 4<<30), bytes("total", 256e9))
}

// past makes a device tell the blocks of 30 days: on school days from half past
// seven to one, today until now, with an hour in which it read no temperature.
func (w *world) past(id string) {
	w.t.Helper()
	now := w.clock()
	for day := now.AddDate(0, 0, -29).Truncate(24 * time.Hour); day.Before(now); day = day.AddDate(0, 0, 1) {
		if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
			continue
		}
		for quarter := range 22 {
			start := day.Add(6*time.Hour + 30*time.Minute + time.Duration(quarter)*15*time.Minute)
			if start.Add(15 * time.Minute).After(now) {
				break
			}
			w.block(id, start, func(i int, at time.Time) map[block.Key]int64 {
				left := now.Sub(at).Hours() / 24
				wave := math.Sin(float64(quarter*15+i) / 40)
				values := map[block.Key]int64{
					{ID: reading.CPUUsed}:                      int64(220 + 180*wave + float64(i*37%90)),
					{ID: reading.MemoryUsed}:                   int64((4.6 + wave) * (1 << 30)),
					{ID: reading.VolumeFree, Instance: "C:"}:   int64(4e9 + left*0.9e9),
					{ID: reading.BatteryCharge}:                int64(1000 - quarter*35 - i*2),
					{ID: reading.Temperature, Instance: "cpu"}: int64(52_000 + 9_000*wave),
				}
				if quarter >= 8 && quarter < 12 {
					delete(values, block.Key{ID: reading.Temperature, Instance: "cpu"})
				}
				return values
			})
		}
	}
}

// block tells 15 minutes of values.
func (w *world) block(id string, start time.Time, values func(i int, at time.Time) map[block.Key]int64) {
	w.t.Helper()
	b := block.Block{Start: start.UnixMilli(), Step: block.Minute, Count: 15}
	for i := range 15 {
		for key, n := range values(i, start.Add(time.Duration(i)*time.Minute)) {
			w.must(b.Set(b.Start+int64(i)*block.Minute, key, false, n))
		}
	}
	packed, err := block.Encode(b)
	w.must(err)
	w.tell(id, hmpb.Entry_builder{Block: hmpb.Block_builder{StartMs: &b.Start, StepS: new(uint32(60)), Steps: new(uint32(15)), Packed: packed}.Build()}.Build())
}

func instancesOf(name string) []string {
	switch kind, _, _ := strings.Cut(name, "_"); kind {
	case "volume":
		return []string{"C:", "D:"}
	case "link":
		return []string{"wifi", "wired"}
	case "temperature":
		return []string{"cpu", "disk"}
	case "cpu":
		return []string{"1", "2", "3", "4"}
	case "pressure":
		return []string{"cpu", "io", "memory"}
	case "fan", "disk", "printer":
		return []string{kind, kind + " 2"}
	}
	return []string{"part"}
}

// plausible is a number that a page has to show well.
func plausible(r reading.Reading) int64 {
	n := map[reading.Unit]int64{reading.Permille: 430, reading.Milli: 1250, reading.Bytes: 5 << 30, reading.MilliCelsius: 61_000, reading.BitPerSecond: 866e6,
		reading.UnixMilli: 1_790_000_000_000, reading.PPM: 180, reading.Milliseconds: 43_000, reading.Seconds: 9_000_000, reading.PerMinute: 2900,
		reading.MilliwattHours: 31_500, reading.DecibelMilliwatts: -63, reading.Count: 4}[r.Unit]
	return max(r.Min, min(r.Max, n))
}
