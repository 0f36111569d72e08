package health

import (
	"time"

	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// clock gives what a device told the collector's time (requirements TE-7). A
// device's own time counts as far as it is known how wrong it is; one that nothing
// is known of counts if it lies between the last that was told and now, so that
// what waited for weeks keeps its day, and else the time at which it came.
type clock struct {
	nowMS   int64
	leastMS int64  // nothing new was made before: the last known time of the spool, or mostWaited ago
	offset  *int64 // collector's clock minus the device's, as last told
}

// mostWaited is how long a report may have waited on its device: a spool keeps
// summer holidays of 44 days, and two more stand for clocks that differ.
const mostWaited = 46 * 24 * time.Hour

// mostMS bounds a device's time so that sums fit; nothing beyond it is a time.
const mostMS = 1 << 46

// date is when a report was made. It goes by the order of their sequence.
func (c *clock) date(r *report) int64 {
	if r.deviceMS < -mostMS || r.deviceMS > mostMS {
		return c.nowMS
	}
	if r.offset != nil {
		c.offset = r.offset
	}
	// What the report itself or the next one says of the clock is surer than
	// what was known before, for the clock may have been set meanwhile.
	for _, o := range []*int64{r.offset, r.next} {
		if o != nil && c.may(r.deviceMS+*o, FirstRelease.UnixMilli()) {
			return c.took(r.deviceMS + *o)
		}
	}
	for _, o := range []*int64{c.offset, new(int64)} {
		if o != nil && c.may(r.deviceMS+*o, max(c.leastMS, FirstRelease.UnixMilli())) {
			return c.took(r.deviceMS + *o)
		}
	}
	return c.nowMS
}

func (c *clock) may(ms, leastMS int64) bool {
	return ms >= leastMS && ms <= c.nowMS+FutureSlack.Milliseconds()
}

func (c *clock) took(ms int64) int64 {
	ms = min(ms, c.nowMS)
	c.leastMS = max(c.leastMS, ms)
	return ms
}

// offsetOf is what an entry says of the device's clock, nil = nothing.
func offsetOf(e *hmpb.Entry) *int64 {
	for _, m := range e.GetState().GetReadings() {
		if m.GetId() == reading.ClockOffset && m.WhichValue() == hmpb.Reading_Number_case && reading.Check(m) == nil {
			return new(m.GetNumber())
		}
	}
	if f := e.GetFinding(); f.GetCode() == finding.ClockOff && finding.Check(f) == nil {
		if n, ok := finding.Values(f)["offset"].(int64); ok {
			return &n
		}
	}
	return nil
}

// nextOffsets notes for each report the offset that a later one of the batch tells,
// as long as the clock ran on between them.
func (p *parsed) nextOffsets() {
	var next *report
	for i := len(p.items) - 1; i >= 0; i-- {
		r := p.items[i].report
		if r == nil {
			continue
		}
		if r.offset != nil {
			next = r
		} else if next != nil && r.deviceMS <= next.deviceMS {
			r.next = next.offset
		} else {
			next = nil // it was set back in between
		}
	}
}
