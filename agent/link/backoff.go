package link

import "time"

const (
	// firstWait doubles to lastWait (wire.md 11), each with full jitter.
	firstWait, lastWait = time.Second, 2 * time.Minute
	// slowMin to slowMax: asking more often would not make a revoked device welcome.
	slowMin, slowMax = 15 * time.Minute, time.Hour
	// maxAsked bounds what the collector may ask for: its fault must not
	// silence a device for a week.
	maxAsked = time.Hour
	// lasting is how long a session must have been for its end to be no failure.
	lasting = time.Minute
	// hurry is the spread of those whom one event wakes at once, such as the
	// school's access point coming back.
	hurry = 2 * time.Second
	// slack is how long a wait on battery may last beyond its time for a beat to
	// come, of which there is one a minute.
	slack = 90 * time.Second
	// soonAtMost new sessions in a row are for reasons of our own; after that it is a failure.
	soonAtMost = 3
)

// ending is how and why a session ended, or was none.
type ending struct {
	problem    Problem
	err        error
	retryAfter time.Duration // asked for by the collector; 0 = our own schedule
	lasted     time.Duration // since Welcome; 0 = never in
	soon       bool          // by our own choice: go on with a new one at once
}

func (e ending) detail() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// backoff reckons the wait before the next session.
type backoff struct {
	random   func() float64
	failures int
}

func (b *backoff) next(e ending) time.Duration {
	if e.lasted >= lasting {
		b.failures = 0
	}
	b.failures++
	switch {
	case e.retryAfter > 0:
		// Not before, and not all of those at once who were told the same.
		asked := min(e.retryAfter, maxAsked)
		return asked + spread(b.random, asked/4)
	case e.problem.NeedsHelp():
		return slowMin + spread(b.random, slowMax-slowMin)
	case b.atOnce(e):
		return spread(b.random, hurry)
	}
	return spread(b.random, ceiling(b.failures))
}

// atOnce says whether the next session follows in the same moment; it is next's
// answer once that has counted e.
func (b *backoff) atOnce(e ending) bool { return e.soon && b.failures <= soonAtMost }

// ceiling is the longest wait after that many failures in a row.
func ceiling(failures int) time.Duration {
	d := firstWait
	for i := 1; i < failures && d < lastWait; i++ {
		d *= 2
	}
	return min(d, lastWait)
}

// spread is somewhere in [0, d).
func spread(random func() float64, d time.Duration) time.Duration {
	return time.Duration(random() * float64(d))
}
