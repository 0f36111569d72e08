package train

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"time"

	"hausmeister/platform/layout"
)

// Times are Mend's patience. The zero value of each is its default.
type Times struct {
	Patience time.Duration // 2 min: for a sign of the launcher
	Steady   time.Duration // 30 s: it must run without a break
	Every    time.Duration // 1 s: between two looks at it
}

func (t Times) withDefaults() Times {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{{&t.Patience, 2 * time.Minute}, {&t.Steady, 30 * time.Second}, {&t.Every, time.Second}} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	return t
}

// ReadTimes takes the times from the launcher's settings file, where tests and
// demonstrations shorten them; what is not there or makes no sense is the default.
func ReadTimes(path string) Times {
	data, err := os.ReadFile(path)
	var in struct {
		Patience string `json:"mend_patience"`
		Steady   string `json:"mend_steady"`
		Every    string `json:"mend_every"`
	}
	if err != nil || json.Unmarshal(data, &in) != nil {
		return Times{}
	}
	read := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil || d < 10*time.Millisecond || d > time.Hour {
			return 0
		}
		return d
	}
	return Times{read(in.Patience), read(in.Steady), read(in.Every)}
}

const (
	// maxStarts of a new launcher without proof. The machine may be switched off in
	// between, so that it is not the first.
	maxStarts = 5
	// maxLooks at which it ran and had not proved itself: an hour at the timer's pace.
	maxLooks = 3
)

// Outcome of Mend.
type Outcome string

const (
	Nothing Outcome = "nothing"   // no launcher is on trial, and the one that is used is there
	Stopped Outcome = "stopped"   // nobody runs, since somebody stopped the service: nothing is known of the new one
	Waiting Outcome = "waiting"   // the old one still runs, or the new one has not proved itself yet
	Back    Outcome = "went_back" // the pointer leads to another launcher: start the service anew, then Over
)

// Mend looks after a launcher that nobody else looks after. It needs no launcher, no
// network and no journal. follow is as for Drop. stopped says whether the service stands
// still because somebody wants it to (nil = nobody can tell).
func (t *Train) Mend(ctx context.Context, times Times, follow func() error, stopped func() bool) (Outcome, error) {
	if stopped == nil {
		stopped = func() bool { return false }
	}
	trial, on, err := t.OnTrial()
	if err != nil {
		return Nothing, err
	}
	current, err := t.Current()
	switch {
	case !on:
		return t.repair(current, err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, layout.ErrVersion):
		return t.back(trial)
	case err != nil: // for a moment, while somebody runs; for good, and nobody can be started
		if seen, err2 := t.watch(ctx, trial, times.withDefaults(), trial.From); err2 != nil || seen != nobodyRuns || stopped() {
			return Nothing, errors.Join(err, err2)
		}
		return t.back(trial)
	}
	barred, err := t.Barred(trial.Sum)
	barred = barred && err == nil // what cannot be read keeps nobody with a bad one
	elsewhere := current != trial.To
	if barred && !elsewhere { // a crash came while it went back
		return t.back(trial)
	}
	// Does not lead there: the agent ended before it pointed, or while it dropped it; it
	// was left just now; or somebody else pointed there since.
	if elsewhere && follow != nil {
		if err := follow(); err != nil {
			return Nothing, err
		}
	}
	starts, err := t.count("starts")
	if err != nil {
		return Nothing, err
	}
	got, err := layout.SumFile(t.disk, t.Path(trial.To))
	gone, failed := errors.Is(err, os.ErrNotExist), barred || starts > maxStarts
	switch {
	case current == trial.From && starts == 0 && !gone && !barred:
		return Nothing, t.forget(trial)
	case elsewhere:
		// Where no link leads it may have been started all the same, and runs until the next
		// start. Who is gone was left while the bar could not be written.
		failed = failed || gone
	case failed, gone, err == nil && got != trial.Sum:
		return t.back(trial) // also what was taken away, or damaged
	}
	// What could not be read just now may be well: the watch shows it.
	seen, err := t.watch(ctx, trial, times.withDefaults(), current)
	switch {
	case err != nil:
		return Waiting, err
	case seen == oldRuns && !elsewhere, seen == namelessRuns && starts == 0:
		return Waiting, nil
	case seen == oldRuns:
		if failed {
			if err := t.leave(trial); err != nil {
				return Waiting, err
			}
		}
		return Nothing, t.forget(trial)
	case seen == nobodyRuns && stopped():
		return Stopped, nil
	case seen == nobodyRuns && elsewhere && current != trial.From:
		return t.backFromAnother(trial, failed)
	case seen == nobodyRuns:
		return t.back(trial)
	}
	return t.look(trial, failed)
}

// look counts that a launcher ran and had not proved itself; one that failed is left.
func (t *Train) look(trial Trial, failed bool) (Outcome, error) {
	if _, still, err := t.OnTrial(); err != nil || !still { // it proved itself meanwhile
		return Nothing, err
	}
	n, err := t.count("looks")
	switch {
	case err != nil:
		return Nothing, err
	case failed, n+1 >= maxLooks:
		return t.back(trial)
	}
	return Waiting, t.write("looks", strconv.Itoa(n+1)+"\n")
}

// forget ends a trial of who is not pointed to, unless its agent does just now.
func (t *Train) forget(trial Trial) error {
	lock, err := t.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	current, err := t.Current()
	now, on, err2 := t.OnTrial()
	if err := errors.Join(err, err2); err != nil || !on || now != trial || current == trial.To {
		return err
	}
	// Who changed the pointer may have been ended before that was durable.
	if err := t.disk.SyncDir(t.l.Launchers()); err != nil {
		return err
	}
	return t.remove("trial", "starts", "looks")
}

// ErrNotSeen: the service was started anew, and no launcher came up.
var ErrNotSeen = errors.New("the launcher that was gone back to does not run yet")

// Over forgets the trial of a launcher that was left, once another was seen to run.
// Until then each look goes back again: the service manager may still have the one that
// hangs, or take it for one that runs when its process is gone.
func (t *Train) Over(ctx context.Context, times Times) error {
	trial, on, err := t.OnTrial()
	if err != nil || !on {
		return err
	}
	if barred, err := t.Barred(trial.Sum); err != nil || !barred {
		if current, err2 := t.Current(); err2 != nil || current == trial.To {
			return errors.Join(err, err2)
		}
		if err := t.leave(trial); err != nil { // now that the one that hung was ended
			return err
		}
	}
	seen, err := t.watch(ctx, trial, times.withDefaults(), trial.From)
	switch {
	case err != nil:
		return err
	case seen != oldRuns:
		return ErrNotSeen
	}
	return t.remove("trial", "starts", "looks")
}

// repair sees to it that the launcher which is used is there at all.
func (t *Train) repair(current string, err error) (Outcome, error) {
	if err == nil {
		err = t.opens(current)
	}
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return Nothing, err
	}
	return t.anyOther(Trial{To: current})
}

type seen int

const (
	nobodyRuns seen = iota
	oldRuns
	newRuns
	namelessRuns // it could not write who it is, as on a full disk
)

// watch says who holds the launchers' lock, and for Steady without a break. It waits
// by a clock that stands still while the machine sleeps as far as the system has one,
// and always for a number of looks, so that a machine that wakes up is not taken for
// one on which nothing comes up. A nameless one may be the new one only where that is
// current. The old one is seen at once, but one that somebody pointed to by hand must
// run for a while, too.
func (t *Train) watch(ctx context.Context, trial Trial, times Times, current string) (seen, error) {
	byHand := current != trial.To && current != trial.From
	var last run
	steady := 0
	need := max(int(times.Steady/times.Every), 1)
	for range max(int(times.Patience/times.Every), need+1) {
		held, err := t.held()
		if err != nil {
			return nobodyRuns, err
		}
		now, err := t.running()
		who := oldRuns
		if now.version == trial.To {
			who = newRuns
		} else if now.version == "" && current == trial.To {
			who = namelessRuns
		}
		switch {
		case err != nil:
			return nobodyRuns, err
		case held && who == oldRuns && !byHand:
			return oldRuns, nil
		case held && now == last:
			if steady++; steady >= need {
				return who, nil
			}
		default:
			steady = 0
		}
		last = now
		if !held {
			last = run{}
		}
		select {
		case <-time.After(times.Every):
		case <-ctx.Done():
			return nobodyRuns, ctx.Err()
		}
	}
	return nobodyRuns, nil
}

// held says whether a launcher runs. It has the lock for a moment itself, for which
// a launcher that starts waits.
func (t *Train) held() (bool, error) {
	l, err := layout.Lock(t.LockPath())
	if errors.Is(err, layout.ErrLocked) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, l.Close()
}
