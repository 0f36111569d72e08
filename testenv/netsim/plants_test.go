package netsim_test

import (
	"context"
	"encoding/hex"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/collector/gateway"
	"hausmeister/proto/hmpb"
)

// The faults that TestDayNoticesFaults plants stand between the gateway and the
// real collector/health, so that production has no switch for any of them.

// span gives the first and last sequence of a batch; ok is false for one that
// is not simply a run of entries.
func span(b *hmpb.Batch) (first, last uint64, ok bool) {
	n := len(b.GetEntries())
	if n == 0 || len(b.GetDropped())+len(b.GetThinned()) > 0 {
		return 0, 0, false
	}
	return b.GetFirstSeq(), b.GetFirstSeq() + uint64(b.GetEntries()[n-1].GetOffset()), true
}

func ack(through uint64) *hmpb.ReportDown {
	return hmpb.ReportDown_builder{Ack: hmpb.Ack_builder{ThroughSeq: &through, TimeMs: proto.Int64(time.Now().UnixMilli())}.Build()}.Build()
}

// A plant puts itself before the health of a collector that starts.
type plant func(gateway.Health, *db.DB) gateway.Health

// noDeduplication stores each entry that comes, known or not: it gives those
// that come again new numbers, which the agent does not get to see.
type noDeduplication struct {
	gateway.Health
	*numbers
}

// numbers outlive a collector, as those in the database do.
type numbers struct {
	mu    sync.Mutex
	known map[string]uint64 // highest sequence of the agent's, by spool
	added map[string]uint64 // how many were stored again
}

func withoutDeduplication() plant {
	n := &numbers{known: map[string]uint64{}, added: map[string]uint64{}}
	return func(h gateway.Health, _ *db.DB) gateway.Health { return &noDeduplication{h, n} }
}

func (p *noDeduplication) Begin(ctx context.Context, device access.Caller, session int64, epoch []byte, version string) (uint64, error) {
	cursor, err := p.Health.Begin(ctx, device, session, epoch, version)
	p.mu.Lock()
	defer p.mu.Unlock()
	page := hex.EncodeToString(epoch)
	cursor -= min(cursor, p.added[page])
	p.known[page] = cursor
	return cursor, err
}

func (p *noDeduplication) Ingest(ctx context.Context, device access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, last, ok := span(b)
	page := hex.EncodeToString(b.GetSpoolEpoch())
	if !ok || first > p.known[page]+1 {
		return p.Health.Ingest(ctx, device, b)
	}
	p.added[page] += p.known[page] + 1 - first
	b.SetFirstSeq(first + p.added[page])
	if _, err := p.Health.Ingest(ctx, device, b); err != nil {
		return nil, err
	}
	p.known[page] = max(p.known[page], last)
	return ack(last), nil
}

// earlyAck acknowledges first and commits some seconds later, if it lives.
type earlyAck struct {
	gateway.Health
}

const commitDelay = 3 * time.Second

func withEarlyAck() plant {
	return func(h gateway.Health, _ *db.DB) gateway.Health { return &earlyAck{h} }
}

func (p *earlyAck) Ingest(ctx context.Context, device access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error) {
	_, last, ok := span(b)
	if !ok {
		return p.Health.Ingest(ctx, device, b)
	}
	go func() {
		select {
		case <-time.After(commitDelay):
			p.Health.Ingest(ctx, device, b)
		case <-ctx.Done(): // dead
		}
	}()
	return ack(last), nil
}

// withoutCursor is a collector that keeps the cursor in memory only: the rows
// are there after a restart, and it does not know how far they go.
func withoutCursor() plant {
	return func(h gateway.Health, d *db.DB) gateway.Health {
		err := d.Write(context.Background(), func(tx *db.Tx) error {
			_, err := tx.Exec(context.Background(), `UPDATE health_spools SET last_seq = 0`)
			return err
		})
		if err != nil {
			panic(err)
		}
		return h
	}
}
