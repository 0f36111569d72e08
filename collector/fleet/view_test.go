package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
)

// TestViews: who has, makes, changes and deletes which saved view.
func TestViews(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		ahorn, kiefer := w.owner(t, "Ahorn"), w.owner(t, "Kiefer")
		as := func(id string, role access.Role, owners ...string) access.Caller {
			return access.Caller{Kind: access.KindUser, ID: id, Role: role, Owners: owners}
		}
		root, eva, max, foreign := as("root", access.RoleAdmin), as("eva", access.RoleAdmin, ahorn), as("max", access.RoleRead, ahorn), as("ida", access.RoleAdmin, kiefer)
		save := func(c access.Caller, sharing fleet.Sharing, owner, name string) fleet.View {
			t.Helper()
			w.now = w.now.Add(time.Second)
			v, err := w.SaveView(ctx, c, fleet.View{Sharing: sharing, Owner: owner, Name: name, Filter: fleet.Filter{State: fleet.StateSilent, Sort: fleet.ByBattery, Desc: true, Cursor: "x"}, Columns: "battery"})
			if err != nil {
				t.Fatalf("%s saves %q: %v", c.ID, name, err)
			}
			return v
		}
		own := save(max, fleet.ViewOwn, "", " Still & leise ")
		save(eva, fleet.ViewOwner, ahorn, "Akkus")
		save(root, fleet.ViewAll, "", "Für alle")
		shared := save(foreign, fleet.ViewOwner, kiefer, "Akkus")
		save(max, fleet.ViewOwn, "", "Akkus")
		names := func(c access.Caller) (out []string) {
			views, err := w.Views(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range views {
				out = append(out, string(v.Sharing)+" "+v.Slug)
			}
			return out
		}
		for _, c := range []struct {
			caller access.Caller
			want   []string
		}{
			{max, []string{"own akkus", "own still-leise", "owner akkus", "all fuer-alle"}},
			{eva, []string{"owner akkus", "all fuer-alle"}},
			{foreign, []string{"owner akkus", "all fuer-alle"}},
			{root, []string{"owner akkus", "owner akkus", "all fuer-alle"}},
		} {
			if diff := cmp.Diff(c.want, names(c.caller)); diff != "" {
				t.Errorf("views of %s:\n%s", c.caller.ID, diff)
			}
		}
		got, err := w.View(ctx, max, "still-leise")
		want := own
		want.Created = got.Created
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(fleet.Filter{})); err != nil || diff != "" || got.Name != "Still & leise" || got.Filter.Cursor != "" || got.Filter.Sort != fleet.ByBattery {
			t.Errorf("View = %+v, %v\n%s", got, err, diff)
		}
		fail := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s = %v, want %v", what, err, want)
			}
		}
		try := func(c access.Caller, v fleet.View) error { _, err := w.SaveView(ctx, c, v); return err }
		fail("sharing without the right", try(max, fleet.View{Sharing: fleet.ViewOwner, Owner: ahorn, Name: "x"}), access.ErrForbidden)
		fail("sharing with another owner", try(eva, fleet.View{Sharing: fleet.ViewOwner, Owner: kiefer, Name: "x"}), access.ErrNotFound)
		fail("sharing with all by who sees some", try(eva, fleet.View{Sharing: fleet.ViewAll, Name: "x"}), access.ErrForbidden)
		fail("the same name", try(max, fleet.View{Sharing: fleet.ViewOwn, Name: "AKKUS"}), fleet.ErrViewTaken)
		fail("no letter", try(max, fleet.View{Sharing: fleet.ViewOwn, Name: "!?"}), fleet.ErrInvalid)
		fail("a state that is none", try(max, fleet.View{Sharing: fleet.ViewOwn, Name: "x", Filter: fleet.Filter{State: "odd"}}), fleet.ErrInvalid)
		fail("an order that is none", try(max, fleet.View{Sharing: fleet.ViewOwn, Name: "x", Filter: fleet.Filter{Sort: "odd"}}), fleet.ErrInvalid)
		fail("nobody", try(access.Caller{}, fleet.View{Sharing: fleet.ViewOwn, Name: "x"}), access.ErrForbidden)
		rename := func(c access.Caller, id, name string) error {
			_, err := w.ChangeView(ctx, c, id, func(v *fleet.View) { v.Name, v.Sharing = name, fleet.ViewAll })
			return err
		}
		fail("renaming another's own", rename(eva, own.ID, "x"), access.ErrNotFound)
		fail("renaming what another owner shares", rename(eva, shared.ID, "x"), access.ErrNotFound)
		fail("renaming what is shared, as reader", rename(as("leo", access.RoleRead, kiefer), shared.ID, "x"), access.ErrForbidden)
		fail("renaming to a name that is taken", rename(max, own.ID, "akkus"), fleet.ErrViewTaken)
		fail("deleting what is shared, as reader", w.DeleteView(ctx, as("leo", access.RoleRead, kiefer), shared.ID), access.ErrForbidden)
		fail("renaming", rename(max, own.ID, "Neu"), nil)
		if v, err := w.View(ctx, max, own.ID); err != nil || v.Name != "Neu" || v.Slug != "neu" || v.Sharing != fleet.ViewOwn {
			t.Errorf("renamed = %+v, %v", v, err)
		}
		fail("deleting", w.DeleteView(ctx, max, own.ID), nil)
		fail("deleting twice", w.DeleteView(ctx, max, own.ID), access.ErrNotFound)
		_, err = w.View(ctx, max, "neu")
		fail("a deleted view", err, access.ErrNotFound)
		_, err = w.RestoreView(ctx, eva, own.ID)
		fail("bringing back another's", err, access.ErrNotFound)
		if v, err := w.RestoreView(ctx, max, own.ID); err != nil || v.Name != "Neu" {
			t.Errorf("brought back: %+v, %v", v, err)
		}
		if diff := cmp.Diff([]string{"view.saved", "view.changed", "view.deleted", "view.saved"}, w.actions(t, "view:"+own.ID)); diff != "" {
			t.Errorf("audit:\n%s", diff)
		}
		for err = nil; err == nil; {
			err = try(root, fleet.View{Sharing: fleet.ViewOwn, Name: "n" + w.now.String()})
			w.now = w.now.Add(time.Second)
		}
		fail("too many", err, fleet.ErrViews)
		if n := len(names(root)); n != 33 {
			t.Errorf("root has %d views, want its 30 and 3 that are shared", n)
		}
	})
}

// TestViewsOfWhatIsForeign: a view for one school, or one owner, is of nobody's list who
// does not see these; not even its name is.
func TestViewsOfWhatIsForeign(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		if _, err := w.ImportSchools(ctx, system, strings.NewReader("schul_id,name,ort,schultraeger,geraete\nA1,A,X,Ahorn,1\nK1,K,X,Kiefer,1\n")); err != nil {
			t.Fatal(err)
		}
		root := access.Caller{Kind: access.KindUser, ID: "root", Role: access.RoleAdmin}
		schools, err := w.Schools(ctx, root)
		if err != nil {
			t.Fatal(err)
		}
		school, other := schools[0], ""
		for _, s := range schools {
			if s.Owner != school.Owner {
				other = s.Owner
			}
		}
		for name, f := range map[string]fleet.Filter{"school": {School: school.ID}, "owner": {Owner: school.Owner}, "all": {}, "gone": {School: "none"}} {
			if _, err := w.SaveView(ctx, root, fleet.View{Sharing: fleet.ViewAll, Name: name, Filter: f}); err != nil {
				t.Fatal(err)
			}
		}
		for owner, want := range map[string][]string{school.Owner: {"all", "gone", "owner", "school"}, other: {"all", "gone"}} {
			views, err := w.Views(ctx, access.Caller{Kind: access.KindUser, ID: "eva", Role: access.RoleAdmin, Owners: []string{owner}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range views {
				got = append(got, v.Slug)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s sees:\n%s", owner, diff)
			}
		}
		eva := access.Caller{Kind: access.KindUser, ID: "eva", Role: access.RoleAdmin, Owners: []string{school.Owner, other}}
		own, err := w.SaveView(ctx, eva, fleet.View{Sharing: fleet.ViewOwn, Name: "mine", Filter: fleet.Filter{School: school.ID}})
		if err != nil {
			t.Fatal(err)
		}
		eva.Owners = []string{other} // she works for one of them only from now on
		if err := w.DeleteView(ctx, eva, own.ID); err != nil {
			t.Errorf("a view of her own that she cannot take away: %v", err)
		}
	})
}
