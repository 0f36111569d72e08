package update

import (
	"context"
	"errors"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/proto/hmpb"
)

// calm is a time in which nothing of an update begins at this device: a lesson, or days
// that its owner closed. Unix milliseconds, by the time that is signed: a device with a
// wrong clock has lessons like all others.
type calm struct {
	From int64 `json:"from_ms"`
	To   int64 `json:"to_ms"`
}

const (
	// maxQuiet bounds what a note keeps, as the protocol does.
	maxQuiet = 32
	// beforeQuiet is how long before a lesson nothing is armed any more: the swap, the
	// new program's start and its first minutes are not to fall into it.
	beforeQuiet = 10 * time.Minute
)

// quietOf is what an offer says, without what cannot be.
func quietOf(o *hmpb.Offer) (all []calm) {
	for _, q := range o.GetQuiet() {
		if len(all) < maxQuiet && q.GetFromMs() < q.GetToMs() {
			all = append(all, calm{q.GetFromMs(), q.GetToMs()})
		}
	}
	return all
}

// quietFor is how long nothing may begin from now on that takes so long; 0 = it may.
func (u *Updater) quietFor(lasts time.Duration) time.Duration {
	if u.known.release.Urgent {
		return 0
	}
	return calmFor(u.note.Quiet, u.known.now(), lasts)
}

func calmFor(all []calm, now time.Time, lasts time.Duration) time.Duration {
	for _, q := range all {
		if from, to := time.UnixMilli(q.From), time.UnixMilli(q.To); now.Add(lasts).Compare(from) >= 0 && now.Before(to) {
			return to.Sub(now)
		}
	}
	return 0
}

// errLesson ends a download that a lesson came upon. What came is kept.
var errLesson = errors.New("a lesson begins")

// untilQuiet ends with work, or when the next time begins in which nothing goes on.
func (u *Updater) untilQuiet(work context.Context) (context.Context, context.CancelFunc) {
	if u.known.release.Urgent {
		return context.WithCancel(work)
	}
	return untilCalm(work, u.note.Quiet, u.known.now())
}

func untilCalm(ctx context.Context, all []calm, now time.Time) (context.Context, context.CancelFunc) {
	first := time.Time{}
	for _, q := range all {
		if from := time.UnixMilli(q.From); from.After(now) && (first.IsZero() || from.Before(first)) {
			first = from
		}
	}
	if first.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, first.Sub(now), errLesson)
}

// heldByLesson waits for the end of a lesson, or of closed days.
func (u *Updater) heldByLesson(ctx context.Context, j journal.Journal) (journal.Journal, time.Duration, error) {
	lasts := time.Duration(0)
	if j.State == journal.Staged {
		lasts = beforeQuiet
	}
	if wait := u.quietFor(lasts); wait > 0 {
		return u.wait(ctx, j, journal.Lesson, max(wait, time.Second))
	}
	return j, 0, nil
}
