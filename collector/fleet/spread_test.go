package fleet_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/proto/ident"
)

// TestFindingsOfTheFleet: what is open is counted by device, within the caller's
// owners, filters the list, and is told apart by school and model, in which small
// groups have no numbers.
func TestFindingsOfTheFleet(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		ahorn, birke := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Birke")
		var sick []string
		for i := range 9 {
			model := "LIFEBOOK A3510"
			if i >= 6 {
				model = "ThinkPad X13"
			}
			id, err := w.admit(ahorn, "", ident.Hardware{Manufacturer: "X", Model: model, Serial: fmt.Sprintf("A%03d", i), OS: "windows"})
			if err != nil {
				t.Fatal(err)
			}
			w.report(t, ahorn, id, int64(i+1), 500, 1<<30)
			if i != 8 {
				w.finds(t, ahorn, id, warning, true)
				sick = append(sick, id)
			}
		}
		w.finds(t, ahorn, sick[0], critical, true) // of another volume: still one device
		other := w.device(t, birke, "", "B001")
		w.report(t, birke, other, 99, 500, 1<<30)
		w.finds(t, birke, other, critical, true)

		got, err := w.OpenFindings(ctx, system)
		if want := []fleet.CodeCount{{Code: "disk_low", Severity: critical, Devices: 9}}; err != nil || !cmp.Equal(got, want) {
			t.Errorf("OpenFindings = %v, %v; want %v", got, err, want)
		}
		if c, ok, err := w.OpenFinding(ctx, system, "disk_low"); err != nil || !ok || c != got[0] {
			t.Errorf("OpenFinding = %v, %v, %v; want %v", c, ok, err, got)
		}
		if c, ok, err := w.OpenFinding(ctx, system, "hot"); err != nil || ok || c.Devices != 0 {
			t.Errorf("OpenFinding of one that is open nowhere = %v, %v, %v", c, ok, err)
		}
		one := user(access.RoleRead, ahorn)
		if c, ok, err := w.OpenFinding(ctx, one, "disk_low"); err != nil || !ok || c.Devices != 8 {
			t.Errorf("OpenFinding of one owner = %v, %v, %v; want 8 devices", c, ok, err)
		}
		if got, err := w.OpenFindings(ctx, one); err != nil || len(got) != 1 || got[0].Devices != 8 {
			t.Errorf("OpenFindings of one owner = %v, %v; want 8 devices", got, err)
		}
		var pages [][]string
		for _, many := range []int64{1, 5000} { // found in two ways, and alike
			w.WalkFrom(many)
			var all []string
			for f := (fleet.Filter{Finding: "disk_low", Limit: 4}); ; {
				p, err := w.List(ctx, system, f)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, labels(p)...)
				if f.Cursor = p.Cursor; f.Cursor == "" {
					break
				}
			}
			pages = append(pages, all)
		}
		if d := cmp.Diff(pages[0], pages[1]); d != "" || len(pages[0]) != 9 {
			t.Errorf("going along all devices finds %d of 9:\n%s", len(pages[0]), d)
		}
		page, err := w.List(ctx, one, fleet.Filter{Finding: "disk_low", Limit: 3})
		if err != nil || page.Total != 8 || len(page.Items) != 3 {
			t.Fatalf("List = %d of %d, %v; want 3 of 8", len(page.Items), page.Total, err)
		}
		if _, err := w.List(ctx, one, fleet.Filter{Finding: "hot", Limit: 3, Cursor: page.Cursor}); !errors.Is(err, fleet.ErrCursor) {
			t.Errorf("the cursor of another finding = %v, want ErrCursor", err)
		}
		counts, err := w.Counts(ctx, one, fleet.Filter{Finding: "disk_low"})
		if err != nil || counts.Total != 8 {
			t.Errorf("Counts = %+v, %v; want 8", counts, err)
		}
		models, err := w.Spread(ctx, one, fleet.Filter{Finding: "disk_low"}, fleet.ByModels)
		// 8 are told, and would be 6 and 2.
		want := []fleet.Share{{Key: "LIFEBOOK A3510", Name: "LIFEBOOK A3510", Hidden: true}, {Key: "ThinkPad X13", Name: "ThinkPad X13", Hidden: true}}
		if err != nil || !cmp.Equal(models, want) {
			t.Errorf("Spread by model = %+v, %v; want %+v", models, err, want)
		}
		for _, caller := range []access.Caller{system, one} {
			for _, filter := range []fleet.Filter{{}, {Finding: "disk_low"}, {State: fleet.StateWarning}} {
				all, err := w.Spreads(ctx, caller, filter)
				if err != nil || len(all) != len(fleet.Dimensions) {
					t.Errorf("Spreads(%+v) = %+v, %v", filter, all, err)
				}
				for _, by := range fleet.Dimensions {
					alone, err := w.Spread(ctx, caller, filter, by)
					if d := cmp.Diff(alone, all[by]); err != nil || d != "" || len(alone) == 0 {
						t.Errorf("Spread(%+v) by %s, %v, and together (-alone +together):\n%s", filter, by, err, d)
					}
				}
			}
		}
		if _, err := w.Spread(ctx, one, fleet.Filter{}, "person"); !errors.Is(err, fleet.ErrInvalid) {
			t.Errorf("Spread by person = %v, want ErrInvalid", err)
		}
		if _, err := w.Spread(ctx, access.Caller{}, fleet.Filter{}, fleet.ByModels); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Spread for nobody = %v, want ErrForbidden", err)
		}
	})
}

// TestSpreadTellsOfNobody: how many devices have a finding is told, so no group of few
// is what the told ones leave of it.
func TestSpreadTellsOfNobody(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn := w.owner(t, "Landkreis Ahorn")
		n := int64(0)
		has := func(model string, devices int) {
			for range devices {
				n++
				id, err := w.admit(ahorn, "", ident.Hardware{Manufacturer: "X", Model: model, Serial: fmt.Sprintf("A%03d", n), OS: "windows"})
				if err != nil {
					t.Fatal(err)
				}
				w.report(t, ahorn, id, n, 500, 1<<30)
				w.finds(t, ahorn, id, warning, true)
			}
		}
		for _, step := range []struct {
			model   string
			devices int
			want    []fleet.Share
		}{
			{"A", 2, []fleet.Share{{Key: "A", Name: "A", Hidden: true}}}, // two that have it, and nobody else
			{"B", 9, []fleet.Share{{Key: "B", Name: "B", Hidden: true}, {Key: "A", Name: "A", Hidden: true}}},
			{"C", 6, []fleet.Share{{Key: "B", Name: "B", Devices: 9, Of: 9}, {Key: "C", Name: "C", Hidden: true}, {Key: "A", Name: "A", Hidden: true}}},
			{"A", 3, []fleet.Share{{Key: "B", Name: "B", Devices: 9, Of: 9}, {Key: "C", Name: "C", Devices: 6, Of: 6}, {Key: "A", Name: "A", Devices: 5, Of: 5}}},
		} {
			has(step.model, step.devices)
			got, err := w.Spread(t.Context(), system, fleet.Filter{Finding: "disk_low"}, fleet.ByModels)
			if d := cmp.Diff(step.want, got); err != nil || d != "" {
				t.Errorf("Spread with %d more %s, %v (-want +got):\n%s", step.devices, step.model, err, d)
			}
		}
	})
}

// TestRevokedHasNothingOpen: what was open about a device when it was revoked is in no
// count, list or distribution any more.
func TestRevokedHasNothingOpen(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		ahorn := w.owner(t, "Landkreis Ahorn")
		var ids []string
		for i := range 7 {
			id := w.device(t, ahorn, "", fmt.Sprintf("A%03d", i))
			w.report(t, ahorn, id, int64(i+1), 500, 1<<30)
			w.finds(t, ahorn, id, warning, true)
			ids = append(ids, id)
		}
		if err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, 1), ($2, NULL)`, ids[0], ids[1])
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for name, caller := range map[string]access.Caller{"of all": system, "of an owner": user(access.RoleRead, ahorn)} {
			if got, err := w.OpenFindings(ctx, caller); err != nil || len(got) != 1 || got[0].Devices != 6 {
				t.Errorf("%s: OpenFindings = %v, %v; want 6 devices", name, got, err)
			}
			if p, err := w.List(ctx, caller, fleet.Filter{Finding: "disk_low"}); err != nil || p.Total != 6 || len(p.Items) != 6 {
				t.Errorf("%s: List = %d, %v; want 6", name, p.Total, err)
			}
			if c, err := w.Counts(ctx, caller, fleet.Filter{Finding: "disk_low"}); err != nil || c.Total != 6 || c.States[fleet.StateRevoked] != 0 || c.States[fleet.StateWarning] != 6 {
				t.Errorf("%s: Counts = %+v, %v; want 6", name, c, err)
			}
			if got, err := w.Spread(ctx, caller, fleet.Filter{Finding: "disk_low"}, fleet.ByModels); err != nil || len(got) != 1 || got[0].Devices != 6 || got[0].Of != 7 {
				t.Errorf("%s: Spread = %+v, %v; want 6 of 7", name, got, err)
			}
			p, err := w.List(ctx, caller, fleet.Filter{State: fleet.StateRevoked, Details: fleet.Details{Findings: true}})
			if err != nil || len(p.Items) != 1 || p.Items[0].Main.Code != "" || p.Items[0].More != 0 {
				t.Errorf("%s: the revoked device is %+v, %v; want it without a finding", name, p.Items, err)
			}
		}
	})
}
