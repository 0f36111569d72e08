package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/proto/ident"
)

// TestSearchAfterEachWrite: what one collector writes of a device another finds at
// once, though both keep in memory what they search; and what was taken back none.
func TestSearchAfterEachWrite(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w, ctx := newWorld(t, d), t.Context()
		other, err := fleet.New(fleet.Config{DB: d, Now: func() time.Time { return w.now }})
		if err != nil {
			t.Fatal(err)
		}
		const file = "schul_id;schultraeger;schulform;name\nS1;Ahorn;Gymnasium;Alte Schule\nS2;Ahorn;Gymnasium;Neue Schule\nS3;Kiefer;KGS;Alte Schule\n"
		imports := func(file string) {
			t.Helper()
			if _, err := w.ImportSchools(ctx, system, strings.NewReader(file)); err != nil {
				t.Fatal(err)
			}
		}
		imports(file)
		place := func(owner, school string) (string, string) {
			t.Helper()
			o, s, err := w.Place(ctx, system, owner, school)
			if err != nil {
				t.Fatal(err)
			}
			return o, s
		}
		ahorn, s1 := place("Ahorn", "S1")
		_, s2 := place("Ahorn", "S2")
		kiefer, s3 := place("Kiefer", "S3")
		// find compares what is found with how many there are, of all and of one owner.
		find := func(when, query string, all, ofAhorn int64) {
			t.Helper()
			for caller, want := range map[*access.Caller]int64{&system: all, ptr(user(access.RoleRead, ahorn)): ofAhorn, ptr(user(access.RoleRead)): all} {
				for name, f := range map[string]*fleet.Fleet{"the one": w.Fleet, "the other": other} {
					page, err := f.List(ctx, *caller, fleet.Filter{Query: query})
					if err != nil || page.Total != want || int64(len(page.Items)) != want {
						t.Errorf("%s, %s finds %d of %d by %q, %v; want %d", when, name, len(page.Items), page.Total, query, err, want)
					}
					counts, err := f.Counts(ctx, *caller, fleet.Filter{Query: query})
					if err != nil || counts.Total != want || counts.States[fleet.StateNew] != want {
						t.Errorf("%s, %s counts %+v by %q, %v; want %d new", when, name, counts, query, err, want)
					}
				}
			}
		}
		find("before all", "lifebook", 0, 0)
		id := w.device(t, ahorn, s1, serial(0))
		w.device(t, kiefer, s3, serial(1))
		find("admitted", "lifebook alte", 2, 1)
		find("admitted", "demo000000", 1, 1)

		if err := w.SetInventory(ctx, system, id, "AH-7 100%"); err != nil {
			t.Fatal(err)
		}
		find("numbered", "ah-7 100%", 1, 1)
		find("numbered, and no pattern", "ah_7", 0, 0)

		if _, err := w.admit(ahorn, s1, ident.Hardware{Manufacturer: "FUJITSU", Model: "LIFEBOOK U7311", Serial: serial(0), OS: "linux"}); err != nil {
			t.Fatal(err)
		}
		find("come again as another model", "a3510", 1, 0)
		find("come again as another model", "u7311 ah-7", 1, 1)

		imports(strings.Replace(file, "S1;Ahorn;Gymnasium;Alte Schule", "S1;Ahorn;Gymnasium;Goetheschule", 1))
		find("renamed", "alte schule", 1, 0)
		find("renamed", "goethe", 1, 1)

		if err := w.SetSchool(ctx, system, id, s2); err != nil {
			t.Fatal(err)
		}
		find("moved", "goethe", 0, 0)
		find("moved", "neue schule", 1, 1)
		j := w.runs(t, system, fleet.NewJob{Act: fleet.ActSchool, School: s1, Filter: &fleet.Filter{Owner: ahorn}})
		find("moved by a job", "goethe", 1, 1)
		w.undoes(t, system, j.ID)
		find("moved back", "goethe", 0, 0)

		back := errors.New("taken back")
		err = d.Write(ctx, func(tx *db.Tx) error {
			_, _, err := w.Admit(ctx, tx, system, ahorn, s1, ident.Hardware{Manufacturer: "FUJITSU", Model: "LIFEBOOK A3510", Serial: serial(2), OS: "linux"})
			return errors.Join(err, back)
		})
		if !errors.Is(err, back) {
			t.Fatal(err)
		}
		find("taken back", "demo000002", 0, 0)
		w.device(t, ahorn, s2, serial(3))
		find("after what was taken back", "demo000003", 1, 1)
		if err := w.revisions(ctx); err != nil {
			t.Error(err)
		}
		schools, err := other.Schools(ctx, system)
		var devices []string
		for _, s := range schools {
			devices = append(devices, fmt.Sprint(s.Code, " ", s.Devices))
		}
		if got := strings.Join(devices, ", "); err != nil || got != "S1 0, S2 2, S3 1" {
			t.Errorf("devices of schools: %s, %v; want S1 0, S2 2, S3 1", got, err)
		}
	})
}

func ptr(c access.Caller) *access.Caller { return &c }

// revisions says whether two devices have one revision.
func (w *world) revisions(ctx context.Context) error {
	return w.db.Read(ctx, func(tx *db.Tx) error {
		var all, different int64
		if err := tx.QueryRow(ctx, `SELECT count(*), count(DISTINCT revision) FROM devices WHERE revision > 0`).Scan(&all, &different); err != nil {
			return err
		}
		if all != 3 || different != 3 {
			return fmt.Errorf("%d devices of %d revisions, want 3 of 3", all, different)
		}
		return nil
	})
}
