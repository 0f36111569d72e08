package fleet_test

import (
	"errors"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

// TestStrangeNames: text that no row can hold names nothing, on both databases.
func TestStrangeNames(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		id := w.device(t, w.owner(t, "Landkreis Ahorn"), "", serial(1))
		for _, name := range []string{"\x00", "\xff", id + "\x00"} {
			if _, err := w.Device(ctx, system, name); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("Device(%q) = %v, want ErrNotFound", name, err)
			}
			if _, err := w.FindDevice(ctx, system, name); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("FindDevice(%q) = %v, want ErrNotFound", name, err)
			}
			if err := w.SetInventory(ctx, system, name, "AH-1"); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("SetInventory(%q) = %v, want ErrNotFound", name, err)
			}
			if err := w.SetSchool(ctx, system, id, name); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("SetSchool to %q = %v, want ErrNotFound", name, err)
			}
			if _, _, err := w.Place(ctx, system, name, ""); !errors.Is(err, access.ErrNotFound) {
				t.Errorf("Place(%q) = %v, want ErrNotFound", name, err)
			}
		}
	})
}
