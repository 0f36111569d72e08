package fleet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
)

// TestDetails: the worst finding with the number of the others, and the last
// merged day, of the devices of a page; without being asked for, neither is read.
func TestDetails(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		o := w.owner(t, "Landkreis Ahorn")
		a, b := w.device(t, o, "", serial(0)), w.device(t, o, "", serial(1))
		w.report(t, o, a, 1, 500, 1<<30)
		w.finds(t, o, a, warning, true)
		w.finds(t, o, a, critical, true)
		w.finds(t, o, b, warning, true)
		w.finds(t, o, b, warning, false)
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			for day, health := range []int64{700, 650} {
				if _, err := tx.Exec(t.Context(), `INSERT INTO health_days (device_id, day, battery_health, boot_duration) VALUES ($1, $2, $3, 31000)`, a, int64(day+10), health); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// The version is that of the last day with another one.
		for i, version := range []string{"1.9.0", "1.10.0", "2.0.0"} {
			if _, err := w.health.Begin(t.Context(), access.ForDevice(a, o), int64(100+i), []byte("0123456789abcdef"), version); err != nil {
				t.Fatal(err)
			}
		}
		type told struct {
			Main  fleet.MainFinding
			More  int
			Daily fleet.Daily
			Agent string
		}
		list := func(details fleet.Details) (out []told) {
			p, err := w.List(t.Context(), system, fleet.Filter{Details: details})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range p.Items {
				out = append(out, told{d.Main, d.More, d.Daily, d.Agent})
			}
			return out
		}
		want := []told{{fleet.MainFinding{Code: "disk_low", Severity: critical}, 1, fleet.Daily{
			BatteryHealth: fleet.Opt{Value: 650, Known: true}, BootDuration: fleet.Opt{Value: 31000, Known: true}}, "2.0.0"}, {}}
		if diff := cmp.Diff(want, list(fleet.Details{Findings: true, Daily: true, Agent: true})); diff != "" {
			t.Errorf("with details:\n%s", diff)
		}
		// What somebody takes care of is no more the main one.
		if _, err := w.health.QuietFinding(t.Context(), system, a, "disk_low", critical.String(), health.NewQuiet{Reason: "SSD ist bestellt"}); err != nil {
			t.Fatal(err)
		}
		want[0].Main.Severity, want[0].More = warning, 0
		if diff := cmp.Diff(want, list(fleet.Details{Findings: true, Daily: true, Agent: true})); diff != "" {
			t.Errorf("with a quiet one:\n%s", diff)
		}
		if diff := cmp.Diff([]told{{}, {}}, list(fleet.Details{})); diff != "" {
			t.Errorf("without:\n%s", diff)
		}
	})
}
