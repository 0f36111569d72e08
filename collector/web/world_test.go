package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/question"
	"hausmeister/collector/rollout"
	"hausmeister/collector/web"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// world is a collector's data on a real store, with the pages before it.
type world struct {
	t        testing.TB
	db       *db.DB
	access   *access.Service
	enroll   *enroll.Enroll
	fleet    *fleet.Fleet
	health   *health.Health
	asked    *question.Questions
	rollouts *rollout.Rollouts
	bus      *bus.Bus
	web      *web.Server
	url      string
	ts       *httptest.Server
	people   atomic.Int64 // made by person
	down     atomic.Bool  // cuts every connection instead of answering
	hold     atomic.Bool  // answers parts of a page not at all
	status   atomic.Int32 // answers parts of a page with this error

	mu    sync.Mutex
	now   time.Time
	seq   map[string]uint64
	next  int64
	ready error
}

const password = "ein langes Passwort"

// monday is a school day; the demo's devices report on it.
var monday = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

var operator = access.System("test")

func newWorld(t testing.TB) *world {
	t.Helper()
	return newStores(t).serve()
}

// serve gives the world a socket.
func (w *world) serve() *world {
	t := w.t
	t.Helper()
	w.ts = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.down.Load() {
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("HX-Request") == "true" {
			if w.hold.Load() {
				<-r.Context().Done()
				return
			}
			if status := int(w.status.Load()); status != 0 {
				http.Error(rw, "as the test asked for", status)
				return
			}
		}
		w.web.ServeHTTP(rw, r)
	}))
	w.ts.EnableHTTP2 = true
	w.ts.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.ts.StartTLS()
	t.Cleanup(w.ts.Close)
	w.url = w.ts.URL
	return w
}

// newStores is a world without a socket.
func newStores(t testing.TB) *world {
	t.Helper()
	return storesOn(t, peopled(t), slog.New(slog.DiscardHandler))
}

// peopled opens a fresh database that has somebody of each role: six passwords take
// half a second of a core under the race detector, and each test begins with them.
var peopled = dbtest.Once(migrations, func(ctx context.Context, d *db.DB) error {
	return somebodyOfEachRole(ctx, access.New(access.Config{DB: d, Now: func() time.Time { return monday }, Log: slog.New(slog.DiscardHandler)}))
})

// somebodyOfEachRole makes those that are not there yet.
func somebodyOfEachRole(ctx context.Context, a *access.Service) error {
	for _, role := range access.Roles {
		if _, err := a.User(ctx, operator, string(role)); err == nil {
			continue
		}
		if _, err := a.CreateUser(ctx, operator, access.NewUser{Login: string(role), Password: password, Role: role}); err != nil {
			return err
		}
	}
	return nil
}

var migrations = []db.Migrations{audit.Migrations, access.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations, question.Migrations, rollout.Migrations}

// fewRings are of two, three and all, so that a handful of devices has some.
var fewRings = rollout.Pace{Rings: []rollout.Ring{{Devices: 1}, {Devices: 2}, {Millions: rollout.Whole}}}

// storesOn is newStores on this database, with this log.
func storesOn(t testing.TB, d *db.DB, log *slog.Logger) *world {
	return storesPaced(t, d, log, fewRings)
}

// storesPaced is storesOn with rollouts that go at this pace.
func storesPaced(t testing.TB, d *db.DB, log *slog.Logger, pace rollout.Pace) *world {
	t.Helper()
	w := &world{t: t, db: d, now: monday, seq: map[string]uint64{}, bus: bus.New()}
	w.access = access.New(access.Config{DB: w.db, Now: w.clock, Log: log})
	var err error
	w.rollouts, err = rollout.New(rollout.Config{DB: w.db, Bus: w.bus, Now: w.clock, Log: log, Dir: t.TempDir(), Pace: pace})
	if err != nil {
		t.Fatal(err)
	}
	if w.health, err = health.New(health.Config{DB: w.db, Bus: w.bus, Now: w.clock, Log: log, Updates: w.rollouts}); err != nil {
		t.Fatal(err)
	}
	if w.fleet, err = fleet.New(fleet.Config{DB: w.db, Now: w.clock, Log: log, Quieter: w.health, Updates: w.rollouts}); err != nil {
		t.Fatal(err)
	}
	if w.asked, err = question.New(question.Config{DB: w.db, Now: w.clock, Log: log}); err != nil {
		t.Fatal(err)
	}
	w.enroll, err = enroll.New(t.Context(), enroll.Config{DB: w.db, Bus: w.bus, Records: w.fleet, Dir: filepath.Join(t.TempDir(), "ca"), Address: "desk.schule.example:8443", Now: w.clock, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.web, err = web.New(web.Config{Access: w.access, Claims: w.enroll, Fleet: w.fleet, Health: w.health, Questions: w.asked, Rollouts: w.rollouts, NeedsRoot: true, Bus: w.bus, Address: "desk.schule.example:443", Now: w.clock, Log: log, Version: "1.2.3",
		Ready: func(context.Context) error { w.mu.Lock(); defer w.mu.Unlock(); return w.ready },
		Measures: []web.Measure{
			{Name: "hausmeister_connections", Help: "Devices connected now.", Read: func() float64 { return 7 }},
			{Name: "hausmeister_reports_total", Help: "Reports stored.", Counter: true, Labels: map[string]string{"kind": "state"}, Read: func() float64 { return 42 }},
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); w.fleet.Run(ctx, func() {}) }()
	t.Cleanup(func() { stop(); <-ended })
	w.must(somebodyOfEachRole(t.Context(), w.access))
	return w
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) advance(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(login string, role access.Role, owners []string) {
	w.t.Helper()
	_, err := w.access.CreateUser(w.t.Context(), operator, access.NewUser{Login: login, Password: password, Role: role, Owners: owners})
	w.must(err)
}

func (w *world) token(name string, role access.Role, owners []string) string {
	w.t.Helper()
	secret, _, err := w.access.CreateToken(w.t.Context(), operator, access.NewToken{Name: name, Role: role, Owners: owners})
	w.must(err)
	return secret
}

const schools = `schul_id;schultraeger;schulform;name;geraete
S0001;Landkreis Ahorn;Gymnasium;Gymnasium Ahorntal;60
S0002;Landkreis Ahorn;Grundschule;Grundschule Erlenbach;20
S0101;Landkreis Kiefer;KGS;KGS Kiefernhöhe;60
S0102;Landkreis Kiefer;Förderschule;Förderschule Holundergarten im Unteren Wiesengrund;30
S0201;Stadt Topas;Berufliche Schule;;30
`

func (w *world) importSchools() {
	w.t.Helper()
	_, err := w.fleet.ImportSchools(w.t.Context(), operator, strings.NewReader(schools))
	w.must(err)
}

// admit makes a device's record and gives its id.
func (w *world) admit(owner, school, maker, model, serial, os, inventory string) string {
	w.t.Helper()
	id := w.admitHardware(owner, school, ident.Hardware{Manufacturer: maker, Model: model, Serial: serial, OS: os})
	if inventory != "" {
		w.must(w.fleet.SetInventory(w.t.Context(), operator, id, inventory))
	}
	return id
}

func (w *world) admitHardware(owner, school string, hw ident.Hardware) string {
	w.t.Helper()
	ctx := w.t.Context()
	ownerID, schoolID, err := w.fleet.Place(ctx, operator, owner, school)
	w.must(err)
	var id string
	w.must(w.db.Write(ctx, func(tx *db.Tx) error {
		var err error
		id, _, err = w.fleet.Admit(ctx, tx, operator, ownerID, schoolID, hw)
		return err
	}))
	return id
}

func (w *world) caller(id string) access.Caller {
	w.t.Helper()
	d, err := w.fleet.Device(w.t.Context(), operator, id)
	w.must(err)
	return access.ForDevice(id, d.Owner)
}

var epoch = []byte("0123456789abcdef")

// connect opens a session of a device, disconnect ends it.
func (w *world) connect(id string) int64 {
	w.t.Helper()
	w.next++
	_, err := w.health.Begin(w.t.Context(), w.caller(id), w.next, epoch, "1.0.0")
	w.must(err)
	w.bus.Publish(bus.Event{Kind: bus.Connected, Device: id})
	return w.next
}

func (w *world) disconnect(id string, session int64) {
	w.t.Helper()
	w.must(w.health.End(w.t.Context(), w.caller(id), session))
	w.bus.Publish(bus.Event{Kind: bus.Disconnected, Device: id})
}

// report stores the next state of a device, as its agent would send it.
func (w *world) report(id string, readings ...*hmpb.Reading) {
	w.t.Helper()
	w.tell(id, hmpb.Entry_builder{State: hmpb.State_builder{Readings: readings}.Build()}.Build())
}

// look opens a person's look at a device.
func (w *world) look(login, device string) access.Caller {
	w.t.Helper()
	u, err := w.access.User(w.t.Context(), operator, login)
	w.must(err)
	caller := access.Caller{Kind: access.KindUser, ID: u.ID, Name: login, Role: u.Role}
	_, err = w.health.OpenLook(w.t.Context(), caller, device, "Anruf: seit Montag sehr langsam")
	w.must(err)
	return caller
}

// tell makes a device say one thing of whatever kind.
func (w *world) tell(id string, e *hmpb.Entry) {
	w.t.Helper()
	w.mu.Lock()
	w.seq[id]++
	seq := w.seq[id]
	w.mu.Unlock()
	e.SetDeviceMs(w.clock().UnixMilli())
	b := hmpb.Batch_builder{SpoolEpoch: epoch, FirstSeq: &seq, Entries: []*hmpb.Entry{e}}.Build()
	_, err := w.health.Ingest(w.t.Context(), w.caller(id), b)
	w.must(err)
	w.bus.Publish(bus.Event{Kind: bus.Changed, Device: id})
}

func (w *world) revoke(id string) {
	w.t.Helper()
	w.must(w.db.Write(w.t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(w.t.Context(), `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, $2)`, id, w.clock().UnixMilli())
		return err
	}))
	w.bus.Publish(bus.Event{Kind: bus.Revoked, Device: id})
}

func num(id uint32, instance string, n int64) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Instance: &instance, Number: &n}.Build()
}

func txt(id uint32, instance, s string) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Instance: &instance, Text: &s}.Build()
}

func absent(id uint32, why hmpb.Absent) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Absent: &why}.Build()
}

// notebook is a whole state of an ordinary notebook; i varies the values.
func notebook(i int64) []*hmpb.Reading {
	const gib = 1 << 30
	return []*hmpb.Reading{
		num(reading.CPUUsed, "", 30+i*37%700), num(reading.CPUCores, "", 8), num(reading.Load1, "", 120+i*97%2000),
		num(reading.MemoryTotal, "", 8*gib-300<<20), num(reading.MemoryUsed, "", 3*gib+(i*131%3000)<<20),
		num(reading.SwapTotal, "", 2*gib), num(reading.SwapUsed, "", (i*17%900)<<20),
		num(reading.VolumeTotal, "/", 255_989_469_184), num(reading.VolumeFree, "/", 4_100_000_000+i*9_700_000_000%200_000_000_000),
		num(reading.VolumeTotal, "/home", 511_989_469_184), num(reading.VolumeFree, "/home", 88_000_000_000+i*7_700_000_000%400_000_000_000),
		num(reading.BatteryCharge, "", 380+i*61%600), txt(reading.BatteryState, "", "discharging"), txt(reading.PowerSource, "", "battery"),
		num(reading.BatteryHealth, "", 580+i*13%400), num(reading.BatteryCycles, "", 412+i),
		num(reading.Temperature, "cpu", 48_000+i*700%30_000), num(reading.Temperature, "disk", 37_000),
		txt(reading.LinkState, "wired", "down"), txt(reading.LinkState, "wifi", "up"), num(reading.LinkSpeed, "wifi", 866_000_000),
		num(reading.BootTime, "", monday.AddDate(0, 0, -3).UnixMilli()),
		txt(reading.OSName, "", "Debian GNU/Linux 12 (bookworm)"), txt(reading.OSBuild, "", "6.1.0-31-amd64"), txt(reading.Architecture, "", "amd64"),
		num(reading.AgentMemory, "", 14_800_000), num(reading.AgentCPU, "", 310),
		absent(reading.LinkSpeed, hmpb.Absent_ABSENT_NOT_SUPPORTED),
	}
}

// kinds are the makes that fill takes in turn.
var kinds = [...][3]string{{"FUJITSU", "LIFEBOOK A3510", "windows"}, {"Apple", "MacBook Air 13″", "darwin"}, {"FUJITSU", "LIFEBOOK U7311", "windows"}, {"LENOVO", "ThinkPad X13 Gen 2", "linux"}}

// isRevoked says which devices fill revokes.
func isRevoked(i int) bool { return i%29 == 28 }

// fill makes n devices in every state and of every kind; the first is AH-02317.
func (w *world) fill(n int) (ids []string) {
	w.t.Helper()
	w.importSchools()
	today := w.clock()
	places := [][2]string{{"Landkreis Ahorn", "S0001"}, {"Landkreis Kiefer", "S0101"}, {"Landkreis Ahorn", "S0002"}, {"Landkreis Kiefer", "S0102"}, {"Stadt Topas", "S0201"}, {"Stadt Topas", ""}}
	for i := range n {
		place, kind := places[i*7%len(places)], kinds[i%len(kinds)]
		short := strings.ToUpper(place[0][strings.LastIndex(place[0], " ")+1:][:2])
		inventory := fmt.Sprintf("%s-%05d", short, 2317+i)
		if i%13 == 12 {
			inventory = "" // known by its serial
		}
		id := w.admit(place[0], place[1], kind[0], kind[1], fmt.Sprintf("DEMO7K%05d", 24031+i), kind[2], inventory)
		ids = append(ids, id)
		ago := 0
		switch {
		case i%17 == 16: // new: never reported
			continue
		case i%11 == 10:
			ago = 20 + i // silent
		case i%4 == 3:
			ago = 1 + i%7
		}
		w.mu.Lock()
		w.now = today.AddDate(0, 0, -ago)
		w.mu.Unlock()
		session := w.connect(id)
		state := notebook(int64(i))
		if i%5 == 4 { // a desktop without battery
			for j, r := range state {
				if r.GetId() >= reading.BatteryCharge && r.GetId() <= reading.BatteryCycles {
					state[j] = absent(r.GetId(), hmpb.Absent_ABSENT_NO_HARDWARE)
				}
			}
		}
		w.report(id, state...)
		if i%3 != 0 || ago > 0 {
			w.disconnect(id, session)
		}
		if isRevoked(i) {
			w.revoke(id)
		}
	}
	w.mu.Lock()
	w.now = today
	w.mu.Unlock()
	return ids
}

// browser is a client that keeps cookies and does not follow redirects.
type browser struct {
	w *world
	c *http.Client
}

func (w *world) browser() *browser {
	jar, _ := cookiejar.New(nil)
	c := w.ts.Client()
	return &browser{w, &http.Client{Transport: c.Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (w *world) signedIn(login string) *browser {
	w.t.Helper()
	b := w.browser()
	res := b.post("/sign-in", url.Values{"name": {login}, "password": {password}, "next": {"/devices"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices" {
		w.t.Fatalf("POST /sign-in as %s = %d to %q, want 303 to /devices", login, res.StatusCode, res.Header.Get("Location"))
	}
	return b
}

type answer struct {
	*http.Response
	body string
}

func (b *browser) do(method, path string, body io.Reader, headers ...string) answer {
	b.w.t.Helper()
	req, err := http.NewRequestWithContext(b.w.t.Context(), method, b.w.url+path, body)
	b.w.must(err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.c.Do(req)
	b.w.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	b.w.must(err)
	b.w.described(req, res, text)
	return answer{res, string(text)}
}

// described holds each problem that any test gets against what the description says
// that the call can answer.
func (w *world) described(req *http.Request, res *http.Response, body []byte) {
	w.t.Helper()
	if res.Header.Get("Content-Type") != "application/problem+json" || w.web == nil {
		return
	}
	types := w.web.ProblemsOf(req)
	var p struct{ Type string }
	if err := json.Unmarshal(body, &p); types != nil && (err != nil || !slices.Contains(types, p.Type)) {
		w.t.Errorf("%s %s answers the problem %q, described are %v", req.Method, req.URL.Path, p.Type, types)
	}
}

func (b *browser) get(path string, headers ...string) answer {
	b.w.t.Helper()
	return b.do(http.MethodGet, path, nil, headers...)
}

func (b *browser) post(path string, form url.Values, headers ...string) answer {
	b.w.t.Helper()
	headers = append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, headers...)
	return b.do(http.MethodPost, path, strings.NewReader(form.Encode()), headers...)
}

// api calls the API with a token and decodes into out unless it is nil.
func (w *world) api(token, path string, out any) answer {
	w.t.Helper()
	res := w.browser().get(path, "Authorization", "Bearer "+token)
	if out != nil {
		if err := json.Unmarshal([]byte(res.body), out); err != nil {
			w.t.Fatalf("GET %s: %v in %q", path, err, res.body)
		}
	}
	return res
}

// exec changes the store behind the back of everybody.
func (w *world) exec(sql string) error {
	return w.db.Write(w.t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(w.t.Context(), sql)
		return err
	})
}

// count reads one number of the store.
func (w *world) count(n *int64, sql string, args ...any) error {
	return w.db.Read(w.t.Context(), func(tx *db.Tx) error { return tx.QueryRow(w.t.Context(), sql, args...).Scan(n) })
}

func (w *world) schoolID(owner, code string) string {
	w.t.Helper()
	_, id, err := w.fleet.Place(w.t.Context(), operator, owner, code)
	w.must(err)
	return id
}

var quietLog = slog.New(slog.DiscardHandler)
