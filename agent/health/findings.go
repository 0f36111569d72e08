package health

import (
	"bytes"
	"context"
	"slices"
	"time"

	"hausmeister/agent/finding"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"

	table "hausmeister/proto/finding"
)

// Findings judges each look; *finding.Watcher is one. It is Run's alone.
type Findings interface {
	Look(now time.Time, in finding.Input) []*hmpb.Finding
	// Require takes what the device must have, as the collector last said.
	Require(list []*hmpb.StandardSoftware)
	// Snapshot is what it must know after a restart.
	Snapshot() ([]byte, error)
}

const (
	// keepEvery is the least time between two writes of the findings' memory,
	// which changes with each look, unless something was told: what the desk knows
	// and the memory does not would after a power cut never be cleared, or never
	// be raised.
	keepEvery = 10 * time.Minute
	// maxUntold findings wait for a sink that does not take them.
	maxUntold = 128
)

// judgement is Run's memory of the findings.
type judgement struct {
	untold []*hmpb.Finding // oldest first
	kept   []byte
	keptAt time.Time
}

// Require takes what the device must have, as the collector says it.
func (h *Health) Require(list []*hmpb.StandardSoftware) {
	h.mu.Lock()
	h.required = list
	h.mu.Unlock()
}

// judge has the look judged and tells what changed at once.
func (h *Health) judge(ctx context.Context, w *watch, s sysinfo.Snapshot, rs []*hmpb.Reading, f Facts) {
	if h.findings == nil {
		return
	}
	required, programs := h.news()
	if required != nil {
		h.findings.Require(required)
	}
	now := h.findings.Look(w.lastRead, finding.Input{
		Clock:    w.device,
		Readings: rs,
		Programs: programs,
		Agent:    finding.Facts{StoreFailing: f.SpoolFailing, Dropped: f.SpoolDropped, Lost: f.SpoolLost, Store: f.Store, Hanging: s.CutOff},
	})
	h.judged.untold = append(h.judged.untold, now...)
	if over := len(h.judged.untold) - maxUntold; over > 0 {
		h.judged.untold = slices.Delete(h.judged.untold, 0, over)
		h.log.Warn("findings lost: they could not be stored", "findings", over)
	}
	// The memory follows the telling: a crash in between tells once more, which the
	// collector takes.
	if told := h.tellFindings(ctx); told || w.lastRead.Sub(h.judged.keptAt) >= keepEvery {
		h.judged.keptAt = w.lastRead
		h.keepJudgement()
	}
}

// news are what the findings have not seen yet.
func (h *Health) news() (required []*hmpb.StandardSoftware, programs []inventory.Program) {
	h.mu.Lock()
	defer h.mu.Unlock()
	required, programs = h.required, h.software.programs
	h.required, h.software.programs = nil, nil
	return required, programs
}

// tellFindings says whether it told one.
func (h *Health) tellFindings(ctx context.Context) (told bool) {
	for len(h.judged.untold) > 0 {
		m := h.judged.untold[0]
		if err := table.Check(m); err != nil {
			h.log.Error("finding not told", "error", err) // what the table does not hold does not leave
		} else {
			e := h.entry()
			e.SetFinding(m)
			if _, err := h.sink.Append(ctx, e); err != nil {
				h.log.Warn("findings were not stored, will be told again", "findings", len(h.judged.untold), "error", err)
				return told
			}
			told = true
		}
		h.judged.untold = slices.Delete(h.judged.untold, 0, 1)
	}
	return told
}

// keepJudgement remembers the findings' state, unless something in it was not
// told: then a restart had better raise it once more.
func (h *Health) keepJudgement() {
	if h.findings == nil || len(h.judged.untold) > 0 {
		return
	}
	snapshot, err := h.findings.Snapshot()
	if err == nil && !bytes.Equal(snapshot, h.judged.kept) {
		err = h.keepFindings(snapshot)
	}
	if err != nil {
		h.log.Warn("state of the findings not remembered", "error", err)
		return
	}
	h.judged.kept = snapshot
}
