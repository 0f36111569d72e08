package fleet_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// TestWays: a school's devices by the way that they took and what was in it, with
// who inspects, and nobody else's.
func TestWays(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, other := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Kiefer")
		_, err := w.ImportSchools(t.Context(), system, strings.NewReader("schul_id;schultraeger;name\nS1;Landkreis Ahorn;Eins\nS2;Landkreis Ahorn;Zwei\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, one, err := w.Place(t.Context(), system, owner, "S1")
		if err != nil {
			t.Fatal(err)
		}
		_, two, err := w.Place(t.Context(), system, owner, "S2")
		if err != nil {
			t.Fatal(err)
		}
		tell := func(school, serial, path, trouble, issuer string) string {
			t.Helper()
			id := w.device(t, owner, school, serial)
			var state []*hmpb.Reading
			for of, text := range map[uint32]string{reading.CollectorPath: path, reading.NetworkTrouble: trouble, reading.InspectionIssuer: issuer} {
				if text != "" {
					state = append(state, hmpb.Reading_builder{Id: &of, Text: &text}.Build())
				}
			}
			if path != "" {
				w.tell(t, owner, id, 1, hmpb.Entry_builder{State: hmpb.State_builder{Readings: state}.Build()}.Build())
			}
			return id
		}
		tell(one, "DEMO1", "quic", "none", "")
		inspected := tell(one, "DEMO2", "tcp", "inspected", "CN=Filter CA")
		tell(one, "DEMO3", "tcp", "udp_blocked", "")
		tell(one, "DEMO4", "tcp_proxy", "inspected", "CN=Filter CA")
		tell(one, "DEMO5", "tcp_proxy", "proxy_needs_login", "CN=Andere CA")
		tell(one, "DEMO6", "quic", "captive_portal", "")
		tell(one, "DEMO7", "", "", "")
		tell(two, "DEMO8", "quic", "none", "CN=Fremd")
		want := fleet.Ways{Devices: 7, QUIC: 2, TCP: 2, Proxy: 2, UDPBlocked: 1, Login: 1, Portal: 1, Inspected: 2, Issuers: []fleet.Issuer{{Name: "CN=Filter CA", Devices: 2}, {Name: "CN=Andere CA", Devices: 1}}}
		got, err := w.Ways(t.Context(), system, one)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("Ways = %+v, %v; want %+v", got, err, want)
		}
		w.finds(t, owner, inspected, warning, true)
		w.finds(t, owner, w.device(t, owner, two, "DEMO9"), critical, true)
		if list, err := w.SchoolFindings(t.Context(), system, one); err != nil || len(list) != 1 || list[0].Devices != 1 || list[0].Severity != warning {
			t.Errorf("SchoolFindings = %+v, %v; want the one of this school", list, err)
		}
		if s, err := w.School(t.Context(), system, one); err != nil || s.Title() != "Eins" || s.Devices != 7 || s.OwnerName != "Landkreis Ahorn" {
			t.Errorf("School = %+v, %v", s, err)
		}
		if some, all, err := w.SearchSchools(t.Context(), system, "ahorn", 1); err != nil || all != 2 || len(some) != 1 || some[0].ID != one {
			t.Errorf("SearchSchools = %+v, %d, %v; want the first of two", some, all, err)
		}
		if s, err := w.FindSchool(t.Context(), system, " s2"); err != nil || s.ID != two {
			t.Errorf("FindSchool = %+v, %v; want the second", s, err)
		}
		stranger := access.Caller{Kind: access.KindUser, ID: "x", Role: access.RoleAdmin, Owners: []string{other}}
		_, err1 := w.School(t.Context(), stranger, one)
		_, err2 := w.Ways(t.Context(), stranger, one)
		_, err3 := w.SchoolFindings(t.Context(), stranger, one)
		_, err4 := w.School(t.Context(), system, "none")
		_, err5 := w.FindSchool(t.Context(), stranger, "S1")
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if !errors.Is(err, access.ErrNotFound) {
				t.Errorf("%d: another owner's school = %v, want not found", i+1, err)
			}
		}
	})
}
