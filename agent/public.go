package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"hausmeister/agent/config"
	"hausmeister/agent/link"
	"hausmeister/agent/update"
	"hausmeister/platform/wake"
	"hausmeister/proto/hmpb"
)

// The files of the public folder.
const (
	StatusFile     = "status.json"
	LastReportFile = "last-report.json"
	LooksFile      = "looks.json"
)

// Status is how the agent is, as everybody at this machine may know it.
type Status struct {
	Version      string       `json:"version"`
	AsOf         time.Time    `json:"as_of"` // device clock, as all times here
	State        link.State   `json:"state"` // "not_enrolled" before there is an identity
	Since        time.Time    `json:"since,omitzero"`
	Problem      link.Problem `json:"problem,omitempty"`
	Detail       string       `json:"detail,omitempty"` // English, for support
	RetryAt      time.Time    `json:"retry_at,omitzero"`
	Device       string       `json:"device,omitempty"`
	Collector    string       `json:"collector,omitempty"`
	Transport    string       `json:"transport,omitempty"`         // "quic", "tcp", "tcp_proxy"
	Obstacle     link.Problem `json:"obstacle,omitempty"`          // what the network has against a session, or against QUIC
	Inspection   string       `json:"inspection_issuer,omitempty"` // who opened our connections, here or elsewhere
	Inspected    string       `json:"inspected_day,omitempty"`
	LastHeard    time.Time    `json:"last_heard,omitzero"`
	ClockOffset  int64        `json:"clock_offset_ms"` // collector's clock minus this one
	Certificate  time.Time    `json:"certificate_until,omitzero"`
	SpoolEntries uint64       `json:"spool_entries"`
	SpoolWaiting uint64       `json:"spool_waiting"` // not yet acknowledged
	SpoolBytes   int64        `json:"spool_bytes"`
	SpoolDropped uint64       `json:"spool_dropped"`           // given up unacknowledged in this run
	SpoolFailing bool         `json:"spool_failing,omitempty"` // reports cannot be stored: most likely the disk is full

	Update *update.Status `json:"update,omitempty"` // absent before there is an identity
}

// StateNotEnrolled is the Status.State of an agent without an identity.
const StateNotEnrolled link.State = "not_enrolled"

// Status says how the agent is now.
func (a *Agent) Status() Status {
	a.mu.Lock()
	keeper, l, sp, up := a.keeper, a.link, a.spool, a.update
	a.mu.Unlock()
	st := Status{Version: a.c.Version, AsOf: a.c.Now().UTC(), State: StateNotEnrolled}
	if l == nil {
		return st
	}
	id, _ := keeper.Enrolled()
	ls, ss := l.Status(), sp.Stats()
	st.State, st.Since, st.Problem, st.Detail = ls.State, ls.Since.UTC(), ls.Problem, ls.Detail
	st.RetryAt, st.Transport, st.LastHeard = utc(ls.RetryAt), ls.Transport, utc(ls.Heard)
	p := l.Path()
	st.Obstacle, st.Inspection, st.Inspected = p.Obstacle, p.InspectionIssuer, p.InspectedDay
	st.ClockOffset = ls.ClockOffset.Milliseconds()
	st.Device, st.Collector, st.Certificate = id.Device, id.Address, utc(id.NotAfter)
	st.SpoolEntries, st.SpoolWaiting, st.SpoolBytes = ss.Entries, ss.Waiting, ss.Bytes
	st.SpoolDropped, st.SpoolFailing = ss.Dropped+ss.Failures, ss.Failing
	if up != nil {
		st.Update = new(up.Status())
	}
	return st
}

// utc keeps the zero time, which means "none" in the file.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

const (
	// publishBurst changes are shown at once, so that somebody who enrols a
	// device sees it connect; after that one per publishEvery, however often
	// the network comes and goes: each is an fsync on a teacher's battery.
	publishBurst = 5
	publishEvery = time.Minute
)

// publisher keeps the public files.
type publisher struct {
	a    *Agent
	kick chan struct{} // holds one

	mu sync.Mutex
	// below is guarded by mu
	last   lastSent
	unseen bool // something of last is not in the file yet
	failed bool // the last write: so that the log says it once
	keeper *looks
	looked bool // the list of looks is not in its file yet
}

func newPublisher(a *Agent) *publisher { return &publisher{a: a, kick: make(chan struct{}, 1)} }

// sent takes a batch that the link sent. It is shown with the next change, which
// is the answer to it: one write for both.
func (p *publisher) sent(b *hmpb.Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last.take(b, p.a.c.Now())
	p.unseen = true
}

// shown takes a sample that somebody watched. Only the first of a while asks for
// a write: while it lasts, reports go on, and their answers write it with them.
func (p *publisher) shown(up *hmpb.LiveUp) {
	p.mu.Lock()
	first := p.last.sample(up, p.a.c.Now())
	p.unseen = true
	p.mu.Unlock()
	if first {
		p.changed()
	}
}

// looks shows the list of m from now on.
func (p *publisher) looks(m *config.Memory) *looks {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The file may be missing, or older than the list after a crash between the two.
	p.keeper, p.looked = &looks{memory: m, p: p}, true
	return p.keeper
}

// newLooks asks for a write of the list.
func (p *publisher) newLooks() {
	p.mu.Lock()
	p.looked = true
	p.mu.Unlock()
	p.changed()
}

// changed asks for a write, sooner or later.
func (p *publisher) changed() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run writes when something changed, but not too often, and at the end.
func (p *publisher) run(ctx context.Context, ready func()) error {
	ready()
	defer p.write()
	for next := time.Now().Add(-publishBurst * publishEvery); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-p.kick:
		}
		// next is when the bucket has a token; it may lie a full bucket back.
		if oldest := time.Now().Add(-publishBurst * publishEvery); next.Before(oldest) {
			next = oldest
		}
		if !p.pause(ctx, time.Until(next.Add(publishEvery))) {
			return nil
		}
		next = next.Add(publishEvery)
		p.write()
	}
}

// beatWithin is how long a write on battery may wait beyond its time for a look.
const beatWithin = 90 * time.Second

// pause waits, on battery for the look that comes after that, and says false when
// ctx ended first.
func (p *publisher) pause(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	var pulse *wake.Pulse
	if p.a.saving() {
		pulse = p.a.c.Pulse
	}
	t := pulse.Between(wait, wait+beatWithin)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// write replaces the public files by what is so now.
func (p *publisher) write() {
	if p.a.c.Publish == nil {
		return
	}
	status, err := json.MarshalIndent(p.a.Status(), "", "  ")
	err = p.file(StatusFile, status, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unseen {
		report, wrong := p.last.json()
		err = errors.Join(err, p.file(LastReportFile, report, wrong))
		p.unseen = false
	}
	if p.looked {
		list, wrong := json.MarshalIndent(p.keeper.list(), "", "  ")
		looksErr := p.file(LooksFile, list, wrong)
		p.looked = looksErr != nil // it changes seldom: another try with the next write
		err = errors.Join(err, looksErr)
	}
	if failed := err != nil; failed != p.failed {
		p.failed = failed
		if failed {
			p.a.c.Log.Warn("public files not written", "error", err)
		} else {
			p.a.c.Log.Info("public files written again")
		}
	}
}

// file publishes data, unless making it went wrong.
func (p *publisher) file(name string, data []byte, wrong error) error {
	if wrong != nil {
		return fmt.Errorf("writing out %s: %w", name, wrong)
	}
	return p.a.c.Publish(name, append(data, '\n'))
}
