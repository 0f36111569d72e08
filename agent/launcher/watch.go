package launcher

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/process"
	"hausmeister/platform/supervise"
)

// sample is what the child had taken at some time.
type sample struct {
	at      time.Time
	cpu     time.Duration
	written uint64
}

// watch is one start of the agent.
type watch struct {
	l        *Launcher
	child    Child
	began    time.Time
	up       time.Time // the same, moved by the time for which the machine slept
	progress uint64
	alive    bool
	last     time.Time // of progress
	slept    int       // the machine did, so often since then
	samples  []sample  // of the last BoundFor
	over     int       // samples in a row with too much memory, or too many handles
	most     uint64    // memory seen
	bounded  bool
	bound    bool // the journal was told so: a trial may begin there later than here
	measured bool
	proved   time.Time // since when the old program reaches the collector
	asked    time.Time // it last
	nextTry  time.Time
	aged     time.Time
	looked   time.Time
	nextLook time.Time // without a sign of life
	stopAt   time.Time // asked to end; zero = not
	backAt   time.Time // to have another one instead; zero = this is the one
	replaced bool      // ended for that
	killed   journal.Reason
	from     journal.State
	told     bool // that it is settled
}

// run runs the agent once, to its end. True: the next start is asked for.
func (l *Launcher) run(ctx context.Context) bool {
	before := l.j.State
	l.step(ctx, journal.Event{Kind: journal.Start})
	if l.j.State == journal.RollingBack && before != journal.RollingBack {
		return true
	}
	child, err := l.c.Start(ctx)
	if err != nil {
		l.c.Log.Error("agent not started", "error", err)
		l.failed(ctx, journal.Crashed, "start")
		return false
	}
	now := time.Now()
	w := &watch{l: l, child: child, began: now, up: now, last: now, nextTry: now.Add(l.c.Times.ProbeEvery), aged: now,
		nextLook: now.Add(l.c.Times.BoundFor), from: l.j.State}
	if l.astray {
		w.backAt = now.Add(l.backAgain())
	}
	w.greet()
	stopped := w.loop(ctx)
	exit := child.Wait()
	switch {
	case stopped:
		// The context has ended, but this must still be written.
		l.step(context.WithoutCancel(ctx), journal.Event{Kind: journal.Stop})
		return false
	case w.goesBack():
		return true
	case w.replaced:
		l.step(ctx, journal.Event{Kind: journal.Stop})
		return true
	case w.killed == journal.None && exit.Code == ExitSwap:
		if j, err := l.c.Journal.Load(); err == nil && j.State == journal.Armed {
			l.step(ctx, journal.Event{Kind: journal.Stop})
			if l.untried { // a disk that took no journal will not do so at once either
				l.fails++
				return false
			}
			l.fails = 0
			return true
		}
	}
	l.c.Log.Warn("agent ended", "exit", exit.Text, "killed", w.killed.String(), "after", time.Since(w.began).Round(time.Second))
	if w.killed == journal.None {
		w.killed = journal.Crashed
	}
	if w.alive && time.Since(w.began) > l.c.Times.BoundFor {
		l.fails = 0
	}
	l.failed(ctx, w.killed, exit.Text)
	return w.goesBack()
}

// failed counts a start that came to nothing.
func (l *Launcher) failed(ctx context.Context, r journal.Reason, signature string) {
	l.fails++
	l.beReady()
	l.step(ctx, journal.Event{Kind: journal.End, Reason: r, Signature: signature[:min(64, len(signature))]})
}

// greet tells the agent how things are.
func (w *watch) greet() {
	switch w.l.j.State {
	case journal.Trial:
		w.child.Say("trial")
	case journal.RolledBack:
		why := journal.None
		if n := len(w.l.j.Barred); n > 0 {
			why = w.l.j.Barred[n-1].Reason
		}
		w.child.Say("rolled-back " + why.String())
	default:
		w.child.Say("settled")
	}
}

// goesBack: the journal wants another program than the one that runs. Where it
// did before, and could not be obeyed, this one may go on for a while: again.
func (w *watch) goesBack() bool {
	return w.l.j.State == journal.RollingBack && w.from != journal.RollingBack
}

// loop follows the child to its end; true when it was asked to end.
func (w *watch) loop(ctx context.Context) (stopped bool) {
	crew := supervise.NewCrew(ctx, 1)
	defer crew.Wait()
	defer crew.Stop()
	probes := make(chan error, 1)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	done := ctx.Done()
	for {
		w.l.c.Beat()
		armed, wait, set := w.l.c.Now().Round(0), w.wait(), time.Now() // by the clock on the wall
		timer.Reset(wait)
		select {
		case line, open := <-w.child.Lines():
			if !open {
				return stopped
			}
			if !stopped {
				w.line(ctx, line)
			}
		case <-timer.C:
			// A machine that slept has not hung: its clock is far ahead of the timer. So it is
			// where the clock is set; awake a program tells something between two of either.
			if slept := w.l.c.Now().Round(0).Sub(armed); slept > wait+wait/2+time.Second && !stopped && w.slept < sleepsMost {
				w.last, w.began = time.Now(), time.Now()
				w.up = w.up.Add(max(0, time.Since(set)-wait)) // on some systems the other clock goes on in sleep
				w.slept++
				continue
			}
			w.late(ctx)
		case err := <-probes:
			w.probed(ctx, err)
		case <-done:
			stopped, done = true, nil
			w.stopAt = time.Now().Add(w.l.c.Times.StopWithin)
			w.child.Hangup()
		}
		if w.goesBack() && !stopped {
			w.child.Kill() // what follows is told by Lines' end
		}
		if why := w.shutOut(); why != journal.None && !stopped {
			w.kill(why)
		}
		if w.from == journal.Trial && w.l.j.State == journal.Committed && !w.told {
			w.told = true
			w.child.Say("settled")
		}
		w.probe(crew, probes)
	}
}

// wait is until something must have happened.
func (w *watch) wait() time.Duration {
	t, now := w.l.c.Times, time.Now()
	var until time.Duration
	switch {
	case !w.stopAt.IsZero():
		until = w.stopAt.Sub(now)
	case w.killed != journal.None || w.replaced:
		until = t.StopWithin
	case !w.alive:
		until = w.began.Add(t.AliveWithin).Sub(now)
	default:
		until = w.last.Add(t.HangAfter).Sub(now)
		if !w.bounded {
			until = min(until, w.nextLook.Sub(now))
		}
	}
	if !w.backAt.IsZero() && w.stopAt.IsZero() && w.killed == journal.None {
		until = min(until, max(w.backAt.Sub(now), 0))
	}
	if w.wantsProbe() {
		until = min(until, w.nextTry.Sub(now))
	}
	return max(min(until, silentMost), time.Millisecond)
}

// sleepsMost is how often a program is forgiven in a row.
const sleepsMost = 5

// silentMost is how long the launcher itself says nothing to the service manager,
// whose watchdog has three minutes. The agent's own signs of life come sooner, so
// that this costs no wake while it is well.
const silentMost = 100 * time.Second

// late: the timer fired.
func (w *watch) late(ctx context.Context) {
	t, now := w.l.c.Times, time.Now()
	switch {
	case !w.stopAt.IsZero():
		if now.Before(w.stopAt) {
			return
		}
		w.stopAt = now.Add(t.StopWithin) // once more, should it live then
		w.child.Kill()
	case w.killed != journal.None || w.replaced:
		w.child.Kill() // again
	case !w.alive && now.Sub(w.began) >= t.AliveWithin,
		w.alive && now.Sub(w.last) >= t.HangAfter:
		w.kill(journal.Hung)
	case !w.backAt.IsZero() && !now.Before(w.backAt):
		w.again()
	case w.alive && !now.Before(w.nextLook):
		w.look(ctx)
	}
}

func (w *watch) kill(r journal.Reason) {
	w.l.c.Log.Warn("agent is ended", "reason", r.String())
	w.killed = r
	w.child.Kill()
}

// again ends a program that was only to run until the one that the journal wants can
// be had: Prepare tries that anew. What held it off is mostly short, a scanner or a full
// disk, and a bad program that gets on would stay for good. Where the journal still
// cannot be read there is nothing else to want.
func (w *watch) again() {
	w.backAt = time.Time{}
	j, err := w.l.c.Journal.Load()
	if err != nil {
		w.l.strays++
		w.backAt = time.Now().Add(w.l.backAgain())
		return
	}
	if sum, err := w.l.c.Programs.Sum(); err == nil && sum == j.Expected().Sum && j.State != journal.RollingBack {
		return
	}
	w.l.c.Log.Warn("agent is ended: another one should run", "version", j.Expected().Version)
	w.replaced = true
	w.child.Kill()
}

// shutOut is the reason to end a child on trial that is judged already, where the step
// that says so cannot be made since somebody keeps the journal's lock. If it is the child,
// its end frees it. What another one did before is no reason: who holds the lock then is
// nothing that runs here, and a good program would be ended again and again.
func (w *watch) shutOut() journal.Reason {
	if !w.l.shut || w.killed != journal.None {
		return journal.None
	}
	for _, e := range w.l.owed {
		switch {
		case e.Kind == journal.Check && e.Reason != journal.None:
			return e.Reason
		case e.Kind == journal.GiveUp:
			return journal.NoCollector
		}
	}
	return journal.None
}

// line is what the agent tells.
func (w *watch) line(ctx context.Context, line string) {
	f := strings.Fields(line)
	if len(f) == 0 {
		return
	}
	switch f[0] {
	case "alive":
		if len(f) == 2 {
			w.beat(ctx, f[1])
		}
	case "checked":
		switch {
		case len(f) < 2:
		case f[1] == "ok":
			w.l.step(ctx, journal.Event{Kind: journal.Check})
		case f[1] == "bad" && w.l.j.State == journal.Trial:
			w.l.c.Log.Warn("the new agent finds itself unfit", "why", strings.Join(f[1:], " "))
			w.l.step(ctx, journal.Event{Kind: journal.Check, Reason: journal.Selftest})
		}
	case "heard":
		if len(f) == 3 {
			w.hear(ctx, f[1], f[2])
		}
	case "reached":
		if !w.l.j.Reached {
			w.l.step(ctx, journal.Event{Kind: journal.Reach})
		}
	default:
		w.l.c.Log.Debug("unknown word of the agent", "word", f[0])
	}
}

func (w *watch) hear(ctx context.Context, version, digits string) {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(layout.Sum{}) {
		return
	}
	// The collector echoes what it was told; that the bytes are these is what we
	// know ourselves, from before the start.
	p := journal.Program{Version: version, Sum: layout.Sum(b)}
	if p != w.l.j.Expected() {
		w.l.c.Log.Warn("the collector heard of another program", "version", version)
		return
	}
	w.proved = time.Time{}
	// Swapped is a trial whose start the journal does not take yet.
	if s := w.l.j.State; s != journal.Trial && s != journal.Swapped && w.l.j.Reached || w.l.j.Heard {
		return
	}
	w.l.step(ctx, journal.Event{Kind: journal.Hear, Program: p})
}

// beat is a sign of life: progress only counts when it rose.
func (w *watch) beat(ctx context.Context, text string) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n <= w.progress {
		return
	}
	w.progress, w.last, w.slept = n, time.Now(), 0
	if !w.alive {
		w.alive = true
		w.l.beReady()
		w.l.step(ctx, journal.Event{Kind: journal.Alive})
	}
	if time.Since(w.aged) >= w.l.c.Times.AgeEvery {
		w.aged = time.Now()
		w.l.step(ctx, journal.Event{Kind: journal.Age})
	}
	w.look(ctx)
}

// look measures. It comes with the agent's own signs of life, so that it costs no
// wake of its own, but not with all of one that tells nothing else: samples are kept.
func (w *watch) look(ctx context.Context) {
	if time.Since(w.looked) < w.l.c.Times.BoundFor/100 {
		return
	}
	w.looked = time.Now()
	w.nextLook = w.looked.Add(w.l.c.Times.BoundFor / 10)
	if !w.l.works && time.Since(w.up) >= w.l.c.Times.BoundFor {
		err := w.l.c.Proved()
		if w.l.works = err == nil; err != nil {
			w.l.c.Log.Warn("the trial of this launcher goes on", "error", err)
		}
	}
	u, err := w.child.Usage()
	if err != nil {
		w.l.c.Log.Debug("not measured", "error", err)
		return
	}
	t, b, now := w.l.c.Times, w.l.c.Bounds, time.Now()
	w.samples = append(w.samples, sample{now, u.CPU, u.Written})
	for len(w.samples) > 2 && now.Sub(w.samples[1].at) >= t.BoundFor {
		w.samples = w.samples[1:]
	}
	first := w.samples[0]
	span := now.Sub(first.at)
	judged := span >= t.BoundFor*9/10 // who is alive late is measured from then on
	if judged && int64(u.CPU-first.cpu)*1000 > int64(span)*int64(b.CPUPermille) {
		w.kill(journal.CPU)
		return
	}
	if u.Written > first.written+b.Written {
		w.kill(journal.Writes)
		return
	}
	if why := w.tooMuch(u); why == journal.None {
		w.over = 0
	} else if w.over++; w.over >= 2 { // one may be a moment's
		w.kill(why)
		return
	}
	w.most = max(w.most, u.Memory)
	if w.bounded || now.Sub(w.began) < t.BoundFor {
		w.nextLook = later(w.nextLook, w.began.Add(t.BoundFor))
	}
	if w.over > 0 || now.Sub(w.began) < t.BoundFor || !judged {
		return
	}
	switch trial := w.l.j.State == journal.Trial; {
	case trial && !w.bound:
		w.bound = true
		w.l.step(ctx, journal.Event{Kind: journal.Bound})
	case !trial && !w.measured: // once it is settled, too
		w.measured = true
		w.l.step(ctx, journal.Event{Kind: journal.Measure, Bytes: w.most})
	}
	w.bounded = true
}

// tooMuch says what a program has too much of now. What the settled one takes is not known
// for BoundFor after an installation, and for a moment after a commit: then there is a bound
// of its own, if there is something to go back to. Else it would only begin anew, for ever.
func (w *watch) tooMuch(u process.Usage) journal.Reason {
	b, j := w.l.c.Bounds, &w.l.j
	switch back := j.State == journal.Trial || j.Previous.Known(); {
	case j.Baseline > 0 && u.Memory > j.Baseline*uint64(b.MemoryTimes)+b.MemoryMore,
		j.Baseline == 0 && back && u.Memory > b.MemoryMost:
		return journal.Memory
	}
	if u.Handles > b.Handles {
		return journal.Handles
	}
	return journal.None
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wantsProbe: on trial, not heard of, and the old one was.
func (w *watch) wantsProbe() bool {
	j := w.l.j
	return w.l.c.Probe != nil && w.alive && w.killed == journal.None && j.State == journal.Trial && !j.Heard && j.Reached
}

// probe lets the old program try, beside the new one.
func (w *watch) probe(crew *supervise.Crew, result chan<- error) {
	if !w.wantsProbe() || time.Now().Before(w.nextTry) {
		return
	}
	w.nextTry = time.Now().Add(w.l.c.Times.ProbeEvery)
	good := w.l.j.Good
	crew.TryGo(func(ctx context.Context) {
		err := w.l.c.Probe(ctx, good)
		select {
		case result <- err:
		case <-ctx.Done():
		}
	})
}

// probeTakes is the longest that the old program is asked for, and somewhat more.
const probeTakes = time.Minute

// probed: only time in which the old one could, without a break, counts. Without
// any network nothing is proved, and the trial goes on. Nor is the time proved in which a
// machine slept, whose clock goes on in sleep on some systems: the new one did not try.
func (w *watch) probed(ctx context.Context, err error) {
	now := time.Now()
	slept := now.Sub(w.asked) > w.l.c.Times.ProbeEvery+probeTakes
	w.asked = now
	switch {
	case err != nil || !w.wantsProbe():
		w.proved = time.Time{}
	case w.proved.IsZero() || slept:
		w.proved = now
	case now.Sub(w.proved) >= w.l.c.Times.GiveUpAfter:
		w.l.c.Log.Warn("the old agent would reach the collector, the new one does not")
		w.l.step(ctx, journal.Event{Kind: journal.GiveUp})
	}
}

var _ Child = (*process.Child)(nil)
