package health_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/finding"
)

// TestChanges: who listens hears everything once and in order, also after a break;
// who was away too long, or comes with a mark of another time, is told so.
func TestChanges(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		hints := w.bus.Subscribe(bus.Noted)
		defer hints.Close()
		s := &sender{w: w, device: w.device(t, "DEMO000001")}
		id := s.device.ID
		if _, _, err := w.Changes(t.Context(), reader, health.Mark{}, 10); err != nil {
			t.Errorf("Changes of nothing = %v", err)
		}
		for n := range int64(2) { // appears once
			if _, err := w.Begin(t.Context(), s.device, n+1, epoch("A"), "1.0.0"); err != nil {
				t.Fatal(err)
			}
		}
		s.send(t, diskLow(true, warning))
		s.send(t, diskLow(true, warning)) // told again: no news
		s.send(t, diskLow(true, critical))
		if _, err := w.QuietFinding(t.Context(), support, id, finding.DiskLow, "C:", health.NewQuiet{Reason: "SSD ist bestellt", Until: w.now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
		if _, err := w.WakeFindings(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.quieten(support, finding.DiskLow, []string{id}, health.NewQuiet{Reason: "SSD ist bestellt"}); err != nil {
			t.Fatal(err)
		}
		if err := w.LoudFinding(t.Context(), support, id, finding.DiskLow, "C:"); err != nil {
			t.Fatal(err)
		}
		s.send(t, diskLow(false, critical), diskLow(false, critical))
		want := "device_appeared 0;finding_raised 2;finding_raised 3;finding_snoozed 0;finding_reopened 0;finding_acknowledged 0;finding_reopened 0;finding_cleared 3;"
		got, marks := "", []health.Mark{{}}
		for {
			list, next, err := w.Changes(t.Context(), reader, marks[len(marks)-1], 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				got += fmt.Sprintf("%s %d;", c.Kind, c.Severity)
				if c.Device != id || c.Owner != w.owner || c.Worst != 0 || !c.Day.Equal(noon.Truncate(24*time.Hour)) {
					t.Errorf("change %+v is not of the device, its state now and the day", c)
				}
			}
			if next == marks[len(marks)-1] {
				break
			}
			marks = append(marks, next)
		}
		if got != want {
			t.Errorf("changes:\n%s\nwant:\n%s", got, want)
		}
		if n := len(hints.C); n < 7 {
			t.Errorf("%d hints on the bus, want one for each change at least", n)
		}
		last, err := w.LastChange(t.Context(), reader)
		if err != nil || last != marks[len(marks)-1] {
			t.Errorf("LastChange = %v, %v; want %v", last, err, marks[len(marks)-1])
		}
		if m, ok := health.ParseMark(last.String()); !ok || m != last {
			t.Errorf("ParseMark(%q) = %v, %v", last.String(), m, ok)
		}
		for _, bad := range []string{"", "1", "x.1", "1.", "-1.5", "1.é"} {
			if m, ok := health.ParseMark(bad); ok {
				t.Errorf("ParseMark(%q) = %v, want none", bad, m)
			}
		}

		stranger := reader
		stranger.Owners = []string{"somebody else"}
		if list, next, err := w.Changes(t.Context(), stranger, health.Mark{}, 10); err != nil || len(list) != 0 || next != last {
			t.Errorf("Changes of another owner = %v, %v, %v; want none, and to go on from the end", list, next, err)
		}
		nobody := access.Caller{Kind: access.KindUser, ID: "x"}
		if _, _, err := w.Changes(t.Context(), nobody, health.Mark{}, 10); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Changes for nobody = %v, want forbidden", err)
		}
		// The list of devices knows what changed since.
		for m, n := range map[health.Mark]int64{marks[1]: 1, last: 0} {
			if c, err := w.fleet.Counts(t.Context(), reader, fleet.Filter{Changed: m.Next()}); err != nil || c.Total != n {
				t.Errorf("devices changed since %v: %d, %v; want %d", m, c.Total, err, n)
			}
		}

		// A week later all but the last are forgotten.
		w.now = w.now.Add(8 * 24 * time.Hour)
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.rows(t, "health_changes", "1 = 1"); n != 1 {
			t.Errorf("%d changes kept, want the last", n)
		}
		for _, m := range []health.Mark{{}, marks[1]} {
			if _, _, err := w.Changes(t.Context(), reader, m, 10); !errors.Is(err, health.ErrMark) {
				t.Errorf("Changes from the forgotten mark %v = %v, want ErrMark", m, err)
			}
		}
		if list, _, err := w.Changes(t.Context(), reader, last, 10); err != nil || len(list) != 0 {
			t.Errorf("Changes from the last mark = %v, %v; want none", list, err)
		}
		s.send(t, diskLow(true, warning))
		if list, _, err := w.Changes(t.Context(), reader, last, 10); err != nil || len(list) != 1 {
			t.Errorf("Changes after that = %v, %v; want one", list, err)
		}
		// A restore has brought back another row of this number.
		if err := d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE health_changes SET mark = mark + 1`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Changes(t.Context(), reader, last, 10); !errors.Is(err, health.ErrMark) {
			t.Errorf("Changes from a mark of another time = %v, want ErrMark", err)
		}
	})
}
