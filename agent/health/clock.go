package health

import (
	"time"

	"hausmeister/platform/sysinfo"
)

const (
	// shaky is by how much the time of boot may seem to move without meaning
	// that the clock was set: systems reckon it in whole seconds.
	shaky = 2 * time.Second
	// worthKeeping is how much the offset must change to be written down.
	worthKeeping = time.Second
)

// clock is the device's, put right by the collector's as last heard. While the
// collector is silent a clock that is set is noticed by the time of boot, which
// cannot move: where it seems to, the clock did, by as much. (How far the
// device's clock went against the monotonic one does not tell that, since a
// machine that slept shows the same.) Where the system does not say when it was
// booted, only a clock that goes back is noticed.
type clock struct {
	offset sysinfo.Opt[time.Duration] // to add to the device's clock; Unread: unknown
	kept   sysinfo.Opt[time.Duration] // offset as remembered over restarts
	heard  time.Time                  // when the collector was, by the device's clock

	// below as at the look before
	device    time.Time
	monotonic time.Time
	boot      sysinfo.Opt[time.Time] // the last that was known
}

// look brings the clock up to date and says by how much best jumped: not by a
// clock that was set while its offset was known, since that moved with it.
func (c *clock) look(device, monotonic time.Time, boot sysinfo.Opt[time.Time], f Facts) (jump time.Duration) {
	before := c.offset.Value
	elapsed := monotonic.Sub(c.monotonic)
	set := c.set(device, elapsed, boot)
	if c.offset.Why == sysinfo.Present {
		c.offset.Value -= set
	}
	if heard := f.Heard.Round(0); !f.Heard.IsZero() && !heard.Equal(c.heard) {
		c.heard = heard
		c.offset = sysinfo.Some(f.ClockOffset)
		// What was heard before the clock was set, was held against it as it was.
		if age := device.Sub(heard); set != 0 && (age < -shaky || age > elapsed+shaky) {
			c.offset.Value -= set
		}
	}
	c.device, c.monotonic = device, monotonic
	return set + c.offset.Value - before
}

// set says by how much the clock was set since the look before.
func (c *clock) set(device time.Time, elapsed time.Duration, boot sysinfo.Opt[time.Time]) (set time.Duration) {
	before, known := c.boot.Get()
	now, knows := boot.Get()
	switch {
	case known && knows:
		if set = now.Sub(before); set.Abs() <= shaky {
			set = 0
		}
	case !c.device.IsZero():
		if back := device.Sub(c.device) - elapsed; back < -shaky {
			set = back
		}
		c.boot.Value = before.Add(set) // else it would count once more when it is known again
	}
	if knows {
		c.boot = boot
	}
	return set
}

// best is the best that is known of the time at which the device's clock shows device.
func (c *clock) best(device time.Time) time.Time { return device.Add(c.offset.Value) }

// recall takes the offset that was heard before this run of the agent, in the
// same boot of the machine.
func (c *clock) recall(m Memory, boot sysinfo.Opt[time.Time]) {
	if t, ok := boot.Get(); ok {
		if offset, ok := m.ClockOffset(t); ok {
			c.offset, c.kept = sysinfo.Some(offset), sysinfo.Some(offset)
		}
	}
}

// keep remembers the offset where it changed.
func (c *clock) keep(m Memory) error {
	offset, known := c.offset.Get()
	boot, booted := c.boot.Get()
	if !known || !booted || c.kept.Why == sysinfo.Present && (offset-c.kept.Value).Abs() < worthKeeping {
		return nil
	}
	c.kept = c.offset // also when it is not stored: this run knows it
	return m.SetClockOffset(boot, offset)
}
