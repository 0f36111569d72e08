package rollout_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"hausmeister/collector/access"
	"hausmeister/collector/rollout"
)

// standsAsSaid holds what is said of many devices against what is said of each.
func (w *world) standsAsSaid(ids ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	want, with := map[string]rollout.DeviceState{}, map[string][]string{}
	for _, id := range ids {
		d, _, err := w.DeviceState(ctx, person("ada"), id)
		if errors.Is(err, access.ErrNotFound) {
			continue
		}
		w.must(err)
		want[id] = d
		with[string(d.Why)] = append(with[string(d.Why)], id)
		if d.Why == rollout.WhyRevoked {
			continue // no list of the fleet has it
		}
		if d.Why != rollout.Current {
			with[rollout.Behind] = append(with[rollout.Behind], id)
		}
	}
	got, err := w.StatesOf(ctx, person("ada"), ids)
	if err != nil || !maps.Equal(got, want) {
		w.t.Errorf("StatesOf = %+v, %v, want %+v", got, err, want)
	}
	for _, word := range rollout.Words {
		all, err := w.DevicesWith(ctx, person("ada"), word)
		all = slices.DeleteFunc(all, func(id string) bool { return !slices.Contains(ids, id) })
		slices.Sort(all)
		if err != nil || !slices.Equal(all, slices.Sorted(slices.Values(with[word]))) {
			w.t.Errorf("DevicesWith(%s) = %v, %v, want %v", word, all, err, with[word])
		}
	}
}

// TestWhoSeesWhoIsBehind: another owner's devices are in no answer, and a word that is
// none is refused.
func TestWhoSeesWhoIsBehind(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids := w.fleetOf(2, "1.0.0", "A3510")
		w.standsAsSaid(ids...) // nothing goes over the fleet
		w.begun(2, "A3510")    // the same ones
		stranger := access.Caller{Kind: access.KindUser, ID: "eve", Role: access.RoleRead, Owners: []string{"another"}}
		if got, err := w.StatesOf(t.Context(), stranger, ids); err != nil || len(got) > 0 {
			t.Errorf("StatesOf for a stranger = %v, %v", got, err)
		}
		if got, err := w.DevicesWith(t.Context(), stranger, rollout.Behind); err != nil || len(got) > 0 {
			t.Errorf("DevicesWith for a stranger = %v, %v", got, err)
		}
		if got, err := w.DevicesWith(t.Context(), person("ada"), rollout.Behind); err != nil || len(got) != 2 {
			t.Errorf("DevicesWith = %v, %v, want both", got, err)
		}
		if _, err := w.DevicesWith(t.Context(), person("ada"), "odd"); !errors.Is(err, rollout.ErrInvalid) {
			t.Errorf("a word that is none: %v, want ErrInvalid", err)
		}
		device := w.caller(ids[0])
		if _, err := w.DevicesWith(t.Context(), device, rollout.Behind); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("DevicesWith for a device: %v, want ErrForbidden", err)
		}
		if _, err := w.StatesOf(t.Context(), device, ids); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("StatesOf for a device: %v, want ErrForbidden", err)
		}
	})
}
