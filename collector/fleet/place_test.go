package fleet_test

import (
	"errors"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
)

// TestChangePlaces: a school and an owner get other names, audited, and their devices
// are found by them; nothing is taken that another has, and nobody else's is changed.
func TestChangePlaces(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		owner, other := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Kiefer")
		if _, err := w.ImportSchools(ctx, system, strings.NewReader("schul_id;schultraeger;name\nS1;Landkreis Ahorn;Eins\nS2;Landkreis Ahorn;Zwei\n")); err != nil {
			t.Fatal(err)
		}
		one, err := w.FindSchool(ctx, system, "S1")
		if err != nil {
			t.Fatal(err)
		}
		w.device(t, owner, one.ID, "DEMO1")
		set := func(caller access.Caller, code, name string) error {
			_, err := w.ChangeSchool(ctx, caller, one.ID, func(s *fleet.School) { s.Code, s.Name, s.Owner, s.ID = code, name, other, "x" })
			return err
		}
		rename := func(caller access.Caller, name string) error {
			_, err := w.RenameOwner(ctx, caller, owner, name)
			return err
		}
		admin := user(access.RoleAdmin, owner)
		for what, test := range map[string]struct{ err, want error }{
			"number of another":        {set(admin, "s2", "Eins"), access.ErrExists},
			"no number":                {set(admin, "  ", "Eins"), fleet.ErrInvalid},
			"name of several lines":    {set(admin, "S1", "Eins\nZwei"), fleet.ErrInvalid},
			"school as support":        {set(user(access.RoleSupport), "S9", "Neun"), access.ErrForbidden},
			"school of another":        {set(user(access.RoleAdmin, other), "S9", "Neun"), access.ErrNotFound},
			"name of another owner":    {rename(system, "landkreis kiefer"), access.ErrExists},
			"no name":                  {rename(admin, ""), fleet.ErrInvalid},
			"owner as support":         {rename(user(access.RoleSupport), "X"), access.ErrForbidden},
			"owner of another's admin": {rename(user(access.RoleAdmin, other), "X"), access.ErrNotFound},
		} {
			if !errors.Is(test.err, test.want) {
				t.Errorf("%s: %v, want %v", what, test.err, test.want)
			}
		}
		for range 2 { // the second time nothing changes
			if err := errors.Join(set(admin, "S9", "Neun"), rename(admin, "Landkreis Ahornberg")); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := w.FindSchool(ctx, system, "s9"); err != nil || s.ID != one.ID || s.Name != "Neun" || s.Owner != owner || s.OwnerName != "Landkreis Ahornberg" {
			t.Errorf("the school is %+v, %v", s, err)
		}
		if p, err := w.List(ctx, system, fleet.Filter{Query: "neun"}); err != nil || len(p.Items) != 1 {
			t.Errorf("found by the new name: %+v, %v", p, err)
		}
		var entries int
		if err := d.Read(ctx, func(tx *db.Tx) error {
			return tx.QueryRow(ctx, `SELECT COUNT(*) FROM audit WHERE action IN ('school.changed', 'owner.changed')`).Scan(&entries)
		}); err != nil || entries != 2 {
			t.Errorf("%d audit entries, %v, want 2", entries, err)
		}
	})
}
