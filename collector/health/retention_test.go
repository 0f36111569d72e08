package health_test

import (
	"errors"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/health"
	"hausmeister/proto/reading"
)

// TestRetentionOfAnOwner: what an owner keeps for a shorter time is deleted by the
// job, each class at its own age, and nobody else's.
func TestRetentionOfAnOwner(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		mine := w.device(t, "DEMO000001")
		owner := w.owner
		other, err := w.fleet.AddOwner(t.Context(), system, "Landkreis Kiefer")
		if err != nil {
			t.Fatal(err)
		}
		w.owner = other.ID
		theirs := w.device(t, "DEMO000002")
		// One of each class and age in days, for both owners; the last block is not merged yet.
		ages := []int64{5, 20, 40, 400}
		exec := func(sql string, args ...any) {
			t.Helper()
			if err := d.Write(t.Context(), func(tx *db.Tx) error { _, err := tx.Exec(t.Context(), sql, args...); return err }); err != nil {
				t.Fatal(err)
			}
		}
		const day = 24 * 60 * 60 * 1000
		now := w.now.UnixMilli()
		for _, device := range []string{mine.ID, theirs.ID} {
			for _, age := range ages {
				at := now - age*day
				if age < 30 {
					exec(`INSERT INTO health_blocks (device_id, start_ms, step_s, end_ms, spool, seq, body) VALUES ($1, $2, 60, $2, 0, 0, $3)`, device, at, []byte{1})
				}
				exec(`INSERT INTO health_days (device_id, day) VALUES ($1, $2)`, device, at/day)
				exec(`INSERT INTO health_inventory_differences (device_id, told_ms, name, nr) VALUES ($1, $2, 'x', 1)`, device, at)
				if age < 365 {
					exec(`INSERT INTO health_findings (device_id, spool, seq, code, instance, severity, arguments, raised_ms, cleared_ms) VALUES ($1, 1, $2, 'disk_low', '', 2, '{}', $3, $3)`, device, age, at)
				}
			}
			exec(`INSERT INTO health_blocks (device_id, start_ms, step_s, end_ms, spool, seq, body) VALUES ($1, $2, 60, $2, 1, 9, $3)`, device, now-25*day, []byte{1})
			exec(`INSERT INTO health_findings (device_id, spool, seq, code, instance, severity, arguments, raised_ms) VALUES ($1, 1, 999, 'disk_low', '', 2, '{}', $2)`, device, now-400*day)
		}
		admin := access.Caller{Kind: access.KindUser, ID: "a", Role: access.RoleAdmin, Owners: []string{owner}}
		set := func(caller access.Caller, owner string, class health.KeptClass, n int64) error {
			return w.SetRetention(t.Context(), caller, owner, map[health.KeptClass]int64{class: n})
		}
		for name, tt := range map[string]struct{ got, want error }{
			"support":       {set(support, owner, health.KeptMinutes, 7), access.ErrForbidden},
			"another owner": {set(admin, other.ID, health.KeptMinutes, 7), access.ErrNotFound},
			"no owner":      {set(system, "none", health.KeptMinutes, 7), access.ErrNotFound},
			"too short":     {set(admin, owner, health.KeptMinutes, 1), health.ErrRetention},
			"too long":      {set(admin, owner, health.KeptMinutes, 31), health.ErrRetention},
			"fixed":         {set(admin, owner, health.KeptLooks, 30), health.ErrRetention},
			"no class":      {set(admin, owner, "everything", 30), health.ErrRetention},
		} {
			if !errors.Is(tt.got, tt.want) {
				t.Errorf("%s: SetRetention = %v, want %v", name, tt.got, tt.want)
			}
		}
		if n := w.rows(t, "health_retention", "1 = 1"); n != 0 {
			t.Errorf("what was refused left %d rows", n)
		}
		err = w.SetRetention(t.Context(), admin, owner, map[health.KeptClass]int64{health.KeptMinutes: 7, health.KeptDays: 30, health.KeptFindings: 30, health.KeptSoftware: 60})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		for table, want := range map[string][2]int64{
			"health_blocks":                {2, 3}, // 5 days, and the one that waits for its merge
			"health_days":                  {2, 4},
			"health_findings":              {3, 4}, // with the open one
			"health_inventory_differences": {3, 4},
		} {
			got := [2]int64{w.rows(t, table, "device_id = $1", mine.ID), w.rows(t, table, "device_id = $1", theirs.ID)}
			if got != want {
				t.Errorf("%s: %v rows of the owner and of another, want %v", table, got, want)
			}
		}
		list, err := w.Retention(t.Context(), admin, owner)
		if err != nil || len(list) != 6 {
			t.Fatalf("Retention = %+v, %v", list, err)
		}
		for _, k := range list {
			if k.Class == health.KeptMinutes && (k.Days != 7 || k.Most != int64(reading.KeepBlocks/(24*time.Hour)) || k.By != "user:a" || !k.Changed.Equal(w.now)) {
				t.Errorf("minutes are kept as %+v", k)
			}
		}
		if _, err := w.Retention(t.Context(), admin, other.ID); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("Retention of another owner = %v, want not found", err)
		}
		// Everybody reads it of his owners, in one go.
		for _, test := range []struct {
			caller access.Caller
			want   int // classes that the owner changed
		}{{access.Caller{Kind: access.KindUser, Role: access.RoleRead}, 4}, {access.Caller{Kind: access.KindUser, Role: access.RoleRead, Owners: []string{owner}}, 4},
			{access.Caller{Kind: access.KindUser, Role: access.RoleRead, Owners: []string{other.ID}}, 0}} {
			usual, changed, err := w.Retentions(t.Context(), test.caller)
			if err != nil || len(usual) != 6 || len(changed[owner]) != test.want || len(changed[other.ID]) != 0 {
				t.Errorf("Retentions of %v = %+v, %+v, %v; want %d classes", test.caller.Owners, usual, changed, err, test.want)
			}
			for _, k := range changed[owner] {
				if k.Class == health.KeptMinutes && (k.Days != 7 || k.Catalogue != 30 || !k.Changed.Equal(w.now)) {
					t.Errorf("minutes are kept as %+v", k)
				}
			}
		}
		if _, _, err := w.Retentions(t.Context(), access.ForDevice("d", owner)); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Retentions for a device = %v, want forbidden", err)
		}
		// As the catalogue says, again; the same again is no change.
		for range 2 {
			if err := set(admin, owner, health.KeptMinutes, 30); err != nil {
				t.Fatal(err)
			}
		}
		err = d.Read(t.Context(), func(tx *db.Tx) error {
			all, err := audit.List(t.Context(), tx, audit.Filter{Action: "retention"})
			if len(all) != 5 || all[0].Details["days"] != "30" || all[0].Details["before"] != "7" || all[0].Owner != owner {
				t.Errorf("record: %+v, want five changes", all)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
