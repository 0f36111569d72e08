package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/proto/ident"
)

func TestStates(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		o := w.owner(t, "Landkreis Ahorn")
		ids := map[fleet.State]string{}
		for i, s := range fleet.States {
			ids[s] = w.device(t, o, "", serial(i))
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		w.report(t, o, ids[fleet.StateSilent], 1, 500, 1<<30)
		w.ends(t, o, ids[fleet.StateSilent], 1)
		w.now = w.now.Add(15 * 24 * time.Hour)
		w.report(t, o, ids[fleet.StateOK], 1, 500, 1<<30)
		w.ends(t, o, ids[fleet.StateOK], 1)
		w.report(t, o, ids[fleet.StateConnected], 1, 500, 1<<30)
		w.report(t, o, ids[fleet.StateRevoked], 1, 500, 1<<30)
		w.report(t, o, ids[fleet.StateWarning], 1, 500, 1<<30)
		w.report(t, o, ids[fleet.StateCritical], 1, 500, 1<<30)
		w.ends(t, o, ids[fleet.StateCritical], 1)
		// The worst counts, and only where nothing else stands before it.
		w.finds(t, o, ids[fleet.StateWarning], warning, true)
		w.finds(t, o, ids[fleet.StateCritical], warning, true)
		w.finds(t, o, ids[fleet.StateCritical], critical, true)
		w.finds(t, o, ids[fleet.StateSilent], critical, true)
		w.finds(t, o, ids[fleet.StateRevoked], critical, true)
		// What enroll does when it admits and revokes a device.
		must(d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, 1)`, ids[fleet.StateRevoked])
			return err
		}))
		for want, id := range ids {
			got, err := w.Device(t.Context(), system, id)
			if err != nil || got.State != want {
				t.Errorf("state of the device that is %s = %s, %v", want, got.State, err)
			}
			p, err := w.List(t.Context(), system, fleet.Filter{State: want})
			if err != nil || len(p.Items) != 1 || p.Items[0].ID != id || p.Total != 1 {
				t.Errorf("List of state %s = %+v, %v, want that one", want, p, err)
			}
		}
		c, err := w.Counts(t.Context(), system, fleet.Filter{State: fleet.StateOK})
		want := fleet.Counts{Total: int64(len(fleet.States)), States: map[fleet.State]int64{}}
		for _, s := range fleet.States {
			want.States[s] = 1
		}
		if d := cmp.Diff(want, c, cmpopts.IgnoreUnexported(fleet.Counts{})); err != nil || d != "" {
			t.Errorf("Counts, %v (-want +got):\n%s", err, d)
		}
		// A filter that leaves many counts in another way, and alike.
		for _, most := range []int64{0, 3, 5000} {
			w.LookAtMost(most)
			c, err := w.Counts(t.Context(), system, fleet.Filter{Query: "lifebook"})
			if d := cmp.Diff(want, c, cmpopts.IgnoreUnexported(fleet.Counts{})); err != nil || d != "" {
				t.Errorf("Counts of a search that looks up at most %d, %v (-want +got):\n%s", most, err, d)
			}
			if c, err := w.Counts(t.Context(), system, fleet.Filter{Query: "thinkpad"}); err != nil || c.Total != 0 || c.States[fleet.StateNew] != 0 {
				t.Errorf("Counts of a search for nothing that looks up at most %d = %+v, %v", most, c, err)
			}
		}
		// With the worst one gone the next counts, and with that one none.
		w.finds(t, o, ids[fleet.StateCritical], critical, false)
		if got, err := w.Device(t.Context(), system, ids[fleet.StateCritical]); err != nil || got.State != fleet.StateWarning {
			t.Errorf("state with the worst finding cleared = %s, %v, want warning", got.State, err)
		}
		w.finds(t, o, ids[fleet.StateCritical], warning, false)
		if got, err := w.Device(t.Context(), system, ids[fleet.StateCritical]); err != nil || got.State != fleet.StateOK {
			t.Errorf("state with all findings cleared = %s, %v, want ok", got.State, err)
		}
		w.finds(t, o, ids[fleet.StateSilent], critical, false)
		// The border: 14 days ago is not silent, 15 days is.
		w.now = noon.Add(14 * 24 * time.Hour)
		if got, err := w.Device(t.Context(), system, ids[fleet.StateSilent]); err != nil || got.State != fleet.StateOK {
			t.Errorf("state 14 days after the last contact = %s, %v, want ok", got.State, err)
		}
		if got, err := w.Device(t.Context(), system, ids[fleet.StateSilent]); err != nil || !got.LastDay.Equal(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("last contact %v, %v, want the day of 2026-11-24", got.LastDay, err)
		}
	})
}

func TestSearch(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		file := "schul_id;schultraeger;schulform;name\nS0001;Landkreis Ahorn;Grundschule;Müllerschule am Weißen Berg\nS0002;Landkreis Ahorn;Gymnasium;100%_Gymnasium\n"
		if _, err := w.ImportSchools(t.Context(), system, strings.NewReader(file)); err != nil {
			t.Fatal(err)
		}
		place := func(school string) (string, string) {
			o, s, err := w.Place(t.Context(), system, "landkreis ahorn", school)
			if err != nil {
				t.Fatal(err)
			}
			return o, s
		}
		o, muehle := place("s0001")
		_, gym := place("S0002")
		a, b := w.device(t, o, muehle, "DEMO000001"), w.device(t, o, gym, "DEMO000002")
		if err := w.SetInventory(t.Context(), system, a, "AH-00417"); err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string][]string{
			"":                      {a, b},
			"AH-00417":              {a},
			"ah-004":                {a},
			"0417":                  {a},
			"demo000002":            {b},
			"lifebook":              {a, b},
			"fujitsu  a3510":        {a, b},
			"muellerschule":         {a},
			"MÜLLERSCHULE":          {a},
			"weissen":               {a},
			"s0002":                 {b},
			"gymnasium lifebook":    {b},
			"gymnasium ah-00417":    nil,
			"100%_":                 {b},
			"%":                     {b},
			"_":                     {b},
			`\`:                     nil,
			"nothing like that":     nil,
			"'; DROP TABLE devices": nil,
			"\x00":                  {a, b}, // nothing is left to look for
		} {
			p, err := w.List(t.Context(), system, fleet.Filter{Query: query})
			if err != nil {
				t.Errorf("List of %q: %v", query, err)
				continue
			}
			var got []string
			for _, d := range p.Items {
				got = append(got, d.ID)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) || p.Total != int64(len(want)) {
				t.Errorf("List of %q = %v (total %d), want %v", query, got, p.Total, want)
			}
		}
		// A school's new name is found at once, its old one no more.
		if _, err := w.ImportSchools(t.Context(), system, strings.NewReader(strings.Replace(file, "Müllerschule", "Goetheschule", 1))); err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]int64{"müller": 0, "goethe": 1, "goethe ah-00417": 1} {
			if p, err := w.List(t.Context(), system, fleet.Filter{Query: query}); err != nil || p.Total != want {
				t.Errorf("List of %q after the new name: total %d, %v, want %d", query, p.Total, err, want)
			}
		}
		for filter, want := range map[fleet.Filter]int64{{School: muehle}: 1, {School: "x"}: 0, {Owner: o}: 2, {Owner: "x"}: 0} {
			if p, err := w.List(t.Context(), system, filter); err != nil || p.Total != want {
				t.Errorf("List of %+v: total %d, %v, want %d", filter, p.Total, err, want)
			}
		}
	})
}

// Every order, both ways, in pages of every size, gives each device once.
func TestPages(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		o, birke := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Stadt Birke")
		if _, err := w.ImportSchools(t.Context(), system, strings.NewReader("schul_id;schultraeger\nS1;Landkreis Ahorn\nS10;Landkreis Ahorn\nS2;Landkreis Ahorn\nS2;Stadt Birke\n")); err != nil {
			t.Fatal(err)
		}
		const n = 23
		for i := range n {
			// Some at schools, two of which have the same code, and some at none.
			owner := map[bool]string{true: birke, false: o}[i%5 == 4]
			code := []string{"S10", "", "S2", "S1", "S2"}[i%5]
			_, school, err := w.Place(t.Context(), system, owner, code)
			if err != nil {
				t.Fatal(err)
			}
			id := w.device(t, owner, school, serial(i))
			if i%3 > 0 {
				w.report(t, owner, id, 1, int64(i%4)*100, int64(i%5)<<30)
			}
			if i%2 == 0 {
				if err := w.SetInventory(t.Context(), system, id, fmt.Sprintf("AH-%d", i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, order := range []fleet.Sort{"", fleet.ByLabel, fleet.ByModel, fleet.BySchool, fleet.ByContact, fleet.ByBattery, fleet.ByDisk} {
			var forwards []string
			for _, desc := range []bool{false, true} {
				for _, limit := range []int{1, 2, 7, n, 500} {
					var all []string
					f := fleet.Filter{Sort: order, Desc: desc, Limit: limit}
					for pages := 0; ; pages++ {
						p, err := w.List(t.Context(), system, f)
						if err != nil || p.Total != n || len(p.Items) > limit || pages > n {
							t.Fatalf("page %d of %+v = %d items of %d, %v", pages, f, len(p.Items), p.Total, err)
						}
						all = append(all, labels(p)...)
						if f.Cursor = p.Cursor; f.Cursor == "" {
							break
						}
					}
					if sorted := slices.Sorted(slices.Values(all)); len(slices.Compact(sorted)) != n {
						t.Errorf("%+v: %d different devices in all pages, want %d: %v", f, len(slices.Compact(sorted)), n, all)
					}
					if forwards == nil {
						forwards = all
					}
					// Who may see these owners' devices only gets them in the same order.
					if p, err := w.List(t.Context(), user(access.RoleRead, o, birke), fleet.Filter{Sort: order, Desc: desc}); err != nil || !slices.Equal(labels(p), all) {
						t.Errorf("%+v of these owners, %v:\n%v\n%v", f, err, labels(p), all)
					}
					if desc {
						slices.Reverse(all)
					}
					if !slices.Equal(all, forwards) {
						t.Errorf("%+v gives another order:\n%v\n%v", f, all, forwards)
					}
				}
			}
		}
		p, err := w.List(t.Context(), system, fleet.Filter{Limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"AH-0", "AH-2", "AH-4", "AH-6"}, labels(p)); d != "" {
			t.Errorf("labels sort as people do (-want +got):\n%s", d)
		}
		for what, f := range map[string]fleet.Filter{
			"no base64":          {Cursor: "§"},
			"no JSON":            {Cursor: "AAAA"},
			"of another order":   {Cursor: p.Cursor, Sort: fleet.ByBattery},
			"of the other way":   {Cursor: p.Cursor, Desc: true},
			"of nothing, base64": {Cursor: "e30"},
			// The total that it brings along is another question's.
			"of another query":  {Cursor: p.Cursor, Query: "nothing"},
			"of another state":  {Cursor: p.Cursor, State: fleet.StateOK},
			"of another school": {Cursor: p.Cursor, School: "s"},
			"of another owner":  {Cursor: p.Cursor, Owner: o},
		} {
			if _, err := w.List(t.Context(), system, f); !errors.Is(err, fleet.ErrCursor) {
				t.Errorf("cursor %s = %v, want ErrCursor", what, err)
			}
		}
		if _, err := w.List(t.Context(), user(access.RoleRead, o), fleet.Filter{Cursor: p.Cursor}); !errors.Is(err, fleet.ErrCursor) {
			t.Errorf("cursor of a caller who sees more = %v, want ErrCursor", err)
		}
		// Another size of pages is the same question, and so is another spelling.
		some, err := w.List(t.Context(), system, fleet.Filter{Limit: 4, Query: "lifebook fujitsu"})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := w.List(t.Context(), system, fleet.Filter{Limit: 9, Query: " LIFEBOOK  Fujitsu", Cursor: some.Cursor}); err != nil || len(p.Items) != 9 {
			t.Errorf("the next page of another size = %d, %v, want 9", len(p.Items), err)
		}
		if _, err := w.List(t.Context(), system, fleet.Filter{Query: "a b c d e f g"}); !errors.Is(err, fleet.ErrWords) || !errors.Is(err, fleet.ErrInvalid) {
			t.Errorf("List of seven words = %v, want ErrWords, an ErrInvalid", err)
		}
		if _, err := w.Counts(t.Context(), system, fleet.Filter{Query: "a b c d e f g"}); !errors.Is(err, fleet.ErrWords) {
			t.Errorf("Counts of seven words = %v, want ErrWords", err)
		}
		if p, err := w.List(t.Context(), system, fleet.Filter{Query: "l i f e b o"}); err != nil || p.Total != n {
			t.Errorf("List of six words = %d, %v, want all", p.Total, err)
		}
		for what, f := range map[string]fleet.Filter{"limit": {Limit: 501}, "limit below": {Limit: -1}, "state": {State: "x"}, "order": {Sort: "x; DROP"}} {
			if _, err := w.List(t.Context(), system, f); !errors.Is(err, fleet.ErrInvalid) {
				t.Errorf("wrong %s = %v, want ErrInvalid", what, err)
			}
		}
	})
}

// Another owner's things are not there, whatever is asked.
func TestScope(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		file := "schul_id;schultraeger\nS0001;Landkreis Ahorn\nS0002;Stadt Rubin\n"
		if _, err := w.ImportSchools(t.Context(), system, strings.NewReader(file)); err != nil {
			t.Fatal(err)
		}
		ahorn, s1, err := w.Place(t.Context(), system, "Landkreis Ahorn", "S0001")
		if err != nil {
			t.Fatal(err)
		}
		rubin, s2, err := w.Place(t.Context(), system, "Stadt Rubin", "S0002")
		if err != nil {
			t.Fatal(err)
		}
		own, foreign := w.device(t, ahorn, s1, "DEMO000001"), w.device(t, rubin, s2, "DEMO000002")
		admin := user(access.RoleAdmin, ahorn)
		p, err := w.List(t.Context(), admin, fleet.Filter{})
		if err != nil || p.Total != 1 || p.Items[0].ID != own {
			t.Errorf("List = %+v, %v, want the own device", p, err)
		}
		if p, err := w.List(t.Context(), admin, fleet.Filter{Owner: rubin}); err != nil || p.Total != 0 {
			t.Errorf("List of another owner = %+v, %v, want nothing", p, err)
		}
		if c, err := w.Counts(t.Context(), admin, fleet.Filter{}); err != nil || c.Total != 1 {
			t.Errorf("Counts = %+v, %v, want 1", c, err)
		}
		if s, err := w.Schools(t.Context(), admin); err != nil || len(s) != 1 || s[0].Code != "S0001" || s[0].Devices != 1 {
			t.Errorf("Schools = %+v, %v, want S0001 with one device", s, err)
		}
		if o, err := w.Owners(t.Context(), admin); err != nil || len(o) != 1 {
			t.Errorf("Owners = %+v, %v, want one", o, err)
		}
		notFound := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, access.ErrNotFound) {
				t.Errorf("%s = %v, want ErrNotFound", what, err)
			}
		}
		for _, id := range []string{foreign, "no such device"} {
			_, err = w.Device(t.Context(), admin, id)
			notFound("Device", err)
			notFound("SetInventory", w.SetInventory(t.Context(), admin, id, "X-1"))
			notFound("SetSchool", w.SetSchool(t.Context(), admin, id, s1))
		}
		_, err = w.FindDevice(t.Context(), admin, "DEMO000002")
		notFound("FindDevice", err)
		notFound("SetSchool to a foreign school", w.SetSchool(t.Context(), admin, own, s2))
		_, _, err = w.Place(t.Context(), admin, "Stadt Rubin", "")
		notFound("Place", err)
		_, _, err = w.Place(t.Context(), system, "Landkreis Ahorn", "S0002")
		notFound("Place with another owner's school", err)
		// By import neither another's schools nor owners can be made.
		got, err := w.ImportSchools(t.Context(), admin, strings.NewReader("schul_id;schultraeger\nS0009;Stadt Rubin\nS0010;Stadt Neu\nS0011;Landkreis Ahorn\n"))
		if err != nil || got.Added != 1 || got.Owners != 0 || len(got.Errors) != 2 {
			t.Errorf("ImportSchools = %+v, %v, want one added, two lines refused", got, err)
		}

		for what, caller := range map[string]access.Caller{"nobody": {}, "a device": access.ForDevice(own, ahorn)} {
			if _, err := w.List(t.Context(), caller, fleet.Filter{}); !errors.Is(err, access.ErrForbidden) {
				t.Errorf("List for %s = %v, want ErrForbidden", what, err)
			}
		}
		if err := w.SetInventory(t.Context(), user(access.RoleRead), own, "X"); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("SetInventory for role read = %v, want ErrForbidden", err)
		}
		if p, err := w.List(t.Context(), user(access.RoleAdmin), fleet.Filter{}); err != nil || p.Total != 2 {
			t.Errorf("List with no restriction = %+v, %v, want both", p, err)
		}
		if p, err := w.List(t.Context(), access.Caller{Kind: access.KindUser, Role: access.RoleAdmin, Owners: []string{}}, fleet.Filter{}); err != nil || p.Total != 0 {
			t.Errorf("List of no owner = %+v, %v, want nothing", p, err)
		}
	})
}

func TestAdmit(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn, rubin := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Stadt Rubin")
		id := w.device(t, ahorn, "", "DEMO000001")
		if !ident.ValidID(id) {
			t.Errorf("id %q is no UUID", id)
		}
		if err := w.SetInventory(t.Context(), system, id, "AH-1"); err != nil {
			t.Fatal(err)
		}
		// The same machine with another system, spelled another way.
		again, err := w.admit(ahorn, "", ident.Hardware{Manufacturer: "Fujitsu ", Model: "Lifebook A3510", Serial: " demo000001", OS: "linux"})
		if err != nil || again != id {
			t.Errorf("same serial = %s, %v, want the record %s", again, err, id)
		}
		got, err := w.Device(t.Context(), system, id)
		if err != nil || got.OS != "linux" || got.Inventory != "AH-1" {
			t.Errorf("after a re-image: %+v, %v, want linux with its old inventory number", got, err)
		}
		if _, err := w.admit(rubin, "", ident.Hardware{Manufacturer: "FUJITSU", Serial: "DEMO000001"}); !errors.Is(err, ident.ErrOtherOwner) {
			t.Errorf("claim of another owner = %v, want ErrOtherOwner", err)
		}
		if other, err := w.admit(rubin, "", ident.Hardware{Manufacturer: "Lenovo", Serial: "DEMO000001"}); err != nil || other == id {
			t.Errorf("same serial of another maker = %s, %v, want a record of its own", other, err)
		}
		// Without a serial of use the install id counts; without both nothing.
		one, err := w.admit(ahorn, "", ident.Hardware{Manufacturer: "QEMU", Serial: "To be filled by O.E.M.", InstallID: [16]byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		two, err := w.admit(ahorn, "", ident.Hardware{Manufacturer: "QEMU", Serial: "To be filled by O.E.M.", InstallID: [16]byte{2}})
		if err != nil || one == two {
			t.Errorf("two virtual machines = %s, %s, %v, want two records", one, two, err)
		}
		if got, err := w.Device(t.Context(), system, one); err != nil || got.Serial != "" || !strings.HasPrefix(got.Label(), "…") {
			t.Errorf("virtual machine %+v is called %q, %v, want the end of its id", got, got.Label(), err)
		}
		if _, err := w.admit(ahorn, "", ident.Hardware{Manufacturer: "QEMU", Serial: "None"}); !errors.Is(err, fleet.ErrRefused) {
			t.Errorf("hardware that says nothing = %v, want ErrRefused", err)
		}
		if _, err := w.admit(ahorn, "no such school", ident.Hardware{Manufacturer: "X", Serial: "DEMO000009"}); !errors.Is(err, fleet.ErrRefused) {
			t.Errorf("unknown school = %v, want ErrRefused", err)
		}
		if found, err := w.FindDevice(t.Context(), system, "ah-1"); err != nil || found != id {
			t.Errorf("FindDevice by inventory number = %s, %v, want %s", found, err, id)
		}
		if _, err := w.FindDevice(t.Context(), system, "demo000001"); !errors.Is(err, fleet.ErrInvalid) {
			t.Errorf("FindDevice by a serial that two have = %v, want ErrInvalid", err)
		}
	})
}

func TestInventory(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn, rubin := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Stadt Rubin")
		a, b, c := w.device(t, ahorn, "", "DEMO000001"), w.device(t, ahorn, "", "DEMO000002"), w.device(t, rubin, "", "DEMO000003")
		set := func(id, number string, want error) {
			t.Helper()
			if err := w.SetInventory(t.Context(), user(access.RoleSupport), id, number); !errors.Is(err, want) {
				t.Errorf("SetInventory(%s, %q) = %v, want %v", id[30:], number, err, want)
			}
		}
		set(a, " AH-1 ", nil)
		set(a, "AH-1", nil)
		set(b, "ah-1", fleet.ErrInventoryTaken)
		set(c, "AH-1", nil) // of another owner
		set(b, strings.Repeat("x", 65), fleet.ErrInvalid)
		set(b, "a\nb", fleet.ErrInvalid)
		set(b, "\xff", fleet.ErrInvalid)
		set(a, "", nil)
		set(b, "AH-1", nil)
		set(a, "Ä-17", nil)
		if got, err := w.Device(t.Context(), system, a); err != nil || got.Inventory != "Ä-17" || got.Label() != "Ä-17" {
			t.Errorf("device %+v, %v, want inventory Ä-17", got, err)
		}
		// Each change and nothing else stands in the audit record.
		var entries []audit.Entry
		err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
			entries, err = audit.List(t.Context(), tx, audit.Filter{Subject: "device:" + a})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, fmt.Sprintf("%s %s %s>%s", e.Actor, e.Action, e.Details["before"], e.Details["inventory"]))
		}
		want := []string{"user:u1 device.inventory_set >Ä-17", "user:u1 device.inventory_set AH-1>", "user:u1 device.inventory_set >AH-1"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("audit (-want +got):\n%s", d)
		}
		if _, err := audit.Verify(t.Context(), d); err != nil {
			t.Error(err)
		}
	})
}

func TestImport(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		type want struct {
			owners, added, changed, unchanged int
			errors                            []int // lines
		}
		for _, test := range []struct {
			name, file string
			want       want
		}{
			{"first", "schul_id;schultraeger;schulform;geraete\nS0001;Landkreis Ahorn;Grundschule;44\nS0002;Stadt Rubin;IGS;72\n", want{owners: 2, added: 2}},
			{"the same again", "schul_id;schultraeger;schulform;geraete\nS0001;Landkreis Ahorn;Grundschule;44\nS0002;Stadt Rubin;IGS;72\n", want{unchanged: 2}},
			{"as Excel writes it", "\ufeffschul_id;schultraeger;schulform;geraete\r\nS0001;Landkreis Ahorn;Grundschule;45\r\n", want{changed: 1}},
			{"commas, other order, quotes", "name,schultraeger,schul_id\n\"Schule, am Berg\",LANDKREIS  AHORN,S0003\n", want{added: 1}},
			{"bad lines among good ones", "schul_id;schultraeger;geraete\n;Stadt Rubin;1\nS0004;;1\nS0005;Stadt Rubin;-1\nS0006;Stadt Rubin;x\nS0007\nS0008;Stadt Rubin;1\nS0008;Stadt Rubin;2\nS0\"09;Stadt Rubin;1\nS0010;Stadt\x01Rubin;1\nS0011;Stadt Rubin;\n",
				want{added: 2, errors: []int{2, 3, 4, 5, 6, 8, 9, 10}}},
			{"a quote that is never closed", "schul_id;schultraeger\nS0020;\"Stadt Rubin\nS0021;Stadt Rubin\n\nS0022;Stadt \"Rubin\"\nS0021;Stadt Rubin\n;\"Stadt\n\nS0023;Stadt Rubin", want{added: 2, errors: []int{2, 5, 6, 7}}},
			{"a letter that is lost", "schul_id;schultraeger;name\nS0024;Stadt Rubin;M\ufffdhle\nS0025;Stadt Rubin;M\u00fchle\n", want{added: 1, errors: []int{2}}},
			{"Windows-1252", "schul_id;schultraeger;name\nS0026;Stadt Rubin;M\xfchle \x96 Stra\xdfe\n", want{added: 1}},
			{"Windows-1252 with a byte that it does not know", "schul_id;schultraeger;name\nS0027;Stadt Rubin;M\xfchle\nS0028;Stadt Rubin;M\x81hle\n", want{added: 1, errors: []int{3}}},
			{"UTF-8 with a broken line", "schul_id;schultraeger;name\nS0029;Stadt Rubin;Mühle\nS0030;Stadt Rubin;M\xfchle\n", want{added: 1, errors: []int{3}}},
			{"marked as UTF-8 with a broken line", "\ufeffschul_id;schultraeger;name\nS0030;Stadt Rubin;M\xfchle\n", want{errors: []int{2}}},
			{"nothing but the head", "schul_id;schultraeger\n", want{}},
		} {
			got, err := w.ImportSchools(t.Context(), system, strings.NewReader(test.file))
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			var lines []int
			for _, e := range got.Errors {
				lines = append(lines, e.Line)
			}
			if got.Owners != test.want.owners || got.Added != test.want.added || got.Changed != test.want.changed || got.Unchanged != test.want.unchanged ||
				!slices.Equal(lines, test.want.errors) {
				t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
			}
		}
		for what, file := range map[string]string{"empty": "", "another head": "a;b\n1;2\n", "no text": "\x00\xff\xfe", "UTF-16": "\xff\xfes\x00"} {
			if got, err := w.ImportSchools(t.Context(), system, strings.NewReader(file)); !errors.Is(err, fleet.ErrInvalid) {
				t.Errorf("%s file = %+v, %v, want ErrInvalid", what, got, err)
			}
		}
		schools, err := w.Schools(t.Context(), system)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range schools {
			got = append(got, fmt.Sprintf("%s|%s|%s|%d", s.OwnerName, s.Code, s.Title(), s.Planned))
		}
		want2 := []string{"Landkreis Ahorn|S0001|Grundschule S0001|45", "Landkreis Ahorn|S0003|Schule, am Berg|0",
			"Stadt Rubin|S0002|IGS S0002|72", "Stadt Rubin|S0008|S0008|1", "Stadt Rubin|S0011|S0011|0",
			"Stadt Rubin|S0021|S0021|0", "Stadt Rubin|S0023|S0023|0", "Stadt Rubin|S0025|Mühle|0", "Stadt Rubin|S0026|Mühle – Straße|0",
			"Stadt Rubin|S0027|Mühle|0", "Stadt Rubin|S0029|Mühle|0"}
		if d := cmp.Diff(want2, got); d != "" {
			t.Errorf("schools (-want +got):\n%s", d)
		}
	})
}

func TestSetSchool(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	if _, err := w.ImportSchools(t.Context(), system, strings.NewReader("schul_id;schultraeger\nS0001;Landkreis Ahorn\nS0002;Landkreis Ahorn\n")); err != nil {
		t.Fatal(err)
	}
	o, s1, err := w.Place(t.Context(), system, "Landkreis Ahorn", "S0001")
	if err != nil {
		t.Fatal(err)
	}
	_, s2, err := w.Place(t.Context(), system, "Landkreis Ahorn", "S0002")
	if err != nil {
		t.Fatal(err)
	}
	id := w.device(t, o, s1, "DEMO000001")
	for _, school := range []string{s2, "", s1} {
		if err := w.SetSchool(t.Context(), system, id, school); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Device(t.Context(), system, id); err != nil || got.School != school {
			t.Errorf("school %q, %v, want %q", got.School, err, school)
		}
	}
	if p, err := w.List(t.Context(), system, fleet.Filter{Query: "s0001"}); err != nil || p.Total != 1 {
		t.Errorf("search by the new school finds %d, %v, want 1", p.Total, err)
	}
	// A re-image with a claim that names no school leaves the device where it is.
	if _, err := w.admit(o, "", ident.Hardware{Manufacturer: "FUJITSU", Serial: "DEMO000001"}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Device(context.Background(), system, id); err != nil || got.School != s1 {
		t.Errorf("school after a re-image %q, %v, want %q", got.School, err, s1)
	}
}
