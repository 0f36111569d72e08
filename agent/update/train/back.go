package train

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"hausmeister/platform/layout"
)

// back leaves a launcher for good. That another one is started matters more than the bar:
// where that cannot be written, Over or a later look does it.
func (t *Train) back(trial Trial) (Outcome, error) {
	barred := t.leave(trial)
	if err := t.pointAway(trial); err != nil {
		return Nothing, errors.Join(barred, err)
	}
	return Back, nil
}

// leave keeps a launcher away from here, and notes its version. Where that cannot be
// written, as on a full disk, its program makes room if it is not the last one; one that
// is held open, as while it hangs on Windows, is put aside. A program that is not in its
// place is what tells the next look that its launcher was left.
func (t *Train) leave(trial Trial) error {
	err := t.note(trial)
	if err == nil {
		return nil
	}
	if others, err2 := t.others(trial); err2 != nil || len(others) == 0 {
		return errors.Join(err, err2)
	}
	path := t.Path(trial.To)
	aside := path + ".left" // goes with its folder
	err = errors.Join(t.disk.Remove(aside), t.disk.Remove(path))
	if err != nil {
		err = errors.Join(err, t.disk.Rename(path, aside))
	}
	if err2 := errors.Join(t.disk.SyncDir(filepath.Dir(path)), t.note(trial)); err2 != nil {
		return errors.Join(err, err2)
	}
	return nil
}

func (t *Train) note(trial Trial) error {
	return errors.Join(t.Bar(trial.Sum), t.write("left", trial.To+"\n"))
}

// pointAway has the next start take another launcher than the one that is left. If it does
// already, and that one is there, it stays: somebody put it there by hand since.
func (t *Train) pointAway(trial Trial) error {
	if current, err := t.Current(); err == nil && current != trial.To {
		if t.opens(current) == nil {
			// Who pointed there may have been ended before that was durable.
			return t.disk.SyncDir(t.l.Launchers())
		}
	}
	return t.pointBack(trial)
}

// pointBack has it take the one before, or if that is gone as well any other: that is
// better than none.
func (t *Train) pointBack(trial Trial) error {
	err := t.l.PointLauncher(t.disk, trial.From)
	if err == nil {
		return nil
	}
	if _, err2 := t.anyOther(trial); err2 != nil {
		return errors.Join(err, err2)
	}
	return nil
}

// backFromAnother leaves a launcher that somebody pointed to by hand and that does not
// come up. The one that was on trial is not to blame for it.
func (t *Train) backFromAnother(trial Trial, failed bool) (Outcome, error) {
	var barred error
	if failed {
		barred = t.leave(trial)
	} else if err := t.remove("starts", "looks"); err != nil { // or a later look would bar it
		return Nothing, err
	}
	err := t.pointBack(trial)
	switch {
	case err != nil:
		return Nothing, errors.Join(barred, err)
	case failed:
		return Back, nil // as back
	}
	if err := t.forget(trial); err != nil { // or Over would bar it
		return Nothing, err
	}
	return Back, nil
}

// opens says whether a launcher is there.
func (t *Train) opens(version string) error {
	f, err := t.disk.Open(t.Path(version))
	if err != nil {
		return err
	}
	return f.Close()
}

// anyOther points to the best launcher that is there but the one of this trial.
func (t *Train) anyOther(trial Trial) (Outcome, error) {
	all, err := t.others(trial)
	if err != nil {
		return Nothing, err
	}
	for _, version := range all {
		if t.l.PointLauncher(t.disk, version) == nil {
			return Back, nil
		}
	}
	return Nothing, errors.New("there is no launcher to point to")
}

// others are the launchers that are there but the one of this trial, best first: the two
// that did their work before, then the newest. Those that failed here, or cannot be read,
// come last.
func (t *Train) others(trial Trial) ([]string, error) {
	all, err := t.there()
	if err != nil {
		return nil, err
	}
	previous, _ := t.read("previous") // decides only who is first
	last := func(version string) (rank int) {
		sum, err := layout.SumFile(t.disk, t.Path(version))
		if barred, err2 := t.Barred(sum); err != nil || err2 == nil && barred {
			rank += 4
		}
		if version != trial.From {
			rank++
		}
		if version != strings.TrimSpace(previous) {
			rank++
		}
		return rank
	}
	ranks := map[string]int{}
	var others []string
	for _, version := range slices.Backward(all) {
		if version != trial.To && t.opens(version) == nil {
			others, ranks[version] = append(others, version), last(version)
		}
	}
	slices.SortStableFunc(others, func(a, b string) int { return ranks[a] - ranks[b] })
	return others, nil
}
