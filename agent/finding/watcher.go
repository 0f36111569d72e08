package finding

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

const (
	// settle is how long after a boot what a boot causes is not judged.
	settle = 10 * time.Minute
	// vanish is how long a finding outlives the values that it came from.
	vanish = day
	// quiet is the least time between two raises of the same, between two changes of
	// the level that was raised, and for which the values must have been better before
	// a lower one is told: at the edge between two levels the higher one stands.
	quiet = day
	// stale: after so long without a look, what had held before counts no more.
	stale = 7 * day
	// maxStates bounds what a Watcher remembers; a device has some dozens.
	maxStates = 512
	// maxUptime is how long a machine may have been up to be believed.
	maxUptime = 400 * day
	// maxDate is the latest that is kept: 2100-01-01.
	maxDate = 4102444800_000
	// maxAway is how long a device may have been away to be believed.
	maxAway = 3 * 366 * day
)

// Config of a Watcher.
type Config struct {
	// Standard is what the device must have as a Welcome last said; nil = not
	// known, so it is not judged.
	Standard []*hmpb.StandardSoftware
}

// Facts are how the agent itself is.
type Facts struct {
	StoreFailing bool     // the spool did not take the last report
	Dropped      uint64   // reports given up untold since the start
	Lost         uint64   // of these and of damaged ones, what may have been findings
	Store        []byte   // names the collector's store as last heard; nil = not yet
	Hanging      []string // groups of readings that do not answer
}

// Input is what a look sees.
type Input struct {
	// Clock is the device's clock when the readings were made. It is used with
	// clock_offset and boot_time only, which are relative to it.
	Clock time.Time
	// Readings of one minute, each passed by reading.Check.
	Readings []*hmpb.Reading
	// Programs that are installed, when they changed; nil = as before. They stay
	// the Watcher's to read.
	Programs []inventory.Program
	Agent    Facts
}

// Watcher evaluates the rules. It is for one goroutine at a time.
type Watcher struct {
	states   map[key]*state
	software software

	// age is how long the device has been known: the sum of monotonic time, and,
	// from one word of the collector to the next, of its time, which goes on while
	// the device sleeps or is off.
	age    time.Duration
	looked time.Time // of the last look; zero before the first one
	sync   anchor    // the last word of the collector
	synced bool      // since this process began
	offset int64     // as last read
	booted time.Duration

	writable map[string]bool // volumes that were seen to take data
	updated  int64           // see noteUpdates; 0 = nothing is known
	trend    trend
	boots    []int64 // durations of the last boots
	dropped  uint64
	dropAge  time.Duration // when reports were last given up, 0 = never

	store []byte // of the collector that was told; nil = none was heard yet
	lost  uint64 // as last said
}

// anchor ties the collector's time to the Watcher's age.
type anchor struct {
	True time.Time
	Age  time.Duration
}

type key struct{ code, instance string }

// state is one code and instance.
type state struct {
	level int // that the values say, debounced; 0 = all is well
	told  int // the level that was raised; 0 = cleared
	// severity of the raise that was told.
	severity hmpb.Severity
	raised   time.Duration // age at the last raise; never = not yet
	moved    time.Duration // the same of the last one to another level than was told
	worst    time.Duration // age when the level was last the one that was told, or a higher
	said     uint64        // what the last raise said beside its level
	pending  pending
	seen     time.Duration // age at the last value
	gone     time.Duration // without a value
	why      string        // reason of a clear that no value brought
	again    bool          // the collector may not have the raise that was told
}

// pending is a change that has not held long enough.
type pending struct {
	dir  int // 1 = worse, -1 = better, 0 = none
	to   int // the level that was kept all the time
	held time.Duration
}

const never = -quiet

// New makes a Watcher that knows nothing yet.
func New(c Config) *Watcher {
	w := &Watcher{}
	w.reset()
	if c.Standard != nil {
		w.Require(c.Standard)
	}
	return w
}

func (w *Watcher) reset() {
	*w = Watcher{states: make(map[key]*state), writable: make(map[string]bool), software: w.software}
}

// Require takes what the device must have, from a Welcome.
func (w *Watcher) Require(list []*hmpb.StandardSoftware) { w.software.require(list) }

// Look judges what is there and gives what to tell, clears before raises of the
// same. now is only held against the now of other looks, by its monotonic part.
func (w *Watcher) Look(now time.Time, in Input) []*hmpb.Finding {
	v := newView(w, in)
	step := w.advance(now, v)
	w.remember(v)
	w.doubt(in.Agent)
	var out []*hmpb.Finding
	for i := range rules {
		out = append(out, w.judge(&rules[i], v, step)...)
	}
	maps.DeleteFunc(w.states, func(_ key, s *state) bool {
		return s.level == 0 && s.told == 0 && s.pending.dir == 0 && w.age-s.raised >= quiet
	})
	return out
}

// advance moves the age on and says by how much.
func (w *Watcher) advance(now time.Time, v *view) time.Duration {
	before := w.age
	first := w.looked.IsZero()
	if !first {
		w.age += max(now.Sub(w.looked), 0)
	}
	w.looked = now
	w.listen(v)
	if up, ok := v.uptime(); ok {
		// The latest boot counts: a clock that was set forward would make it
		// longer ago than it is.
		if b := w.age - up; first || b > w.booted+settle {
			w.booted = b
		}
	} else if first {
		w.booted = w.age
	}
	step := w.age - before
	if step > stale {
		for _, s := range w.states {
			s.pending = pending{}
		}
	}
	return step
}

// listen takes the collector's time where it was measured anew: an offset that
// did not move may be older than a jump of the clock.
func (w *Watcher) listen(v *view) {
	off, ok := v.number(reading.ClockOffset, "")
	if !ok || w.synced && off == w.offset {
		return
	}
	first := !w.synced
	w.offset, w.synced = off, true
	now := v.clock.Add(time.Duration(off) * time.Millisecond)
	if !w.sync.True.IsZero() {
		if away := now.Sub(w.sync.True) - (w.age - w.sync.Age); away > 0 && away < maxAway {
			w.catchUp(away, first)
		}
	}
	w.sync = anchor{now, w.age}
}

// catchUp adds the time that the device was asleep or off since the collector was
// last heard. When in between that was is not known, so what was told in between
// counts as told after it.
func (w *Watcher) catchUp(away time.Duration, first bool) {
	for _, s := range w.states {
		if s.raised >= w.sync.Age {
			s.raised += away
		}
		if s.moved >= w.sync.Age {
			s.moved += away
		}
		if s.worst >= w.sync.Age {
			s.worst += away
		}
	}
	w.age += away
	if first {
		w.booted += away // the device was off before this process
	}
}

// trueTime is the collector's time, once it was heard.
func (w *Watcher) trueTime() (time.Time, bool) {
	return w.sync.True.Add(w.age - w.sync.Age), w.synced
}

func (w *Watcher) today() int64 { return int64(w.age / day) }

// settled says whether a boot is long enough ago.
func (w *Watcher) settled() bool { return w.age-w.booted >= settle }

// remember keeps what rules need from more than one look.
func (w *Watcher) remember(v *view) {
	for instance, r := range v.of(reading.VolumeMode) {
		if r.GetText() == "read_write" && len(w.writable) < reading.MaxInstances {
			w.writable[instance] = true
		}
	}
	if s := v.systemVolume(); s != "" {
		free, _ := v.number(reading.VolumeFree, s)
		if total, ok := v.number(reading.VolumeTotal, s); ok {
			w.trend.note(w.today(), free, total)
		}
	}
	// Before the machine has settled the duration may not be final.
	if d, ok := v.number(reading.BootDuration, ""); ok && w.settled() && (len(w.boots) == 0 || w.boots[len(w.boots)-1] != d) {
		w.boots = append(w.boots, d)
		w.boots = w.boots[max(len(w.boots)-bootsJudged, 0):]
	}
	w.noteUpdates(v)
	if v.agent.Dropped > w.dropped {
		w.dropAge = w.age + 1 // not 0
	}
	w.dropped = v.agent.Dropped
	if v.programs != nil {
		w.software.have(v.programs)
	}
}

// doubt has what is open told again where the collector may not have it: its
// store is another one, or findings were given up untold. Of a store that is the
// first one everything waits in the spool.
func (w *Watcher) doubt(a Facts) {
	again := a.Lost > w.lost
	w.lost = a.Lost
	if len(a.Store) > 0 && !bytes.Equal(a.Store, w.store) {
		again = again || len(w.store) > 0
		w.store = slices.Clone(a.Store)
	}
	if !again {
		return
	}
	for _, s := range w.states {
		s.again = s.told > 0
	}
}

// noteUpdates keeps the date of the last update, in Unix milliseconds. Many devices
// do not know it, or no more once their logs are rotated: then it is the one known
// before, or when updates were first seen to wait, by the collector's time.
func (w *Watcher) noteUpdates(v *view) {
	last, has := v.number(reading.UpdatesLast, "")
	security, none := v.updatesWait()
	pending, _ := v.number(reading.UpdatesPending, "")
	switch {
	case has && last > 0 && last <= maxDate:
		w.updated = last
	case none:
		w.updated = 0
	case w.updated == 0 && (security || pending > 0):
		if now, ok := w.trueTime(); ok {
			w.updated = max(min(now.UnixMilli(), maxDate), 0)
		}
	}
}

// judge holds one rule against what is there.
func (w *Watcher) judge(r *rule, v *view, step time.Duration) []*hmpb.Finding {
	if r.boot && !w.settled() {
		return nil
	}
	seen, ok := r.look(v)
	if !ok {
		return nil
	}
	verdicts := make(map[string]verdict, len(seen))
	for _, x := range seen {
		if r.only != "" {
			x.instance = r.only
		}
		verdicts[x.instance] = x
		k := key{r.code, x.instance}
		s := w.states[k]
		if s == nil {
			if r.levelOf(0, x.value) == 0 || len(w.states) >= maxStates {
				continue
			}
			s = &state{raised: never, moved: never, worst: never, seen: w.age}
			w.states[k] = s
		}
		s.move(r, x.value, w.age-s.seen)
		s.seen, s.gone = w.age, 0
	}
	var out []*hmpb.Finding
	for _, k := range w.keysOf(r) {
		s := w.states[k]
		x, ok := verdicts[k.instance]
		if !ok {
			s.miss(r, v, k.instance, step)
		}
		out = append(out, s.tell(r, k.instance, x, ok, w.age)...)
	}
	return out
}

// keysOf are a rule's states in the order of their instances.
func (w *Watcher) keysOf(r *rule) []key {
	var out []key
	for k := range w.states {
		if k.code == r.code && (r.only == "" || k.instance == r.only) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b key) int { return cmp.Compare(a.instance, b.instance) })
	return out
}

// move is the one place where values change a level; step is the time since the
// value before.
func (s *state) move(r *rule, value int64, step time.Duration) {
	to := r.levelOf(s.level, value)
	dir := cmp.Compare(to, s.level)
	need := r.hold
	if dir < 0 {
		need = r.calm
	}
	switch {
	case dir == 0:
		s.pending = pending{}
		return
	case dir != s.pending.dir:
		s.pending = pending{dir: dir, to: to}
	case dir > 0:
		s.pending.hold(min(to, s.pending.to), step, need)
	default:
		s.pending.hold(max(to, s.pending.to), step, need)
	}
	if s.pending.held >= need {
		s.level, s.pending, s.why = s.pending.to, pending{}, ""
	}
}

// hold counts a gap between two values for a third of what is needed at most, so
// that no sleep makes one glimpse into a fact.
func (p *pending) hold(to int, step, need time.Duration) {
	p.to = to
	p.held += min(step, (need+2)/3)
}

// miss counts the time without a value.
func (s *state) miss(r *rule, v *view, instance string, step time.Duration) {
	reason := finding.Vanished
	if r.asked != nil && !r.asked(v, instance) {
		reason, s.gone = finding.NotAsked, vanish
	} else {
		s.gone += min(step, vanish/3)
	}
	if s.gone >= vanish {
		s.level, s.pending, s.why = 0, pending{}, reason
	}
}

// tell gives what changed. A raise needs a value to give its arguments from, and
// waits while that is on its way to the better; with arguments that no table
// allows nothing leaves, since the other end would refuse it. What is told already
// is told once more when only its arguments moved, or at once, whatever the day, when
// the collector may not have it.
func (s *state) tell(r *rule, instance string, x verdict, seen bool, age time.Duration) []*hmpb.Finding {
	if s.level >= s.told {
		s.worst = age
	}
	var out []*hmpb.Finding
	if s.again && s.level > 0 && seen && s.pending.dir >= 0 {
		if m := raised(r, instance, s.severity, x.args); finding.Check(m) == nil {
			s.again, s.said = false, saying(m)
			out = append(out, m)
		}
	}
	var m *hmpb.Finding
	if s.level > 0 && seen && s.pending.dir >= 0 && s.may(age) {
		m = raised(r, instance, r.levels[s.level-1].severity, x.args)
		if finding.Check(m) != nil || s.level == s.told && saying(m) == s.said {
			m = nil
		}
	}
	if s.told > 0 && (s.level == 0 || m != nil && s.level != s.told) {
		out = append(out, cleared(r, instance, s.severity, s.why))
		s.why = ""
		if s.level == 0 {
			s.told, s.again = 0, false
		}
	}
	if m != nil {
		if s.level != s.told && s.told > 0 {
			s.moved = age
		}
		s.told, s.severity, s.raised, s.said = s.level, m.GetSeverity(), age, saying(m)
		out = append(out, m)
	}
	return out
}

// may says whether the time for a raise has come. What gets worse does not wait
// for the end of a day that began with something harmless; what comes and goes at
// the edge of the higher level does not come again with it.
func (s *state) may(age time.Duration) bool {
	switch {
	case s.told == 0 || s.level == s.told:
		return age-s.raised >= quiet
	case s.level < s.told:
		return age-s.raised >= quiet && age-s.worst >= quiet
	default:
		return age-s.moved >= quiet
	}
}

// saying stands for the arguments of a raise.
func saying(m *hmpb.Finding) uint64 {
	h := fnv.New64a()
	for _, a := range m.GetArguments() {
		fmt.Fprintf(h, "%d %q\n", a.GetNumber(), a.GetText())
	}
	return h.Sum64()
}

func cleared(r *rule, instance string, severity hmpb.Severity, why string) *hmpb.Finding {
	m := &hmpb.Finding{}
	m.SetCode(r.code)
	m.SetInstance(instance)
	m.SetSeverity(severity)
	m.SetRaised(false)
	if why != "" {
		a := &hmpb.Argument{}
		a.SetName(finding.ReasonName)
		a.SetText(why)
		m.SetArguments([]*hmpb.Argument{a})
	}
	return m
}

// raised gives the arguments the names that proto/finding declares, in order.
func raised(r *rule, instance string, severity hmpb.Severity, values []any) *hmpb.Finding {
	m := &hmpb.Finding{}
	m.SetCode(r.code)
	m.SetInstance(instance)
	m.SetSeverity(severity)
	m.SetRaised(true)
	row, _ := finding.ByCode(r.code)
	var args []*hmpb.Argument
	for i, a := range row.Arguments {
		if i >= len(values) {
			break
		}
		v := &hmpb.Argument{}
		v.SetName(a.Name)
		switch x := values[i].(type) {
		case int64:
			v.SetNumber(x)
		case string:
			v.SetText(x)
		}
		args = append(args, v)
	}
	m.SetArguments(args)
	return m
}
