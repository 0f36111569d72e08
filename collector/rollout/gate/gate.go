// Package gate weighs what became of the devices that took a release, and says
// whether it may go on, must stop, or must stop for some of them. It is pure: no
// clock, no store, no random. The evidence is a value that its caller keeps.
//
//	outcome -> Add -> Go | Block(stratum) | Stop      at each outcome
//	           Ready -> why not yet, or ""            whether the next ring may begin
//
// Silence is no outcome: it moves nothing. What was weighed once is never weighed
// again; the caller gives each device's outcome once.
package gate

import (
	"cmp"
	"math"
	"slices"
)

// Params are the numbers of a gate. Of Defaults each has its reason beside it.
type Params struct {
	// P0 and P1 are the rates of failure that a good and a bad release have.
	P0, P1 float64
	// Bound is how strong the evidence for P1 must be while fewer than LateAfter
	// devices had an outcome; LateBound later, where a false alarm is dearer, since
	// more looks are taken, and more is known already.
	Bound, LateBound float64
	LateAfter        int64
	// Limits of the rate by ring: a ring is left when the rate is above it with less
	// than Doubt. Rings behind the last have the last.
	Limits []float64
	Doubt  float64
	// Fresh is which part of the devices that a ring added must have had an outcome.
	Fresh float64
	// Identical crashes in the first EarlyRings stop whatever the rates say.
	Identical  int64
	EarlyRings int
	// InFlight and InFlightShare bound how many of a ring are under way at once.
	InFlight      int64
	InFlightShare float64
	// Part: a stratum is blocked by itself when it has at least Identical bad ones and
	// the chance of that in nothing special is below it.
	Part float64
}

// Defaults are those of the design, simulated in gate_test.go, but for one: its bound
// of ln(0.99/0.005) = 5.29 stopped at 1 % and 5 % a little late, and let a release of
// 0.3 % through in 96 of 100. With 4.2 the former come earlier and the latter is still
// what was asked for.
func Defaults() Params {
	return Params{
		P0: 0.003, P1: 0.02, Bound: 4.2, LateBound: 12, LateAfter: 1400,
		Limits: []float64{0.34, 0.08, 0.03, 0.015, 0.01, 0.008}, Doubt: 0.05, Fresh: 0.5,
		Identical: 3, EarlyRings: 2, InFlight: 500, InFlightShare: 0.2, Part: 0.01,
	}
}

// Cap is how many of a ring of so many devices may be under way at once.
func (p Params) Cap(size int64) int64 {
	return max(1, min(p.InFlight, int64(p.InFlightShare*float64(size))))
}

// Baseline is p with P0 as the devices show it that were not updated yet: a fleet
// that is worse by itself must not stop a release that is not to blame. The weight of
// the design's rate is that of 2,000 devices; a rate above 1 % is believed of no
// fleet, since a broken count must not open the gate.
func (p Params) Baseline(bad, devices int64) Params {
	const weight, most = 2000, 0.01
	rate := (p.P0*weight + float64(bad)) / (weight + float64(devices))
	rate = min(max(rate, p.P0), most)
	p.P1 *= rate / p.P0
	p.P0 = rate
	return p
}

// Stratum is a part of the fleet: a dimension (model, os_build, antivirus, owner) and
// its value.
type Stratum struct {
	Dimension string `json:"dimension"`
	Value     string `json:"value"`
}

// Dimensions are those by which parts are looked at.
var Dimensions = []string{"model", "os_build", "antivirus", "owner"}

// Tally counts outcomes.
type Tally struct {
	OK  int64 `json:"ok"`
	Bad int64 `json:"bad"`
}

// Plus is both together.
func (t Tally) Plus(more Tally) Tally { return Tally{OK: t.OK + more.OK, Bad: t.Bad + more.Bad} }

// take takes some of it away.
func (t *Tally) take(some Tally) {
	t.OK, t.Bad = max(0, t.OK-max(0, some.OK)), max(0, t.Bad-max(0, some.Bad))
}

// Part is the tally of a stratum.
type Part struct {
	Stratum
	Tally
	Blocked bool `json:"blocked,omitempty"`
}

// Evidence is all that was weighed. The zero Evidence is that of a rollout which has
// not begun.
type Evidence struct {
	// All counts the outcomes of what is not blocked; Ring those of them that devices
	// had which the present ring added, whenever they had them.
	All  Tally `json:"all"`
	Ring Tally `json:"ring"`
	// Sum is the statistic of the cumulated log-likelihood: above the bound it is an
	// alarm.
	Sum        float64          `json:"sum"`
	Signatures map[string]int64 `json:"signatures,omitempty"` // of crashes in the early rings
	Parts      []Part           `json:"parts,omitempty"`      // sorted
}

// Outcome is what became of one device.
type Outcome struct {
	Bad       bool
	Signature string // of a crash; empty = none
	Ring      int    // of the device
	Now       int    // the ring that the rollout is in
	Strata    []Stratum
}

// Act is what an outcome leads to.
type Act string

const (
	Go    Act = ""
	Block Act = "block" // the stratum alone
	Stop  Act = "stop"
)

// Cause says why, for people to read as words.Cause.
type Cause string

const (
	CauseRate    Cause = "rate"    // more failures than a good release has
	CauseCrashes Cause = "crashes" // identical ones in the first rings
	CausePart    Cause = "part"    // failures in one part only
	CauseLost    Cause = "lost"    // updated devices fall silent, others do not
	CauseTickets Cause = "tickets"
	CauseRelease Cause = "release" // it is signed no longer, or blocked
)

// Causes are all of them.
var Causes = []Cause{CauseRate, CauseCrashes, CausePart, CauseLost, CauseTickets, CauseRelease}

// Verdict is the answer to an outcome.
type Verdict struct {
	Act     Act
	Cause   Cause
	Stratum Stratum // of Block
}

// Add weighs one outcome, and takes the part out that it is to be blocked for.
func (e *Evidence) Add(p Params, o Outcome) Verdict {
	v := e.Weigh(p, o)
	if v.Act == Block {
		i, _ := e.find(v.Stratum)
		in := e.Parts[i].Tally
		e.Blame(p, v.Stratum, Tally{OK: e.Ring.OK - (e.All.OK - in.OK), Bad: in.Bad})
	}
	return v
}

// Weigh weighs one outcome. The part that is to be blocked for it is still in the
// evidence, so that its caller can keep what that was taken on, and then Blame it.
func (e *Evidence) Weigh(p Params, o Outcome) Verdict {
	if e.count(o) {
		return Verdict{} // of a part that is blocked already: it says nothing about the others
	}
	llr := math.Log((1 - p.P1) / (1 - p.P0))
	if o.Bad {
		llr = math.Log(p.P1 / p.P0)
		e.All.Bad++
	} else {
		e.All.OK++
	}
	if o.Ring == o.Now {
		if o.Bad {
			e.Ring.Bad++
		} else {
			e.Ring.OK++
		}
	}
	e.Sum = max(0, e.Sum+llr)
	if !o.Bad {
		return Verdict{}
	}
	identical := false
	if o.Signature != "" && o.Ring < p.EarlyRings {
		if e.Signatures == nil {
			e.Signatures = map[string]int64{}
		}
		e.Signatures[o.Signature]++
		identical = e.Signatures[o.Signature] >= p.Identical
	}
	alarm := e.Sum > e.bound(p)
	if part, ok := e.toBlame(p, o.Strata, alarm || identical); ok {
		return Verdict{Act: Block, Cause: CausePart, Stratum: part}
	}
	switch {
	case identical:
		return Verdict{Act: Stop, Cause: CauseCrashes}
	case alarm:
		return Verdict{Act: Stop, Cause: CauseRate}
	}
	return Verdict{}
}

func (e *Evidence) bound(p Params) float64 {
	if e.All.OK+e.All.Bad > p.LateAfter {
		return p.LateBound
	}
	return p.Bound
}

// count adds an outcome to the tallies of its strata; true when one is blocked.
func (e *Evidence) count(o Outcome) (blocked bool) {
	for _, s := range o.Strata {
		i, known := e.find(s)
		if !known {
			e.Parts = slices.Insert(e.Parts, i, Part{Stratum: s})
		}
		if o.Bad {
			e.Parts[i].Bad++
		} else {
			e.Parts[i].OK++
		}
		blocked = blocked || e.Parts[i].Blocked
	}
	if blocked { // the other strata of the device are as if it had not been
		for _, s := range o.Strata {
			if i, _ := e.find(s); !e.Parts[i].Blocked {
				if o.Bad {
					e.Parts[i].Bad--
				} else {
					e.Parts[i].OK--
				}
			}
		}
	}
	return blocked
}

func (e *Evidence) find(s Stratum) (int, bool) {
	return slices.BinarySearchFunc(e.Parts, s, func(p Part, s Stratum) int {
		return cmp.Or(cmp.Compare(p.Dimension, s.Dimension), cmp.Compare(p.Value, s.Value))
	})
}

// toBlame finds the stratum of a bad outcome that explains the failures: it has them,
// and the rest of the fleet has none or clearly fewer. When there is an alarm that the
// whole release would stop for, less is asked: all failures within, and within nothing
// else or without much that is good.
func (e *Evidence) toBlame(p Params, strata []Stratum, alarm bool) (Stratum, bool) {
	const surely = 0.05 // the rate that a part to be blocked has
	best, least := Stratum{}, 1.0
	for _, s := range strata {
		i, known := e.find(s)
		if !known {
			continue
		}
		in := e.Parts[i].Tally
		out := Tally{OK: e.All.OK - in.OK, Bad: e.All.Bad - in.Bad}
		if in.Bad < p.Identical || out.OK == 0 {
			continue
		}
		chance := fisher(in.OK, in.Bad, out.OK, out.Bad)
		clear := chance < p.Part && above(surely, in.OK, in.Bad) > 0.99
		if alarm && out.Bad == 0 && (in.OK == 0 || chance < 10*p.Part) {
			clear = true
		}
		if clear && chance < least {
			best, least = s, chance
		}
	}
	return best, least < 1
}

// Blame blocks the part that Weigh named, of which the present ring has so many outcomes.
// The rest begins anew, half way to the bound: it was no chance that all failures fell
// into this part, but it may have been.
func (e *Evidence) Blame(p Params, s Stratum, inRing Tally) {
	e.Block(s, inRing)
	e.Resume(p)
}

// Block takes a part that somebody names out of what is weighed; of its outcomes so many
// are in the present ring. An alarm stays one: whoever may leave parts out need not be
// one who may take that back.
func (e *Evidence) Block(s Stratum, inRing Tally) {
	i, known := e.find(s)
	if !known {
		e.Parts = slices.Insert(e.Parts, i, Part{Stratum: s})
	}
	if e.Parts[i].Blocked {
		return
	}
	e.Parts[i].Blocked = true
	e.All.take(e.Parts[i].Tally)
	e.Ring.take(inRing)
	e.Ring.OK, e.Ring.Bad = min(e.Ring.OK, e.All.OK), min(e.Ring.Bad, e.All.Bad)
}

// Free lets a part in again; With adds what its devices have done. Of an alarm nothing
// comes back, and nothing goes.
func (e *Evidence) Free(s Stratum) {
	if i, known := e.find(s); known {
		e.Parts[i] = Part{Stratum: s}
	}
}

// Without takes out of the other parts what devices did that are in one which was
// blocked: so many outcomes of such as are in all of these strata. Else their failures
// would be held against their owner too, and be taken out of All a second time when he
// is blocked.
func (e *Evidence) Without(strata []Stratum, t Tally) {
	for _, s := range strata {
		if i, known := e.find(s); known && !e.Parts[i].Blocked {
			e.Parts[i].take(t)
		}
	}
}

// With takes Without and the rest of a block back, for devices that are in all of these
// strata, none of which is left out any more: so many outcomes, and so many of them in the
// present ring.
func (e *Evidence) With(strata []Stratum, all, inRing Tally) {
	for _, s := range strata {
		i, known := e.find(s)
		if !known {
			e.Parts = slices.Insert(e.Parts, i, Part{Stratum: s})
		}
		e.Parts[i].Tally = e.Parts[i].Plus(all)
	}
	e.All, e.Ring = e.All.Plus(all), e.Ring.Plus(inRing)
}

// IsBlocked says whether a device of these strata is to be left out.
func (e *Evidence) IsBlocked(strata []Stratum) bool {
	return slices.ContainsFunc(strata, func(s Stratum) bool {
		i, known := e.find(s)
		return known && e.Parts[i].Blocked
	})
}

// Blocked are the strata that are left out.
func (e *Evidence) Blocked() (out []Stratum) {
	for _, p := range e.Parts {
		if p.Blocked {
			out = append(out, p.Stratum)
		}
	}
	return out
}

// Wait is why a ring cannot be left yet.
type Wait string

const (
	Leave      Wait = ""
	WaitRate   Wait = "rate"   // the rate may still be above the limit
	WaitFresh  Wait = "fresh"  // too few devices of this ring had an outcome
	WaitNobody Wait = "nobody" // no device of this ring can take the release yet; Ready knows of none
)

// Waits are all of them but none.
var Waits = []Wait{WaitRate, WaitFresh, WaitNobody}

// Limit is the rate above which a ring is not left.
func (p Params) Limit(ring int) float64 { return p.Limits[min(ring, len(p.Limits)-1)] }

// Risk is the probability that the rate is above the limit of a ring.
func (e *Evidence) Risk(p Params, ring int) float64 {
	return above(p.Limit(ring), e.All.OK, e.All.Bad)
}

// Need is how many devices of a ring that added so many must have had an outcome.
func (p Params) Need(ring int, added int64) int64 {
	need := int64(math.Ceil(p.Fresh * float64(added)))
	if ring < 1 { // in the first few the posterior alone asks for enough
		need = min(need, 4)
	}
	return max(need, 1)
}

// Ready says whether a ring, which added so many devices, may be left.
func (e *Evidence) Ready(p Params, ring int, added int64) Wait {
	switch {
	case e.Ring.OK+e.Ring.Bad < p.Need(ring, added):
		return WaitFresh
	case e.Risk(p, ring) >= p.Doubt:
		return WaitRate
	}
	return Leave
}

// Resume goes on after a stop that a person takes back: half way to the bound, and
// crashes are counted anew.
func (e *Evidence) Resume(p Params) {
	e.Sum = min(e.Sum, p.Bound/2)
	clear(e.Signatures)
}

// Turn takes a good outcome back that turned bad later, before that is added: each
// device counts once.
func (e *Evidence) Turn(o Outcome) {
	blocked := e.IsBlocked(o.Strata)
	for _, s := range o.Strata {
		if i, known := e.find(s); known && e.Parts[i].OK > 0 && (e.Parts[i].Blocked || !blocked) {
			e.Parts[i].OK--
		}
	}
	if !blocked {
		e.All.OK = max(0, e.All.OK-1)
		if o.Ring == o.Now {
			e.Ring.OK = max(0, e.Ring.OK-1)
		}
	}
}

// NextRing begins to count the outcomes of the next ring, whose devices had so many
// already: of an update that began before the ring did.
func (e *Evidence) NextRing(had Tally) { e.Ring = had }

// Silent counts devices by whether they came back.
type Silent struct {
	Here, Silent int64
}

// Lost says whether devices that took the release fall silent more than others like
// them that did not: then silence is an outcome after all. At night all are silent,
// and nothing follows from it.
func Lost(updated, controls Silent) bool {
	const few, chance, more = 3, 0.0005, 0.02
	if updated.Silent < few || controls.Here+controls.Silent < 20 {
		return false
	}
	rate := float64(updated.Silent) / float64(updated.Here+updated.Silent)
	others := float64(controls.Silent) / float64(controls.Here+controls.Silent)
	return rate > others+more && fisher(updated.Here, updated.Silent, controls.Here, controls.Silent) < chance
}

// Spike says whether tickets about devices of a version are more than such devices
// have otherwise: a Poisson count against the mean that is expected.
func Spike(tickets int64, expected float64) bool {
	const few, chance = 5, 0.001
	if tickets < few {
		return false
	}
	// P(X >= tickets) by the terms below it.
	term, sum := math.Exp(-expected), 0.0
	for k := int64(0); k < tickets; k++ {
		sum += term
		term *= expected / float64(k+1)
	}
	return 1-sum < chance
}
