package health

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
	"hausmeister/proto/block"
	"hausmeister/proto/reading"
)

const (
	// MinStep is the finest step of a history, Day the finest without a look.
	MinStep, Day = time.Minute, 24 * time.Hour
	// MaxPoints is how many steps a history may have.
	MaxPoints = 5000
	// longestBlock is how long before a time a block that reaches it may begin.
	longestBlock = maxSteps * block.Minute
)

// ErrHistory: a history that cannot be asked for; the text says why.
var ErrHistory = errors.New("no such history")

// Span asks for a part of a reading's history.
type Span struct {
	Reading  string
	Instance string // "" of a reading with instances: the one that the daily row has
	From, To time.Time
	Step     time.Duration // whole minutes
}

// History is the values of a reading over time. Without an open look steps and
// borders are whole days (UTC) and N counts days, for the minutes of a day in
// which a device was on are somebody's working time.
type History struct {
	Reading  reading.Reading
	Instance string
	Step     time.Duration
	Points   []block.Point // by time; stretches without a value are left out
}

// History gives the points of span. ErrLookNeeded says that it is finer than
// the caller may see just now.
func (h *Health) History(ctx context.Context, caller access.Caller, device string, span Span) (History, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return History{}, err
	}
	row, err := span.check()
	if err != nil {
		return History{}, err
	}
	out := History{Reading: row, Instance: span.Instance, Step: span.Step}
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		out.Points = nil
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		until, err := h.looking(ctx, tx, caller, device)
		if err != nil {
			return err
		}
		fine := !until.IsZero()
		if !fine && !span.daily() {
			return ErrLookNeeded
		}
		if span.To.Sub(span.From)/span.Step > MaxPoints {
			return fmt.Errorf("%w: more than %d steps", ErrHistory, MaxPoints)
		}
		if row.Retain == reading.Fine {
			if out.Instance, out.Points, err = finePoints(ctx, tx, device, row, span); err != nil {
				return err
			}
		}
		if span.daily() && row.Daily != 0 && (span.Instance == "" || span.Instance == out.Instance) {
			days, err := dayPoints(ctx, tx, device, row, span)
			if err != nil {
				return err
			}
			out.Points = joinDays(out.Points, days, span.Step.Milliseconds())
		}
		if row.Unit == reading.UnixMilli {
			for i := range out.Points {
				out.Points[i].Value = byDay(out.Points[i].Value)
			}
		}
		if !fine {
			for i := range out.Points {
				out.Points[i].N = 1
			}
		}
		return nil
	})
	if err != nil {
		return History{}, fmt.Errorf("reading a history: %w", err)
	}
	return out, nil
}

// byDay cuts moments to their days: a time of day of a device tells when somebody
// works, with or without a look.
func byDay(v block.Value) block.Value {
	cut := func(ms int64) int64 { return ms - ms%dayMS }
	return block.Value{Min: cut(v.Min), Mean: cut(v.Mean), Max: cut(v.Max), N: v.N}
}

func (s *Span) check() (reading.Reading, error) {
	row, ok := reading.ByName(s.Reading)
	switch {
	case !ok:
		return row, fmt.Errorf("%w: there is no reading %.64q", ErrHistory, s.Reading)
	case row.Kind != reading.Number || row.Retain != reading.Fine && row.Daily == 0:
		return row, fmt.Errorf("%w: %s has no history of numbers", ErrHistory, s.Reading)
	case !reading.Printable(s.Instance, reading.MaxInstance) || s.Instance != "" && !row.Instanced:
		return row, fmt.Errorf("%w: %s has no such instance", ErrHistory, s.Reading)
	case s.Step < MinStep || s.Step%MinStep != 0:
		return row, fmt.Errorf("%w: the step is whole minutes", ErrHistory)
	}
	if s.Step%Day == 0 { // days begin at midnight, whatever was asked
		s.From, s.To = s.From.Truncate(Day), s.To.Add(Day-1).Truncate(Day)
	} else {
		s.From = s.From.Truncate(s.Step)
	}
	switch {
	case s.From.UnixMilli() < 0 || !s.From.Before(s.To):
		return row, fmt.Errorf("%w: it ends before it begins", ErrHistory)
	}
	return row, nil
}

func (s *Span) daily() bool { return s.Step%Day == 0 }

// finePoints are the points that blocks tell.
func finePoints(ctx context.Context, tx *db.Tx, device string, row reading.Reading, s Span) (string, []block.Point, error) {
	if row.Daily != reading.Sum || !s.daily() {
		return minutePoints(ctx, tx, device, row, s)
	}
	// What is counted adds up over a day, as in its daily row.
	step := s.Step.Milliseconds()
	s.Step = MinStep
	instance, minutes, err := minutePoints(ctx, tx, device, row, s)
	var out []block.Point
	for _, p := range minutes {
		t, n := s.From.UnixMilli()+(p.T-s.From.UnixMilli())/step*step, p.Mean*int64(p.N)
		if last := len(out) - 1; last >= 0 && out[last].T == t {
			out[last].Value = block.Sample(out[last].Mean + n)
			continue
		}
		out = append(out, block.Point{T: t, Value: block.Sample(n)})
	}
	return instance, out, err
}

// minutePoints reads blocks, day by day: what is told twice counts once, and
// an hour that is there by minutes is not told by a thinned block again.
func minutePoints(ctx context.Context, tx *db.Tx, device string, row reading.Reading, s Span) (string, []block.Point, error) {
	from, to, step := s.From.UnixMilli(), s.To.UnixMilli(), s.Step.Milliseconds()
	rows, err := tx.Query(ctx, `SELECT body FROM health_blocks WHERE device_id = $1 AND start_ms > $2 AND start_ms < $3 AND end_ms > $4
		ORDER BY start_ms, step_s, spool, seq`, device, from-longestBlock, to, from)
	if err != nil {
		return "", nil, err
	}
	defer rows.Close()
	days := map[int64][]block.Block{}
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return "", nil, err
		}
		b, err := block.Decode(body)
		if err != nil {
			return "", nil, fmt.Errorf("a stored block: %w", err)
		}
		b.Series = slices.DeleteFunc(b.Series, func(t block.Series) bool {
			return t.ID != row.ID || s.Instance != "" && t.Instance != s.Instance
		})
		if len(b.Series) > 0 {
			days[b.Start/dayMS] = append(days[b.Start/dayMS], b)
		}
	}
	if err := rows.Close(); err != nil {
		return "", nil, err
	}
	var all []block.Block
	for _, blocks := range days {
		merged, err := mergeDay(blocks)
		if err != nil {
			return "", nil, err
		}
		all = append(all, merged...)
	}
	instance := s.Instance
	if row.Instanced && instance == "" {
		instance = mainInstance(row, all)
	}
	points, err := block.Points(block.Key{ID: row.ID, Instance: instance}, from, to, step, all...)
	return instance, points, err
}

// mergeDay makes one block of each step of a day's blocks, the minutes first.
// The hours of the second lack what the first has.
func mergeDay(blocks []block.Block) ([]block.Block, error) {
	var minutes, hours []block.Block
	for _, b := range blocks {
		if b.Step == block.Hour {
			hours = append(hours, b)
		} else {
			minutes = append(minutes, b)
		}
	}
	var out []block.Block
	if len(minutes) > 0 {
		b, err := block.Merge(minutes...)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	if len(hours) == 0 {
		return out, nil
	}
	b, err := block.Merge(hours...)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		without(b, out[0])
	}
	return append(out, b), nil
}

// without blanks the hours of b that fine tells by the minute.
func without(b, fine block.Block) {
	for _, s := range b.Series {
		i := slices.IndexFunc(fine.Series, func(f block.Series) bool { return f.Key == s.Key })
		if i < 0 {
			continue
		}
		for j, v := range fine.Series[i].Values {
			at := (fine.Start + int64(j)*fine.Step - b.Start) / b.Step
			if v.N > 0 && fine.Start+int64(j)*fine.Step >= b.Start && at < int64(len(s.Values)) {
				s.Values[at] = block.Value{}
			}
		}
	}
}

// mainInstance is the one of several that stands for the device: the system's
// volume, the processor's temperature, else the one told most.
func mainInstance(row reading.Reading, blocks []block.Block) string {
	told := map[string]int{}
	for _, b := range blocks {
		for _, s := range b.Series {
			if s.ID == row.ID {
				for _, v := range s.Values {
					told[s.Instance] += v.N
				}
			}
		}
	}
	best, most := "", -1
	for instance, n := range told {
		switch instance {
		case "/", "C:", "cpu":
			n = math.MaxInt
		}
		if n > most || n == most && instance < best {
			best, most = instance, n
		}
	}
	return best
}

// dayPoints reads daily rows.
func dayPoints(ctx context.Context, tx *db.Tx, device string, row reading.Reading, s Span) ([]block.Point, error) {
	rows, err := tx.Query(ctx, `SELECT day, `+row.Name+` FROM health_days WHERE device_id = $1 AND day >= $2 AND day < $3 AND `+row.Name+` IS NOT NULL ORDER BY day`,
		device, s.From.UnixMilli()/dayMS, s.To.UnixMilli()/dayMS)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	from, step := s.From.UnixMilli(), s.Step.Milliseconds()
	var out []block.Point
	for rows.Next() {
		var day, v int64
		if err := rows.Scan(&day, &v); err != nil {
			return nil, err
		}
		t := from + (day*dayMS-from)/step*step
		if n := len(out); n > 0 && out[n-1].T == t { // a step of several days
			out[n-1].Value = add(out[n-1].Value, v)
			continue
		}
		out = append(out, block.Point{T: t, Value: block.Sample(v)})
	}
	return out, rows.Close()
}

func add(a block.Value, v int64) block.Value {
	n := int64(a.N)
	return block.Value{Min: min(a.Min, v), Max: max(a.Max, v), Mean: a.Mean + (v-a.Mean)/(n+1), N: a.N + 1}
}

// joinDays takes the days that blocks tell, and those of daily rows where they
// tell none.
func joinDays(fine, days []block.Point, step int64) []block.Point {
	out := slices.Clone(fine)
	for _, d := range days {
		if i, found := slices.BinarySearchFunc(fine, d.T, func(p block.Point, t int64) int { return int((p.T - t) / step) }); !found {
			_ = i
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b block.Point) int { return int((a.T - b.T) / step) })
	return out
}
