package health

import (
	"context"
	"fmt"
	"slices"

	"hausmeister/collector/db"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

const (
	// maxSteps and maxSeries of a block from a device: a day of minutes, and
	// twice the readings that a well-equipped machine has.
	maxSteps, maxSeries = 24 * 60, 512
	hourS               = 3600
)

// minutes is a block as it goes into the database.
type minutes struct {
	startMS, endMS, stepS int64
	body                  []byte
}

// minutes reads a block, or counts a bad one and gives nil: then its place in
// the spool's order is kept and nothing else, for what the agent cannot pack
// today it cannot pack tomorrow.
func (p *parsed) minutes(m *hmpb.Block, collectorMS int64) *minutes {
	b, err := unpack(m)
	if err != nil {
		p.badBlocks++
		return nil
	}
	dropped := len(b.Series)
	b.Series = slices.DeleteFunc(b.Series, func(s block.Series) bool { return !told(s) })
	dropped -= len(b.Series)
	p.badReadings += uint64(dropped)
	out := &minutes{startMS: b.Start, endMS: b.Head().End(), stepS: b.Step / 1000, body: m.GetPacked()}
	if shift := p.shift(out, collectorMS); shift != 0 || dropped > 0 {
		b.Start += shift
		out.startMS, out.endMS = b.Start, b.Head().End()
		if out.body, err = block.Encode(b); err != nil {
			p.badBlocks++
			return nil
		}
	}
	return out
}

func unpack(m *hmpb.Block) (block.Block, error) {
	h, err := block.ReadHead(m.GetPacked())
	switch {
	case err != nil:
		return block.Block{}, err
	case h.Start != m.GetStartMs() || h.Step != int64(m.GetStepS())*1000 || h.Count != int(m.GetSteps()):
		return block.Block{}, fmt.Errorf("%w: packed %+v, announced %v", ErrMalformed, h, m)
	case h.Step != block.Minute && h.Step != block.Hour || h.Count > maxSteps || h.Series > maxSeries:
		return block.Block{}, fmt.Errorf("%w: %+v", ErrMalformed, h)
	}
	return block.Decode(m.GetPacked())
}

// told says whether a series is one that the table lets a device tell by the
// minute, within its range.
func told(s block.Series) bool {
	r, ok := reading.ByID(s.ID)
	if !ok || r.Retain != reading.Fine || r.Kind == reading.Text || s.Code != (r.Kind == reading.Code) ||
		(s.Instance != "") != r.Instanced || !reading.Printable(s.Instance, reading.MaxInstance) {
		return false
	}
	low, high := r.Min, r.Max
	if r.Kind == reading.Code {
		low, high = 0, int64(len(r.Codes)-1)
	}
	return !slices.ContainsFunc(s.Values, func(v block.Value) bool { return v.N > 0 && (v.Min < low || v.Max > high) })
}

// shift moves a block whose time cannot be, so that it ends when it came: the
// device's clock was wrong, and it had not heard from us since it was started.
// Better a little late than in a year that nobody looks at. Whole steps only.
func (p *parsed) shift(m *minutes, collectorMS int64) int64 {
	step := m.stepS * 1000
	switch {
	case m.endMS > collectorMS+FutureSlack.Milliseconds():
		p.future++
	case m.startMS < FirstRelease.UnixMilli():
		p.past++
	default:
		return 0
	}
	return (collectorMS - m.endMS) / step * step
}

// store puts the block in. One by the hour takes the place of the minutes that
// it stands for, should they have come all the same (wire.md 8).
func (m *minutes) store(ctx context.Context, tx *db.Tx, device string, spool, seq int64) error {
	if m.stepS == hourS {
		_, err := tx.Exec(ctx, `DELETE FROM health_blocks WHERE device_id = $1 AND start_ms >= $2 AND end_ms <= $3 AND step_s < $4 AND spool = $5`,
			device, m.startMS, m.endMS, m.stepS, spool)
		if err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO health_blocks (device_id, start_ms, step_s, end_ms, spool, seq, body) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		device, m.startMS, m.stepS, m.endMS, spool, seq, m.body)
	return err
}
