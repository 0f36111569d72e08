package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
)

// Owners are the owners that the caller may see, by name.
func (f *Fleet) Owners(ctx context.Context, caller access.Caller) ([]Owner, error) {
	if err := caller.Allow(access.ReadSchools); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("id", 1)
	var owners []Owner
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		owners = nil
		rows, err := tx.Query(ctx, `SELECT id, name FROM owners WHERE `+scope+` ORDER BY name_key`, args...)
		if err != nil {
			return err
		}
		for rows.Next() {
			var o Owner
			if err := rows.Scan(&o.ID, &o.Name); err != nil {
				return errors.Join(err, rows.Close())
			}
			owners = append(owners, o)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing owners: %w", err)
	}
	return owners, nil
}

// Schools are the schools that the caller may see, by owner and code, with the
// number of their devices.
func (f *Fleet) Schools(ctx context.Context, caller access.Caller) ([]School, error) {
	if err := caller.Allow(access.ReadSchools); err != nil {
		return nil, err
	}
	scope, args := caller.Scope("s.owner_id", 1)
	var schools []School
	err := f.db.Read(ctx, func(tx *db.Tx) error {
		schools = nil
		rows, err := tx.Query(ctx, `SELECT s.id, s.owner_id, o.name, s.code, s.name, s.kind, s.planned
			FROM schools s JOIN owners o ON o.id = s.owner_id WHERE `+scope+` ORDER BY o.name_key, s.code_key`, args...)
		if err != nil {
			return err
		}
		for rows.Next() {
			var s School
			if err := rows.Scan(&s.ID, &s.Owner, &s.OwnerName, &s.Code, &s.Name, &s.Kind, &s.Planned); err != nil {
				return errors.Join(err, rows.Close())
			}
			schools = append(schools, s)
		}
		if err := rows.Close(); err != nil {
			return err
		}
		return f.facts.read(ctx, tx, func() {
			devices := map[string]int64{}
			for _, d := range f.facts.all {
				devices[d.school]++
			}
			for i := range schools {
				schools[i].Devices = devices[schools[i].ID]
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing schools: %w", err)
	}
	return schools, nil
}

// Place gives the ids of the owner and school that a person means: an id or an
// owner's name, an id or a school's code; the school may be empty.
func (f *Fleet) Place(ctx context.Context, caller access.Caller, owner, school string) (ownerID, schoolID string, err error) {
	if err := caller.Allow(access.ReadSchools); err != nil {
		return "", "", err
	}
	err = f.db.Read(ctx, func(tx *db.Tx) error {
		ownerID, schoolID = "", ""
		err := tx.QueryRow(ctx, `SELECT id FROM owners WHERE id = $1 OR name_key = $2`, owner, fold(owner)).Scan(&ownerID)
		if errors.Is(err, db.ErrNoRows) || err == nil && !caller.Sees(ownerID) {
			return fmt.Errorf("owner %q: %w", owner, unknownHere)
		}
		if err != nil || school == "" {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT id FROM schools WHERE owner_id = $1 AND (id = $2 OR code_key = $3)`, ownerID, school, fold(school)).Scan(&schoolID)
		if errors.Is(err, db.ErrNoRows) {
			return fmt.Errorf("school %q: %w", school, unknownHere)
		}
		return err
	})
	if err != nil {
		return "", "", err
	}
	return ownerID, schoolID, nil
}

// AddOwner makes an owner, or finds the one of this name.
func (f *Fleet) AddOwner(ctx context.Context, caller access.Caller, name string) (Owner, error) {
	if err := caller.Allow(access.WriteSchools); err != nil {
		return Owner{}, err
	}
	var o Owner
	err := f.db.Write(ctx, func(tx *db.Tx) (err error) {
		o, _, err = f.ensureOwner(ctx, tx, caller, name)
		return err
	})
	return o, err
}

// ensureOwner finds or makes an owner. A caller who sees some owners only can
// make none, and does not learn of others.
func (f *Fleet) ensureOwner(ctx context.Context, tx *db.Tx, caller access.Caller, name string) (o Owner, made bool, err error) {
	if o.Name, err = text("the owner's name", name, 120); err != nil {
		return Owner{}, false, err
	}
	if o.Name == "" {
		return Owner{}, false, fmt.Errorf("%w: no owner", ErrInvalid)
	}
	err = tx.QueryRow(ctx, `SELECT id, name FROM owners WHERE name_key = $1`, fold(name)).Scan(&o.ID, &o.Name)
	switch {
	case err == nil && caller.Sees(o.ID):
		return o, false, nil
	case err != nil && !errors.Is(err, db.ErrNoRows):
		return Owner{}, false, err
	case err == nil || caller.Owners != nil:
		return Owner{}, false, fmt.Errorf("owner %q: %w", name, unknownHere)
	}
	now := f.now()
	o.ID = ident.NewID(now)
	if _, err := tx.Exec(ctx, `INSERT INTO owners (id, name, name_key, created_ms) VALUES ($1, $2, $3, $4)`, o.ID, o.Name, fold(o.Name), now.UnixMilli()); err != nil {
		return Owner{}, false, fmt.Errorf("adding owner %q: %w", o.Name, err)
	}
	return o, true, audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: "owner.added", Subject: "owner:" + o.ID, Owner: o.ID, AtMS: now.UnixMilli()})
}

// Import is what ImportSchools did.
type Import struct {
	Owners    int // added
	Added     int // schools
	Changed   int
	Unchanged int
	Encoding  Encoding // in which the file was read
	Errors    []LineError
}

// LineError is a line that was not taken over; the others were.
type LineError struct {
	Line int
	Text string
}

// ImportSchools adds and changes schools from a CSV file, UTF-8 or Windows-1252,
// with a head line that names the columns schul_id and schultraeger, and may have
// schulform, name and geraete, separated by semicolons or commas. Each school is
// one line, also within quotes. The same file again changes nothing. A school that the file does not name stays. Lines that cannot be
// used are told and left out; the rest is one transaction.
func (f *Fleet) ImportSchools(ctx context.Context, caller access.Caller, file io.Reader) (Import, error) {
	if err := caller.Allow(access.WriteSchools); err != nil {
		return Import{}, err
	}
	list, err := readSchools(file)
	if err != nil {
		return Import{}, err
	}
	var result Import
	err = f.db.Write(ctx, func(tx *db.Tx) error {
		result = Import{Encoding: list.encoding, Errors: slices.Clone(list.bad)}
		owners := map[string]Owner{}
		for _, r := range list.rows {
			err := f.importRow(ctx, tx, caller, r, owners, &result)
			switch {
			case errors.Is(err, ErrInvalid) || errors.Is(err, unknownHere):
				result.Errors = append(result.Errors, LineError{r.line, err.Error()})
			case err != nil:
				return err
			}
		}
		slices.SortFunc(result.Errors, func(a, b LineError) int { return cmp.Compare(a.Line, b.Line) })
		return nil
	})
	if err != nil {
		return Import{}, fmt.Errorf("importing schools: %w", err)
	}
	return result, nil
}

func (f *Fleet) importRow(ctx context.Context, tx *db.Tx, caller access.Caller, r schoolRow, owners map[string]Owner, result *Import) error {
	o, ok := owners[r.owner]
	if !ok {
		var made bool
		var err error
		if o, made, err = f.ensureOwner(ctx, tx, caller, r.owner); err != nil {
			return err
		}
		if made {
			result.Owners++
		}
		owners[r.owner] = o
	}
	var s School
	now := f.now()
	err := tx.QueryRow(ctx, `SELECT id, code, name, kind, planned FROM schools WHERE owner_id = $1 AND code_key = $2`, o.ID, fold(r.code)).
		Scan(&s.ID, &s.Code, &s.Name, &s.Kind, &s.Planned)
	action := "school.changed"
	switch {
	case errors.Is(err, db.ErrNoRows):
		action = "school.added"
		s.ID = ident.NewID(now)
		_, err = tx.Exec(ctx, `INSERT INTO schools (id, owner_id, code, code_key, name, kind, planned, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			s.ID, o.ID, r.code, fold(r.code), r.name, r.kind, r.planned, now.UnixMilli())
		result.Added++
	case err != nil:
	case s.Code == r.code && s.Name == r.name && s.Kind == r.kind && s.Planned == r.planned:
		result.Unchanged++
		return nil
	default:
		_, err = tx.Exec(ctx, `UPDATE schools SET code = $2, name = $3, kind = $4, planned = $5 WHERE id = $1`, s.ID, r.code, r.name, r.kind, r.planned)
		if err == nil {
			err = searchAnew(ctx, tx, School{ID: s.ID, Code: r.code, Name: r.name, Kind: r.kind})
		}
		result.Changed++
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", r.line, err)
	}
	return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: action, Subject: "school:" + s.ID, Owner: o.ID,
		AtMS: now.UnixMilli(), Details: map[string]string{"code": r.code}})
}

// ChangeSchool changes number, name or kind of a school; whose it is stays. A number
// that another school of the owner has is access.ErrExists.
func (f *Fleet) ChangeSchool(ctx context.Context, caller access.Caller, id string, change func(*School)) (School, error) {
	if err := caller.Allow(access.WriteSchools); err != nil {
		return School{}, err
	}
	var s School
	err := f.db.Write(ctx, func(tx *db.Tx) error {
		was, err := seenSchool(ctx, tx, caller, id)
		if err != nil {
			return err
		}
		asked := was
		change(&asked)
		if s, err = was.with(asked); err != nil || s == was {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE schools SET code = $2, code_key = $3, name = $4, kind = $5 WHERE id = $1`, s.ID, s.Code, fold(s.Code), s.Name, s.Kind)
		if errors.Is(err, db.ErrUnique) {
			return fmt.Errorf("%w: a school with the number %q", access.ErrExists, s.Code)
		}
		if err != nil {
			return err
		}
		if err := searchAnew(ctx, tx, s); err != nil {
			return err
		}
		details := map[string]string{"code": s.Code}
		for _, d := range []struct{ key, now, before string }{{"code", s.Code, was.Code}, {"name", s.Name, was.Name}, {"kind", s.Kind, was.Kind}} {
			if d.now != d.before {
				details[d.key], details[d.key+"_before"] = d.now, d.before
			}
		}
		return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: "school.changed", Subject: "school:" + s.ID, Owner: s.Owner,
			AtMS: f.now().UnixMilli(), Details: details})
	})
	if err != nil {
		return School{}, fmt.Errorf("changing a school: %w", err)
	}
	return s, nil
}

// with is the school with what may be changed of it, checked as a list of schools is.
func (s School) with(asked School) (School, error) {
	var err error
	if s.Code, err = text("the school's number", asked.Code, 32); err != nil {
		return s, err
	}
	if fold(s.Code) == "" {
		return s, fmt.Errorf("%w: the school's number has no letter and no digit", ErrInvalid)
	}
	if s.Name, err = text("the school's name", asked.Name, 120); err != nil {
		return s, err
	}
	s.Kind, err = text("the kind of school", asked.Kind, 80)
	return s, err
}

// RenameOwner gives an owner another name. A name that another owner has is
// access.ErrExists. A list of schools finds its owners by name, so it has to say the
// new one from then on.
func (f *Fleet) RenameOwner(ctx context.Context, caller access.Caller, id, name string) (Owner, error) {
	if err := caller.Allow(access.WriteSchools); err != nil {
		return Owner{}, err
	}
	if !caller.Sees(id) {
		return Owner{}, fmt.Errorf("owner: %w", unknownHere)
	}
	name, err := text("the owner's name", name, 120)
	if err != nil {
		return Owner{}, err
	}
	if fold(name) == "" {
		return Owner{}, fmt.Errorf("%w: the owner's name has no letter and no digit", ErrInvalid)
	}
	err = f.db.Write(ctx, func(tx *db.Tx) error {
		var was string
		err := tx.QueryRow(ctx, `SELECT name FROM owners WHERE id = $1`, id).Scan(&was)
		if errors.Is(err, db.ErrNoRows) {
			return unknownHere
		}
		if err != nil || was == name {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE owners SET name = $2, name_key = $3 WHERE id = $1`, id, name, fold(name))
		if errors.Is(err, db.ErrUnique) {
			return fmt.Errorf("%w: an owner of this name", access.ErrExists) // another's name is not told
		}
		if err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: "owner.changed", Subject: "owner:" + id, Owner: id,
			AtMS: f.now().UnixMilli(), Details: map[string]string{"name": name, "name_before": was}})
	})
	if err != nil {
		return Owner{}, fmt.Errorf("renaming an owner: %w", err)
	}
	return Owner{ID: id, Name: name}, nil
}

// searchAnew writes the search text of a school's devices after its names
// changed: a few hundred at most.
func searchAnew(ctx context.Context, tx *db.Tx, s School) error {
	rows, err := tx.Query(ctx, `SELECT id, COALESCE(inventory, ''), serial, manufacturer, model FROM devices WHERE school_id = $1`, s.ID)
	if err != nil {
		return err
	}
	texts := map[string]string{}
	for rows.Next() {
		var d Device
		if err := rows.Scan(&d.ID, &d.Inventory, &d.Serial, &d.Manufacturer, &d.Model); err != nil {
			return errors.Join(err, rows.Close())
		}
		texts[d.ID] = searchText(d.Inventory, d.Serial, d.Manufacturer, d.Model, s)
	}
	if err := rows.Close(); err != nil {
		return err
	}
	for id, t := range texts {
		if _, err := tx.Exec(ctx, `UPDATE devices SET search = $2, revision = `+nextRevision+` WHERE id = $1`, id, t); err != nil {
			return err
		}
	}
	return nil
}
