package health_test

import (
	"testing"
	"time"

	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
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
