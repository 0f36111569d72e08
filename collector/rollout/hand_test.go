package rollout_test

import (
	"encoding/json"
	"testing"
	"time"

	"hausmeister/collector/rollout/gate"
	"hausmeister/proto/hmpb"
)

// Where most of a ring have the version by hand, it is left once the others have told of
// success, be they ever so few; with a failure among them or before, or with one that is
// silent, it is not.
func TestMostOfARingHaveItByHand(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ok, bad  int
		silent   int
		before   int64 // failures of rings before
		ring     int
		waitsFor gate.Wait
	}{{"all well", 2, 0, 0, 0, 2, gate.WaitFresh}, {"one failed", 1, 1, 0, 0, 1, gate.WaitRate}, {"one silent", 1, 0, 1, 0, 1, gate.WaitRate},
		{"one failed before", 2, 0, 0, 1, 1, gate.WaitRate}} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				_, id := w.begun(130, "A3510")
				first := w.firstRing(id)
				for i, d := range first {
					switch {
					case i < tt.ok:
						w.told(id, []string{d})
					case i < tt.ok+tt.bad:
						w.must(w.exec(`UPDATE rollout_members SET granted_ms = 1 WHERE rollout_id = $1 AND device_id = $2`, id, d))
						w.ends(d, w.offerOf(id), false)
					case i < tt.ok+tt.bad+tt.silent:
						if w.offered(d, "1.0.0") == nil {
							t.Fatal("no lease")
						}
					default:
						w.comesAnew(d, "1.1.0")
					}
				}
				if e := w.evidence(id); tt.before > 0 {
					e.All.Bad += tt.before
					kept, err := json.Marshal(e)
					w.must(err)
					w.must(w.exec(`UPDATE rollouts SET evidence = $1`, string(kept)))
				}
				for range 2 {
					w.now = w.now.Add(25 * time.Hour)
					w.care()
				}
				if v := w.view(id); v.Ring != tt.ring || v.Rings[v.Ring-1].Wait != tt.waitsFor {
					t.Errorf("ring %d waits for %q, want ring %d and %q", v.Ring, v.Rings[v.Ring-1].Wait, tt.ring, tt.waitsFor)
				}
			})
		})
	}
}

// Who waited for as long as his lease held, and then got the version by hand, has nothing to
// tell. Who said nothing at all of his lease may have begun.
func TestWaitedAndGotItByHand(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, id := w.begun(130, "A3510")
		first := w.firstRing(id)
		w.must(w.exec(`UPDATE rollouts SET ring = 1`)) // there is room for all of the first
		for _, d := range first {
			o := w.offered(d, "1.0.0")
			if o == nil {
				t.Fatal("no lease")
			}
			w.step(d, o, hmpb.UpdateState_UPDATE_STATE_WAITING, hmpb.UpdateReason_UPDATE_REASON_BATTERY)
			if w.must(w.exec(`UPDATE rollout_members SET flight = 0, passed = 1, lease = '', until_ms = $2 WHERE device_id = $1`, d, w.now.UnixMilli())); d != first[0] {
				w.comesAnew(d, "1.1.0")
			}
		}
		w.must(w.exec(`UPDATE rollouts SET ring = 0`))
		w.must(w.exec(`UPDATE rollout_members SET told = 0 WHERE device_id = $1`, first[0]))
		w.comesAnew(first[0], "1.1.0")
		w.now = w.now.Add(25 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 1 {
			t.Errorf("ring %d, and one of it never said what became of its lease", v.Ring)
		}
		w.must(w.exec(`UPDATE rollout_members SET told = $2 WHERE device_id = $1`, first[0], int64(hmpb.UpdateState_UPDATE_STATE_WAITING)))
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d, all of ring 1 having got it by hand", v.Ring)
		}
	})
}
