package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/db"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

const (
	// dayOver is how long after midnight (UTC) a day is merged: devices that
	// were cut off for a while have told the rest by then, most of them.
	dayOver = 2 * time.Hour
	// mergeStep is how many blocks are looked at to find the days that are due.
	mergeStep = 10_000
)

// dayColumns are the readings that a daily row holds, by the table.
var dayColumns = func() (out []reading.Reading) {
	for r := range reading.All() {
		if r.Daily != 0 {
			out = append(out, r)
		}
	}
	return out
}()

// MergeDays makes one row of a device's blocks of each day that is over, and
// its daily row. What comes later for a merged day (a device was away for the
// holidays) is merged in the same way. Returns how many days of devices it did.
// While another collector does so, it returns db.ErrLeased.
func (h *Health) MergeDays(ctx context.Context) (done int, err error) {
	err = h.lease.Hold(ctx, func(ctx context.Context) (err error) { done, err = h.mergeDays(ctx); return err })
	return done, err
}

func (h *Health) mergeDays(ctx context.Context) (done int, err error) {
	before := daysOver(h.now().UnixMilli())
	for {
		due, err := h.dueDays(ctx, before)
		if err != nil {
			return done, fmt.Errorf("looking for days to merge: %w", err)
		}
		for part := range slices.Chunk(due, together) {
			if err := h.mergeAll(ctx, part); err != nil {
				return done, err
			}
			done += len(part)
		}
		if len(due) == 0 {
			return done, nil
		}
	}
}

// daysOver is the end of the last day that is over.
func daysOver(nowMS int64) int64 { return (nowMS - dayOver.Milliseconds()) / dayMS * dayMS }

// together is how many days of devices one transaction merges: each costs about
// 2 ms of a core, and reports wait meanwhile.
const together = 8

// mergeAll merges some days in one transaction, or one by one when there is
// trouble with one of them. A day that cannot be merged stays in parts.
func (h *Health) mergeAll(ctx context.Context, part []deviceDay) error {
	err := h.db.Write(ctx, func(tx *db.Tx) error {
		for _, d := range part {
			if err := d.merge(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil || notOfThem(ctx, err) {
		return err
	}
	for _, d := range part {
		err := h.db.Write(ctx, func(tx *db.Tx) error { return d.merge(ctx, tx) })
		if err == nil {
			continue
		}
		if notOfThem(ctx, err) {
			return err
		}
		h.log.Warn("day not merged, stays in parts", "device", d.device, "day", dayOf(d.day*dayMS).Format(time.DateOnly), "error", err)
		err = h.db.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE health_blocks SET spool = -spool WHERE device_id = $1 AND start_ms >= $2 AND start_ms < $3 AND spool > 0`,
				d.device, d.day*dayMS, (d.day+1)*dayMS)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// notOfThem says of an error that no day is to blame for it.
func notOfThem(ctx context.Context, err error) bool {
	return Unavailable(err) || ctx.Err() != nil || errors.Is(err, db.ErrLeaseLost)
}

// deviceDay is one day of one device.
type deviceDay struct {
	device string
	day    int64
}

func (h *Health) dueDays(ctx context.Context, before int64) (due []deviceDay, err error) {
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		due = nil
		rows, err := tx.Query(ctx, `SELECT DISTINCT device_id, start_ms / 86400000 FROM (
				SELECT device_id, start_ms FROM health_blocks WHERE spool > 0 AND start_ms < $1 ORDER BY start_ms LIMIT $2) AS fresh`,
			before, int64(mergeStep))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d deviceDay
			if err := rows.Scan(&d.device, &d.day); err != nil {
				return err
			}
			due = append(due, d)
		}
		return rows.Close()
	})
	return due, err
}

// stored is a block with its key.
type stored struct {
	startMS, stepS, spool, seq int64
	block.Block
}

// merge is what one day's transaction does.
func (d deviceDay) merge(ctx context.Context, tx *db.Tx) error {
	parts, err := d.blocks(ctx, tx)
	if err != nil {
		return err
	}
	blocks := make([]block.Block, len(parts))
	for i, p := range parts {
		blocks[i] = p.Block
	}
	merged, err := mergeDay(blocks)
	if err != nil {
		return err
	}
	for _, p := range parts {
		_, err := tx.Exec(ctx, `DELETE FROM health_blocks WHERE device_id = $1 AND start_ms = $2 AND step_s = $3 AND spool = $4 AND seq = $5`,
			d.device, p.startMS, p.stepS, p.spool, p.seq)
		if err != nil {
			return err
		}
	}
	for _, b := range merged {
		body, err := block.Encode(b)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO health_blocks (device_id, start_ms, step_s, end_ms, spool, seq, body) VALUES ($1, $2, $3, $4, 0, 0, $5)`,
			d.device, b.Start, b.Step/1000, b.Head().End(), body)
		if err != nil {
			return err
		}
	}
	state, err := d.lastState(ctx, tx)
	if err != nil {
		return err
	}
	whole := slices.ContainsFunc(parts, func(p stored) bool { return p.spool == 0 })
	return d.store(ctx, tx, dailyRow(merged, state), whole)
}

func (d deviceDay) blocks(ctx context.Context, tx *db.Tx) ([]stored, error) {
	rows, err := tx.Query(ctx, `SELECT start_ms, step_s, spool, seq, body FROM health_blocks WHERE device_id = $1 AND start_ms >= $2 AND start_ms < $3
		ORDER BY spool, start_ms, seq`, d.device, d.day*dayMS, (d.day+1)*dayMS)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []stored
	for rows.Next() {
		var p stored
		var body []byte
		if err := rows.Scan(&p.startMS, &p.stepS, &p.spool, &p.seq, &body); err != nil {
			return nil, err
		}
		if p.Block, err = block.Decode(body); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Close()
}

// lastState is the last State that the device made on that day, nil if there is
// none any more: by its own clock, or where that cannot be right or shows another
// day, the last that came on it.
func (d deviceDay) lastState(ctx context.Context, tx *db.Tx) (*hmpb.State, error) {
	var body []byte
	err := tx.QueryRow(ctx, `SELECT r.body FROM health_spools s JOIN health_reports r ON r.spool = s.id
		WHERE s.device_id = $1 AND length(r.body) > 0 AND (r.marks = 0 AND r.device_ms >= $2 AND r.device_ms < $3 OR r.collector_ms >= $2 AND r.collector_ms < $3)
		ORDER BY CASE WHEN r.marks = 0 AND r.device_ms >= $2 AND r.device_ms < $3 THEN 0 ELSE 1 END, r.collector_ms DESC, r.seq DESC LIMIT 1`,
		d.device, d.day*dayMS, (d.day+1)*dayMS).Scan(&body)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	state := &hmpb.State{}
	return state, proto.Unmarshal(body, state)
}

// deleteDays is how each statement begins that deletes daily rows.
const deleteDays = `DELETE FROM health_days`

// deletes runs a statement that deletes. Weeks that lose daily rows changed: who keeps
// something that is made of them would keep what was deleted.
func deletes(ctx context.Context, tx *db.Tx, sql string, args ...any) (int64, error) {
	if which, ok := strings.CutPrefix(sql, deleteDays); ok {
		if _, err := tx.Exec(ctx, `UPDATE health_weeks SET changes = changes + 1 WHERE week IN (SELECT (day + 3) / 7 FROM health_days`+which+`)`, args...); err != nil {
			return 0, err
		}
	}
	return tx.Exec(ctx, sql, args...)
}

// store writes the daily row; what a later merge knows no more stays. Without what was
// merged before (it is kept for a shorter time than the row), the blocks are not the
// whole day, and what the row says already stands.
func (d deviceDay) store(ctx context.Context, tx *db.Tx, values map[string]any, whole bool) error {
	names := []string{"device_id", "day"}
	args := []any{d.device, d.day}
	marks := []string{"$1", "$2"}
	var updates []string
	for _, r := range dayColumns {
		v, ok := values[r.Name]
		if !ok {
			continue
		}
		names, args = append(names, r.Name), append(args, v)
		marks = append(marks, fmt.Sprintf("$%d", len(args)))
		if whole {
			updates = append(updates, r.Name+" = excluded."+r.Name)
		} else {
			updates = append(updates, r.Name+" = COALESCE(health_days."+r.Name+", excluded."+r.Name+")")
		}
	}
	conflict := "DO NOTHING"
	if len(updates) > 0 {
		conflict = "DO UPDATE SET " + strings.Join(updates, ", ")
	}
	if _, err := tx.Exec(ctx, `INSERT INTO health_weeks (week, changes) VALUES ($1, 1) ON CONFLICT (week) DO UPDATE SET changes = health_weeks.changes + 1`, (d.day+3)/7); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO health_days (`+strings.Join(names, ", ")+`) VALUES (`+strings.Join(marks, ", ")+`) ON CONFLICT (device_id, day) `+conflict, args...)
	return err
}

// dailyRow is what a day's blocks and last State say, by column.
func dailyRow(blocks []block.Block, state *hmpb.State) map[string]any {
	out := map[string]any{}
	byID := map[uint32][]*hmpb.Reading{}
	for _, m := range state.GetReadings() {
		byID[m.GetId()] = append(byID[m.GetId()], m)
	}
	for _, r := range dayColumns {
		if r.Retain == reading.Fine {
			if v, ok := dayOfBlocks(r, blocks); ok {
				out[r.Name] = v
				continue
			}
		}
		if v, ok := dayOfState(r, byID[r.ID]); ok {
			out[r.Name] = v
		}
	}
	return out
}

// dayOfBlocks summarises one reading's series, over all its instances.
func dayOfBlocks(r reading.Reading, blocks []block.Block) (int64, bool) {
	var all []int64
	only := ""
	if system(r) {
		only = mainInstance(r, blocks)
	}
	instances := map[string]bool{}
	for _, b := range blocks {
		for _, s := range b.Series {
			if s.ID == r.ID && (only == "" || s.Instance == only) {
				instances[s.Instance] = true
			}
		}
	}
	for instance := range instances {
		if v, ok := dayOfSeries(r, block.Key{ID: r.ID, Instance: instance}, blocks); ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	return fold(r.Daily, all), true
}

// system says that a reading's row is that of the system's volume, not of all.
func system(r reading.Reading) bool { return strings.HasPrefix(r.Name, "volume_") }

func dayOfSeries(r reading.Reading, key block.Key, blocks []block.Block) (v int64, ok bool) {
	var sum, n, last, lastAt int64
	low, high := int64(0), int64(0)
	for _, b := range blocks {
		for _, s := range b.Series {
			if s.Key != key {
				continue
			}
			for i, x := range s.Values {
				if x.N == 0 {
					continue
				}
				if n == 0 {
					low, high = x.Min, x.Max
				}
				low, high = min(low, x.Min), max(high, x.Max)
				sum += x.Mean * int64(x.N)
				n += int64(x.N)
				if at := b.Start + int64(i)*b.Step; at >= lastAt {
					last, lastAt = x.Mean, at
				}
			}
		}
	}
	if n == 0 {
		return 0, false
	}
	switch r.Daily {
	case reading.Min:
		return low, true
	case reading.Max:
		return high, true
	case reading.Mean:
		return sum / n, true
	case reading.Sum:
		return sum, true
	}
	return last, true
}

// fold makes one value of several instances'.
func fold(d reading.Daily, all []int64) int64 {
	switch d {
	case reading.Min:
		return slices.Min(all)
	case reading.Sum:
		var sum int64
		for _, v := range all {
			sum += v
		}
		return sum
	}
	return slices.Max(all)
}

// dayOfState takes a reading out of the day's last State.
func dayOfState(r reading.Reading, all []*hmpb.Reading) (any, bool) {
	if r.Kind != reading.Number {
		worst := -1
		var text any
		for _, m := range all {
			if !m.HasText() {
				continue
			}
			// Codes stand in the table from good to bad where there is one.
			at := slices.IndexFunc(r.Codes, func(c reading.CodeValue) bool { return c.Code == m.GetText() })
			if text == nil || at > worst {
				worst, text = at, m.GetText()
			}
		}
		return text, text != nil
	}
	var numbers []int64
	for _, m := range all {
		if !m.HasNumber() || system(r) && m.GetInstance() != "/" && m.GetInstance() != "C:" && len(all) > 1 {
			continue
		}
		numbers = append(numbers, m.GetNumber())
	}
	if len(numbers) == 0 {
		return nil, false
	}
	n := fold(r.Daily, numbers)
	if r.Unit == reading.UnixMilli {
		n -= n % dayMS // a daily row knows no time of day
	}
	return n, true
}
