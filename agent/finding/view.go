package finding

import (
	"time"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

// view is what one look sees: values that are there, by reading and instance.
type view struct {
	w        *Watcher
	clock    time.Time
	readings map[uint32]map[string]*hmpb.Reading
	programs []inventory.Program
	agent    Facts
}

func newView(w *Watcher, in Input) *view {
	v := &view{w: w, clock: in.Clock.Round(0), readings: make(map[uint32]map[string]*hmpb.Reading), programs: in.Programs, agent: in.Agent}
	for _, r := range in.Readings {
		if !r.HasNumber() && !r.HasText() {
			continue // absent
		}
		of := v.readings[r.GetId()]
		if of == nil {
			of = make(map[string]*hmpb.Reading)
			v.readings[r.GetId()] = of
		}
		of[r.GetInstance()] = r
	}
	return v
}

func (v *view) of(id uint32) map[string]*hmpb.Reading { return v.readings[id] }

func (v *view) number(id uint32, instance string) (int64, bool) {
	r := v.readings[id][instance]
	return r.GetNumber(), r != nil && r.HasNumber()
}

func (v *view) text(id uint32, instance string) string { return v.readings[id][instance].GetText() }

// uptime is how long the machine has been up, both by the same clock.
func (v *view) uptime() (time.Duration, bool) {
	boot, ok := v.number(reading.BootTime, "")
	if !ok {
		return 0, false
	}
	up := v.clock.Sub(time.UnixMilli(boot))
	return up, up >= 0 && up <= maxUptime
}

// systemVolume is the one that the system writes to.
func (v *view) systemVolume() string {
	for _, name := range []string{"/", "C:"} {
		if _, ok := v.number(reading.VolumeFree, name); ok {
			return name
		}
	}
	return ""
}

// sealed says whether a volume is read only and always was: an image that is
// full because it is complete.
func (v *view) sealed(volume string) bool {
	return v.text(reading.VolumeMode, volume) == "read_only" && !v.w.writable[volume]
}

// daysSince counts whole days from a date to the collector's now, below zero for
// days to come.
func (v *view) daysSince(ms int64) (int64, bool) {
	now, ok := v.w.trueTime()
	if !ok {
		return 0, false
	}
	const dayMS = int64(day / time.Millisecond)
	gap := now.UnixMilli() - ms
	days := gap / dayMS
	if gap%dayMS < 0 {
		days--
	}
	return days, true
}

// updatesWait says whether updates that close holes wait, and whether it is known
// that none at all do.
func (v *view) updatesWait() (security, none bool) {
	closing, _ := v.number(reading.UpdatesSecurity, "")
	pending, known := v.number(reading.UpdatesPending, "")
	return closing > 0, closing <= 0 && known && pending == 0
}
