package rollsim_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
	"hausmeister/testenv/need"
)

// To look at some of the seeds alone, or at more of them.
var (
	first = flag.Int("first", 1, "first seed of the rates of failure")
	seeds = flag.Int("seeds", 0, "seeds for each rate; 0 = 20, or 1 where HAUSMEISTER_LONG is not set")
)

// size is how large the simulations are: 5,000 devices and 20 seeds in make test-long,
// and in make test as many as show that each thing works.
type size struct {
	devices, seeds int
	long           bool
}

func sized() size {
	is := size{500, 1, false} // not for each rate, see there
	if os.Getenv("HAUSMEISTER_LONG") == "1" {
		is = size{5000, 20, true}
	}
	if *seeds > 0 {
		is.seeds = *seeds
	}
	return is
}

// sureOf is of how many devices at least some are left when it is sure that a build is
// bad on 2 %.
const sureOf = 2500

// whole is a result in which nothing is wrong that must not be in any.
func whole(t *testing.T, s scenario, r result) {
	t.Helper()
	for _, f := range r.faults {
		t.Errorf("%+v: %s", s, f)
	}
	if r.load1 > 1000 || r.load30 > 1000 {
		t.Errorf("%+v: a school's line was loaded with %d permille of its rate over a second, %d over 30", s, r.load1, r.load30)
	}
	if r.busy > 5 || r.seats > 5 {
		t.Errorf("%+v: of a school %d devices were under way at once and %d fetched, want 5 at most", s, r.busy, r.seats)
	}
	// Who is silent is neither: an outcome has who ended the update, and nobody else.
	if r.ok != int64(r.updated-r.unheard) || r.asked == int64(s.devices) {
		t.Errorf("%+v: %d well by the count, %d by the devices, of which %d have not said so, and %d of all were offered it", s, r.ok, r.updated, r.unheard, r.asked)
	}
	if r.asked > 0 && (r.programBytes == 0 || r.metaBytes == 0) {
		t.Errorf("%+v: %d devices were offered it and nothing was fetched", s, r.asked)
	}
}

// TestRatesOfFailure: how rollouts end of a build that is bad on a share of the
// devices, and how many they have reached by then (updates.md, section 6).
func TestRatesOfFailure(t *testing.T) {
	need.Plain(t)
	is := sized()
	fleets(t, is.devices, max(is.devices, sureOf))
	for _, tt := range []struct {
		rate        float64
		least, most int   // of 20 released fully
		median, p95 int64 // devices reached at the stop, at most
	}{
		{0, 17, 20, 0, 0},
		{0.003, 15, 20, 0, 0},
		{0.02, 0, 0, 328, 1023},
		{0.2, 0, 0, 20, 62},
		{1, 0, 0, 14, 15},
	} {
		t.Run(fmt.Sprint(tt.rate), func(t *testing.T) {
			t.Parallel()
			released := 0
			var reached []int64
			var took []time.Duration
			var sum result
			back := map[string][]time.Duration{}
			for seed := range is.seeds {
				s := scenario{seed: uint64(*first + seed), devices: is.devices, rate: tt.rate}
				if tt.rate == 0.02 {
					s.devices = max(s.devices, sureOf)
				}
				r := simulate(t, s)
				t.Logf("seed %d: %s", s.seed, r)
				whole(t, s, r)
				switch r.state {
				case rollout.Done:
					released++
					took = append(took, r.took)
				case rollout.Halted:
					reached = append(reached, r.reached)
				}
				sum.asked, sum.metaBytes, sum.requests, sum.programBytes = sum.asked+r.asked, sum.metaBytes+r.metaBytes, sum.requests+r.requests, sum.programBytes+r.programBytes
				for does, took := range r.back {
					back[does] = append(back[does], took...)
				}
				sum.busy, sum.seats, sum.load1, sum.load30 = max(sum.busy, r.busy), max(sum.seats, r.seats), max(sum.load1, r.load1), max(sum.load30, r.load30)
			}
			slices.Sort(took)
			t.Logf("bad on %g %% of the devices: released fully %d of %d, reached at the stop %d / %d (median, p95)", tt.rate*100, released, is.seeds, at(reached, .5), at(reached, .95))
			if len(took) > 0 {
				t.Logf("full release takes %v (median), %v at most", took[len(took)/2].Round(time.Hour), took[len(took)-1].Round(time.Hour))
			}
			t.Logf("each device that was offered it: %d B of metadata in %d requests, %d kB of program; of a school %d under way at once, %d fetching; lines at most %d permille full over 1 s, %d over 30 s",
				sum.each(sum.metaBytes), sum.each(sum.requests), sum.each(sum.programBytes)/1000, sum.busy, sum.seats, sum.load1, sum.load30)
			for does, took := range back {
				slices.Sort(took)
				t.Logf("%s: went back on %d devices, %v after the swap (median), %v at most", does, len(took), took[len(took)/2].Round(time.Second), took[len(took)-1].Round(time.Second))
			}
			least := tt.least * is.seeds / 20
			if tt.rate == 0 {
				least = max(least, 1)
			}
			if released < least || released > tt.most {
				t.Errorf("released fully %d of %d, want %d to %d", released, is.seeds, least, tt.most)
			}
			if is.long && tt.median > 0 && (at(reached, .5) > tt.median || at(reached, .95) > tt.p95) {
				t.Errorf("reached %d / %d devices at the stop, want %d / %d at most", at(reached, .5), at(reached, .95), tt.median, tt.p95)
			}
			if tt.median > 0 && len(reached) != is.seeds {
				t.Errorf("%d of %d were stopped", len(reached), is.seeds)
			}
		})
	}
}

// TestAttack43BadForOneModelOnly: that model is blocked, and all others get it.
func TestAttack43BadForOneModelOnly(t *testing.T) {
	need.Plain(t)
	is := sized()
	fleets(t, is.devices)
	tests := []string{"U7411", "T490", "X13"}
	if !is.long {
		tests = tests[:1]
	}
	for _, model := range tests {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			alone, times := 0, (is.seeds+3)/4 // of each of the models
			for seed := range times {
				s := scenario{seed: uint64(seed) + 101, devices: is.devices, model: model}
				r := simulate(t, s)
				t.Logf("seed %d: blocked %v, %s", s.seed, r.blocked, r)
				whole(t, s, r)
				if r.state == rollout.Done && slices.Equal(r.blocked, []gate.Stratum{{Dimension: "model", Value: model}}) {
					alone++
				}
			}
			t.Logf("bad for %s: blocked for it alone and out for the others in %d of %d", model, alone, times)
			if alone < times {
				t.Errorf("blocked for it alone in %d of %d, want all", alone, times)
			}
		})
	}
}

// TestAttack45CollectorRestartsInARollout: what was told in its last moment is told
// again, and counts once; leases hold over it; it goes on to its end.
func TestAttack45CollectorRestartsInARollout(t *testing.T) {
	need.Plain(t)
	fleets(t, sized().devices)
	t.Parallel()
	s := scenario{seed: 201, devices: sized().devices, restarts: 3}
	r := simulate(t, s)
	t.Log(r)
	whole(t, s, r)
	if r.state != rollout.Done || r.restarted != 3 || r.lost == 0 {
		t.Errorf("%s after %d restarts that cost %d answers, want it done", r.state, r.restarted, r.lost)
	}
}

// TestTicketsStopTheRing: a build of which every fourth user complains is stopped by
// that, since no device finds anything wrong with it.
func TestTicketsStopTheRing(t *testing.T) {
	need.Plain(t)
	fleets(t, sized().devices)
	t.Parallel()
	s := scenario{seed: 301, devices: sized().devices, annoying: 0.25}
	r := simulate(t, s)
	t.Log(r)
	whole(t, s, r)
	if r.state != rollout.Halted || r.cause != gate.CauseTickets || r.bad != 0 || r.reached > 350 {
		t.Errorf("%s for %q, %d bad, %d reached, want it halted for its tickets", r.state, r.cause, r.bad, r.reached)
	}
}
