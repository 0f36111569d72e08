package health

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

const (
	// quarter is how long a block may be, and on what its end is aligned, in
	// milliseconds.
	quarter = 15 * block.Minute
	// maxStretches of told minutes are remembered: one for each time that the
	// clock jumped or the machine slept.
	maxStretches = 64
)

// stretch of minutes since 1970, both inclusive.
type stretch struct{ from, to int64 }

// minutes packs looks into blocks. A block begins with the minute of its first
// look and ends at the latest with the quarter of an hour. A minute that was
// told is not told again, wherever the clock jumps.
type minutes struct {
	running *block.Block // nil: none
	last    int64        // minute of its last look
	sums    map[block.Key]int64
	told    []stretch // newest last
}

// minuteOf is a time's minute since 1970; it rounds down also before that.
func minuteOf(ms int64) int64 {
	m := ms / block.Minute
	if ms%block.Minute < 0 {
		m--
	}
	return m
}

// over says that the running block ends before a look at ms: its quarter is
// over, or the clock went back.
func (m *minutes) over(ms int64) bool {
	return m.running != nil && (ms >= m.running.Head().End() || minuteOf(ms) < m.last)
}

// full says that the running block's last minute has its look.
func (m *minutes) full() bool {
	return m.running != nil && (m.last+1)*block.Minute == m.running.Head().End()
}

// put adds a look at ms, for which the running block is not over.
func (m *minutes) put(ms int64, rs []*hmpb.Reading) error {
	minute := minuteOf(ms)
	if slices.ContainsFunc(m.told, func(s stretch) bool { return s.from <= minute && minute <= s.to }) {
		return nil
	}
	b := m.running
	if b == nil {
		start := minute * block.Minute
		b = &block.Block{Start: start, Step: block.Minute, Count: int((quarter - start%quarter) / block.Minute)}
	}
	if m.running == nil || minute != m.last {
		m.sums = nil
	}
	for _, r := range rs {
		if err := m.set(b, ms, r); err != nil {
			return err
		}
	}
	if len(b.Series) > 0 {
		m.running, m.last = b, minute
	}
	return nil
}

// set adds one reading, if it is one that is kept by the minute. What counts
// since the look before adds up where a minute has several.
func (m *minutes) set(b *block.Block, ms int64, r *hmpb.Reading) error {
	row, ok := reading.ByID(r.GetId())
	if !ok || row.Retain != reading.Fine {
		return nil
	}
	v := r.GetNumber()
	switch row.Kind {
	case reading.Number:
		if !r.HasNumber() {
			return nil
		}
	case reading.Code:
		v = int64(slices.IndexFunc(row.Codes, func(c reading.CodeValue) bool { return c.Code == r.GetText() }))
		if v < 0 {
			return nil
		}
	default:
		return nil
	}
	k := block.Key{ID: row.ID, Instance: r.GetInstance()}
	if row.Daily == reading.Sum {
		if m.sums == nil {
			m.sums = make(map[block.Key]int64)
		}
		v = min(v+m.sums[k], row.Max)
		m.sums[k] = v
	}
	return b.Set(ms, k, row.Kind == reading.Code, v)
}

// close packs the running block; nil without one. It is gone also after an error.
func (m *minutes) close() (*hmpb.Block, error) {
	b := m.running
	if b == nil {
		return nil, nil
	}
	m.running, m.sums = nil, nil
	first := minuteOf(b.Start)
	m.note(stretch{first, m.last})
	b.Count = int(m.last - first + 1)
	for i := range b.Series {
		b.Series[i].Values = b.Series[i].Values[:b.Count]
	}
	packed, err := block.Encode(*b)
	if err != nil {
		return nil, fmt.Errorf("packing %d minutes: %w", b.Count, err)
	}
	return hmpb.Block_builder{
		StartMs: &b.Start,
		StepS:   proto.Uint32(uint32(b.Step / 1000)),
		Steps:   proto.Uint32(uint32(b.Count)),
		Packed:  packed,
	}.Build(), nil
}

func (m *minutes) note(s stretch) {
	if n := len(m.told); n > 0 && m.told[n-1].to+1 == s.from {
		m.told[n-1].to = s.to
		return
	}
	if len(m.told) >= maxStretches {
		m.told = slices.Delete(m.told, 0, 1)
	}
	m.told = append(m.told, s)
}
