package fleet_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

// TestOffers: models and builds are offered in order and once, those of one's own
// owners only, and the list is filtered by them exactly.
func TestOffers(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ahorn, birke := w.owner(t, "Landkreis Ahorn"), w.owner(t, "Landkreis Birke")
		for i, of := range []struct{ owner, model, build string }{
			{ahorn, "ThinkPad X13", "26100.1"}, {ahorn, "LIFEBOOK A3510", "22631.9"}, {ahorn, "LIFEBOOK A3510", "26100.1"}, {birke, "LIFEBOOK A3510 G2", "19045.2"}, {birke, "MacBook Air", ""},
		} {
			id, err := w.admit(of.owner, "", ident.Hardware{Manufacturer: "X", Model: of.model, Serial: serial(i), OS: "windows"})
			if err != nil {
				t.Fatal(err)
			}
			if of.build == "" {
				continue
			}
			w.report(t, of.owner, id, int64(i+1), 500, 1<<30)
			tally, err := w.health.Tally(t.Context(), system, id)
			if err != nil {
				t.Fatal(err)
			}
			w.tell(t, of.owner, id, tally.Last+1, hmpb.Entry_builder{State: hmpb.State_builder{Readings: []*hmpb.Reading{
				hmpb.Reading_builder{Id: new(uint32(reading.OSBuild)), Instance: new(""), Text: &of.build}.Build()}}.Build()}.Build())
		}
		for _, c := range []struct {
			caller         access.Caller
			models, builds []string
		}{
			{system, []string{"LIFEBOOK A3510", "LIFEBOOK A3510 G2", "MacBook Air", "ThinkPad X13"}, []string{"19045.2", "22631.9", "26100.1"}},
			{user(access.RoleRead, ahorn), []string{"LIFEBOOK A3510", "ThinkPad X13"}, []string{"22631.9", "26100.1"}},
			{user(access.RoleRead, birke), []string{"LIFEBOOK A3510 G2", "MacBook Air"}, []string{"19045.2"}},
			{user(access.RoleRead, []string{}...), nil, nil},
		} {
			if len(c.models) == 0 {
				c.caller.Owners = []string{}
			}
			for _, many := range []int64{1, 5000} { // found in two ways, and alike
				w.AskEachFrom(many)
				models, err := w.Models(t.Context(), c.caller)
				builds, err2 := w.Builds(t.Context(), c.caller)
				if err != nil || err2 != nil || !cmp.Equal(models, c.models) || !cmp.Equal(builds, c.builds) {
					t.Errorf("offered to %v: %q, %v and %q, %v; want %q and %q", c.caller.Owners, models, err, builds, err2, c.models, c.builds)
				}
			}
		}
		if _, err := w.Models(t.Context(), access.Caller{}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("Models for nobody = %v, want forbidden", err)
		}
		for _, f := range []struct {
			fleet.Filter
			want int64
		}{{fleet.Filter{Model: "LIFEBOOK A3510"}, 2}, {fleet.Filter{Build: "26100.1"}, 2}, {fleet.Filter{Model: "LIFEBOOK A3510", Build: "26100.1"}, 1}, {fleet.Filter{Model: "lifebook"}, 0}} {
			if page, err := w.List(t.Context(), system, f.Filter); err != nil || page.Total != f.want || int64(len(page.Items)) != f.want {
				t.Errorf("List of %+v = %d of %d, %v; want %d", f.Filter, len(page.Items), page.Total, err, f.want)
			}
		}
	})
}
