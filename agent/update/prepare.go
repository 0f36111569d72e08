package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/supervise"
	"hausmeister/proto/manifest"
)

// prepare goes on with the update of j as far as it can and says when to look
// again. What the collector says meanwhile ends its waits on the network.
func (u *Updater) prepare(ctx context.Context, j journal.Journal) (time.Duration, error) {
	u.tell(ctx, j)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u.mu.Lock()
	u.cancel, u.lease, u.sum, u.quiet = cancel, j.Lease, j.Next.Sum, u.note.Quiet
	news := u.withdrawn != nil || u.offered != nil
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.cancel = nil
		u.mu.Unlock()
	}()
	if news {
		return 0, errWord
	}
	for {
		state := j.State
		next, wait, err := u.stepOn(work, ctx, j)
		switch {
		case errors.Is(context.Cause(work), errWord) && err != nil:
			return 0, errWord
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case errors.Is(err, errLook):
			return time.Second, nil
		case err != nil:
			return u.troubled(ctx, j, err)
		case next.State == journal.Armed:
			u.tell(ctx, next)
			return 0, ErrSwap
		case wait > 0, !preparing(next), next.State == state:
			return max(wait, time.Second), nil
		}
		u.failures = 0
		j = next
		u.show()
	}
}

// stepOn is one step: it returns the journal after it, or how long to wait before it.
func (u *Updater) stepOn(work, ctx context.Context, j journal.Journal) (journal.Journal, time.Duration, error) {
	j, err := u.wished(ctx, j)
	if err != nil {
		return j, 0, err
	}
	if wait, err := u.moment(ctx, j); wait > 0 || err != nil {
		return j, wait, err
	}
	files := j.State != journal.Staged
	if u.known == nil || time.Since(u.known.at) > lookUpAgain || u.known.jumped(u.c.Now()) || files && u.known.packed.Path == "" {
		known, err := u.lookUp(work, j, files)
		if err != nil {
			u.known = nil
			return j, 0, err
		}
		u.known = known
	}
	if next, wait, err := u.held(ctx, j); wait > 0 || err != nil {
		return next, wait, err
	}
	switch j.State {
	case journal.Offered:
		err := u.downloadNow(work, ctx, j)
		if errors.Is(err, errLesson) {
			return u.wait(ctx, j, journal.Lesson, time.Second)
		}
		if err != nil {
			return j, 0, err
		}
		next, err := u.do(ctx, journal.Event{Kind: journal.Download})
		return next, 0, err
	case journal.Downloaded:
		u.goOn(ctx, j)
		if err := u.stage(work, ctx, j); err != nil {
			return j, 0, err
		}
		next, err := u.do(ctx, journal.Event{Kind: journal.Stage})
		return next, 0, err
	}
	return u.arm(work, ctx, j)
}

// held says how long to wait for the signed pace, and for what speaks against an
// update at this device just now.
func (u *Updater) held(ctx context.Context, j journal.Journal) (journal.Journal, time.Duration, error) {
	if wait := u.known.earliest.Sub(u.known.now()); wait > 0 {
		return u.wait(ctx, j, journal.Ramp, wait)
	}
	if r := u.hindered(u.known.release.Urgent); r != journal.None {
		return u.wait(ctx, j, r, hinderedFor)
	}
	return u.heldByLesson(ctx, j)
}

// moment says how long to wait for the update's own time; refused when its lease
// has ended.
func (u *Updater) moment(ctx context.Context, j journal.Journal) (time.Duration, error) {
	now := u.c.Now().UnixMilli()
	until := func(ms int64) time.Duration { return min(time.Duration(ms-now)*time.Millisecond, lookEvery) }
	switch {
	case j.Lease == u.note.Refused && j.Lease != "": // the end came between note and journal
		return 0, &refusal{journal.Withdrawn, errors.New("refused before")}
	case j.Until != 0 && (now > j.Until || u.lent == j.Lease && time.Now().After(u.lentTill)):
		return u.leaseOver(ctx, j, now)
	case u.note.Sum != j.Next.Sum || u.note.Lease != j.Lease:
		_, wait, err := u.wait(ctx, j, journal.Schedule, time.Hour) // the next session brings the offer again
		return wait, err
	case time.Now().Before(u.again):
		return min(time.Until(u.again), lookEvery), nil
	case u.clockWasSet(j, now):
		_, err := u.do(ctx, journal.Event{Kind: journal.Wait, Reason: j.Waits})
		return time.Second, err // the turn that follows goes by what the journal made of it
	case now < j.NotBefore && putOff(j): // told again where a clock that was ahead was told over it
		_, _, err := u.wait(ctx, j, journal.Postponed, 0)
		return until(j.NotBefore), err
	case now < j.NotBefore:
		return until(j.NotBefore), nil // why was told when it was set
	// A clock that was set back must not make it wait for years.
	case now < u.note.Begin && u.note.Begin-now <= maxValid.Milliseconds():
		_, _, err := u.wait(ctx, j, journal.Schedule, 0)
		return until(u.note.Begin), err
	}
	return 0, nil
}

// longAgo is how long no lease is over before the collector hears of it: the clock was
// set, such as in a device whose battery for it is dead, each morning.
const longAgo = 365 * 24 * time.Hour

// leaseOver is for a lease that has ended by one of the device's clocks. That which no one
// sets has the last word; it stands still while the device sleeps, so that only what is
// longAgo by the other one goes on without the collector's.
func (u *Updater) leaseOver(ctx context.Context, j journal.Journal, now int64) (time.Duration, error) {
	left := time.Until(u.lentTill)
	switch set, known := now-j.Until > longAgo.Milliseconds(), u.lent == j.Lease; {
	case known && left > 0 && set:
		_, err := u.do(ctx, journal.Event{Kind: journal.Offer, Program: j.Next, Lease: j.Lease, Until: now + left.Milliseconds()})
		return time.Second, err
	case known && left > 0, !known && set: // it slept, or the clock was set, maybe of a start before
		_, wait, err := u.wait(ctx, j, journal.Schedule, time.Hour) // the next session says whether it holds
		return wait, err
	}
	return 0, &refusal{journal.Withdrawn, errors.New("its lease ended")}
}

// clockWasSet says whether the journal reckons otherwise now with what was put off.
func (u *Updater) clockWasSet(j journal.Journal, now int64) bool {
	next, _, err := j.Step(journal.Event{Kind: journal.Wait, At: now, Reason: j.Waits})
	return err == nil && next.NotBefore != j.NotBefore
}

// hindered says what speaks against an update just now, unless that is urgent.
func (u *Updater) hindered(urgent bool) journal.Reason {
	if urgent {
		return journal.None
	}
	switch h := u.c.Hindrance(); {
	case h.Support:
		return journal.Support
	case h.Battery:
		return journal.Battery
	case h.Metered:
		return journal.Metered
	}
	return journal.None
}

// wait notes what is waited for. The person at the device may put it off meanwhile,
// so that nobody waits longer than lookEvery at once.
func (u *Updater) wait(ctx context.Context, j journal.Journal, r journal.Reason, d time.Duration) (journal.Journal, time.Duration, error) {
	if j.Waits != r {
		next, err := u.do(ctx, journal.Event{Kind: journal.Wait, Reason: r})
		if err != nil {
			return j, 0, err
		}
		j = next
	}
	return j, min(d, lookEvery), nil
}

// goOn takes back what was waited for, so that nobody reads of a lesson, or of a wish, on
// the row of a device that is at it. Where that cannot be noted the next step tells it.
func (u *Updater) goOn(ctx context.Context, j journal.Journal) {
	if j.Waits == journal.None {
		return
	}
	next, err := u.do(ctx, journal.Event{Kind: journal.Wait, Reason: journal.None})
	if err != nil {
		u.c.Log.Warn("what an update waited for is not taken back", "reason", j.Waits, "error", err)
		return
	}
	u.tell(ctx, next)
	u.show()
}

// downloadNow is download until a lesson begins, something comes up that speaks against
// it, or the person has a wish.
func (u *Updater) downloadNow(work, ctx context.Context, j journal.Journal) error {
	quiet, cancel := u.untilQuiet(work)
	defer cancel()
	known := u.known
	over := func() bool {
		wish := u.c.Wishes.Wish(j.Next.Version)
		return wish != "" && isNew(wish, j) && postponable(j) || known.jumped(u.c.Now()) || u.hindered(known.release.Urgent) != journal.None
	}
	return u.lookingOut(quiet, over, func(now context.Context) error { return u.download(now, ctx, j) })
}

// errLook ends what takes long for what is to be looked at first. What came is kept.
var errLook = errors.New("a wish, a hindrance, or the clock jumped")

// lookingOut does what takes long, and ends it with errLook once it is over, or with
// errLesson if that ended ctx.
func (u *Updater) lookingOut(ctx context.Context, over func() bool, do func(ctx context.Context) error) error {
	now, end := context.WithCancelCause(ctx)
	crew := supervise.NewCrew(now, 1)
	err := crew.Go(func(ctx context.Context) {
		for u.lookAgain(ctx) {
			if over() {
				end(errLook)
				return
			}
		}
	})
	if err == nil {
		err = do(now)
	}
	cause := context.Cause(now)
	end(nil)
	crew.Wait()
	if err != nil && (errors.Is(cause, errLesson) || errors.Is(cause, errLook)) {
		return cause
	}
	return err
}

// lookAgain waits for the next look, and says false when ctx ended.
func (u *Updater) lookAgain(ctx context.Context) bool {
	t := u.c.Pulse.Between(lookEvery, lookEvery+beatWithin)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// download brings the program into the parts.
func (u *Updater) download(work, ctx context.Context, j journal.Journal) error {
	k := u.known
	if err := u.room(k.release.Length); err != nil {
		return err
	}
	sum, err := layout.ParseSum(k.release.SHA256)
	if err != nil {
		return err
	}
	p := fetch.Plan{
		Program: fetch.Want{SHA256: sum[:], Length: k.release.Length},
		Full:    fetch.Target{SHA256: sumOf(k.packed), Length: k.packed.Length, Lease: j.Lease},
		Base:    func() ([]byte, error) { return u.base(j) },
		Part:    u.firstBytes(func() { u.goOn(ctx, j) }), Done: u.c.Parts.Done, Out: u.c.Parts.Out,
	}
	if k.delta != nil {
		p.Delta = &fetch.Delta{Target: fetch.Target{SHA256: sumOf(*k.delta), Length: k.delta.Length, Lease: j.Lease}, From: k.from}
	}
	s, err := u.c.Fetch.Program(work, p)
	if s.Fetched > 0 {
		if _, err := u.do(ctx, journal.Event{Kind: journal.Fetch, Bytes: uint64(s.Fetched)}); err != nil {
			u.c.Log.Warn("bytes that came are not counted", "bytes", s.Fetched, "error", err)
		}
	}
	return err
}

// roomTimes is how often the program must find room: in parts, as a copy, in bin/.
const roomTimes = 3

// errSpace: the disk has too little room.
var errSpace = errors.New("too little room on the disk")

func (u *Updater) room(length int64) error {
	free, err := u.c.Parts.Free()
	if err != nil {
		u.c.Log.Warn("room on the disk unknown", "error", err)
		return nil
	}
	held, err := u.c.Parts.Held()
	if err != nil {
		u.c.Log.Warn("room that parts have unknown", "error", err)
	}
	// What came has its room, or a disk on which all fits once would never take the rest;
	// the copy and bin/ still need theirs.
	if need := uint64(length)*roomTimes - min(held, uint64(length)); free < need {
		return fmt.Errorf("%w: %d bytes, need %d", errSpace, free, need)
	}
	return nil
}

// base is the program that runs, from its good copy.
func (u *Updater) base(j journal.Journal) ([]byte, error) {
	f, err := u.c.Programs.Open(j.Good.Version)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxProgram))
	return b, errors.Join(err, f.Close())
}

const maxProgram = 256 << 20

// stage makes the good copy of what came and lets it test itself.
func (u *Updater) stage(work, ctx context.Context, j journal.Journal) error {
	if u.c.Programs.Check(j.Next.Version, j.Next.Sum) != nil {
		if err := u.keep(work, ctx, j); err != nil {
			return err
		}
	}
	test, cancel := context.WithTimeout(work, selftestLasts)
	defer cancel()
	err := u.c.Selftest(test, u.c.Programs.Path(j.Next.Version))
	if err != nil && work.Err() != nil {
		return context.Cause(work)
	}
	if err != nil { // what is not there any more, or not whole, failed no test
		switch gone := u.c.Programs.Check(j.Next.Version, j.Next.Sum); {
		case layout.IsTaken(gone):
			return &refusal{journal.Quarantined, errors.Join(err, gone)}
		case errors.Is(gone, layout.ErrOtherBytes):
			return &refusal{journal.Damaged, errors.Join(err, gone)}
		}
	}
	return err
}

// keep fills the copy, and fetches once more what a crash or somebody took away. What is
// taken away again is a scanner's: this lease ends so, and the next one tries anew, since
// scanners learn.
func (u *Updater) keep(work, ctx context.Context, j journal.Journal) error {
	err := u.put(j)
	if !layout.IsTaken(err) && !errors.Is(err, layout.ErrOtherBytes) {
		return err
	}
	u.c.Log.Info("a program that came is not whole any more, it comes again", "version", j.Next.Version)
	if err := u.downloadNow(work, ctx, j); err != nil {
		return err
	}
	if err = u.put(j); layout.IsTaken(err) {
		return &refusal{journal.Quarantined, err}
	}
	return err
}

func (u *Updater) put(j journal.Journal) error {
	f, err := u.c.Parts.Unpacked()
	if err != nil {
		return err
	}
	return errors.Join(u.c.Programs.Put(j.Next.Version, j.Next.Sum, f), f.Close())
}

// arm is the last step: whatever was believed is asked again, since it may have been
// revoked (updates.md, row 47), and the copy is looked at once more.
func (u *Updater) arm(work, ctx context.Context, j journal.Journal) (journal.Journal, time.Duration, error) {
	switch proves, err := u.launcherProves(); {
	case err != nil:
		return j, 0, err
	case proves:
		return u.wait(ctx, j, journal.Schedule, lookEvery)
	}
	whole := u.c.Programs.Check(j.Next.Version, j.Next.Sum) == nil
	known, err := u.lookUp(work, j, !whole)
	if err != nil {
		u.known = nil
		return j, 0, err
	}
	u.known = known
	if next, wait, err := u.held(ctx, j); wait > 0 || err != nil {
		return next, wait, err
	}
	if !whole {
		u.goOn(ctx, j)
		if err := u.stage(work, ctx, j); err != nil {
			return j, 0, err
		}
	}
	u.mu.Lock()
	news := u.withdrawn != nil || u.offered != nil
	u.mu.Unlock()
	if news {
		return j, time.Second, nil // the turn that follows hears it first
	}
	if j, err = u.wished(ctx, j); err != nil {
		return j, 0, err
	}
	if u.c.Now().UnixMilli() < j.NotBefore {
		return j, time.Second, nil // the turn that follows waits for that
	}
	// On the disk before the journal says so, and nobody tries another one until then.
	if err := u.dropLauncher(); err != nil {
		return j, 0, err
	}
	lease := j.Lease
	next, err := u.do(ctx, journal.Event{Kind: journal.Arm})
	if err == nil && !preparing(next) && next.State != journal.Armed { // the journal refused, and says why
		n := u.note
		n.Refused = lease
		err = u.writeNote(n)
	}
	if err == nil && next.State == journal.Armed {
		if err := u.c.Parts.Sweep(); err != nil {
			u.c.Log.Warn("parts stay", "error", err)
		}
	}
	return next, 0, err
}

// refusal is an error that ends the lease.
type refusal struct {
	reason journal.Reason
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// troubled turns an error into a refusal or a wait, as the wire names it.
func (u *Updater) troubled(ctx context.Context, j journal.Journal, err error) (time.Duration, error) {
	if errors.Is(err, journal.ErrNotNow) {
		return lookEvery, nil // the launcher was quicker; what it wrote counts
	}
	r, final := judge(err)
	if final {
		u.c.Log.Warn("an update is refused", "version", j.Next.Version, "reason", r, "error", err)
		return time.Second, u.refuse(ctx, j, r)
	}
	u.c.Log.Info("an update waits", "version", j.Next.Version, "reason", r, "error", err)
	u.giveBack(err)
	wait := u.backoff()
	if back := (*fetch.ComeBack)(nil); errors.As(err, &back) {
		wait = back.After
	}
	u.again, u.cutOff = time.Now().Add(wait), r == journal.Unreachable
	if now, err := u.c.Journal.Load(); err == nil {
		j = now // the same reason may have been taken back meanwhile
	}
	_, d, err := u.wait(ctx, j, r, wait)
	if errors.Is(err, journal.ErrNotNow) {
		err = nil
	}
	return max(d, time.Second), err
}

// giveBack leaves nothing of a download on a disk that is full: others need the room, and
// it begins anew when there is some.
func (u *Updater) giveBack(err error) {
	if !layout.IsFull(err) && !errors.Is(err, errSpace) {
		return
	}
	if err := u.c.Parts.Sweep(); err != nil {
		u.c.Log.Warn("parts stay on a full disk", "error", err)
	}
}

// judge says what an error is called, and whether it ends the lease.
func judge(err error) (r journal.Reason, final bool) {
	var refused *refusal
	var misfit *unfit
	switch {
	case errors.As(err, &refused):
		return refused.reason, true
	case errors.As(err, &misfit):
		return misfit.reason, true
	case errors.Is(err, errLesson):
		return journal.Lesson, false
	case errors.Is(err, manifest.ErrStale): // also where something else is said of it
		return journal.Stale, false
	case errors.Is(err, manifest.ErrNoTarget), errors.Is(err, manifest.ErrBlocked), errors.Is(err, fetch.ErrLease), errors.Is(err, fetch.ErrNotFound):
		return journal.Withdrawn, true
	case errors.Is(err, manifest.ErrRefused), errors.Is(err, manifest.ErrNoRelease):
		return journal.Signature, true
	case errors.Is(err, fetch.ErrBytes), errors.Is(err, layout.ErrOtherBytes):
		return journal.WrongBytes, true
	case errors.Is(err, ErrSelftest):
		return journal.Selftest, true
	case errors.Is(err, errSpace), layout.IsFull(err):
		return journal.Space, false
	case errors.Is(err, manifest.ErrTransport), errors.Is(err, fetch.ErrUnreachable):
		return journal.Unreachable, false
	case errors.Is(err, layout.ErrLocked):
		return journal.Schedule, false
	}
	if back := (*fetch.ComeBack)(nil); errors.As(err, &back) {
		return journal.Schedule, false
	}
	return journal.Disk, false
}

// refuse ends the lease: in the note first, so that a crash in between refuses again.
func (u *Updater) refuse(ctx context.Context, j journal.Journal, r journal.Reason) error {
	n := u.note
	n.Refused = j.Lease
	if err := u.writeNote(n); err != nil {
		u.c.Log.Warn("a refusal is not noted", "error", err)
	}
	u.known = nil
	_, err := u.do(ctx, journal.Event{Kind: journal.Refuse, Reason: r})
	return err
}
