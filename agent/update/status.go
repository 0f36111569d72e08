package update

import (
	"time"

	"hausmeister/agent/update/journal"
)

// Status is how updates stand, as everybody at this machine may know it.
type Status struct {
	Off      string    `json:"off,omitempty"` // why there are none
	Launcher string    `json:"launcher_version,omitempty"`
	Standing Standing  `json:"standing,omitempty"` // of the program that runs
	State    string    `json:"state,omitempty"`    // journal.State
	Version  string    `json:"version,omitempty"`  // that is under way
	Waits    string    `json:"waits,omitempty"`    // journal.Reason; none while bytes come
	Begins   time.Time `json:"begins,omitzero"`    // not before that
	Until    time.Time `json:"until,omitzero"`     // the lease's end
	Previous string    `json:"previous_version,omitempty"`
	// LauncherNext is on trial from the next start of the service on, if it is another
	// than Launcher, or since the last one.
	LauncherNext string `json:"launcher_next,omitempty"`
	// LauncherLeft did not come up here, and the one before was taken again.
	LauncherLeft string `json:"launcher_left,omitempty"`
	Policy       string `json:"policy_version,omitempty"` // the newest signed one that is here
	// PutOff: nothing is under way, and what was put off comes not before that.
	PutOff time.Time `json:"put_off,omitzero"`
	// Postponable is how often the person at the device may still put it off.
	Postponable int `json:"postponable"`
	// Failed is the version to which the last update failed: nothing is under way, and what
	// ran then still runs. Why is journal.Reason.
	Failed string `json:"failed_version,omitempty"`
	Why    string `json:"failed_reason,omitempty"`
}

// Coming says that an update is being prepared.
func (s Status) Coming() bool {
	return s.State == journal.Offered.String() || s.State == journal.Downloaded.String() || s.State == journal.Staged.String()
}

// TooLate says that an update is on its way which nobody can put off any more.
func (s Status) TooLate() bool {
	return s.State == journal.Armed.String() || s.State == journal.Swapped.String() || s.State == journal.Trial.String()
}

// maxPostpones as the journal has it.
const maxPostpones = 3

// Status says how updates stand.
func (u *Updater) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.status
	s.Launcher, s.Standing = u.c.Parent.Version(), u.c.Parent.Standing()
	return s
}

// show takes over what the journal says.
func (u *Updater) show() {
	s := Status{LauncherLeft: u.left}
	j, err := u.c.Journal.Load()
	switch {
	case u.tufs == nil:
		s.Off = NoRoot
	case err != nil || !j.Good.Known():
		s.Off = NoJournal
	}
	s.State, s.Version, s.Previous = j.State.String(), j.Next.Version, j.Previous.Version
	if j.Waits != journal.None {
		s.Waits = j.Waits.String()
	}
	if preparing(j) {
		s.Begins, s.Until = u.begins(j).UTC(), atMS(j.Until).UTC()
		s.Postponable = max(maxPostpones-j.Postpones, 0)
	}
	if resting(j) {
		s.PutOff = u.putOffTill(j)
		if f := u.note.Failed; f.Program.Known() && f.Stayed == j.Good.Sum {
			s.Failed, s.Why = f.Program.Version, f.Reason.String()
		}
	}
	if u.c.Launchers != nil {
		if trial, on, err := u.c.Launchers.OnTrial(); err == nil && on {
			s.LauncherNext = trial.To
		}
	}
	if u.c.Policies != nil {
		s.Policy = u.c.Policies.Version()
	}
	u.mu.Lock()
	changed := s != u.status
	u.status = s
	u.mu.Unlock()
	if changed {
		u.c.Changed()
	}
}

// putOffTill is until when a wish counts whose lease has ended; zero = there is none, or the
// clock was set since, of which the next offer makes something.
func (u *Updater) putOffTill(j journal.Journal) time.Time {
	till, now := atMS(j.PutOff.Until), u.c.Now()
	if !till.After(now) || till.After(now.Add(maxPostpones*24*time.Hour)) {
		return time.Time{}
	}
	return till.UTC().Truncate(time.Minute)
}

// begins is the earliest moment that is known.
func (u *Updater) begins(j journal.Journal) time.Time {
	t := atMS(j.NotBefore)
	if u.note.Sum == j.Next.Sum {
		t = later(t, atMS(u.note.Begin))
	}
	if u.known != nil { // by the time that was signed, told by the device's clock
		t = later(t, u.c.Now().Add(u.known.earliest.Sub(u.known.now())))
		if wait := u.quietFor(0); wait > 0 {
			t = later(t, u.c.Now().Add(wait))
		}
	}
	return t.Truncate(time.Minute)
}

// atMS keeps zero, which means "none".
func atMS(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
