package rollout_test

import (
	"testing"
	"time"

	"hausmeister/collector/rollout"
)

// Who was away while the step before the newest release went over the fleet gets it when he
// is back, and then the newest.
func TestAStepStaysOffered(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ids := w.step12(15)
		late := w.device(900, "", "A3510")
		goes := func(version string) (id string) {
			id = w.start(t, version)
			w.told(id, ids)
			for range 2 {
				w.now = w.now.Add(25 * time.Hour)
				w.care()
			}
			return id
		}
		one := goes("1.1.0")
		two := goes("1.2.0")
		if a, b := w.view(one).State, w.view(two).State; a != rollout.Done || b != rollout.Done {
			t.Fatalf("1.1.0 is %s and 1.2.0 %s, want both done", a, b)
		}
		for _, step := range [][2]string{{"1.0.0", "1.1.0"}, {"1.1.0", "1.2.0"}} {
			w.connects(late, step[0], 5000+w.count(`SELECT COUNT(*) FROM rollout_members WHERE outcome = 1`))
			o := w.offered(late, step[0])
			if o.GetVersion() != step[1] {
				t.Fatalf("on %s it is offered %q, want %s", step[0], o.GetVersion(), step[1])
			}
			w.ends(late, o, true)
		}
	})
}
