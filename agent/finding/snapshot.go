package finding

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// ErrDamaged: not what Snapshot gave.
var ErrDamaged = errors.New("damaged state of the findings")

const (
	snapshotVersion = 1
	// maxSnapshot is the longest snapshot that is read.
	maxSnapshot = 256 << 10
	// keptHold: a change that needs less than this to hold begins anew after a
	// restart; one that needs more would never come on a device that runs for a
	// lesson at a time.
	keptHold = time.Hour
	maxAge   = 100 * 366 * day
)

// snapshot is a Watcher's memory. Durations are milliseconds of its age.
type snapshot struct {
	Version  int          `json:"version"`
	Age      int64        `json:"age_ms"`
	SyncTrue int64        `json:"sync_true_ms,omitempty"` // collector's time as last heard
	SyncAge  int64        `json:"sync_age_ms,omitempty"`
	States   []savedState `json:"states,omitempty"`
	Days     []dayMin     `json:"days,omitempty"`
	Boots    []int64      `json:"boots_ms,omitempty"`
	Writable []string     `json:"writable,omitempty"`
	Updated  int64        `json:"updated_ms,omitempty"` // true time
	Store    []byte       `json:"store,omitempty"`
}

type savedState struct {
	Code     string `json:"code"`
	Instance string `json:"instance,omitempty"`
	Level    int    `json:"level,omitempty"`
	Told     int    `json:"told,omitempty"`
	Severity int32  `json:"severity,omitempty"`
	Raised   *int64 `json:"raised_ms,omitempty"` // absent: never
	Moved    *int64 `json:"rose_ms,omitempty"`   // absent: never
	Worst    *int64 `json:"worst_ms,omitempty"`  // absent: never
	Said     uint64 `json:"said,omitempty"`
	Dir      int    `json:"dir,omitempty"`
	To       int    `json:"to,omitempty"`
	Held     int64  `json:"held_ms,omitempty"`
	Seen     int64  `json:"seen_ms,omitempty"`
	Gone     int64  `json:"gone_ms,omitempty"`
	Again    bool   `json:"again,omitempty"`
}

// Snapshot gives what must outlive a restart. What is installed is not in it:
// the agent knows it anew.
func (w *Watcher) Snapshot() ([]byte, error) {
	s := snapshot{Version: snapshotVersion, Age: w.age.Milliseconds(), Days: w.trend.days, Boots: w.boots, Updated: w.updated, Store: w.store}
	if !w.sync.True.IsZero() {
		s.SyncTrue, s.SyncAge = w.sync.True.UnixMilli(), w.sync.Age.Milliseconds()
	}
	s.Writable = slices.Sorted(maps.Keys(w.writable))
	for i := range rules {
		for _, k := range w.keysOf(&rules[i]) {
			s.States = append(s.States, save(k, w.states[k]))
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding the state of the findings: %w", err)
	}
	return b, nil
}

func save(k key, s *state) savedState {
	out := savedState{
		Code: k.code, Instance: k.instance, Level: s.level, Told: s.told, Said: s.said, Severity: int32(s.severity),
		Dir: s.pending.dir, To: s.pending.to, Held: s.pending.held.Milliseconds(), Seen: s.seen.Milliseconds(), Gone: s.gone.Milliseconds(), Again: s.again,
	}
	if s.raised != never {
		out.Raised = new(s.raised.Milliseconds())
	}
	if s.moved != never {
		out.Moved = new(s.moved.Milliseconds())
	}
	if s.worst != never {
		out.Worst = new(s.worst.Milliseconds())
	}
	return out
}

// Restore takes what Snapshot gave, before the first Look; nothing means a new
// device. After an error the Watcher is as new and works. States of codes that
// this version does not know are left out.
func (w *Watcher) Restore(b []byte) error {
	w.reset()
	if len(b) == 0 {
		return nil
	}
	if err := w.restore(b); err != nil {
		w.reset()
		return err
	}
	return nil
}

func (w *Watcher) restore(b []byte) error {
	var s snapshot
	if len(b) > maxSnapshot {
		return fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch {
	case s.Version != snapshotVersion:
		return fmt.Errorf("%w: version %d", ErrDamaged, s.Version)
	case !within(s.Age, maxAge) || s.SyncAge < 0 || s.SyncAge > s.Age:
		return fmt.Errorf("%w: age", ErrDamaged)
	case s.Updated < 0 || s.Updated > maxDate:
		return fmt.Errorf("%w: date of the last update", ErrDamaged)
	case len(s.States) > maxStates || len(s.Days) > keepDays || len(s.Boots) > bootsJudged || len(s.Writable) > reading.MaxInstances:
		return fmt.Errorf("%w: too much of something", ErrDamaged)
	}
	w.age, w.store = fromMS(s.Age), s.Store
	if s.SyncTrue != 0 {
		w.sync = anchor{time.UnixMilli(s.SyncTrue), fromMS(s.SyncAge)}
	}
	last := int64(-1)
	for _, d := range s.Days {
		if d.Day <= last || d.Day > w.today() || d.Free < 0 {
			return fmt.Errorf("%w: days", ErrDamaged)
		}
		last = d.Day
	}
	w.trend.days, w.boots, w.updated = s.Days, s.Boots, s.Updated
	for _, volume := range s.Writable {
		w.writable[volume] = true
	}
	for _, saved := range s.States {
		if err := w.restoreState(saved); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watcher) restoreState(m savedState) error {
	r := ruleOf(m.Code, m.Instance)
	if r == nil {
		return nil
	}
	row, _ := finding.ByCode(m.Code)
	severity := hmpb.Severity(m.Severity)
	switch {
	case m.Level < 0 || m.Told < 0 || m.Dir < -1 || m.Dir > 1 || m.To < 0 || !within(m.Held, maxAge) || !within(m.Gone, maxAge) || !within(m.Seen, w.age):
		return fmt.Errorf("%w: state of %s", ErrDamaged, m.Code)
	case m.Moved != nil && (m.Raised == nil || *m.Moved < 0 || *m.Moved > *m.Raised), m.Worst != nil && (*m.Worst < 0 || *m.Worst > w.age.Milliseconds()):
		return fmt.Errorf("%w: levels of %s", ErrDamaged, m.Code)
	case m.Raised != nil && (*m.Raised < 0 || *m.Raised > w.age.Milliseconds()), m.Told > 0 && m.Raised == nil:
		return fmt.Errorf("%w: raise of %s", ErrDamaged, m.Code)
	case m.Told == 0:
		severity = 0
	}
	// Another version may have other levels.
	most := len(r.levels)
	s := &state{level: min(m.Level, most), told: min(m.Told, most), severity: severity, raised: never, moved: never, worst: never, said: m.Said, seen: fromMS(m.Seen), gone: fromMS(m.Gone)}
	if m.Raised != nil {
		s.raised = fromMS(*m.Raised)
	}
	if m.Moved != nil {
		s.moved = fromMS(*m.Moved)
	}
	if m.Worst != nil {
		s.worst = fromMS(*m.Worst)
	}
	if s.told > 0 {
		s.again = m.Again
		s.severity = min(max(severity, row.Least), row.Most)
		if finding.Check(cleared(r, m.Instance, s.severity, "")) != nil {
			return fmt.Errorf("%w: instance of %s", ErrDamaged, m.Code)
		}
	}
	if m.Dir > 0 && r.hold >= keptHold || m.Dir < 0 && r.calm >= keptHold {
		s.pending = pending{dir: m.Dir, to: min(m.To, most), held: fromMS(m.Held)}
	}
	w.states[key{m.Code, m.Instance}] = s
	return nil
}

func ruleOf(code, instance string) *rule {
	for i := range rules {
		if rules[i].code == code && (rules[i].only == "" || rules[i].only == instance) {
			return &rules[i]
		}
	}
	return nil
}

func within(ms int64, most time.Duration) bool { return ms >= 0 && ms <= most.Milliseconds() }

func fromMS(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
