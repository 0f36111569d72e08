package update

import (
	"context"

	"hausmeister/agent/update/journal"
	"hausmeister/proto/hmpb"
)

// tell puts the journal's untold steps into the spool, and says whether that is all.
// Each is taken out of the journal once the spool has it.
func (u *Updater) tell(ctx context.Context, j journal.Journal) bool {
	u.remember(j)
	for _, s := range j.Untold {
		e := &hmpb.Entry{}
		e.SetDeviceMs(s.At)
		e.SetUpdate(u.message(s))
		if _, err := u.c.Sink.Append(ctx, e); err != nil {
			u.c.Log.Warn("a step of an update is not stored, will be told again", "error", err)
			return false
		}
		if _, _, err := u.c.Journal.Do(ctx, journal.Event{Kind: journal.Tell, Count: 1}); err != nil {
			u.c.Log.Warn("a step of an update may be told twice", "error", err)
			return false
		}
	}
	return true
}

func (u *Updater) message(s journal.Step) *hmpb.Update {
	m := &hmpb.Update{}
	m.SetLease(s.Lease)
	if s.From.Known() {
		m.SetFromVersion(s.From.Version)
		m.SetFromSha256(s.From.Sum[:])
	}
	if s.To.Known() {
		m.SetToVersion(s.To.Version)
		m.SetToSha256(s.To.Sum[:])
	}
	m.SetState(hmpb.UpdateState(s.State))
	m.SetReason(hmpb.UpdateReason(s.Reason))
	m.SetStarts(uint32(max(s.Starts, 0)))
	m.SetLauncherVersion(u.c.Parent.Version())
	m.SetFetched(s.Fetched)
	m.SetSignature(s.Signature)
	return m
}
