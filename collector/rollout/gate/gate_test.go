package gate_test

import (
	"container/heap"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"hausmeister/collector/rollout/gate"
	"hausmeister/testenv/need"
)

var runs = flag.Int("runs", 40, "simulated rollouts for each rate")

// A simulation of rollouts: a fleet of devices with strata, of which 15 % never tell
// anything, in rings, under a cap of what is under way. Outcomes come after half an
// hour on average; who says nothing holds his place until his lease ends. The clock is
// that of the simulation, so a rollout of 70,000 takes milliseconds.
type sim struct {
	p      gate.Params
	rings  []int64 // ends
	rate   func(device int) float64
	random *rand.Rand
	strata func(device int) []gate.Stratum

	e        gate.Evidence
	ring     int
	now      float64 // hours
	pending  events
	inFlight int64
	reached  int64
	broken   int64
	entered  float64
	sized    struct {
		ring, blocked int
		n             int64
	}
}

type event struct {
	at     float64
	device int
	silent bool
	ring   int
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

const (
	silentShare = 0.15
	leaseHours  = 24
	soakHours   = 4
)

// size is how many devices a ring added, without those that are blocked.
func (s *sim) size(ring int) (n int64) {
	from := int64(0)
	if ring > 0 {
		from = s.rings[ring-1]
	}
	blocked := len(s.e.Blocked())
	if blocked == 0 {
		return s.rings[ring] - from
	}
	if s.sized.ring == ring && s.sized.blocked == blocked { // counting takes longer than all else
		return s.sized.n
	}
	defer func() { s.sized.ring, s.sized.blocked, s.sized.n = ring, blocked, n }()
	for d := from; d < s.rings[ring]; d++ {
		if !s.e.IsBlocked(s.strata(int(d))) {
			n++
		}
	}
	return n
}

// run ends with true when the release is out in full.
func (s *sim) run() bool {
	var next int64
	for {
		for next < s.rings[s.ring] && s.inFlight < s.p.Cap(s.rings[s.ring]) {
			device := int(next)
			next++
			if s.strata != nil && s.e.IsBlocked(s.strata(device)) {
				continue
			}
			s.inFlight++
			s.reached++
			if s.random.Float64() < silentShare {
				heap.Push(&s.pending, event{at: s.now + leaseHours, device: device, silent: true, ring: s.ring})
			} else {
				heap.Push(&s.pending, event{at: s.now + 0.2 + s.random.ExpFloat64()*0.4, device: device, ring: s.ring})
			}
		}
		last := s.ring == len(s.rings)-1
		if len(s.pending) == 0 {
			if last && next == s.rings[s.ring] {
				return true
			}
			if !last && s.e.Ready(s.p, s.ring, s.size(s.ring)) == gate.Leave { // only the soak was missing
				s.now = max(s.now, s.entered+soakHours)
				s.leave()
				continue
			}
			return false // nobody is left who could say something: a person must look
		}
		ev := heap.Pop(&s.pending).(event)
		s.now = ev.at
		s.inFlight--
		if !ev.silent {
			bad := s.random.Float64() < s.rate(ev.device)
			o := gate.Outcome{Bad: bad, Ring: ev.ring, Now: s.ring}
			if s.strata != nil {
				o.Strata = s.strata(ev.device)
			}
			if bad {
				s.broken++
				o.Signature = fmt.Sprintf("s%d", s.random.IntN(3))
			}
			if s.e.Add(s.p, o).Act == gate.Stop {
				return false
			}
		}
		if !last && s.now >= s.entered+soakHours && s.e.Ready(s.p, s.ring, s.size(s.ring)) == gate.Leave {
			s.leave()
		}
	}
}

func (s *sim) leave() {
	s.ring++
	s.entered = s.now
	s.e.NextRing(gate.Tally{})
}

var (
	whole = []int64{20, 100, 350, 1400, 7000, 21000, 70000}
	small = []int64{20, 100, 350, 1400, 5000}
)

// hesse deals models, builds, antivirus programs and owners as a fleet of lent
// notebooks has them.
func hesse(device int) []gate.Stratum {
	r := rand.New(rand.NewPCG(uint64(device), 7))
	pick := func(dimension string, weights ...float64) gate.Stratum {
		x := r.Float64()
		for i, w := range weights {
			if x -= w; x < 0 {
				return gate.Stratum{Dimension: dimension, Value: fmt.Sprint(i)}
			}
		}
		return gate.Stratum{Dimension: dimension, Value: "other"}
	}
	return []gate.Stratum{pick("model", .5, .25, .15, .05), pick("os_build", .6, .3, .05), pick("antivirus", .9, .07), {Dimension: "owner", Value: fmt.Sprint(r.IntN(34))}}
}

// dealt are the strata of the devices, since dealing them is most of the work.
var dealt = func() (all [][]gate.Stratum) {
	for i := range 70000 {
		all = append(all, hesse(i))
	}
	return all
}()

type result struct {
	released int
	reached  []int64 // at the stop
	broken   []int64
}

func simulate(n int, rings []int64, rate func(int) float64, seed uint64) (out result) {
	for i := range n {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		order := random.Perm(int(rings[len(rings)-1]))
		s := &sim{p: gate.Defaults(), rings: rings, random: random,
			rate:   func(d int) float64 { return rate(order[d]) },
			strata: func(d int) []gate.Stratum { return dealt[order[d]] }}
		if s.run() {
			out.released++
		} else {
			out.reached = append(out.reached, s.reached)
			out.broken = append(out.broken, s.broken)
		}
	}
	slices.Sort(out.reached)
	slices.Sort(out.broken)
	return out
}

func at(sorted []int64, part float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

// The table of the design: how often a release with this rate of failure goes out in
// full, and how many devices it has reached when it does not (median, p95).
func TestOutcomeTable(t *testing.T) {
	need.Plain(t)
	t.Parallel()
	tests := []struct {
		rate        float64
		least, most float64 // share released fully
		median, p95 int64   // reached at the stop, at most; 0 = not said
	}{
		{1, 0, 0, 14, 15},
		{0.2, 0, 0, 20, 62},
		{0.05, 0, 0, 96, 234},
		{0.02, 0, 0, 328, 1023},
		{0.01, 0, 0, 920, 6108},
		{0.003, 0.75, 1, 0, 0},
		{0, 0.85, 1, 0, 0},
	}
	for _, fleet := range []struct {
		name  string
		rings []int64
	}{{"70000", whole}, {"5000", small}} {
		for _, tt := range tests {
			if tt.rate == 0.01 && fleet.name == "5000" {
				continue // 5,000 devices cannot tell 1 % from less, and the issue does not ask it
			}
			n := *runs
			switch {
			case tt.rate >= 0.05:
				n *= 10 // these end after some dozen devices; their p95 is sure only of many
			case tt.rate >= 0.01:
				n *= 3
			case tt.median == 0 && fleet.name == "70000":
				n = max(1, n/4) // these go all the way, 70,000 devices each
			}
			r := simulate(n, fleet.rings, func(int) float64 { return tt.rate }, 1)
			released := float64(r.released) / float64(n)
			t.Logf("fleet %6s rate %5.1f %%: released %5.1f %%, reached at stop %5d / %5d, broken %3d", fleet.name, tt.rate*100, released*100, at(r.reached, .5), at(r.reached, .95), at(r.broken, .5))
			if released < tt.least || released > tt.most {
				t.Errorf("fleet %s, rate %g: released fully %.3f, want %.2f to %.2f", fleet.name, tt.rate, released, tt.least, tt.most)
			}
			if tt.median > 0 && (at(r.reached, .5) > tt.median || at(r.reached, .95) > tt.p95) {
				t.Errorf("fleet %s, rate %g: reached %d / %d, want at most %d / %d", fleet.name, tt.rate, at(r.reached, .5), at(r.reached, .95), tt.median, tt.p95)
			}
		}
	}
}

// Row 43: a build that is bad for one model alone is blocked for that model alone.
func TestAttack43BadForOneModelOnly(t *testing.T) {
	need.Plain(t)
	t.Parallel()
	const each = 60
	for _, tt := range []struct {
		model string
		rate  float64
		least float64 // share of rollouts that end so; where the first three are all of half a fleet, it stops for all
	}{
		{"0", 1, 0.75}, {"1", 1, 0.9}, {"2", 1, 0.9}, {"3", 1, 0.9}, {"1", 0.3, 0.8},
	} {
		good, stopped := 0, 0
		for i := range each {
			random := rand.New(rand.NewPCG(43, uint64(i)))
			order := random.Perm(5000)
			s := &sim{p: gate.Defaults(), rings: small, random: random, strata: func(d int) []gate.Stratum { return dealt[order[d]] },
				rate: func(d int) float64 {
					if dealt[order[d]][0].Value == tt.model {
						return tt.rate
					}
					return 0.001
				}}
			out := s.run()
			blocked := s.e.Blocked()
			switch {
			case out && len(blocked) == 1 && blocked[0] == (gate.Stratum{Dimension: "model", Value: tt.model}):
				good++
			case !out:
				stopped++
			}
		}
		t.Logf("bad for model %s at %g: %d of %d blocked for it alone and out for the others, %d stopped for all", tt.model, tt.rate, good, each, stopped)
		if float64(good) < tt.least*each {
			t.Errorf("bad for model %s at %g: blocked alone in %d of %d, want %g", tt.model, tt.rate, good, each, tt.least)
		}
	}
}

// Row 44: silence is no outcome, and neither does it become one when everybody is
// silent.
func TestAttack44Silence(t *testing.T) {
	p := gate.Defaults()
	var e gate.Evidence
	if got := e.Ready(p, 0, 20); got != gate.WaitFresh {
		t.Errorf("Ready without outcomes = %q, want %q: who is silent is no success", got, gate.WaitFresh)
	}
	tests := []struct {
		name              string
		updated, controls gate.Silent
		want              bool
	}{
		{"a school morning: updated ones are gone", gate.Silent{Here: 10, Silent: 10}, gate.Silent{Here: 180, Silent: 20}, true},
		{"the evening: all are", gate.Silent{Here: 1, Silent: 19}, gate.Silent{Here: 20, Silent: 180}, false},
		{"closed lids as everywhere", gate.Silent{Here: 17, Silent: 3}, gate.Silent{Here: 170, Silent: 30}, false},
		{"all good", gate.Silent{Here: 100}, gate.Silent{Here: 100, Silent: 10}, false},
		{"nobody to compare with", gate.Silent{Silent: 10}, gate.Silent{Here: 5}, false},
		{"few of few", gate.Silent{Silent: 2}, gate.Silent{Here: 100}, false},
		{"all few of them", gate.Silent{Silent: 3}, gate.Silent{Here: 100}, true},
	}
	for _, tt := range tests {
		if got := gate.Lost(tt.updated, tt.controls); got != tt.want {
			t.Errorf("%s: Lost(%+v, %+v) = %v, want %v", tt.name, tt.updated, tt.controls, got, tt.want)
		}
	}
}

func TestIdenticalCrashesStopTheFirstRings(t *testing.T) {
	p := gate.Defaults()
	crash := func(ring int, signature string) gate.Outcome {
		return gate.Outcome{Bad: true, Signature: signature, Ring: ring, Now: ring}
	}
	var e gate.Evidence
	p.Bound, p.LateBound = 1000, 1000 // the rate says nothing here
	for i, tt := range []struct {
		o    gate.Outcome
		want gate.Act
	}{
		{crash(0, "a"), gate.Go}, {crash(1, "b"), gate.Go}, {crash(1, "a"), gate.Go}, {crash(2, "a"), gate.Go}, {crash(2, "a"), gate.Go}, {crash(1, "a"), gate.Stop},
	} {
		if got := e.Add(p, tt.o); got.Act != tt.want || tt.want == gate.Stop && got.Cause != gate.CauseCrashes {
			t.Errorf("outcome %d: Add = %+v, want %q", i, got, tt.want)
		}
	}
}

// What is kept as JSON goes on as if it had never been put down.
func TestEvidenceIsKept(t *testing.T) {
	p := gate.Defaults()
	random := rand.New(rand.NewPCG(1, 1))
	var one, other gate.Evidence
	for i := range 2000 {
		o := gate.Outcome{Bad: random.Float64() < 0.01, Signature: "s", Ring: min(i/500, 2), Now: min(i/500, 2), Strata: dealt[i]}
		a, b := one.Add(p, o), other.Add(p, o)
		if a != b {
			t.Fatalf("outcome %d: %+v and %+v", i, a, b)
		}
		raw, err := json.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		other = gate.Evidence{}
		if err := json.Unmarshal(raw, &other); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCap(t *testing.T) {
	p := gate.Defaults()
	for _, tt := range []struct{ size, want int64 }{{1, 1}, {20, 4}, {100, 20}, {1400, 280}, {7000, 500}, {70000, 500}} {
		if got := p.Cap(tt.size); got != tt.want {
			t.Errorf("Cap(%d) = %d, want %d", tt.size, got, tt.want)
		}
	}
}

func TestBaseline(t *testing.T) {
	p := gate.Defaults()
	for _, tt := range []struct {
		bad, devices int64
		want         float64
	}{{0, 0, 0.003}, {0, 50000, 0.003}, {150, 50000, 0.003}, {400, 50000, (6 + 400) / 52000.0}, {50000, 50000, 0.01}} {
		got := p.Baseline(tt.bad, tt.devices)
		if math.Abs(got.P0-tt.want) > 1e-9 || math.Abs(got.P1/got.P0-p.P1/p.P0) > 1e-9 {
			t.Errorf("Baseline(%d, %d) = %g and %g, want %g and the same ratio", tt.bad, tt.devices, got.P0, got.P1, tt.want)
		}
	}
}

func TestSpike(t *testing.T) {
	for _, tt := range []struct {
		tickets  int64
		expected float64
		want     bool
	}{{0, 0, false}, {4, 0.1, false}, {5, 0.1, true}, {5, 4, false}, {20, 4, true}, {40, 35, false}} {
		if got := gate.Spike(tt.tickets, tt.expected); got != tt.want {
			t.Errorf("Spike(%d, %g) = %v, want %v", tt.tickets, tt.expected, got, tt.want)
		}
	}
}

// TestWithoutABlockedPart: the failures of a model are not its owner's.
func TestWithoutABlockedPart(t *testing.T) {
	p := gate.Defaults()
	var e gate.Evidence
	model, owner, other := gate.Stratum{Dimension: "model", Value: "T490"}, gate.Stratum{Dimension: "owner", Value: "1"}, gate.Stratum{Dimension: "owner", Value: "2"}
	good := gate.Stratum{Dimension: "model", Value: "U7411"}
	for _, o := range []gate.Outcome{
		{Bad: true, Strata: []gate.Stratum{model, owner}}, {Bad: true, Strata: []gate.Stratum{model, other}},
		{Strata: []gate.Stratum{good, owner}}, {Strata: []gate.Stratum{good, owner}}, {Strata: []gate.Stratum{good, other}},
	} {
		if v := e.Add(p, o); v.Act != gate.Go {
			t.Fatalf("Add(%+v) = %+v", o, v)
		}
	}
	e.Block(model, gate.Tally{})
	e.Without([]gate.Stratum{model, owner}, gate.Tally{Bad: 1})
	e.Without([]gate.Stratum{model, other}, gate.Tally{Bad: 1})
	e.Block(owner, gate.Tally{})
	if want := (gate.Tally{OK: 1}); e.All != want {
		t.Errorf("of all are left %+v, want %+v", e.All, want)
	}
	if risk := e.Risk(p, 0); !(risk >= 0 && risk <= 1) {
		t.Errorf("Risk = %v", risk)
	}
}
