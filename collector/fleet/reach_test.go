package fleet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// TestSchoolStates: schools in each order, by every filter, page by page; what is in
// trouble or comes over TCP only counts as it does in the list of devices.
func TestSchoolStates(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := t.Context()
		_, err := w.ImportSchools(ctx, system, strings.NewReader(`schul_id;schultraeger;name;schulform
S9;Landkreis Ahorn;Birke;Gymnasium
S1;Landkreis Ahorn;Zeder;Grundschule
S5;Landkreis Kiefer;Ahorn;Gymnasium
S3;Landkreis Kiefer;;Grundschule
`))
		if err != nil {
			t.Fatal(err)
		}
		all, err := w.Schools(ctx, system)
		if err != nil {
			t.Fatal(err)
		}
		byCode := map[string]fleet.School{}
		for _, s := range all {
			byCode[s.Code] = s
		}
		n := 0
		device := func(code, path string, worst hmpb.Severity, connected bool) string {
			t.Helper()
			s := byCode[code]
			n++
			id := w.device(t, s.Owner, s.ID, serial(n))
			w.report(t, s.Owner, id, int64(n), 500, 50<<30)
			w.tell(t, s.Owner, id, 2, hmpb.Entry_builder{State: hmpb.State_builder{Readings: []*hmpb.Reading{hmpb.Reading_builder{Id: new(uint32(reading.CollectorPath)), Text: &path}.Build()}}.Build()}.Build())
			if worst != 0 {
				w.finds(t, s.Owner, id, worst, true)
			}
			if !connected {
				w.ends(t, s.Owner, id, int64(n))
			}
			return id
		}
		device("S9", "tcp", warning, true)
		device("S9", "tcp_proxy", warning, true)
		device("S9", "quic", 0, true)
		device("S1", "tcp", critical, true)
		device("S5", "quic", 0, true)
		// Neither what is silent nor what is revoked is in trouble.
		w.now = w.now.AddDate(0, 0, -40)
		device("S3", "quic", critical, false)
		w.now = w.now.AddDate(0, 0, 40)
		revoked := device("S5", "quic", critical, true)
		if err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO enrolled (device, revoked_ms) VALUES ($1, 1) ON CONFLICT (device) DO UPDATE SET revoked_ms = 1`, revoked)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		reader := func(owners ...string) access.Caller {
			return access.Caller{Kind: access.KindUser, Role: access.RoleRead, Owners: owners}
		}
		// The four counts are those of the devices' states, as everywhere: who is connected
		// and has a warning counts as a warning.
		page, err := w.SchoolStates(ctx, system, fleet.SchoolFilter{Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Items {
			counts, err := w.Counts(ctx, system, fleet.Filter{School: s.ID})
			if err != nil {
				t.Fatal(err)
			}
			want := [4]int64{counts.States[fleet.StateCritical], counts.States[fleet.StateWarning], counts.States[fleet.StateSilent], counts.States[fleet.StateConnected]}
			if got := [4]int64{s.Critical, s.Warning, s.Silent, s.Connected}; got != want {
				t.Errorf("%s counts %v devices that are critical, warned of, silent, connected; its list has %v", s.Code, got, want)
			}
		}
		for _, test := range []struct {
			what   string
			caller access.Caller
			filter fleet.SchoolFilter
			want   string
		}{
			{"usual", system, fleet.SchoolFilter{}, "S1 S9 S3 S5"},
			{"by number", system, fleet.SchoolFilter{Sort: fleet.SchoolsByNumber}, "S1 S3 S5 S9"},
			{"by number, last first", system, fleet.SchoolFilter{Sort: fleet.SchoolsByNumber, Desc: true}, "S9 S5 S3 S1"},
			{"by name", system, fleet.SchoolFilter{Sort: fleet.SchoolsByName}, "S5 S9 S3 S1"},
			{"by devices", system, fleet.SchoolFilter{Sort: fleet.SchoolsByDevices, Desc: true}, "S9 S5 S1 S3"},
			{"by trouble", system, fleet.SchoolFilter{Sort: fleet.SchoolsByTrouble, Desc: true}, "S1 S9 S3 S5"},
			{"by trouble, least first", system, fleet.SchoolFilter{Sort: fleet.SchoolsByTrouble}, "S3 S5 S9 S1"},
			{"by TCP", system, fleet.SchoolFilter{Sort: fleet.SchoolsByTCP, Desc: true}, "S9 S1 S3 S5"},
			{"kind", system, fleet.SchoolFilter{Kind: "Gymnasium"}, "S9 S5"},
			{"owner", system, fleet.SchoolFilter{Owner: byCode["S3"].Owner}, "S3 S5"},
			{"trouble", system, fleet.SchoolFilter{Trouble: true}, "S1 S9"},
			{"all at once", system, fleet.SchoolFilter{Trouble: true, Kind: "Gymnasium", Query: "ahorn", Sort: fleet.SchoolsByName}, "S9"},
			{"none", system, fleet.SchoolFilter{Kind: "Berufliche Schule"}, ""},
			{"one's own", reader(byCode["S3"].Owner), fleet.SchoolFilter{Sort: fleet.SchoolsByTrouble, Desc: true}, "S3 S5"},
			{"another's", reader(byCode["S3"].Owner), fleet.SchoolFilter{Owner: byCode["S1"].Owner}, ""},
		} {
			for _, limit := range []int{1, 3, 50} {
				var got []string
				f := test.filter
				for f.Limit = limit; ; {
					page, err := w.SchoolStates(ctx, test.caller, f)
					if err != nil {
						t.Fatalf("%s: %v", test.what, err)
					}
					if page.Total != len(strings.Fields(test.want)) {
						t.Errorf("%s: %d in all, want %d", test.what, page.Total, len(strings.Fields(test.want)))
					}
					for _, s := range page.Items {
						got = append(got, s.Code)
					}
					if f.Cursor = page.Cursor; f.Cursor == "" {
						break
					}
				}
				if strings.Join(got, " ") != test.want {
					t.Errorf("%s, %d at once: %v, want %s", test.what, limit, got, test.want)
				}
			}
		}
		page, err = w.SchoolStates(ctx, system, fleet.SchoolFilter{Sort: fleet.SchoolsByTrouble, Desc: true, Limit: 2})
		if err != nil || !slices.Equal(page.Kinds, []string{"Grundschule", "Gymnasium"}) {
			t.Errorf("the kinds are %q, %v", page.Kinds, err)
		}
		if s := page.Items; len(s) != 2 || fmt.Sprint(s[0].Critical, s[0].Warning, s[0].TCP, s[1].Critical, s[1].Warning, s[1].TCP, s[1].Proxy) != "1 0 1 0 2 1 1" {
			t.Errorf("the first two are %+v", s)
		}
		for _, f := range []fleet.SchoolFilter{{Cursor: page.Cursor}, {Cursor: page.Cursor, Sort: fleet.SchoolsByTrouble}, {Cursor: "x", Sort: fleet.SchoolsByTrouble, Desc: true}, {Cursor: "bnVsbA"}} {
			if _, err := w.SchoolStates(ctx, system, f); !errors.Is(err, fleet.ErrCursor) {
				t.Errorf("a cursor of another order, %+v = %v, want ErrCursor", f, err)
			}
		}
		if _, err := w.SchoolStates(ctx, system, fleet.SchoolFilter{Sort: "colour"}); !errors.Is(err, fleet.ErrInvalid) {
			t.Errorf("sorted by colour = %v, want ErrInvalid", err)
		}
		if _, err := w.SchoolStates(ctx, access.ForDevice("d", byCode["S1"].Owner), fleet.SchoolFilter{}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("a device lists schools: %v, want ErrForbidden", err)
		}
	})
}
