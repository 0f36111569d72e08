package fleet_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
)

// TestNumbers: each device has one of its own, also one that was there before
// devices had numbers.
func TestNumbers(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner := w.owner(t, "Landkreis Ahorn")
		var ids []string
		for i := range 5 {
			ids = append(ids, w.device(t, owner, "", serial(i)))
		}
		ctx := t.Context()
		numbers := func() (out []int64) {
			for _, id := range ids {
				var n int64
				if err := d.Read(ctx, func(tx *db.Tx) error {
					return tx.QueryRow(ctx, `SELECT number FROM fleet_facts WHERE device_id = $1`, id).Scan(&n)
				}); err != nil {
					t.Fatal(err)
				}
				out = append(out, n)
			}
			return out
		}
		if got := numbers(); !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
			t.Errorf("new devices have the numbers %v", got)
		}
		file, err := fs.ReadFile(fleet.Migrations.FS, "migrations/20261129110000_fleet_numbers.sql")
		if err != nil {
			t.Fatal(err)
		}
		_, statement, _ := strings.Cut(string(file), "UPDATE")
		statement, _, _ = strings.Cut(statement, ";")
		err = d.Write(ctx, func(tx *db.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE devices SET number = NULL`); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "UPDATE"+statement)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		got := numbers()
		slices.Sort(got)
		if !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
			t.Errorf("devices that were there before have the numbers %v", got)
		}
		ids = append(ids, w.device(t, owner, "", serial(9)))
		if got := numbers(); got[5] != 6 {
			t.Errorf("the next device has the number %d, want 6", got[5])
		}
	})
}

// TestDevices: those that the caller may see, in the order asked for.
func TestDevices(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		a, b := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Stadt Topas")
		ids := []string{w.device(t, a, "", serial(1)), w.device(t, b, "", serial(2)), w.device(t, a, "", serial(3))}
		got := func(caller access.Caller, ids ...string) (out []string) {
			devices, err := w.Devices(t.Context(), caller, ids)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range devices {
				out = append(out, d.ID)
			}
			return out
		}
		if out := got(system, ids[2], "none", ids[0], ids[1]); !slices.Equal(out, []string{ids[2], ids[0], ids[1]}) {
			t.Errorf("Devices = %q", out)
		}
		if out := got(user(access.RoleRead, a), ids...); !slices.Equal(out, []string{ids[0], ids[2]}) {
			t.Errorf("of one owner Devices = %q", out)
		}
		if out := got(system); len(out) != 0 {
			t.Errorf("of none Devices = %q", out)
		}
		if _, err := w.Devices(t.Context(), system, make([]string, fleet.MaxLimit+1)); !errors.Is(err, fleet.ErrInvalid) {
			t.Errorf("too many at once: %v, want ErrInvalid", err)
		}
		if _, err := w.Devices(t.Context(), access.Caller{}, ids); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("nobody: %v, want ErrForbidden", err)
		}
	})
}
