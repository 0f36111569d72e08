package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// Admit finds or makes the record of hardware that came with a claim of this
// owner, in the transaction of the enrolment, whose audit entry is the one for
// both. A record of the same owner is kept with its history (known: a re-image);
// that of another owner is ident.ErrOtherOwner, hardware that cannot be told
// from others ErrRefused. Owner and school are ids, school may be empty.
func (f *Fleet) Admit(ctx context.Context, tx *db.Tx, caller access.Caller, owner, school string, hw ident.Hardware) (device string, known bool, err error) {
	if err := caller.Allow(access.EnrolDevices); err != nil {
		return "", false, err
	}
	key := hw.Key()
	if key == "" {
		return "", false, fmt.Errorf("%w: it names neither a serial of use nor an install id", ErrRefused)
	}
	var was, inventory, oldSchool string
	err = tx.QueryRow(ctx, `SELECT id, owner_id, COALESCE(inventory, ''), COALESCE(school_id, '') FROM devices WHERE hardware = $1`, key).
		Scan(&device, &was, &inventory, &oldSchool)
	switch {
	case errors.Is(err, db.ErrNoRows):
		device, err = f.create(ctx, tx, owner, school, key, hw)
		return device, false, err
	case err != nil:
		return "", false, fmt.Errorf("looking for the device's record: %w", err)
	case was != owner:
		return "", false, fmt.Errorf("admitting a device: %w", ident.ErrOtherOwner)
	}
	if school == "" {
		school = oldSchool
	}
	s, err := schoolOf(ctx, tx, owner, school)
	if err != nil {
		return "", false, err
	}
	serial := shownSerial(hw)
	_, err = tx.Exec(ctx, `UPDATE devices SET school_id = $2, manufacturer = $3, model = $4, serial = $5, os = $6,
			label_key = $7, search = $8, reimaged_ms = $9, reimages = reimages + 1, revision = `+nextRevision+`,
			school_by = CASE WHEN COALESCE(school_id, '') = $10 THEN school_by ELSE $11 END WHERE id = $1`,
		device, orNull(school), hw.Manufacturer, hw.Model, serial, hw.OS,
		naturalKey(label(inventory, serial, device)), searchText(inventory, serial, hw.Manufacturer, hw.Model, s), f.now().UnixMilli(), school, ident.NewID(f.now()))
	if err != nil {
		return "", false, fmt.Errorf("renewing the device's record: %w", err)
	}
	return device, true, nil
}

func (f *Fleet) create(ctx context.Context, tx *db.Tx, owner, school, key string, hw ident.Hardware) (string, error) {
	s, err := schoolOf(ctx, tx, owner, school)
	if err != nil {
		return "", err
	}
	now := f.now()
	id, serial := ident.NewID(now), shownSerial(hw)
	_, err = tx.Exec(ctx, `INSERT INTO devices (id, owner_id, school_id, hardware, manufacturer, model, serial, os,
			label_key, search, admitted_ms, reimages, number, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0,
			(SELECT COALESCE(MAX(number), 0) + 1 FROM devices), `+nextRevision+`)`,
		id, owner, orNull(school), key, hw.Manufacturer, hw.Model, serial, hw.OS,
		naturalKey(label("", serial, id)), searchText("", serial, hw.Manufacturer, hw.Model, s), now.UnixMilli())
	if err != nil {
		return "", fmt.Errorf("making the device's record: %w", err)
	}
	return id, nil
}

// Owner gives the owner of a device, or db.ErrNoRows.
func (f *Fleet) Owner(ctx context.Context, tx *db.Tx, device string) (owner string, err error) {
	err = tx.QueryRow(ctx, `SELECT owner_id FROM devices WHERE id = $1`, device).Scan(&owner)
	return owner, err
}

// CheckPlace says whether owner and school (unless empty) exist, belong
// together and may be seen by the caller; else access.ErrNotFound. Both are ids.
func (f *Fleet) CheckPlace(ctx context.Context, tx *db.Tx, caller access.Caller, owner, school string) error {
	var id string
	err := tx.QueryRow(ctx, `SELECT id FROM owners WHERE id = $1`, owner).Scan(&id)
	if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(owner) {
		return fmt.Errorf("owner %q: %w", owner, unknownHere)
	}
	if err == nil {
		_, err = schoolOf(ctx, tx, owner, school)
	}
	if errors.Is(err, ErrRefused) {
		return fmt.Errorf("school %q: %w", school, unknownHere)
	}
	return err
}

// shownSerial leaves out what is no serial: a page with forty devices called
// "To be filled by O.E.M." helps nobody.
func shownSerial(hw ident.Hardware) string {
	if hw.UsableSerial() {
		return hw.Serial
	}
	return ""
}

// schoolOf reads a school of this owner; the zero School for an empty id.
func schoolOf(ctx context.Context, tx *db.Tx, owner, id string) (School, error) {
	if id == "" {
		return School{}, nil
	}
	s := School{ID: id}
	err := tx.QueryRow(ctx, `SELECT owner_id, code, name, kind FROM schools WHERE id = $1 AND owner_id = $2`, id, owner).
		Scan(&s.Owner, &s.Code, &s.Name, &s.Kind)
	if errors.Is(err, db.ErrNoRows) {
		return School{}, fmt.Errorf("%w: the owner has no such school", ErrRefused)
	}
	return s, err
}

// Device gives one device, or access.ErrNotFound.
func (f *Fleet) Device(ctx context.Context, caller access.Caller, id string) (Device, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Device{}, err
	}
	var d Device
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		q := f.query(caller, Filter{})
		q.where("d.id = ?", id)
		items, err := q.devices(ctx, tx, 1)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return unknownHere
		}
		found := []Device{items[0].Device}
		err = Details{}.fill(ctx, tx, found)
		d = found[0]
		if err != nil {
			return err
		}
		var ms int64
		err = tx.QueryRow(ctx, `SELECT admitted_ms FROM devices WHERE id = $1`, d.ID).Scan(&ms)
		d.Admitted = time.UnixMilli(ms).UTC()
		return err
	})
	if errors.Is(err, db.ErrNoRows) { // no text that an id can be
		err = unknownHere
	}
	return d, err
}

// Devices gives those of these devices that the caller may see, at most
// MaxLimit, in the order of the ids.
func (f *Fleet) Devices(ctx context.Context, caller access.Caller, ids []string) ([]Device, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	if len(ids) > MaxLimit {
		return nil, fmt.Errorf("%w: more than %d devices at once", ErrInvalid, MaxLimit)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var out []Device
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		q := f.query(caller, Filter{})
		marks, values := make([]string, len(ids)), make([]any, len(ids))
		for i, id := range ids {
			marks[i], values[i] = "?", id
		}
		q.where("d.id IN ("+strings.Join(marks, ", ")+")", values...)
		items, err := q.devices(ctx, tx, len(ids))
		if err != nil {
			return err
		}
		byID := make(map[string]Device, len(items))
		for _, it := range items {
			byID[it.ID] = it.Device
		}
		out = make([]Device, 0, len(items))
		for _, id := range ids {
			if d, ok := byID[id]; ok {
				out = append(out, d)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading devices: %w", err)
	}
	return out, nil
}

// FindDevice gives the id of the device that a person means: by id, inventory
// number or serial. Several with one serial are ErrInvalid.
func (f *Fleet) FindDevice(ctx context.Context, caller access.Caller, name string) (string, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return "", err
	}
	scope, args := caller.Scope("owner_id", 4)
	args = append([]any{name, fold(name), ident.SerialKey(name)}, args...)
	var found []string
	err := f.db.Read(ctx, func(tx *db.Tx) (err error) {
		found, err = db.Texts(ctx, tx, `SELECT id FROM devices WHERE (id = $1 OR inventory_key = $2 OR replace(upper(serial), ' ', '') = $3) AND `+scope+` LIMIT 2`, args...)
		return err
	})
	switch {
	case err != nil && !errors.Is(err, db.ErrNoRows):
		return "", fmt.Errorf("looking for device %q: %w", name, err)
	case len(found) == 0:
		return "", unknownHere
	case len(found) > 1:
		return "", fmt.Errorf("%w: %q names more than one device; give its id", ErrInvalid, name)
	}
	return found[0], nil
}

// SetInventory gives a device its inventory number, unique within its owner
// without regard to case; empty takes it away.
func (f *Fleet) SetInventory(ctx context.Context, caller access.Caller, device, number string) error {
	if err := caller.Allow(access.WriteDevices); err != nil {
		return err
	}
	number, err := text("inventory number", number, 64)
	if err != nil {
		return err
	}
	return f.db.Write(ctx, func(tx *db.Tx) error {
		d, err := ownDevice(ctx, tx, caller, device)
		if err != nil {
			return err
		}
		if d.Inventory == number {
			return nil
		}
		if number != "" {
			var other string
			err := tx.QueryRow(ctx, `SELECT id FROM devices WHERE owner_id = $1 AND inventory_key = $2 AND id <> $3`, d.Owner, fold(number), device).Scan(&other)
			if err == nil {
				return ErrInventoryTaken
			}
			if !errors.Is(err, db.ErrNoRows) {
				return err
			}
		}
		s, err := schoolOf(ctx, tx, d.Owner, d.School)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE devices SET inventory = $2, inventory_key = $3, label_key = $4, search = $5, revision = `+nextRevision+` WHERE id = $1`,
			device, orNull(number), orNull(fold(number)), naturalKey(label(number, d.Serial, device)),
			searchText(number, d.Serial, d.Manufacturer, d.Model, s))
		if err != nil {
			return fmt.Errorf("setting the inventory number: %w", err)
		}
		return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: "device.inventory_set", Subject: "device:" + device, Owner: d.Owner,
			AtMS: f.now().UnixMilli(), Details: map[string]string{"inventory": number, "before": d.Inventory}})
	})
}

// SetSchool moves a device to another school of its owner; empty takes it out
// of any.
func (f *Fleet) SetSchool(ctx context.Context, caller access.Caller, device, school string) error {
	if err := caller.Allow(access.WriteDevices); err != nil {
		return err
	}
	return f.db.Write(ctx, func(tx *db.Tx) error {
		d, err := ownDevice(ctx, tx, caller, device)
		if err != nil {
			return err
		}
		if d.School == school {
			return nil
		}
		s, err := schoolOf(ctx, tx, d.Owner, school)
		if errors.Is(err, ErrRefused) {
			return unknownHere
		}
		if err != nil {
			return err
		}
		if err := moveTo(ctx, tx, d, s, ident.NewID(f.now())); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: "device.moved", Subject: "device:" + device, Owner: d.Owner,
			AtMS: f.now().UnixMilli(), Details: map[string]string{"school": school, "before": d.School}})
	})
}

// ownDevice reads what changes of a device need, if the caller may see it.
func ownDevice(ctx context.Context, tx *db.Tx, caller access.Caller, id string) (Device, error) {
	d := Device{ID: id}
	err := tx.QueryRow(ctx, `SELECT owner_id, COALESCE(school_id, ''), manufacturer, model, serial, COALESCE(inventory, '') FROM devices WHERE id = $1`, id).
		Scan(&d.Owner, &d.School, &d.Manufacturer, &d.Model, &d.Serial, &d.Inventory)
	if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(d.Owner) {
		return Device{}, unknownHere
	}
	return d, err
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
