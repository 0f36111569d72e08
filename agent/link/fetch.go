package link

import (
	"context"
	"errors"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/wire"
)

// Updates hears what the collector says of updates; agent/update is one. None of
// its methods waits.
type Updates interface {
	// Heard is called at each Welcome with what the collector says it heard of us:
	// a new program then knows that it reaches its collector. Both are empty from a
	// collector of before 2026-11-29.
	Heard(version string, hash []byte)
	// Repository says how new the collector's metadata is; at each Welcome, nil =
	// this collector has no updates, and whenever it became newer.
	Repository(*hmpb.Repository)
	// Offered is the latest word; Withdrawn ends a lease, an empty one whichever
	// there is.
	Offered(*hmpb.Offer)
	Withdrawn(lease string)
}

// ErrNoSession: there is none just now.
var ErrNoSession = errors.New("no session")

// Fetch opens a fetch stream on the present session. It ends with that session, and
// whoever reads goes on with the next from the byte where it stopped. The reader
// ends its side at the end of the bytes, or resets the stream, and it reads what
// comes: the window of the connection is everybody's.
func (l *Link) Fetch(ctx context.Context, header *hmpb.FetchHeader) (*wire.Framed, error) {
	s := l.present.Load()
	if s == nil {
		return nil, ErrNoSession
	}
	ctx, cancel := context.WithTimeout(ctx, greetWithin)
	defer cancel()
	return wire.Open(ctx, *s, hmpb.StreamType_STREAM_TYPE_FETCH, header)
}

// heard tells what a Welcome says of updates.
func (l *Link) heard(w *hmpb.Welcome) {
	if u := l.c.Updates; u != nil {
		u.Heard(w.GetAgentVersion(), w.GetAgentHash())
		u.Repository(w.GetRepository())
	}
}

// offered takes what the collector says of updates later.
func (h *held) offered(down *hmpb.ControlDown) {
	u := h.l.c.Updates
	if u == nil {
		return
	}
	switch down.WhichKind() {
	case hmpb.ControlDown_Offer_case:
		u.Offered(down.GetOffer())
	case hmpb.ControlDown_Withdrawn_case:
		u.Withdrawn(down.GetWithdrawn().GetLease())
	case hmpb.ControlDown_Repository_case:
		u.Repository(down.GetRepository())
	}
}
