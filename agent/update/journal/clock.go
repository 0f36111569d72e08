package journal

import "time"

// What goes by the clock, which anybody may set at any moment.
const (
	clockBack = int64(time.Hour / time.Millisecond)            // may be set with nobody noticing
	longAgo   = int64(365 * 24 * time.Hour / time.Millisecond) // for so long no program is offered
	keepFor   = int64(7 * 24 * time.Hour / time.Millisecond)
	ageLeast  = int64(6 * time.Hour / time.Millisecond) // each step is a write
	ageMost   = int64(24 * time.Hour / time.Millisecond)
)

// reckon holds what is put off against the clock of now, which may have been set since:
// what no clock can have meant is not waited for over years, nor is a wish over because
// the clock was of 1970 when it was said. It is moved, at the length of all wishes, and
// that once: with a clock that is wrong each morning it would be for ever. By clockBack it
// may be set with nobody noticing.
func (j *Journal) reckon(at int64) {
	lasts := int64(max(j.PutOff.Times, 1)) * postponeFor
	was, ahead := j.PutOff.Until, at+lasts+clockBack
	if was > ahead || was != 0 && was < at-longAgo {
		j.PutOff.Until = at
		if !j.PutOff.Moved {
			j.PutOff.Until, j.PutOff.Moved = at+lasts, true
		}
	}
	if j.NotBefore != 0 && j.NotBefore == was {
		j.NotBefore = j.PutOff.Until
	}
	j.NotBefore = min(j.NotBefore, ahead) // of a held file
}

// keep begins the time for which Previous is kept; zero = there is none to keep.
func (j *Journal) keep(at int64, boot string) {
	j.CommittedAt, j.CommittedBoot, j.Aged, j.AgedAt, j.AgedBack = at, boot, 0, at, 0
}

// ageBehind counts by a clock that is more than a week behind what was counted: it was far
// ahead then. Only whole days that follow each other count, since it may also be behind now,
// of 1970 at each start and set right minutes later.
func (j *Journal) ageBehind(at int64) {
	switch step := at - j.AgedBack; {
	case step >= 0 && step < ageMost:
		return
	case step >= ageMost && step <= keepFor:
		j.Aged += ageMost
	}
	j.AgedBack = at
}

// age lets the previous program go after a week and a restart of the machine. The week
// goes by in steps of a day at most: a clock that was set from 1970 to today is no week,
// and one that went backwards only makes it later. Where an older launcher committed, which
// does not count, the first step is such a one.
func (j *Journal) age(e Event) []Effect {
	if j.CommittedAt == 0 {
		return nil
	}
	switch step := e.At - j.AgedAt; {
	case step < -keepFor:
		j.ageBehind(e.At)
	case step >= ageLeast:
		j.Aged, j.AgedAt, j.AgedBack = j.Aged+min(step, ageMost), e.At, 0
	default:
		j.AgedBack = 0
	}
	if j.Aged < keepFor || e.Boot == "" || e.Boot == j.CommittedBoot {
		return nil
	}
	if !j.resting() && !j.preparing() {
		return nil // not while it may be needed
	}
	j.keep(0, "")
	if !j.Previous.Known() {
		return nil
	}
	if j.State == Committed {
		j.enter(Pruned, e)
	}
	next, lease := j.Next, j.Lease
	j.Next, j.Lease = Program{}, ""
	j.tell(e, Pruned, None)
	j.Next, j.Lease, j.Previous = next, lease, Program{}
	return []Effect{DoPrune}
}
