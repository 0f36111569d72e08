package fleet_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
)

// TestUpdate holds the lists of the devices that have a word against the lists of all:
// they are those of these, in the same order, whichever way they are found.
func TestUpdate(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		ahorn, birke := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Birke")
		if _, err := w.ImportSchools(ctx, system, strings.NewReader("schul_id;schultraeger\nS1;Landkreis Ahorn\nS2;Landkreis Ahorn\nS3;Landkreis Ahorn\nS1;Landkreis Birke\nS2;Landkreis Birke\nS3;Landkreis Birke\n")); err != nil {
			t.Fatal(err)
		}
		const n = 33
		var ids []string
		for i := range n {
			owner := ahorn
			if i%5 == 0 {
				owner = birke
			}
			_, school, err := w.Place(ctx, system, map[string]string{ahorn: "Landkreis Ahorn", birke: "Landkreis Birke"}[owner], []string{"", "S1", "S2", "S3"}[i%4])
			if err != nil {
				t.Fatal(err)
			}
			id := w.device(t, owner, school, serial(i))
			if i%3 > 0 {
				w.report(t, owner, id, int64(i+1), int64(i%4)*100, int64(i%5)<<30)
			}
			if i%6 == 1 {
				w.finds(t, owner, id, warning, true)
			}
			ids = append(ids, id)
		}
		revoked := ids[n-1]
		if err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, 1)`, revoked)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		w.updates["none"], w.updates["behind"] = []string{}, ids[2:]
		w.updates["waits"] = []string{ids[31], ids[7], ids[13], ids[4], ids[10], revoked, ids[20], "no device"}
		callers := map[string]access.Caller{"of all": system, "of an owner": user(access.RoleRead, ahorn)}
		filters := []fleet.Filter{{}, {Query: "demo"}, {State: fleet.StateWarning}, {Finding: "disk_low"}, {Query: "lifebook", State: fleet.StateConnected}, {Owner: birke}}
		for _, looked := range []int64{500, 0} { // few, which are looked up, and many, which are walked to
			w.LookAtMost(looked)
			for who, caller := range callers {
				for _, filter := range filters {
					for _, order := range []fleet.Sort{fleet.ByLabel, fleet.BySchool, fleet.ByBattery} {
						filter.Sort, filter.Desc = order, !filter.Desc
						all, err := w.List(ctx, caller, filter)
						if err != nil {
							t.Fatal(err)
						}
						for word, of := range w.updates {
							var want []string
							for _, d := range all.Items {
								if slices.Contains(of, d.ID) && d.ID != revoked {
									want = append(want, d.Label())
								}
							}
							f := filter
							f.Update = word
							for _, limit := range []int{7, 500} {
								f.Limit, f.Cursor = limit, ""
								var got []string
								for pages := 0; pages == 0 || f.Cursor != ""; pages++ {
									p, err := w.List(ctx, caller, f)
									if err != nil || p.Total != int64(len(want)) || pages > n {
										t.Fatalf("%s, looking at %d: page %d of %+v = %d of %d, %v; want %d", who, looked, pages, f, len(p.Items), p.Total, err, len(want))
									}
									got, f.Cursor = append(got, labels(p)...), p.Cursor
								}
								if !slices.Equal(got, want) {
									t.Errorf("%s, looking at %d: %+v =\n%v, want\n%v", who, looked, f, got, want)
								}
							}
							c, err := w.Counts(ctx, caller, f)
							if err != nil || c.States[fleet.StateRevoked] != 0 || filter.State != "" && c.States[filter.State] != int64(len(want)) || filter.State == "" && c.Total != int64(len(want)) {
								t.Errorf("%s, looking at %d: Counts of %+v = %+v, %v; want %d", who, looked, f, c, err, len(want))
							}
							// A page that was counted before is the same one.
							f.Counted, f.Limit, f.Cursor = &c, 500, ""
							if p, err := w.List(ctx, caller, f); err != nil || !slices.Equal(labels(p), want) {
								t.Errorf("%s, looking at %d: counted, %+v = %v, %v; want %v", who, looked, f, labels(p), err, want)
							}
						}
					}
				}
			}
		}
		some, err := w.List(ctx, system, fleet.Filter{Update: "behind", Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.List(ctx, system, fleet.Filter{Update: "waits", Limit: 3, Cursor: some.Cursor}); !errors.Is(err, fleet.ErrCursor) {
			t.Errorf("a cursor of another word: %v, want ErrCursor", err)
		}
		shares, err := w.Spread(ctx, system, fleet.Filter{Update: "waits", State: fleet.StateConnected}, fleet.ByModels)
		connected, listErr := w.List(ctx, system, fleet.Filter{Update: "waits", State: fleet.StateConnected})
		if err != nil || listErr != nil || connected.Total == 0 || len(shares) != 1 || shares[0].Devices != connected.Total && !shares[0].Hidden {
			t.Errorf("Spread = %+v, %v; want the %d devices of the list, %v", shares, err, connected.Total, listErr)
		}
		for what, got := range map[string]error{
			"list":  second(w.List(ctx, system, fleet.Filter{Update: "odd"})),
			"count": second(w.Counts(ctx, system, fleet.Filter{Update: "odd"})),
			"view":  second(w.SaveView(ctx, user(access.RoleAdmin), fleet.View{Name: "x", Sharing: fleet.ViewOwn, Filter: fleet.Filter{Update: "odd"}})),
			"job":   second(w.StartJob(ctx, system, fleet.NewJob{Act: fleet.ActLabel, Label: "x", Filter: &fleet.Filter{Update: "odd"}})),
		} {
			if !errors.Is(got, fleet.ErrInvalid) {
				t.Errorf("%s by a word that is none: %v, want ErrInvalid", what, got)
			}
		}
	})
}

// TestUpdateJob changes the devices of a word, as they are when it gathers them.
func TestUpdateJob(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn, birke := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Birke")
		var ids []string
		for i := range 5 {
			ids = append(ids, w.device(t, []string{ahorn, birke}[i%2], "", serial(i)))
		}
		w.updates["rolled_back"] = []string{ids[1], ids[2], ids[4]}
		j := w.runs(t, user(access.RoleSupport, ahorn), fleet.NewJob{Act: fleet.ActLabel, Label: "Zurück", Filter: &fleet.Filter{Update: "rolled_back"}})
		p, err := w.List(t.Context(), system, fleet.Filter{Label: "Zurück"})
		if err != nil || j.Total != 2 || !slices.Equal(labels(p), []string{serial(2), serial(4)}) {
			t.Errorf("labelled %d: %v, %v; want those of the caller's owner", j.Total, labels(p), err)
		}
		v, err := w.SaveView(t.Context(), user(access.RoleAdmin), fleet.View{Name: "Zurück", Sharing: fleet.ViewOwn, Filter: fleet.Filter{Update: "rolled_back"}})
		if err != nil {
			t.Fatal(err)
		}
		if v, err = w.View(t.Context(), user(access.RoleAdmin), v.ID); err != nil || v.Filter.Update != "rolled_back" {
			t.Errorf("a kept view asks for %+v, %v", v.Filter, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }
