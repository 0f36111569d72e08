// Package ledger compares what devices produced with what a collector keeps,
// report by report: the one question of every story about kills, cuts and
// outages. A report that is missing, there twice, changed or invented is a
// difference. Its books hold States, and the minutes of blocks; findings and
// inventories leave only their effect in a collector, no row of their own.
package ledger

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/question"
	"hausmeister/collector/rollout"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
)

// A Report is one entry, as the device made it or as the collector kept it.
type Report struct {
	DeviceMS int64
	Body     []byte // the State, encoded
}

// Book holds reports by the hex of their spool's epoch and by sequence.
type Book map[string]map[uint64]Report

// add puts a report in and complains about a second one with its key.
func (b Book) add(epoch []byte, seq uint64, r Report) error {
	page := hex.EncodeToString(epoch)
	if b[page] == nil {
		b[page] = map[uint64]Report{}
	}
	if _, ok := b[page][seq]; ok {
		return fmt.Errorf("report %d of spool %s is there twice", seq, page)
	}
	b[page][seq] = r
	return nil
}

// Count is how many States the book holds.
func (b Book) Count() (n int) {
	for name, page := range b {
		if name != minutes && name != perhaps {
			n += len(page)
		}
	}
	return n
}

// Produced adds all that a spool's disk holds: acknowledged entries stay there
// until their space is needed. The spool must not be open elsewhere.
func (b Book) Produced(disk spool.Disk) error {
	s, err := spool.Open(spool.Config{Disk: disk})
	if err != nil {
		return err
	}
	defer s.Close()
	all, waiting := map[int64][]uint64{}, map[int64][]uint64{}
	defer func() { b.addMinutes(all); b.addWaiting(waiting) }()
	for after, acked := uint64(0), s.Acked(); ; {
		batch, err := s.Batch(after, 1<<20)
		if err != nil || batch == nil {
			return err
		}
		if len(batch.GetDropped()) > 0 {
			return fmt.Errorf("spool %x has holes: %v", batch.GetSpoolEpoch(), batch.GetDropped())
		}
		for _, e := range batch.GetEntries() {
			seq := batch.GetFirstSeq() + uint64(e.GetOffset())
			after = seq
			into := all
			if seq > acked {
				into = waiting
			}
			if err := b.entry(batch.GetSpoolEpoch(), seq, e, into); err != nil {
				return err
			}
		}
	}
}

func (b Book) entry(epoch []byte, seq uint64, e *hmpb.Entry, all map[int64][]uint64) error {
	switch e.WhichKind() {
	case hmpb.Entry_State_case:
		body, err := encode(e.GetState())
		if err != nil {
			return err
		}
		return b.add(epoch, seq, Report{DeviceMS: e.GetDeviceMs(), Body: body})
	case hmpb.Entry_Block_case:
		return sums(e.GetBlock().GetPacked(), all)
	}
	return nil
}

// minutes is the page of the minutes that blocks hold. A collector merges the
// blocks of a day, so that neither spool nor sequence is left, and moves those
// of a wrong clock, so that the time may be another. Hence a minute's key is the
// sum of its values, and how often that came before. Of a minute that a device
// tells twice (its agent ended and began again within) either is kept, or both:
// those are on the page perhaps.
const minutes, perhaps = "minutes", "perhaps"

// sums gives a sum of each minute's values by the minute's time.
func sums(packed []byte, into map[int64][]uint64) error {
	b, err := block.Decode(packed)
	if err != nil {
		return err
	}
	for i := range b.Count {
		sum, any := fnv.New64a(), false
		for _, s := range b.Series {
			if v := s.Values[i]; v.N > 0 {
				any = true
				fmt.Fprintln(sum, s.ID, s.Instance, v)
			}
		}
		if at := b.Start + int64(i)*b.Step; any {
			into[at] = append(into[at], sum.Sum64())
		}
	}
	return nil
}

// addWaiting puts in the minutes of an agent's last words that nobody had
// acknowledged when it was gone: the collector may have them or not, and the
// device tells them when it comes back.
func (b Book) addWaiting(all map[int64][]uint64) {
	for at, sums := range all {
		all[at] = append(sums, sums...)
	}
	b.addMinutes(all)
}

// addMinutes puts the minutes of one device in.
func (b Book) addMinutes(all map[int64][]uint64) {
	for _, name := range []string{minutes, perhaps} {
		if b[name] == nil {
			b[name] = map[uint64]Report{}
		}
	}
	for _, at := range slices.Sorted(maps.Keys(all)) {
		name := minutes
		if len(all[at]) > 1 {
			name = perhaps
		}
		for _, sum := range all[at] {
			for ; ; sum++ { // the same values once more
				if _, ok := b[name][sum]; !ok {
					b[name][sum] = Report{}
					break
				}
			}
		}
	}
}

// tables are those of a whole collector, else its file would not open.
var tables = []db.Migrations{audit.Migrations, access.Migrations, fleet.Migrations, enroll.Migrations, health.Migrations, question.Migrations, rollout.Migrations}

// Stored adds all that a collector's SQLite file holds.
func (b Book) Stored(ctx context.Context, path string) error {
	d, err := db.Open(ctx, db.Config{Path: path, Migrations: tables, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Read(ctx, func(tx *db.Tx) error {
		if err := b.states(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT body FROM health_blocks`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			all := map[int64][]uint64{}
			if err := sums(body, all); err != nil {
				return err
			}
			b.addMinutes(all)
		}
		return rows.Close()
	})
}

func (b Book) states(ctx context.Context, tx *db.Tx) error {
	rows, err := tx.Query(ctx, `SELECT s.epoch, r.seq, r.device_ms, r.body
		FROM health_reports r JOIN health_spools s ON s.id = r.spool`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var epoch, body []byte
		var seq, deviceMS int64
		if err := rows.Scan(&epoch, &seq, &deviceMS, &body); err != nil {
			return err
		}
		state := &hmpb.State{}
		if err := proto.Unmarshal(body, state); err != nil {
			return err
		}
		if body, err = encode(state); err != nil {
			return err
		}
		if err := b.add(epoch, uint64(seq), Report{DeviceMS: deviceMS, Body: body}); err != nil {
			return err
		}
	}
	return rows.Close()
}

// encode writes equal states as equal bytes.
func encode(s *hmpb.State) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(s)
}

const mostShown = 20

// Differences says how stored is not what was produced, at most the first few.
func Differences(produced, stored Book) []string {
	var out []string
	for epoch, page := range produced {
		if epoch == perhaps {
			continue
		}
		for seq, want := range page {
			got, ok := stored[epoch][seq]
			switch {
			case !ok:
				out = append(out, fmt.Sprintf("report %d of spool %s is lost", seq, epoch))
			case got.DeviceMS != want.DeviceMS || !bytes.Equal(got.Body, want.Body):
				out = append(out, fmt.Sprintf("report %d of spool %s was changed", seq, epoch))
			}
		}
	}
	for epoch, page := range stored {
		for seq := range page {
			_, ok := produced[epoch][seq]
			if _, may := produced[perhaps][seq]; !ok && !may {
				out = append(out, fmt.Sprintf("report %d of spool %s was never made", seq, epoch))
			}
		}
	}
	slices.Sort(out)
	if len(out) > mostShown {
		out = append(out[:mostShown], fmt.Sprintf("... and %d more", len(out)-mostShown))
	}
	return out
}
