package demo

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"hausmeister/testenv/fakes"
	"hausmeister/testenv/past"
	"hausmeister/testenv/swarm"
)

const (
	// pastDays is how long before today the simulated devices' history begins:
	// as long as the collector keeps minutes.
	pastDays = 30
	// mostPasts devices bring one: each is some 0.4 MB of reports in our memory,
	// and work for both ends.
	mostPasts = 200
	// historyWithin is how long after the collector is up the demo waits for it;
	// then it comes while people look. After historyLate it is looked for gently, and
	// without an end: or the last that is said would be that it is on its way.
	historyWithin = 55 * time.Second
	historyLate   = 5 * time.Minute
	lookEvery     = 200 * time.Millisecond
	gentlyEvery   = 5 * time.Second
	// wasteful is the garbage in percent of what lives while pasts are made: it is
	// garbage within milliseconds, and collecting it costs as much as making it.
	wasteful = 400
)

// pasts are those of the simulated devices; the first of them have one.
type pasts struct {
	most int

	mu sync.Mutex
	// below is guarded by mu
	up   time.Time         // when the collector was first ready
	made map[int]past.Told // by the device's number
	all  past.Told
}

func newPasts(most int) *pasts { return &pasts{most: most, made: map[int]past.Told{}} }

func (p *pasts) collectorIsUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up.IsZero() {
		p.up = time.Now()
	}
}

func (p *pasts) upSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up
}

// of gives the past of a device, once it is made.
func (p *pasts) of(number int) (told past.Told, made bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	told, made = p.made[number]
	return told, made
}

// bring gives a device its past, if it is one of those that have one.
func (p *pasts) bring(ctx context.Context, d swarm.Device, m *fakes.Machine, spool, files *fakes.Disk) error {
	if d.Number > p.most {
		return nil
	}
	told, err := past.History{Machine: m, Days: pastDays, Now: time.Now(), Spool: spool, Files: files}.Fill(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[d.Number] = told
	p.all.Add(told)
	return nil
}

// history waits until the collector has the simulated devices' past in its
// charts and daily rows, and says how much that was. On a slow machine the demo
// is ready before that, and it is said when it has come.
func (d *demo) history(ctx context.Context, ready func()) error {
	if d.past.most == 0 {
		ready()
		return nil
	}
	came := func(ctx context.Context, every time.Duration) bool {
		return d.each(ctx, every, d.stored) && d.each(ctx, every, d.merged)
	}
	follow(ctx, d.past.upSince(), came, ready, func(came bool) { fmt.Fprintln(d.c.Out, d.past.line(d.c.Devices, came)) })
	return nil
}

// follow says once that the past is late, if it is, and once that it came. came looks
// every so often until its context ends.
func follow(ctx context.Context, up time.Time, came func(ctx context.Context, every time.Duration) bool, ready func(), say func(came bool)) {
	by := func(end time.Time) bool {
		within, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		before := debug.SetGCPercent(wasteful)
		defer debug.SetGCPercent(before)
		return came(within, lookEvery)
	}
	there := by(up.Add(historyWithin))
	if ctx.Err() == nil {
		say(there)
	}
	ready()
	if there || ctx.Err() != nil {
		return
	}
	if by(up.Add(historyLate)) || came(ctx, gentlyEvery) {
		say(true)
	}
}

// HistoryMerged stands in the demo's output once its history is there to be looked at.
const HistoryMerged = "in the collector and merged by the day"

// line tells a person how the history comes.
func (p *pasts) line(devices int, came bool) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	whose := fmt.Sprintf("of %d devices", p.most)
	if p.most < devices {
		whose = fmt.Sprintf("of the first %d devices (the others begin today)", p.most)
	}
	if !came {
		return fmt.Sprintf("history: %d days %s are still on their way into the collector, %d devices have theirs in their spools", pastDays, whose, len(p.made))
	}
	return fmt.Sprintf("history: %d blocks of %d device days %s, with %d findings and %d lists of programs, %s %v after its start",
		p.all.Blocks, p.all.Days, whose, p.all.Findings, p.all.Inventories, HistoryMerged, time.Since(p.up).Round(100*time.Millisecond))
}

// stored says whether the collector has the past of the i-th device. Not by how
// much there was: of days that are over the spool keeps one State each.
func (d *demo) stored(_ context.Context, i int, _ past.Told) bool { return d.swarm.Told(i) }

// merged says whether the days that are over have their daily rows: the wear of
// the disk stands in nothing else.
func (d *demo) merged(ctx context.Context, i int, told past.Told) bool {
	d.mu.Lock()
	token := d.facts.Tokens["read"]
	d.mu.Unlock()
	var h struct {
		Points []struct{} `json:"points"`
	}
	err := d.site.Client().Get(ctx, token, "/api/v1/devices/"+d.swarm.Enrolled()[i]+"/history?reading=disk_wear", &h)
	return err == nil && len(h.Points) >= told.Days-2 // today is not over, and yesterday need not be
}

// each waits until done holds for every device with a past; false when ctx ended first.
func (d *demo) each(ctx context.Context, every time.Duration, done func(ctx context.Context, i int, told past.Told) bool) bool {
	for i, device := range d.plan.devices {
		if device.Number > d.past.most {
			continue
		}
		for told, made := d.past.of(device.Number); !made || !done(ctx, i, told); told, made = d.past.of(device.Number) {
			select {
			case <-time.After(every):
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}
