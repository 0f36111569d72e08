package health

import (
	"context"
	"errors"
	"fmt"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
)

// Begin notes that a session of the device began which uses the spool of this
// epoch and comes from an agent of this version (empty = unknown), and returns the
// highest sequence of the spool that is stored or stepped over. The number of a session is higher than that of any begun earlier on
// this store since ClearSessions; one that comes late changes nothing.
func (h *Health) Begin(ctx context.Context, device access.Caller, session int64, epoch []byte, version string) (cursor uint64, err error) {
	if err := device.Allow(access.SendReports); err != nil {
		return 0, err
	}
	if len(epoch) != EpochSize {
		return 0, fmt.Errorf("%w: spool epoch of %d bytes", ErrMalformed, len(epoch))
	}
	now := h.now().UnixMilli()
	day := now / dayMS
	var last int64
	var fresh bool
	err = h.db.Write(ctx, func(tx *db.Tx) error {
		known, err := db.Texts(ctx, tx, `SELECT device_id FROM health_state WHERE device_id = $1`, device.ID)
		if err != nil {
			return err
		}
		if fresh = len(known) == 0; fresh {
			if err := noteChange(ctx, tx, device.ID, DeviceAppeared, "", "", 0, now); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `INSERT INTO health_state (device_id, session, epoch, last_contact_day, began_ms, contact_ms) VALUES ($1, $2, $3, $4, $5, $5)
			ON CONFLICT (device_id) DO UPDATE SET session = excluded.session, epoch = excluded.epoch, last_contact_day = excluded.last_contact_day,
				began_ms = excluded.began_ms, contact_ms = excluded.contact_ms
			WHERE health_state.session < excluded.session`, device.ID, session, epoch, day, now)
		if err != nil {
			return err
		}
		if err := noteAgent(ctx, tx, device.ID, version, day); err != nil {
			return err
		}
		last = 0
		err = tx.QueryRow(ctx, `SELECT last_seq FROM health_spools WHERE device_id = $1 AND epoch = $2`, device.ID, epoch).Scan(&last)
		if errors.Is(err, db.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("noting a session: %w", err)
	}
	if fresh {
		owner := ""
		if len(device.Owners) == 1 {
			owner = device.Owners[0]
		}
		h.noted(device.ID, owner)
	}
	return uint64(last), nil
}

// End notes that the session ended, unless a newer one began meanwhile.
func (h *Health) End(ctx context.Context, device access.Caller, session int64) error {
	if err := device.Allow(access.SendReports); err != nil {
		return err
	}
	now := h.now().UnixMilli()
	err := h.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE health_state SET session = 0, last_contact_day = $3, contact_ms = $4 WHERE device_id = $1 AND session = $2`,
			device.ID, session, now/dayMS, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting the end of a session: %w", err)
	}
	return nil
}

// ClearSessions notes that no session is open: what the start of a collector
// begins with, since one that died could not say so.
func (h *Health) ClearSessions(ctx context.Context) error {
	err := h.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE health_state SET session = 0 WHERE session <> 0`)
		return err
	})
	if err != nil {
		return fmt.Errorf("clearing the sessions of an earlier run: %w", err)
	}
	return nil
}

// Ingest stores a batch of the device and returns the answer to send: only
// after it returned nil may anything be sent. ErrMalformed means that the
// session must end; any other error that nothing was stored and the device
// should try again later.
func (h *Health) Ingest(ctx context.Context, device access.Caller, b *hmpb.Batch) (*hmpb.ReportDown, error) {
	if err := device.Allow(access.SendReports); err != nil {
		return nil, err
	}
	h.count.batches.Add(1)
	now := h.now().UnixMilli()
	p, err := parse(b, now)
	if err != nil {
		h.count.malformed.Add(1)
		return nil, err
	}
	var did outcome
	err = h.db.Write(ctx, func(tx *db.Tx) (err error) {
		did, err = h.store(ctx, tx, device.ID, &p, now)
		return err
	})
	if err != nil {
		h.count.storeErrors.Add(1)
		return nil, fmt.Errorf("storing a batch: %w", err)
	}
	h.counted(&p, &did)
	if did.late {
		select {
		case h.late <- struct{}{}:
		default: // it is known already
		}
	}
	if did.news || did.other {
		e := bus.Event{Kind: bus.Changed, Device: device.ID}
		if len(device.Owners) == 1 {
			e.Owner = device.Owners[0]
		}
		h.bus.Publish(e)
		if did.noted {
			h.noted(device.ID, e.Owner)
		}
	}
	return did.answer(h.now().UnixMilli()), nil
}

// counted is called once, after the commit: what a transaction does may be
// done twice.
func (h *Health) counted(p *parsed, did *outcome) {
	c := &h.count
	c.stored.Add(did.stored)
	c.duplicates.Add(did.duplicates)
	c.dropped.Add(did.dropped)
	c.thinned.Add(did.thinned)
	if did.gap {
		c.gaps.Add(1)
	}
	if did.stored == 0 {
		return // its readings were counted when they came first
	}
	c.future.Add(p.future)
	c.past.Add(p.past)
	c.unknownReadings.Add(p.unknownReadings)
	c.badReadings.Add(p.badReadings)
	c.badBlocks.Add(p.badBlocks)
	c.badFindings.Add(p.badFindings)
	c.badInventories.Add(p.badInventories)
}

// outcome is what one run of a batch's transaction did.
type outcome struct {
	last               uint64 // the cursor after it
	stored, duplicates uint64
	dropped, thinned   uint64 // sequences
	gap                bool   // an unnamed one: resend from last+1
	rest               bool   // the batch was too long: resend from last+1
	news               bool   // the latest state changed
	late               bool   // minutes came for a day that is over
	noted              bool   // a finding came
	other              bool   // something else came that a page may show
}

func (o *outcome) answer(nowMS int64) *hmpb.ReportDown {
	if o.gap || o.rest {
		return hmpb.ReportDown_builder{Resend: hmpb.Resend_builder{FromSeq: new(o.last + 1), TimeMs: &nowMS}.Build()}.Build()
	}
	return hmpb.ReportDown_builder{Ack: hmpb.Ack_builder{ThroughSeq: &o.last, TimeMs: &nowMS}.Build()}.Build()
}

// store is the body of a batch's transaction: rows and cursor together.
func (h *Health) store(ctx context.Context, tx *db.Tx, device string, p *parsed, nowMS int64) (outcome, error) {
	var did outcome
	var spool, last int64
	c := clock{nowMS: nowMS}
	err := tx.QueryRow(ctx, `SELECT id, last_seq, at_ms, offset_ms FROM health_spools WHERE device_id = $1 AND epoch = $2`, device, p.epoch).
		Scan(&spool, &last, &c.leastMS, &c.offset)
	fresh := errors.Is(err, db.ErrNoRows)
	if err != nil && !fresh {
		return did, err
	}
	did.last = uint64(last)
	news := did.run(p)
	did.rest = p.rest > did.last && !did.gap
	if did.last == uint64(last) {
		return did, nil // nothing new: acknowledged, not stored
	}
	c.leastMS = max(c.leastMS, nowMS-mostWaited.Milliseconds())
	for _, r := range news {
		if r.block == nil { // which has its own times, that the device put right
			r.atMS = c.date(r)
		}
	}
	if fresh {
		spool, err = newSpool(ctx, tx, device, p.epoch, did, c)
	} else {
		_, err = tx.Exec(ctx, `UPDATE health_spools SET last_seq = $2, dropped = dropped + $3, used_ms = $4, at_ms = $5, offset_ms = $6 WHERE id = $1`,
			spool, int64(did.last), int64(did.dropped), toDay(nowMS), c.leastMS, c.offset)
	}
	if err != nil {
		return did, err
	}
	var state *report
	for _, r := range news {
		if err := h.put(ctx, tx, device, spool, r, nowMS); err != nil {
			return did, err
		}
		did.late = did.late || r.block != nil && r.block.startMS < daysOver(nowMS)
		did.other = did.other || r.finding != nil || r.inventory != nil || r.block != nil || r.update != nil
		did.noted = did.noted || r.finding != nil
		if r.state {
			state = r
		}
	}
	if did.news, err = latest(ctx, tx, device, p.epoch, fresh, spool, state, nowMS); err != nil || !did.noted {
		return did, err
	}
	return did, noteWorst(ctx, tx, device)
}

// put stores one report where its kind belongs.
func (h *Health) put(ctx context.Context, tx *db.Tx, device string, spool int64, r *report, nowMS int64) error {
	switch {
	case r.block != nil:
		return r.block.store(ctx, tx, device, spool, r.seq)
	case r.finding != nil:
		return storeFinding(ctx, tx, device, spool, r, nowMS)
	case r.inventory != nil:
		return storeInventory(ctx, tx, device, r.inventory, r.atMS)
	case r.update != nil && h.updates != nil:
		return h.updates.Told(ctx, tx, device, r.update, nowMS)
	}
	_, err := tx.Exec(ctx, `INSERT INTO health_reports (spool, seq, device_ms, collector_ms, marks, body) VALUES ($1, $2, $3, $4, $5, $6)`,
		spool, r.seq, r.deviceMS, nowMS, r.marks, r.body)
	return err
}

// newSpool notes a spool that was not seen before, and gives its short id.
// Writes are serial, so nobody else takes that (see db.Write).
func newSpool(ctx context.Context, tx *db.Tx, device string, epoch []byte, did outcome, c clock) (id int64, err error) {
	if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(id), 0) + 1 FROM health_spools`).Scan(&id); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO health_spools (id, device_id, epoch, last_seq, dropped, used_ms, at_ms, offset_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		id, device, epoch, int64(did.last), int64(did.dropped), toDay(c.nowMS), c.leastMS, c.offset)
	return id, err
}

// run walks the batch from the cursor and returns the reports that are new, up
// to the first gap. It stops there: what comes behind a gap cannot be stored
// under a cumulative cursor, and is sent again with what was missing.
func (o *outcome) run(p *parsed) (news []*report) {
	for _, it := range p.items {
		switch {
		case it.to <= o.last:
			if it.report != nil {
				o.duplicates++
			}
		case it.from > o.last+1:
			o.gap = true
			return news
		case it.report != nil:
			news = append(news, it.report)
			o.stored++
			o.last = it.to
		case it.thinned:
			o.thinned += it.to - o.last
			o.last = it.to
		default:
			o.dropped += it.to - o.last
			o.last = it.to
		}
	}
	return news
}

// latest makes the newest state of a batch the device's, if the batch is of the
// spool that the device uses now. A spool never seen before is that.
func latest(ctx context.Context, tx *db.Tx, device string, epoch []byte, fresh bool, spool int64, state *report, nowMS int64) (bool, error) {
	day := nowMS / dayMS
	if fresh {
		_, err := tx.Exec(ctx, `INSERT INTO health_state (device_id, session, epoch, last_contact_day) VALUES ($1, 0, $2, $3)
			ON CONFLICT (device_id) DO UPDATE SET epoch = excluded.epoch`, device, epoch, day)
		if err != nil {
			return false, err
		}
	}
	if state == nil {
		return false, nil
	}
	g := state.glance
	n, err := tx.Exec(ctx, `UPDATE health_state SET latest_spool = $3, latest_seq = $4, last_contact_day = $5, contact_ms = $13,
			battery_permille = $6, disk_free_bytes = $7, disk_free_permille = $8, os_build = $9, path = $10, trouble = $11, issuer = $12 WHERE device_id = $1 AND epoch = $2`,
		device, epoch, spool, state.seq, day, g.battery, g.diskFree, g.diskPermille, g.system, g.path, g.trouble, g.issuer, nowMS)
	return n > 0, err
}

// Unavailable says whether an error means that the database cannot store now
// and the device should come again later.
func Unavailable(err error) bool {
	return errors.Is(err, db.ErrFull) || errors.Is(err, db.ErrUnavailable)
}
