package update

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/proto/manifest"
)

// Files is where the note lies, replaced as a whole.
type Files interface {
	Read(name string) ([]byte, error)
	Write(name string, data []byte) error
}

const (
	noteFile = "offer.json"
	keyBytes = 32
)

// note is what the journal does not keep, since the launcher has no use for it. A
// note that is lost costs an offer, and the place in the next rollout.
type note struct {
	Lease  string     `json:"lease,omitempty"`
	Target string     `json:"target,omitempty"` // path in the metadata
	Sum    layout.Sum `json:"sum,omitzero"`
	Begin  int64      `json:"begin_ms,omitempty"` // the random moment, device clock
	// Quiet are the times in which nothing begins, as the offer told them.
	Quiet []calm `json:"quiet,omitempty"`
	// Refused is the lease that was refused last. It is here before the journal says
	// so, with the reason, so that it is refused again after a crash between the two.
	Refused string `json:"refused,omitempty"`
	// Failed is how the last update that failed did, for the person at the device.
	Failed failed `json:"failed,omitzero"`
	// Key draws this device's place in each rollout. It leaves the device never.
	Key []byte `json:"key"`
	// Launcher is the one that came last.
	Launcher fetched `json:"launcher,omitzero"`
	// Floor is the highest floor of any release that was seen for this device.
	Floor string `json:"floor,omitempty"`
}

// failed is an update that came to nothing for a reason of its own.
type failed struct {
	Program journal.Program `json:"program"`
	Reason  journal.Reason  `json:"reason"`
	// Stayed is what runs instead: with another one this is of the past.
	Stayed layout.Sum `json:"stayed"`
}

// readNote reads the note, or begins one.
func (u *Updater) readNote() error {
	data, err := u.c.Files.Read(noteFile)
	if err == nil {
		err = json.Unmarshal(data, &u.note)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if u.note.Floor != "" && !manifest.ValidVersion(u.note.Floor) {
		u.note.Floor = ""
	}
	if len(u.note.Key) == keyBytes {
		return err
	}
	n := u.note
	n.Key = make([]byte, keyBytes)
	rand.Read(n.Key)
	return errors.Join(err, u.writeNote(n))
}

func (u *Updater) writeNote(n note) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := u.c.Files.Write(noteFile, data); err != nil {
		return fmt.Errorf("noting what was offered: %w", err)
	}
	u.note = n
	return nil
}

// heed notes a lease that the launcher refused, before its step is told and is not in the
// journal any more. What was given up may come again.
func (u *Updater) heed(j journal.Journal) {
	if preparing(j) && j.Lease == u.note.Refused {
		return // that one is to be refused, and the journal does not say so yet
	}
	for _, s := range slices.Backward(j.Untold) {
		if s.State != journal.Refused {
			continue
		}
		n := u.note
		if n.Refused = s.Lease; s.Reason != journal.Withdrawn && n.Refused != u.note.Refused {
			if err := u.writeNote(n); err != nil {
				u.c.Log.Warn("a refusal is not noted", "error", err)
			}
		}
		return
	}
}

// remember keeps how an update failed for as long as what runs instead, which the journal
// forgets once it is told. What was taken back has not failed, and what is barred did so
// before.
func (u *Updater) remember(j journal.Journal) {
	for _, s := range slices.Backward(j.Untold) {
		if s.State != journal.RolledBack && s.State != journal.Refused || s.Reason == journal.Withdrawn || s.Reason == journal.BarredHere {
			continue
		}
		n := u.note
		if n.Failed = (failed{s.To, s.Reason, s.From.Sum}); n.Failed == u.note.Failed {
			return
		}
		if err := u.writeNote(n); err != nil {
			u.c.Log.Warn("how an update failed is not noted", "error", err)
			u.note.Failed = n.Failed // for this start, and the next note
		}
		return
	}
}
