package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
)

// House is how the pages look to people who chose nothing else (empty leaves it to
// their browser), and whom those call who get a page on paper.
type House struct {
	Language, Theme string // as HouseLanguages and HouseThemes say
	Contact         string // whom schools call: a line with name, phone, mail
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
		case "contact":
			h.Contact = value
		default:
			continue
		}
		if at := time.UnixMilli(changed).UTC(); at.After(h.Changed) {
			h.Changed, h.By = at, actor
		}
	}
	return h, rows.Close()
}

// maxContact is the longest contact in bytes.
const maxContact = 200

// checked brings a House into the form in which it is kept.
func (h House) checked() (House, error) {
	h.Contact = strings.TrimSpace(h.Contact)
	switch {
	case h.Language != "" && !slices.Contains(HouseLanguages, h.Language):
		return h, fmt.Errorf("%w: language %q", ErrInvalid, h.Language)
	case h.Theme != "" && !slices.Contains(HouseThemes, h.Theme):
		return h, fmt.Errorf("%w: theme %q", ErrInvalid, h.Theme)
	case len(h.Contact) > maxContact || strings.ContainsFunc(h.Contact, func(r rune) bool { return !unicode.IsPrint(r) }):
		return h, fmt.Errorf("%w: contact is not a line of at most %d bytes", ErrInvalid, maxContact)
	}
	return h, nil
}

// SetHouse changes what stands in a House, from what it is at that moment. It
// concerns everybody, so only who sees everybody's data may do it.
func (s *Service) SetHouse(ctx context.Context, caller Caller, change func(*House)) error {
	if err := caller.Allow(WriteSettings); err != nil {
		return err
	}
	if caller.Owners != nil {
		return fmt.Errorf("%w: it concerns all owners", ErrForbidden)
	}
	now := s.now().UnixMilli()
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		was, err := readHouse(ctx, tx)
		if err != nil {
			return err
		}
		h := was
		change(&h)
		if h, err = h.checked(); err != nil {
			return err
		}
		for _, one := range []struct{ name, before, value string }{
			{"language", was.Language, h.Language}, {"theme", was.Theme, h.Theme}, {"contact", was.Contact, h.Contact}} {
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
