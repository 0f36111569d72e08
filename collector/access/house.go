package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
)

// House is how the pages look to people who chose nothing else. An empty value
// leaves it to their browser.
type House struct {
	Language, Theme string // as HouseLanguages and HouseThemes say
	Changed         time.Time
	By              string // Caller.Actor of the last change, empty = never changed
}

// The values that a House can have, beside none.
var (
	HouseLanguages = []string{"de", "en"}
	HouseThemes    = []string{"light", "dark"}
)

// House tells it to anybody: a page looks like something before anybody signs in.
func (s *Service) House(ctx context.Context) (h House, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		h, err = readHouse(ctx, tx)
		return err
	})
	if err != nil {
		return House{}, fmt.Errorf("reading how the pages look: %w", err)
	}
	return h, nil
}

func readHouse(ctx context.Context, tx *db.Tx) (h House, err error) {
	rows, err := tx.Query(ctx, `SELECT name, value, changed_ms, actor FROM house`)
	if err != nil {
		return h, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, value, actor string
		var changed int64
		if err := rows.Scan(&name, &value, &changed, &actor); err != nil {
			return h, err
		}
		switch name {
		case "language":
			h.Language = value
		case "theme":
			h.Theme = value
		default:
			continue
		}
		if at := time.UnixMilli(changed).UTC(); at.After(h.Changed) {
			h.Changed, h.By = at, actor
		}
	}
	return h, rows.Close()
}

// SetHouse changes how the pages look to people who chose nothing else. It concerns
// everybody, so only who sees everybody's data may do it.
func (s *Service) SetHouse(ctx context.Context, caller Caller, language, theme string) error {
	if err := caller.Allow(WriteSettings); err != nil {
		return err
	}
	switch {
	case caller.Owners != nil:
		return fmt.Errorf("%w: it concerns all owners", ErrForbidden)
	case language != "" && !slices.Contains(HouseLanguages, language):
		return fmt.Errorf("%w: language %q", ErrInvalid, language)
	case theme != "" && !slices.Contains(HouseThemes, theme):
		return fmt.Errorf("%w: theme %q", ErrInvalid, theme)
	}
	now := s.now().UnixMilli()
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		was, err := readHouse(ctx, tx)
		if err != nil {
			return err
		}
		for _, one := range []struct{ name, before, value string }{{"language", was.Language, language}, {"theme", was.Theme, theme}} {
			if one.before == one.value {
				continue
			}
			_, err := tx.Exec(ctx, `INSERT INTO house (name, value, changed_ms, actor) VALUES ($1, $2, $3, $4)
				ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_ms = excluded.changed_ms, actor = excluded.actor`, one.name, one.value, now, caller.Actor())
			if err != nil {
				return err
			}
			err = audit.Append(ctx, tx, audit.Entry{AtMS: now, Actor: caller.Actor(), Action: "house.set", Subject: "house:" + one.name,
				Details: map[string]string{"value": one.value, "before": one.before}})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("changing how the pages look: %w", err)
	}
	return nil
}
