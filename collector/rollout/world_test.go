package rollout_test

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"strconv"
	"strings"
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
	"hausmeister/collector/rollout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

var (
	migrations = []db.Migrations{access.Migrations, audit.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations, rollout.Migrations}
	// Saturday noon: nobody teaches, and no window holds anything back.
	saturday = time.Date(2026, 11, 28, 11, 0, 0, 0, time.UTC)
	system   = access.System("test")
)

// person is somebody of the role release.
func person(name string) access.Caller {
	return access.Caller{Kind: access.KindUser, ID: name, Name: name, Role: access.RoleRelease}
}

// world is a fleet and a repository beside rollouts.
type world struct {
	*rollout.Rollouts
	t      testing.TB
	db     *db.DB
	bus    *bus.Bus
	fleet  *fleet.Fleet
	health *health.Health
	repo   *tufrepo.Fleet
	now    time.Time
	dir    string // of the published repository
	files  string // of the collector
	owner  string
	seqs   map[string]uint64
	runs   map[string]string // versions of devices that were updated
	cfg    rollout.Config
}

// both runs a test on both databases.
func both(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) { test(t, newWorld(t, d)) })
}

func newWorld(t testing.TB, d *db.DB) *world {
	t.Helper()
	w := &world{t: t, db: d, bus: bus.New(), now: saturday, dir: t.TempDir(), files: t.TempDir(), seqs: map[string]uint64{}, runs: map[string]string{}}
	clock := func() time.Time { return w.now }
	log := slog.New(slog.DiscardHandler)
	w.repo = tufrepo.NewFleet(clock)
	var err error
	if w.fleet, err = fleet.New(fleet.Config{DB: d, Now: clock}); err != nil {
		t.Fatal(err)
	}
	w.cfg = rollout.Config{DB: d, Bus: w.bus, Now: clock, Log: log, Dir: w.files, Root: w.repo.Root(), Fresh: w.repo.Fresh}
	w.restart()
	o, err := w.fleet.AddOwner(context.Background(), system, "Stadt Wiesbaden")
	if err != nil {
		t.Fatal(err)
	}
	w.owner = o.ID
	return w
}

// restart makes everything that is in memory anew.
func (w *world) restart() {
	w.t.Helper()
	var err error
	if w.Rollouts, err = rollout.New(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.health, err = health.New(health.Config{DB: w.db, Bus: w.bus, Now: w.cfg.Now, Log: w.cfg.Log, Updates: w.Rollouts})
	if err != nil {
		w.t.Fatal(err)
	}
}

// publish writes what the repository has into the folder, as an operator's tool does.
func (w *world) publish() {
	w.t.Helper()
	w.publishTo(w.dir)
}

func (w *world) publishTo(dir string) {
	w.t.Helper()
	if err := w.repo.WriteTo(dir); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) imported() rollout.Import {
	w.t.Helper()
	w.publish()
	im, err := w.Import(w.t.Context(), person("ada"), w.dir, nil)
	if err != nil {
		w.t.Fatalf("Import = %v", err)
	}
	return im
}

// release publishes and imports a version with bytes of its own.
func (w *world) release(version string) manifest.Release {
	w.t.Helper()
	rel := w.repo.Release(manifest.RoleStable, manifest.Release{Version: version}, []byte("program "+version))
	w.imported()
	return rel
}

func (w *world) device(n int, school, model string) string {
	w.t.Helper()
	var id string
	err := w.db.Write(w.t.Context(), func(tx *db.Tx) (err error) {
		id, _, err = w.fleet.Admit(w.t.Context(), tx, system, w.owner, school, ident.Hardware{Manufacturer: "FUJITSU", Model: model, Serial: "S" + strconv.Itoa(10000+n), OS: "linux"})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) caller(device string) access.Caller { return access.ForDevice(device, w.owner) }

// connects lets a device come with a version.
func (w *world) connects(device, version string, session int64) {
	w.t.Helper()
	if _, err := w.health.Begin(w.t.Context(), w.caller(device), session, []byte(device)[:health.EpochSize], version); err != nil {
		w.t.Fatal(err)
	}
}

// tells lets a device tell a step of its update.
func (w *world) tells(device string, u hmpb.Update_builder) {
	w.t.Helper()
	w.seqs[device]++
	w.tellsAgain(device, w.seqs[device], u)
}

func (w *world) tellsAgain(device string, seq uint64, u hmpb.Update_builder) {
	w.t.Helper()
	e := hmpb.Entry_builder{Update: u.Build()}.Build()
	e.SetOffset(0)
	e.SetDeviceMs(w.now.UnixMilli())
	down, err := w.health.Ingest(w.t.Context(), w.caller(device), hmpb.Batch_builder{SpoolEpoch: []byte(device)[:health.EpochSize], FirstSeq: &seq, Entries: []*hmpb.Entry{e}}.Build())
	if err != nil || down.GetAck().GetThroughSeq() < seq {
		w.t.Fatalf("Ingest = %v, %v, want entry %d acknowledged", down, err, seq)
	}
}

func (w *world) count(sql string, args ...any) (n int64) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(tx *db.Tx) error { return tx.QueryRow(w.t.Context(), sql, args...).Scan(&n) })
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) exec(sql string, args ...any) error {
	return w.db.Write(w.t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(w.t.Context(), sql, args...)
		return err
	})
}

// start begins the rollout of an imported version, and gives every device its place.
func (w *world) start(t testing.TB, version string) string {
	t.Helper()
	id, err := w.Start(t.Context(), person("ada"), w.releaseID(version), "new version for the schools")
	if err != nil {
		t.Fatalf("Start = %v", err)
	}
	w.care()
	return id
}

func (w *world) releaseID(version string) string {
	w.t.Helper()
	releases, err := w.Releases(w.t.Context(), system)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range releases {
		if r.Version == version {
			return r.ID
		}
	}
	w.t.Fatalf("no release %s", version)
	return ""
}

func (w *world) care() {
	w.t.Helper()
	if err := w.Care(w.t.Context()); err != nil {
		w.t.Fatalf("Care = %v", err)
	}
}

// offered asks as the gateway does for a device that runs a version.
func (w *world) offered(device, version string) *hmpb.Offer {
	w.t.Helper()
	hash := sha256.Sum256([]byte("program " + version))
	o, err := rollout.Gateway{Rollouts: w.Rollouts}.Offer(w.t.Context(), w.caller(device), version, hash[:], []string{"system:linux/amd64"})
	if err != nil {
		w.t.Fatalf("Offer = %v", err)
	}
	return o
}

// ends lets a device end its update, well or not.
func (w *world) ends(device string, o *hmpb.Offer, good bool) {
	w.t.Helper()
	delete(w.runs, device)
	if good {
		w.runs[device] = o.GetVersion()
	}
	u := hmpb.Update_builder{Lease: new(o.GetLease()), ToSha256: o.GetSha256(), ToVersion: new(o.GetVersion()), State: new(hmpb.UpdateState_UPDATE_STATE_COMMITTED)}
	if !good {
		u.State, u.Reason = new(hmpb.UpdateState_UPDATE_STATE_ROLLED_BACK), new(hmpb.UpdateReason_UPDATE_REASON_CRASHED)
		u.Signature = new("crash " + device)
	}
	w.tells(device, u)
}

func (w *world) view(id string) rollout.Rollout {
	w.t.Helper()
	v, err := w.Rollout(w.t.Context(), person("ada"), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// fleetOf admits devices of some models, all connected with a version.
func (w *world) fleetOf(n int, version string, models ...string) (ids []string) {
	w.t.Helper()
	for i := range n {
		id := w.device(i, "", models[i%len(models)])
		w.connects(id, version, int64(i+1))
		ids = append(ids, id)
	}
	return ids
}

// begun is fleetOf with 1.0.0, of which 1.1.0 begins to be rolled out.
func (w *world) begun(n int, models ...string) (ids []string, id string) {
	w.t.Helper()
	w.release("1.0.0")
	w.release("1.1.0")
	ids = w.fleetOf(n, "1.0.0", models...)
	return ids, w.start(w.t, "1.1.0")
}

func (w *world) why(device string) rollout.Why {
	w.t.Helper()
	d, _, err := w.DeviceState(w.t.Context(), person("ada"), device)
	if err != nil {
		w.t.Fatal(err)
	}
	return d.Why
}

func schools() io.Reader {
	return strings.NewReader("schul_id;schultraeger;schulform;name;geraete\n5001;Stadt Wiesbaden;G;Waldschule;10\n5002;Stadt Wiesbaden;GYM;Bergschule;10\n")
}
