package finding_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/finding"
	words "hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

const (
	day = 24 * time.Hour
	giB = 1 << 30
	miB = 1 << 20
)

// dawn is when all traces begin, by the collector's time.
var dawn = time.Date(2026, 8, 10, 7, 45, 0, 0, time.UTC)

type slot struct {
	id       uint32
	instance string
}

// told is a finding and when it came.
type told struct {
	at time.Duration // true time since dawn
	m  *hmpb.Finding
}

func (t told) String() string {
	what := "cleared"
	if t.m.GetRaised() {
		what = "raised"
	}
	return fmt.Sprintf("%v %s %s %q %v", t.at, what, t.m.GetCode(), t.m.GetInstance(), words.Values(t.m))
}

// device is a machine with a watcher whose readings a test sets. It holds what
// must be true of each finding, whatever the test does.
type device struct {
	t        failer
	w        *finding.Watcher
	standard []*hmpb.StandardSoftware

	now    time.Duration // true time since dawn
	base   time.Time     // what the monotonic clock of this process counts from
	since  time.Duration // now when the process began
	asleep time.Duration // that the monotonic clock missed
	boot   time.Duration
	wrong  time.Duration // device clock ahead of the true time
	synced bool          // the offset is measured with each look, with some jitter
	offset int64         // as last measured

	values   map[slot]*hmpb.Reading
	programs []inventory.Program
	agent    finding.Facts
	open     map[string]*hmpb.Finding
	lastUp   map[string]time.Duration
	lastMove map[string]time.Duration // to another level
	lastDown map[string]told
	all      []told
	again    []told // raises of what is raised already
	repeats  bool   // raises may be told as they were, since the collector may lack them
}

// failer is *testing.T or *rapid.T.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// newDevice has been up for an hour, is healthy and speaks with the collector.
func newDevice(t failer, standard ...*hmpb.StandardSoftware) *device {
	d := &device{
		t: t, standard: standard, base: time.Now(), boot: -time.Hour, synced: true,
		values: make(map[slot]*hmpb.Reading), open: make(map[string]*hmpb.Finding),
		lastUp: make(map[string]time.Duration), lastMove: make(map[string]time.Duration), lastDown: make(map[string]told),
	}
	d.w = finding.New(finding.Config{Standard: standard})
	return d
}

func (d *device) number(id uint32, instance string, n int64) {
	m := &hmpb.Reading{}
	m.SetNumber(n)
	d.set(id, instance, m)
}

func (d *device) text(id uint32, instance, s string) {
	m := &hmpb.Reading{}
	m.SetText(s)
	d.set(id, instance, m)
}

func (d *device) absent(id uint32, instance string) {
	m := &hmpb.Reading{}
	m.SetAbsent(hmpb.Absent_ABSENT_TIMEOUT)
	d.set(id, instance, m)
}

func (d *device) remove(id uint32, instance string) { delete(d.values, slot{id, instance}) }

func (d *device) set(id uint32, instance string, m *hmpb.Reading) {
	m.SetId(id)
	m.SetInstance(instance)
	if err := reading.Check(m); err != nil {
		d.t.Fatalf("a test sets a reading that nothing would send: %v", err)
	}
	d.values[slot{id, instance}] = m
}

func (d *device) clock() time.Time { return dawn.Add(d.now + d.wrong) }

// look lets some time pass and looks. It gives what is news, without what is only
// told with other arguments.
func (d *device) look(pass time.Duration) []told {
	d.t.Helper()
	d.now += pass
	if d.synced {
		// Measuring has some milliseconds of jitter.
		d.offset = -d.wrong.Milliseconds() + int64(d.now/time.Minute)%7
		d.number(reading.ClockOffset, "", d.offset)
	}
	d.number(reading.BootTime, "", max(dawn.Add(d.boot+d.wrong).UnixMilli(), 315532800_000))
	rs := slices.Collect(maps.Values(d.values))
	in := finding.Input{Clock: d.clock(), Readings: rs, Programs: d.programs, Agent: d.agent}
	d.programs = nil
	var out []told
	for _, m := range d.w.Look(d.base.Add(d.now-d.since-d.asleep), in) {
		if x := (told{d.now, m}); d.mind(x) {
			out = append(out, x)
		} else {
			d.again = append(d.again, x)
		}
	}
	d.all = append(d.all, out...)
	return out
}

// causedByBoot are the codes that a boot may bring about.
var causedByBoot = []string{
	words.MemoryPressure, words.Hot, words.Throttled, words.RestartPending, words.SlowBoot, words.UpdatesStuck, words.AntivirusOff,
	words.AntivirusStale, words.FirewallOff, words.EncryptionOff, words.ClockOff, words.VolumeReadOnly, words.SystemCrashes,
	words.ProgramCrashes, words.HardPowerOffs, words.SoftwareMissing, words.SoftwareOld,
}

// mind holds the promises of the package comment, and says whether x is a change.
func (d *device) mind(x told) (change bool) {
	d.t.Helper()
	if err := words.Check(x.m); err != nil {
		d.t.Fatalf("%v: %v", x, err)
	}
	id := x.m.GetCode() + " " + x.m.GetInstance()
	before := d.open[id]
	if !x.m.GetRaised() {
		if before == nil {
			d.t.Fatalf("%v, which was not raised", x)
		}
		d.open[id], d.lastDown[id] = nil, x
		return true
	}
	switch {
	case before == nil:
		change = true
	case d.repeats && proto.Equal(before, x.m):
		return false // and is none that counts for the day
	case before.GetSeverity() != x.m.GetSeverity():
		d.t.Fatalf("%v without a clear of %v", x, before)
	case proto.Equal(before, x.m):
		d.t.Fatalf("%v, which it was already", x)
	}
	d.open[id] = x.m
	down, ok := d.lastDown[id]
	rise := ok && down.at == x.at && down.m.GetSeverity() < x.m.GetSeverity()
	lastMove, movedBefore := d.lastMove[id]
	if last, ok := d.lastUp[id]; ok && x.at-last < day && (!rise || movedBefore && x.at-lastMove < day) {
		d.t.Fatalf("%v, and %v before that", x, x.at-last)
	}
	if d.lastUp[id] = x.at; ok && down.at == x.at {
		d.lastMove[id] = x.at
	}
	if slices.Contains(causedByBoot, x.m.GetCode()) && d.now-d.boot < 10*time.Minute {
		d.t.Fatalf("%v, %v after a boot", x, d.now-d.boot)
	}
	return change
}

// run looks at each step for some time.
func (d *device) run(lasts, step time.Duration) []told {
	d.t.Helper()
	var out []told
	for end := d.now + lasts; d.now < end; {
		out = append(out, d.look(step)...)
	}
	return out
}

// sleep passes time in which nothing looks and the monotonic clock stands still.
func (d *device) sleep(lasts time.Duration) {
	d.now += lasts
	d.asleep += lasts
}

// restart is a new process of the agent; reboot also one of the machine. damage
// is what happens to the bytes in between.
func (d *device) restart(damage func([]byte) []byte) error {
	d.t.Helper()
	b, err := d.w.Snapshot()
	if err != nil {
		d.t.Fatalf("Snapshot = %v", err)
	}
	if damage != nil {
		b = damage(b)
	}
	d.w = finding.New(finding.Config{Standard: d.standard})
	d.remove(reading.ClockOffset, "") // not known until it is measured again
	d.base, d.since, d.asleep = time.Now(), d.now, 0
	return d.w.Restore(b)
}

func (d *device) reboot(off time.Duration) {
	d.t.Helper()
	if err := d.restart(nil); err != nil {
		d.t.Fatalf("Restore = %v", err)
	}
	d.now += off
	d.since, d.boot = d.now, d.now
}

// only fails unless exactly one finding came, and gives it.
func only(t *testing.T, what string, got []told) *hmpb.Finding {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("%s: told %v, want one finding", what, got)
	}
	return got[0].m
}

func none(t *testing.T, what string, got []told) {
	t.Helper()
	if len(got) != 0 {
		t.Fatalf("%s: told %v, want none", what, got)
	}
}

func standard(least string, names ...string) *hmpb.StandardSoftware {
	m := &hmpb.StandardSoftware{}
	m.SetNames(names)
	m.SetLeastVersion(least)
	return m
}
