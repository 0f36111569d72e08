package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
// which a device was on are somebody's working time. By steps of several days N
// counts days with a look, too, and a day is one value: that of its daily row,
// whether it is swept already or not.
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
		if err := out.read(ctx, tx, device, span); err != nil {
			return err
		}
		if row.Unit == reading.UnixMilli {
			for i := range out.Points {
				out.Points[i].Value = byDay(out.Points[i].Value)
			}
		}
		if !fine && span.Step == Day {
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

// Since is the first day (UTC) of which a device told values that are still there; zero =
// there are none.
func (h *Health) Since(ctx context.Context, caller access.Caller, device string) (time.Time, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return time.Time{}, err
	}
	var day int64
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		if err := seen(ctx, tx, caller, device); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT COALESCE(MIN(day), -1) FROM (SELECT MIN(day) AS day FROM health_days WHERE device_id = $1
			UNION ALL SELECT MIN(start_ms) / $2 FROM health_blocks WHERE device_id = $1) d`, device, int64(dayMS)).Scan(&day)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for a device's first day: %w", err)
	}
	if day < 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(day * dayMS).UTC(), nil
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
	case s.From.UnixMilli() < 0:
		return row, fmt.Errorf("%w: it begins before 1970", ErrHistory)
	case !s.From.Before(s.To):
		return row, fmt.Errorf("%w: it ends before it begins", ErrHistory)
	}
	return row, nil
}

func (s *Span) daily() bool { return s.Step%Day == 0 }

// read fills in the points and the instance that they are of.
func (h *History) read(ctx context.Context, tx *db.Tx, device string, s Span) error {
	var blocks map[int64][]block.Block
	var err error
	if h.Reading.Retain == reading.Fine {
		if blocks, err = dayBlocks(ctx, tx, device, h.Reading, s); err != nil {
			return err
		}
		var all []block.Block
		for _, day := range slices.Sorted(maps.Keys(blocks)) {
			all = append(all, blocks[day]...)
		}
		if h.Reading.Instanced && h.Instance == "" {
			h.Instance = mainInstance(h.Reading, all)
		}
		if !s.byDayRows(h.Reading) {
			h.Points, err = block.Points(block.Key{ID: h.Reading.ID, Instance: h.Instance}, s.From.UnixMilli(), s.To.UnixMilli(), s.pointStep(), all...)
			if err != nil {
				return err
			}
		}
	}
	if !s.daily() {
		return nil
	}
	if h.Reading.Daily == 0 {
		h.Points = gather(h.Points, s, countDays)
		return nil
	}
	var days []block.Point
	if s.inRows(h.Reading) {
		if days, err = dayPoints(ctx, tx, device, h.Reading, s); err != nil {
			return err
		}
	}
	if !s.byDayRows(h.Reading) {
		h.Points = joinDays(h.Points, days)
		return nil
	}
	h.Points = gather(joinDays(rowsOf(h.Reading, blocks, s), days), s, func(days []block.Point) block.Value { return fewDays(h.Reading, days) })
	return nil
}

// byDayRows says that a day is one value, as in its daily row: in steps of several
// days, so that days of blocks and of rows go together, and of what is counted.
func (s *Span) byDayRows(r reading.Reading) bool {
	return s.daily() && r.Daily != 0 && (s.Step > Day || r.Daily == reading.Sum)
}

// inRows says that daily rows tell of the instance that is asked for: by its name of the
// system's volume alone. Rows of other readings are of all instances together.
func (s *Span) inRows(r reading.Reading) bool {
	return s.Instance == "" || system(r) && standsFor(s.Instance)
}

// pointStep is a day where days are gathered afterwards.
func (s *Span) pointStep() int64 {
	if s.daily() {
		return dayMS
	}
	return s.Step.Milliseconds()
}

// rowsOf are the daily rows that blocks will make.
func rowsOf(r reading.Reading, blocks map[int64][]block.Block, s Span) (out []block.Point) {
	for _, day := range slices.Sorted(maps.Keys(blocks)) {
		v, ok := int64(0), false
		if s.Instance == "" {
			v, ok = dayOfBlocks(r, blocks[day])
		} else {
			v, ok = dayOfSeries(r, block.Key{ID: r.ID, Instance: s.Instance}, blocks[day])
		}
		if t := day * dayMS; ok && t >= s.From.UnixMilli() && t < s.To.UnixMilli() {
			out = append(out, block.Point{T: t, Value: block.Sample(v)})
		}
	}
	return out
}

// gather puts the days of each step together.
func gather(days []block.Point, s Span, join func([]block.Point) block.Value) (out []block.Point) {
	if s.Step == Day {
		return days
	}
	from, step := s.From.UnixMilli(), s.Step.Milliseconds()
	for len(days) > 0 {
		nr, n := (days[0].T-from)/step, 1
		for n < len(days) && (days[n].T-from)/step == nr {
			n++
		}
		out = append(out, block.Point{T: from + nr*step, Value: join(days[:n])})
		days = days[n:]
	}
	return out
}

// fewDays is several days' rows as one value.
func fewDays(r reading.Reading, days []block.Point) block.Value {
	n := int64(len(days))
	v := block.Value{Min: days[0].Min, Max: days[0].Max, N: len(days)}
	var sum, whole, rest int64 // in parts, since a sum of large ones need not fit
	for _, d := range days {
		v.Min, v.Max = min(v.Min, d.Min), max(v.Max, d.Max)
		sum, whole, rest = sum+d.Mean, whole+d.Mean/n, rest+d.Mean%n
	}
	if r.Daily == reading.Sum {
		return block.Value{Min: sum, Mean: sum, Max: sum, N: len(days)}
	}
	v.Mean = whole + rest/n
	return v
}

// countDays is fewDays of a reading that only blocks tell: every minute counts
// the same, and N the days.
func countDays(days []block.Point) block.Value {
	v := block.Value{Min: days[0].Min, Max: days[0].Max, N: len(days)}
	var sum, n float64
	for _, d := range days {
		v.Min, v.Max = min(v.Min, d.Min), max(v.Max, d.Max)
		sum, n = sum+float64(d.Mean)*float64(d.N), n+float64(d.N)
	}
	v.Mean = min(max(int64(math.Round(sum/n)), v.Min), v.Max)
	return v
}

// dayBlocks reads blocks, day by day: what is told twice counts once, and an hour
// that is there by minutes is not told by a thinned block again.
func dayBlocks(ctx context.Context, tx *db.Tx, device string, row reading.Reading, s Span) (map[int64][]block.Block, error) {
	from, to := s.From.UnixMilli(), s.To.UnixMilli()
	rows, err := tx.Query(ctx, `SELECT body FROM health_blocks WHERE device_id = $1 AND start_ms > $2 AND start_ms < $3 AND end_ms > $4
		ORDER BY start_ms, step_s, spool, seq`, device, from-longestBlock, to, from)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	days := map[int64][]block.Block{}
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		b, err := block.Decode(body)
		if err != nil {
			return nil, fmt.Errorf("a stored block: %w", err)
		}
		b.Series = slices.DeleteFunc(b.Series, func(t block.Series) bool {
			return t.ID != row.ID || s.Instance != "" && t.Instance != s.Instance
		})
		if len(b.Series) > 0 {
			days[b.Start/dayMS] = append(days[b.Start/dayMS], b)
		}
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	for day, blocks := range days {
		if days[day], err = mergeDay(blocks); err != nil {
			return nil, err
		}
	}
	return days, nil
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
		if standsFor(instance) {
			n = math.MaxInt
		}
		if n > most || n == most && instance < best {
			best, most = instance, n
		}
	}
	return best
}

// standsFor says that an instance stands for the device, wherever it is told.
func standsFor(instance string) bool { return instance == "/" || instance == "C:" || instance == "cpu" }

// dayPoints reads daily rows.
func dayPoints(ctx context.Context, tx *db.Tx, device string, row reading.Reading, s Span) ([]block.Point, error) {
	rows, err := tx.Query(ctx, `SELECT day, `+row.Name+` FROM health_days WHERE device_id = $1 AND day >= $2 AND day < $3 AND `+row.Name+` IS NOT NULL ORDER BY day`,
		device, s.From.UnixMilli()/dayMS, s.To.UnixMilli()/dayMS)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []block.Point
	for rows.Next() {
		var day, v int64
		if err := rows.Scan(&day, &v); err != nil {
			return nil, err
		}
		out = append(out, block.Point{T: day * dayMS, Value: block.Sample(v)})
	}
	return out, rows.Close()
}

// joinDays takes the days that blocks tell, and those of daily rows where they
// tell none.
func joinDays(fine, days []block.Point) []block.Point {
	byTime := func(a, b block.Point) int { return cmp.Compare(a.T, b.T) }
	out := slices.Clone(fine)
	for _, d := range days {
		if _, found := slices.BinarySearchFunc(fine, d, byTime); !found {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, byTime)
	return out
}
