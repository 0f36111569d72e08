package health_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// TestWorsenedFindingComesFirst: a finding that got worse is not told as cleared on top
// of the day, while it is open.
func TestWorsenedFindingComesFirst(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		if _, err := w.Begin(t.Context(), s.device, 1, epoch("A"), "1.8.1"); err != nil {
			t.Fatal(err)
		}
		s.send(t, diskLow(true, warning), diskLow(false, warning), diskLow(true, critical))
		told := func() (got []string) {
			t.Helper()
			events, err := w.Events(t.Context(), reader, s.device.ID, time.Time{}, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events.Items {
				got = append(got, fmt.Sprint(e.Kind, " ", int(e.Finding.Severity), " ", e.Open))
			}
			return got
		}
		want := []string{"finding_raised 3 true", "agent_changed 0 false", "finding_cleared 2 false", "finding_raised 2 false"}
		if got := told(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("while it is open: %q\nwant %q", got, want)
		}
		s.send(t, diskLow(false, critical))
		for _, line := range told() {
			if line == "finding_raised 3 true" {
				t.Error("it counts as open after its end")
			}
		}
	})
}

// TestEvents: what happened to a device stands under its day, without a time, and
// is read in parts of whole days.
func TestEvents(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		other := &sender{w: w, device: w.device(t, "DEMO000002")}
		id := s.device.ID
		other.send(t, diskLow(true, critical))
		programs := func(list ...inventory.Program) {
			t.Helper()
			m, err := inventory.Pack(list)
			if err != nil {
				t.Fatal(err)
			}
			s.send(t, hmpb.Entry_builder{Inventory: m}.Build())
		}
		begin := func(n int64, version string) {
			t.Helper()
			if _, err := w.Begin(t.Context(), s.device, n, epoch("A"), version); err != nil {
				t.Fatal(err)
			}
		}
		day := func(name string) { // a daily row as the job writes it
			t.Helper()
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `INSERT INTO health_days (device_id, day, os_name, os_build) VALUES ($1, $2, 'Windows 11', $3)`, id, w.now.UnixMilli()/86400000, name)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		first := w.now.Truncate(24 * time.Hour)
		begin(1, "1.8.1")
		day("22631.1")
		programs(inventory.Program{Name: "Firefox", Version: "144"}, inventory.Program{Name: "Flash", Version: "32"})
		s.send(t, diskLow(true, warning))
		w.now = w.now.Add(24 * time.Hour)
		begin(2, "1.8.1")
		day("22631.1")
		programs(inventory.Program{Name: "Firefox", Version: "145"}, inventory.Program{Name: "LibreOffice", Version: "25"})
		if _, err := w.QuietFinding(t.Context(), support, id, finding.DiskLow, "C:", health.NewQuiet{Reason: "SSD ist bestellt", Until: w.now.Add(48 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(24 * time.Hour)
		begin(3, "1.8.2")
		begin(4, "bad\nversion")
		day("26100.2")
		if _, err := w.OpenLook(t.Context(), support, id, "Anruf: langsam"); err != nil {
			t.Fatal(err)
		}
		if err := w.LoudFinding(t.Context(), support, id, finding.DiskLow, "C:"); err != nil {
			t.Fatal(err)
		}
		s.send(t, diskLow(false, warning))

		line := func(e health.Event) string {
			return fmt.Sprintf("%d %s %s%s %s %s>%s %d%d%d", int(e.Day.Sub(first)/(24*time.Hour)), e.Kind, e.Finding.Code, e.Finding.Instance, e.Reason, e.From, e.To, e.Added, e.Removed, e.Changed)
		}
		want := []string{
			"2 agent_changed   1.8.1>1.8.2 000",
			"2 finding_cleared disk_lowC:  > 000",
			"2 finding_reopened disk_lowC:  > 000",
			"2 looked  Anruf: langsam > 000",
			"2 system_changed   Windows 11 22631.1>Windows 11 26100.2 000",
			"1 finding_snoozed disk_lowC: SSD ist bestellt > 000",
			"1 software_changed   > 111",
			"0 agent_changed   >1.8.1 000",
			"0 finding_raised disk_lowC:  > 000",
		}
		var got []string
		parts := 0
		for before := (time.Time{}); ; parts++ {
			part, err := w.Events(t.Context(), reader, id, before, 6)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range part.Items {
				got = append(got, line(e))
			}
			if before = part.From; before.IsZero() {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || parts != 1 {
			t.Errorf("events in %d parts:\n%q\nwant in 2:\n%q", parts+1, got, want)
		}
		stranger := reader
		stranger.Owners = []string{"somebody else"}
		if n, err := w.CountEvents(t.Context(), reader, id); err != nil || n != int64(len(want)) {
			t.Errorf("CountEvents = %d, %v, want %d", n, err, len(want))
		}
		if n, err := w.CountEvents(t.Context(), stranger, id); !errors.Is(err, access.ErrNotFound) || n != 0 {
			t.Errorf("CountEvents of another owner = %d, %v, want not found", n, err)
		}
		// A day of more than are asked for is no dead end.
		part, err := w.Events(t.Context(), reader, id, time.Time{}, 2)
		if err != nil || len(part.Items) != 2 || !part.From.Equal(first.AddDate(0, 0, 2)) {
			t.Errorf("two of a day of five: %d, from %v, %v", len(part.Items), part.From, err)
		}
		if _, err := w.Events(t.Context(), stranger, id, time.Time{}, 10); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("Events of another owner = %v, want not found", err)
		}

		// Versions are forgotten after two years, but the last one before is kept.
		w.now = w.now.AddDate(2, 0, 0)
		begin(5, "2.0.0")
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.rows(t, "health_agents", "device_id = $1", id); n != 2 {
			t.Errorf("%d versions kept after two years, want the last old one and the new one", n)
		}
	})
}
