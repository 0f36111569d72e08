package fleet_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

var (
	migrations = []db.Migrations{access.Migrations, audit.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations}
	noon       = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	system     = access.System("test")
)

// world is a fleet with the neighbours whose views its list joins.
type world struct {
	*fleet.Fleet
	db     *db.DB
	health *health.Health
	enroll *enroll.Enroll
	now    time.Time
	made   []string // by hesse
	// updates are what the fleet is told that devices have which word.
	updates toldUpdates
}

// toldUpdates are the devices of each word, whoever asks.
type toldUpdates map[string][]string

func (u toldUpdates) Knows(word string) bool { return u[word] != nil }

func (u toldUpdates) DevicesWith(_ context.Context, _ access.Caller, word string) ([]string, error) {
	return slices.Clone(u[word]), nil
}

func newWorld(t testing.TB, d *db.DB) *world {
	t.Helper()
	w := &world{db: d, now: noon, updates: toldUpdates{}}
	clock := func() time.Time { return w.now }
	log := slog.New(slog.DiscardHandler)
	var err error
	b := bus.New()
	if w.health, err = health.New(health.Config{DB: d, Bus: b, Now: clock, Log: log}); err != nil {
		t.Fatal(err)
	}
	if w.Fleet, err = fleet.New(fleet.Config{DB: d, Now: clock, Quieter: w.health, Updates: w.updates}); err != nil {
		t.Fatal(err)
	}
	w.enroll, err = enroll.New(context.Background(), enroll.Config{DB: d, Bus: b, Records: w, Dir: filepath.Join(t.TempDir(), "ca"),
		Address: "127.0.0.1:8443", Now: clock, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) owner(t testing.TB, name string) string {
	t.Helper()
	o, err := w.AddOwner(context.Background(), system, name)
	if err != nil {
		t.Fatal(err)
	}
	return o.ID
}

// device admits one as an enrolment does.
func (w *world) device(t testing.TB, owner, school, serial string) string {
	t.Helper()
	id, err := w.admit(owner, school, ident.Hardware{Manufacturer: "FUJITSU", Model: "LIFEBOOK A3510", Serial: serial, OS: "windows"})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *world) admit(owner, school string, hw ident.Hardware) (id string, err error) {
	err = w.db.Write(context.Background(), func(tx *db.Tx) (err error) {
		id, _, err = w.Admit(context.Background(), tx, system, owner, school, hw)
		return err
	})
	return id, err
}

// report makes a device connected, with a battery and a disk.
func (w *world) report(t testing.TB, owner, device string, session int64, battery, diskFree int64) {
	t.Helper()
	cursor, err := w.health.Begin(context.Background(), access.ForDevice(device, owner), session, epoch(device), "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	number := func(id uint32, instance string, n int64) *hmpb.Reading {
		return hmpb.Reading_builder{Id: &id, Instance: &instance, Number: &n}.Build()
	}
	w.tell(t, owner, device, cursor+1, hmpb.Entry_builder{State: hmpb.State_builder{Readings: []*hmpb.Reading{
		number(reading.BatteryCharge, "", battery), number(reading.VolumeTotal, "/", 256<<30), number(reading.VolumeFree, "/", diskFree),
	}}.Build()}.Build())
}

const (
	warning  = hmpb.Severity_SEVERITY_WARNING
	critical = hmpb.Severity_SEVERITY_CRITICAL
)

// finds raises or clears a finding of this severity.
func (w *world) finds(t testing.TB, owner, device string, s hmpb.Severity, raised bool) {
	t.Helper()
	f := hmpb.Finding_builder{Code: new("disk_low"), Instance: new(s.String()), Severity: &s, Raised: &raised}
	if raised {
		f.Arguments = []*hmpb.Argument{
			hmpb.Argument_builder{Name: new("free"), Number: new(int64(1))}.Build(), hmpb.Argument_builder{Name: new("total"), Number: new(int64(2))}.Build(),
		}
	}
	tally, err := w.health.Tally(context.Background(), system, device)
	if err != nil {
		t.Fatal(err)
	}
	w.tell(t, owner, device, tally.Last+1, hmpb.Entry_builder{Finding: f.Build()}.Build())
}

func epoch(device string) []byte { return []byte(device)[:health.EpochSize] }

// tell lets a device tell one entry, whether or not it has a session.
func (w *world) tell(t testing.TB, owner, device string, seq uint64, e *hmpb.Entry) {
	t.Helper()
	e.SetOffset(0)
	e.SetDeviceMs(w.now.UnixMilli())
	down, err := w.health.Ingest(context.Background(), access.ForDevice(device, owner),
		hmpb.Batch_builder{SpoolEpoch: epoch(device), FirstSeq: &seq, Entries: []*hmpb.Entry{e}}.Build())
	if err != nil || down.GetAck().GetThroughSeq() != seq || w.health.Stats().BadFindings > 0 {
		t.Fatalf("Ingest = %v, %v, want entry %d acknowledged", down, err, seq)
	}
}

func (w *world) ends(t testing.TB, owner, device string, session int64) {
	t.Helper()
	if err := w.health.End(context.Background(), access.ForDevice(device, owner), session); err != nil {
		t.Fatal(err)
	}
}

// user is a person of these owners.
func user(role access.Role, owners ...string) access.Caller {
	return access.Caller{Kind: access.KindUser, ID: "u1", Role: role, Owners: owners}
}

// labels is what a page of the list shows, in order.
func labels(p fleet.Page) (out []string) {
	for _, d := range p.Items {
		out = append(out, d.Label())
	}
	return out
}

func serial(n int) string { return fmt.Sprintf("DEMO%06d", n) }
