package health_test

import (
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

func findingEntry(code, instance string, raised bool, severity hmpb.Severity, arguments ...*hmpb.Argument) *hmpb.Entry {
	return hmpb.Entry_builder{Finding: hmpb.Finding_builder{Code: &code, Instance: &instance, Raised: &raised, Severity: &severity, Arguments: arguments}.Build()}.Build()
}

func argument(name string, n int64) *hmpb.Argument {
	return hmpb.Argument_builder{Name: &name, Number: &n}.Build()
}

// TestFindingsOpenAndClose: a raise opens, a second one renews, a clear closes,
// by days; and a device that was set up anew has none of the one before.
func TestFindingsOpenAndClose(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s, other := &sender{w: w, device: w.device(t, "DEMO000001")}, &sender{w: w, device: w.device(t, "DEMO000002")}
		low := func(free int64, severity hmpb.Severity) *hmpb.Entry {
			return findingEntry(finding.DiskLow, "C:", true, severity, argument("free", free), argument("total", 256e9))
		}
		open := func(of *sender) (codes []string, worst int64) {
			t.Helper()
			all, err := w.Findings(t.Context(), reader, of.device.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				if f.Cleared.IsZero() {
					codes = append(codes, f.Code)
				}
			}
			return codes, w.rows(t, "health_state", "device_id = $1 AND worst = 3", of.device.ID)
		}
		other.send(t, low(1e9, hmpb.Severity_SEVERITY_CRITICAL))
		s.send(t, low(20e9, hmpb.Severity_SEVERITY_WARNING))
		w.now = w.now.Add(24 * time.Hour)
		s.send(t, low(4e9, hmpb.Severity_SEVERITY_CRITICAL))
		all, err := w.Findings(t.Context(), reader, s.device.ID)
		if err != nil || len(all) != 1 || all[0].Arguments["free"] != int64(4e9) || all[0].Severity != hmpb.Severity_SEVERITY_CRITICAL ||
			!all[0].Raised.Equal(noon.Truncate(24*time.Hour)) {
			t.Fatalf("raised twice: %+v, %v; want one of the first day, as it is now", all, err)
		}
		off := "off"
		state := "state"
		s.send(t, findingEntry(finding.FirewallOff, "", true, hmpb.Severity_SEVERITY_WARNING, hmpb.Argument_builder{Name: &state, Text: &off}.Build()))
		s.send(t, findingEntry(finding.DiskLow, "C:", false, hmpb.Severity_SEVERITY_CRITICAL))
		if codes, worst := open(s); len(codes) != 1 || codes[0] != finding.FirewallOff || worst != 0 {
			t.Errorf("after a clear: %v open, critical %d; want firewall_off only", codes, worst)
		}
		err = d.Write(t.Context(), func(tx *db.Tx) error { return w.Reimaged(t.Context(), tx, s.device.ID) })
		if err != nil {
			t.Fatal(err)
		}
		if codes, _ := open(s); len(codes) != 0 || w.rows(t, "health_state", "device_id = $1 AND worst = 0", s.device.ID) != 1 {
			t.Errorf("set up anew: %v open; want none, and the list to know", codes)
		}
		if codes, worst := open(other); len(codes) != 1 || worst != 1 {
			t.Errorf("another device: %v open, critical %d; want it untouched", codes, worst)
		}
		s.send(t, low(4e9, hmpb.Severity_SEVERITY_CRITICAL))
		if codes, _ := open(s); len(codes) != 1 {
			t.Errorf("raised by the new agent: %v open, want one", codes)
		}
	})
}

// TestLookMonths counts looks and devices by month, within the caller's owners.
func TestLookMonths(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		one, two := w.device(t, "DEMO000001"), w.device(t, "DEMO000002")
		for _, id := range []string{one.ID, one.ID, two.ID} {
			if _, err := w.OpenLook(t.Context(), support, id, "Anruf wegen Langsamkeit"); err != nil {
				t.Fatal(err)
			}
			w.now = w.now.Add(2 * time.Hour)
		}
		w.now = w.now.AddDate(0, 1, 0)
		if _, err := w.OpenLook(t.Context(), support, two.ID, "Anruf wegen Langsamkeit"); err != nil {
			t.Fatal(err)
		}
		got, err := w.LookMonths(t.Context(), reader)
		if err != nil || len(got) != 12 || got[0].Looks != 1 || got[0].Devices != 1 || got[1].Looks != 3 || got[1].Devices != 2 || got[2].Looks != 0 {
			t.Errorf("LookMonths = %+v, %v; want 1 of 1 device, then 3 of 2", got, err)
		}
		foreign := reader
		foreign.Owners = []string{"another"}
		if got, err := w.LookMonths(t.Context(), foreign); err != nil || got[1].Looks != 0 {
			t.Errorf("for another owner: %+v, %v; want none", got, err)
		}
	})
}

// TestNoTimeOfDayInHistory: a moment of a device comes by its day, for every
// reading that is one, with a look too.
func TestNoTimeOfDayInHistory(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		var moments []reading.Reading
		var told []*hmpb.Reading
		for r := range reading.All() {
			if r.Unit == reading.UnixMilli && r.Daily != 0 {
				moments = append(moments, r)
				told = append(told, hmpb.Reading_builder{Id: &r.ID, Number: new(noon.Add(-25*time.Hour - 17*time.Minute).UnixMilli())}.Build())
			}
		}
		if len(moments) == 0 {
			t.Fatal("no moment has a history")
		}
		s.send(t, hmpb.Entry_builder{State: hmpb.State_builder{Readings: told}.Build()}.Build(),
			blockEntry(quarter(t, noon, block.Minute, 15, func(int) int64 { return 1 })))
		w.now = noon.Add(36 * time.Hour)
		if n, err := w.MergeDays(t.Context()); err != nil || n != 1 {
			t.Fatalf("MergeDays = %d, %v", n, err)
		}
		if _, err := w.OpenLook(t.Context(), support, s.device.ID, "Anruf wegen Langsamkeit"); err != nil {
			t.Fatal(err)
		}
		for _, r := range moments {
			for _, caller := range []access.Caller{reader, support} {
				h, err := w.History(t.Context(), caller, s.device.ID, health.Span{Reading: r.Name, From: noon.Add(-48 * time.Hour), To: w.now, Step: health.Day})
				if err != nil || len(h.Points) != 1 {
					t.Fatalf("%s: %+v, %v; want a point", r.Name, h, err)
				}
				for _, v := range []int64{h.Points[0].Min, h.Points[0].Mean, h.Points[0].Max} {
					if v%health.Day.Milliseconds() != 0 {
						t.Errorf("%s for %s: %v has a time of day", r.Name, caller.Name, time.UnixMilli(v).UTC())
					}
				}
			}
		}
		if n := w.rows(t, "health_days", "updates_last % 86400000 <> 0"); n != 0 {
			t.Error("the daily row has a time of day")
		}
	})
}

// TestCountsAddUp: what is counted by the minute adds up over a day, from blocks
// as from the daily row.
func TestCountsAddUp(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		b := block.Block{Start: noon.UnixMilli(), Step: block.Minute, Count: 15}
		for i := range 15 {
			if err := b.Set(b.Start+int64(i)*block.Minute, block.Key{ID: reading.LinkErrors, Instance: "wired"}, false, int64(i%2)); err != nil {
				t.Fatal(err)
			}
		}
		s.send(t, blockEntry(packed(t, b)))
		sum := func() int64 {
			t.Helper()
			h, err := w.History(t.Context(), reader, s.device.ID, health.Span{Reading: "link_errors", From: noon.Add(-48 * time.Hour), To: noon.Add(24 * time.Hour), Step: health.Day})
			if err != nil || len(h.Points) != 1 {
				t.Fatalf("%+v, %v; want a point", h, err)
			}
			return h.Points[0].Mean
		}
		if got := sum(); got != 7 {
			t.Errorf("from the blocks %d, want 7", got)
		}
		w.now = noon.Add(36 * time.Hour)
		if n, err := w.MergeDays(t.Context()); err != nil || n != 1 {
			t.Fatalf("MergeDays = %d, %v", n, err)
		}
		if err := d.Write(t.Context(), func(tx *db.Tx) error { _, err := tx.Exec(t.Context(), `DELETE FROM health_blocks`); return err }); err != nil {
			t.Fatal(err)
		}
		if got := sum(); got != 7 {
			t.Errorf("from the daily row %d, want 7", got)
		}
	})
}
