package past

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/finding"
	"hausmeister/agent/health"
	"hausmeister/agent/spool"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fakes"
)

// A History is the past of one device.
type History struct {
	Machine *fakes.Machine
	Days    int       // before the day on which the machine was made
	Now     time.Time // the true time up to which is told
	// Spool and Files are the device's, both empty.
	Spool, Files *fakes.Disk
}

// Told is what was told, by kind, and on how many days (UTC).
type Told struct {
	Days, Blocks, States, Findings, Inventories int
}

// Add adds another device's.
func (t *Told) Add(o Told) {
	t.Days += o.Days
	t.Blocks += o.Blocks
	t.States += o.States
	t.Findings += o.Findings
	t.Inventories += o.Inventories
}

const (
	// phase is how long after the change of the minute the device looks.
	phase = 20 * time.Second
	// wholeEvery so many looks see all readings, those between only what blocks
	// hold: no rule decides within less than 5 minutes, and it costs a third.
	wholeEvery = 5
	// stateEvery is longer than an agent's, which somebody may be watching.
	stateEvery = time.Hour
	listAfter  = 6 * time.Minute
)

// teller is one run of a History: the agent in it.
type teller struct {
	life   *fakes.Life
	spool  *spool.Spool
	memory *config.Memory
	now    time.Time // the true time
	told   Told
	days   map[string]bool

	// of the present boot
	replay *health.Replay // nil: the machine is off
	booted time.Time
	whole  bool // the look sees all readings
	looks  int
	listed bool
}

// Fill puts it all into the spool; afterwards the machine is as at the end of it.
func (h History) Fill(ctx context.Context) (Told, error) {
	t := &teller{life: h.Machine.Relive(h.Days, h.Now), memory: config.OpenMemory(h.Files), days: map[string]bool{}}
	var err error
	if t.spool, err = spool.Open(spool.Config{Disk: h.Spool, Now: t.clock}); err != nil {
		return Told{}, err
	}
	if err = errors.Join(t.live(ctx), t.spool.Close()); err != nil {
		return Told{}, fmt.Errorf("telling the past: %w", err)
	}
	t.told.Days = len(t.days)
	return t.told, nil
}

func (t *teller) live(ctx context.Context) error {
	for _, u := range t.life.Uses() {
		if u.Boots {
			t.shutDown(ctx)
			if err := t.boot(u); err != nil {
				return err
			}
		}
		t.life.SwitchOn(u)
		if err := t.use(ctx, u); err != nil {
			return err
		}
		if u.Breaks {
			t.replay = nil // the minutes of the running block are lost
		}
	}
	t.shutDown(ctx)
	return nil
}

// clock is the device's.
func (t *teller) clock() time.Time { return t.life.Clock(t.now) }

// boot starts the agent anew.
func (t *teller) boot(u fakes.Use) error {
	watcher := finding.New(finding.Config{Standard: t.memory.Standard()})
	if err := watcher.Restore(t.memory.Findings()); err != nil {
		return err
	}
	if _, err := t.memory.BootID(u.Boot()); err != nil {
		return err
	}
	t.booted, t.looks, t.listed = u.From, 0, false
	t.replay = health.NewReplay(health.Config{
		Source: source{t}, Sink: t, Memory: t.memory, Settings: health.Settings{Interval: stateEvery, BatteryInterval: stateEvery},
		Findings: watcher, KeepFindings: t.memory.SetFindings, About: t.about, Now: t.clock, Log: slog.New(slog.DiscardHandler),
	})
	return nil
}

// shutDown ends the agent in good order.
func (t *teller) shutDown(ctx context.Context) {
	if t.replay != nil {
		t.replay.End(ctx)
	}
	t.replay = nil
}

// use looks each minute.
func (t *teller) use(ctx context.Context, u fakes.Use) error {
	for at := u.From.Add(time.Minute).Truncate(time.Minute).Add(phase); at.Before(u.To); at = at.Add(time.Minute) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.now = at
		t.life.Go(at)
		t.whole = t.looks%wholeEvery == 0
		t.looks++
		if !t.whole {
			t.replay.Minute(ctx, at)
			continue
		}
		t.replay.Look(ctx, at)
		if !t.listed && at.Sub(t.booted) >= listAfter {
			t.replay.List(ctx)
			t.listed = true
		}
	}
	return nil
}

// about is what the agent would know of itself.
func (t *teller) about() health.Facts {
	return health.Facts{Path: "quic", Trouble: "none", ClockOffset: -t.life.ClockError(t.now), Heard: t.life.Clock(t.booted).Add(3 * time.Second)}
}

// Append puts what is told into the spool and counts it.
func (t *teller) Append(ctx context.Context, e *hmpb.Entry) (uint64, error) {
	switch e.WhichKind() {
	case hmpb.Entry_Block_case:
		t.told.Blocks++
		t.days[time.UnixMilli(e.GetBlock().GetStartMs()).UTC().Format(time.DateOnly)] = true
	case hmpb.Entry_State_case:
		t.told.States++
	case hmpb.Entry_Finding_case:
		t.told.Findings++
	case hmpb.Entry_Inventory_case:
		t.told.Inventories++
	}
	return t.spool.Append(ctx, e)
}

// source reads the machine as it was.
type source struct{ t *teller }

func (s source) Read(ctx context.Context) sysinfo.Snapshot {
	if s.t.whole {
		return s.t.life.Read(ctx)
	}
	return s.t.life.Minutes()
}

func (s source) Software(ctx context.Context) ([]sysinfo.Program, error) {
	return s.t.life.Software(ctx)
}
