package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// Bounds of a list of standard software; the agent holds to them too.
const (
	MaxStandard = 64 // programs of one owner
	MaxNames    = 7  // alternatives of one program; a device takes one more, the label
)

// ErrStandard: an entry that cannot be; the text says why.
var ErrStandard = errors.New("not a valid program of the standard software")

// Standard is a program that each device of an owner must have.
type Standard struct {
	Label        string   // what people call it; the first of Names unless said
	Names        []string // of package lists, without case; alternatives
	LeastVersion string   // empty = any
}

// named are the names that a device hears: the first is what its findings say.
func (s *Standard) named() []string {
	if slices.Contains(s.Names, s.Label) {
		return append([]string{s.Label}, slices.DeleteFunc(slices.Clone(s.Names), func(n string) bool { return n == s.Label })...)
	}
	return append([]string{s.Label}, s.Names...)
}

func (s *Standard) check() error {
	if s.Label == "" && len(s.Names) > 0 {
		s.Label = s.Names[0]
	}
	switch {
	case len(s.Names) == 0 || len(s.Names) > MaxNames:
		return fmt.Errorf("%w: it needs 1 to %d package names", ErrStandard, MaxNames)
	case s.LeastVersion != "" && !strings.ContainsAny(s.LeastVersion, "0123456789"):
		return fmt.Errorf("%w: %.64q is no version", ErrStandard, s.LeastVersion)
	case !reading.Printable(s.Label, reading.MaxText) || !reading.Printable(s.LeastVersion, 64):
		return fmt.Errorf("%w: name or version is too long or not printable", ErrStandard)
	}
	for _, name := range s.Names {
		if strings.TrimSpace(name) == "" || !reading.Printable(name, reading.MaxText) {
			return fmt.Errorf("%w: package name %.64q", ErrStandard, name)
		}
	}
	return nil
}

// SetStandard adds a program to an owner's list, or replaces the one of its label.
func (h *Health) SetStandard(ctx context.Context, caller access.Caller, owner string, s Standard) error {
	if err := allowStandard(caller, owner); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	names, err := json.Marshal(s.Names)
	if err != nil {
		return err
	}
	return h.changeStandard(ctx, caller, owner, "standard_software.set", s.Label, func(tx *db.Tx) error {
		var others int64
		err := tx.QueryRow(ctx, `SELECT count(*) FROM health_standard WHERE owner_id = $1 AND label <> $2`, owner, s.Label).Scan(&others)
		if err != nil {
			return err
		}
		if others >= MaxStandard {
			return fmt.Errorf("%w: a list has at most %d programs", ErrStandard, MaxStandard)
		}
		_, err = tx.Exec(ctx, `INSERT INTO health_standard (owner_id, label, names, least_version, changed_ms) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (owner_id, label) DO UPDATE SET names = excluded.names, least_version = excluded.least_version, changed_ms = excluded.changed_ms`,
			owner, s.Label, string(names), s.LeastVersion, h.now().UnixMilli())
		return err
	})
}

// RemoveStandard takes a program off an owner's list.
func (h *Health) RemoveStandard(ctx context.Context, caller access.Caller, owner, label string) error {
	if err := allowStandard(caller, owner); err != nil {
		return err
	}
	return h.changeStandard(ctx, caller, owner, "standard_software.removed", label, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM health_standard WHERE owner_id = $1 AND label = $2`, owner, label)
		if err == nil && n == 0 {
			return access.ErrNotFound
		}
		return err
	})
}

func allowStandard(caller access.Caller, owner string) error {
	if err := caller.Allow(access.WriteSettings); err != nil {
		return err
	}
	if !caller.Sees(owner) {
		return access.ErrNotFound
	}
	return nil
}

// changeStandard audits a change in its transaction and tells the devices.
func (h *Health) changeStandard(ctx context.Context, caller access.Caller, owner, action, label string, change func(*db.Tx) error) error {
	err := h.db.Write(ctx, func(tx *db.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{AtMS: h.now().UnixMilli(), Actor: caller.Actor(), Action: action,
			Subject: "owner:" + owner, Owner: owner, Details: map[string]string{"program": label}})
	})
	if err != nil {
		return fmt.Errorf("changing the standard software: %w", err)
	}
	h.bus.Publish(bus.Event{Kind: bus.Settings, Owner: owner})
	return nil
}

// Standard lists an owner's programs by their labels.
func (h *Health) Standard(ctx context.Context, caller access.Caller, owner string) ([]Standard, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	if !caller.Sees(owner) {
		return nil, access.ErrNotFound
	}
	return h.standard(ctx, owner)
}

func (h *Health) standard(ctx context.Context, owner string) (out []Standard, err error) {
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		rows, err := tx.Query(ctx, `SELECT label, names, least_version FROM health_standard WHERE owner_id = $1 ORDER BY label`, owner)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s Standard
			var names string
			if err := rows.Scan(&s.Label, &names, &s.LeastVersion); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(names), &s.Names); err != nil {
				return fmt.Errorf("decoding the names of %s: %w", s.Label, err)
			}
			out = append(out, s)
		}
		return rows.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("listing the standard software: %w", err)
	}
	return out, nil
}

// Settings are what a device's owner wants of it. The zero list is said too, so
// that a device forgets an older one.
func (h *Health) Settings(ctx context.Context, device access.Caller) (*hmpb.Settings, error) {
	if err := device.Allow(access.SendReports); err != nil {
		return nil, err
	}
	set := &hmpb.Settings{}
	if len(device.Owners) != 1 {
		return set, nil
	}
	list, err := h.standard(ctx, device.Owners[0])
	if err != nil {
		return nil, err
	}
	programs := make([]*hmpb.StandardSoftware, len(list))
	for i, s := range list {
		programs[i] = hmpb.StandardSoftware_builder{Names: s.named(), LeastVersion: &s.LeastVersion}.Build()
	}
	set.SetStandardSoftware(programs)
	return set, nil
}
