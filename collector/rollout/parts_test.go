package rollout_test

import (
	"slices"
	"testing"
	"time"

	"hausmeister/collector/rollout/gate"
)

// What the devices of a part did counts again once it is let in: they tell it no second
// time, and the ring is left on it.
func TestAPartThatIsLetInAgain(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		w.fleetOf(130, "1.0.0", "A3510", "A3510", "A3510", "T490")
		id := w.start(t, "1.1.0")
		w.must(w.Approve(t.Context(), person("bea"), id, "I have looked"))
		first := w.firstRing(id)
		w.must(w.exec(`UPDATE rollout_members SET granted_ms = 1 WHERE rollout_id = $1 AND device_id = $2`, id, first[0]))
		w.ends(first[0], w.offerOf(id), false)
		w.told(id, first[1:])
		before := w.evidence(id)
		part := gate.Stratum{Dimension: "model", Value: "A3510"}
		w.must(w.Block(t.Context(), person("ada"), id, part, true, "the desk asks for it"))
		w.must(w.Block(t.Context(), person("ada"), id, part, false, "it was another thing"))
		w.must(w.Block(t.Context(), person("ada"), id, part, false, "said twice"))
		if after := w.evidence(id); !slices.Equal(after.Parts, before.Parts) || after.All != before.All || after.Ring != before.Ring {
			t.Errorf("the evidence is %+v, want what it was: %+v", after, before)
		}
		w.now = w.now.Add(25 * time.Hour)
		w.care()
		if v := w.view(id); v.Ring != 2 {
			t.Errorf("ring %d a day after the part was let in again, all of ring 1 having told", v.Ring)
		}
	})
}

// So it is in whichever order parts that overlap are left out and let in.
func TestPartsInAnyOrder(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.release("1.0.0")
		w.release("1.1.0")
		w.fleetOf(60, "1.0.0", "A3510", "T490", "U7411")
		id := w.start(t, "1.1.0")
		w.told(id, w.firstRing(id))
		before := w.evidence(id)
		of := func(value string) gate.Stratum { return gate.Stratum{Dimension: "model", Value: value} }
		owner := gate.Stratum{Dimension: "owner", Value: w.owner}
		say := func(s gate.Stratum, blocked bool) {
			w.must(w.Block(t.Context(), person("ada"), id, s, blocked, "a good reason"))
		}
		say(of("A3510"), true)
		say(owner, true)
		say(of("T490"), true)
		say(of("A3510"), false)
		if e := w.evidence(id); e.All != (gate.Tally{}) || e.Ring != (gate.Tally{}) {
			t.Errorf("with their owner left out %+v of %+v count, want none", e.Ring, e.All)
		}
		say(owner, false)
		got, want := w.evidence(id).All.OK, w.count(`SELECT COUNT(*) FROM rollout_members WHERE outcome = 1 AND model <> 'T490'`)
		if got != want {
			t.Errorf("%d good ones count, want the %d that are not of the part that is left out", got, want)
		}
		say(of("T490"), false)
		if after := w.evidence(id); !slices.Equal(after.Parts, before.Parts) || after.All != before.All || after.Ring != before.Ring {
			t.Errorf("the evidence is %+v, want what it was: %+v", after, before)
		}
	})
}
