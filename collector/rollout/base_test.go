package rollout_test

import (
	"testing"
	"time"

	"hausmeister/proto/hmpb"
)

// The base rate is that of a day, of devices that had no lease of the rollout: what a scanner
// takes from these the release is not to blame for.
func TestTheBaseRateIsOfWhoHadNoLease(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids, id := w.begun(60, "A3510")
		held := w.sweep(ids, "1.0.0")
		repaired := func(device string) {
			w.tells(device, hmpb.Update_builder{State: new(hmpb.UpdateState_UPDATE_STATE_COMMITTED), Reason: new(hmpb.UpdateReason_UPDATE_REASON_QUARANTINED)})
		}
		base := func(want int64, when string) {
			t.Helper()
			w.care()
			if n := w.count(`SELECT control_bad FROM rollouts WHERE id = $1`, id); n != want {
				t.Errorf("%s: %d count for the base rate, want %d", when, n, want)
			}
		}
		others := 0
		for _, device := range ids {
			if held[device] == nil && others == 3 {
				continue
			}
			if held[device] == nil {
				others++
			}
			repaired(device)
		}
		base(3, "at once")
		w.now = w.now.Add(23 * time.Hour)
		base(3, "a day later, almost")
		w.now = w.now.Add(2 * time.Hour)
		base(0, "a day later")
	})
}
