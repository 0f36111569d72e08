package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
)

// maxChoice bounds a choice in bytes.
const maxChoice = 1000

// Choice is how the caller wants a page, empty unless it is a person who said so.
func (s *Service) Choice(ctx context.Context, caller Caller, name string) (value string, err error) {
	if caller.Kind != KindUser {
		return "", nil
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		err := tx.QueryRow(ctx, `SELECT value FROM user_choices WHERE user_id = $1 AND name = $2`, caller.ID, name).Scan(&value)
		if errors.Is(err, db.ErrNoRows) {
			value, err = "", nil
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading a choice: %w", err)
	}
	return value, nil
}

// SetChoice keeps how a person wants a page, for himself only; empty forgets it.
func (s *Service) SetChoice(ctx context.Context, caller Caller, name, value string) error {
	return s.SetChoices(ctx, caller, map[string]string{name: value})
}

// SetChoices is SetChoice of several by their names: of all or of none.
func (s *Service) SetChoices(ctx context.Context, caller Caller, choices map[string]string) error {
	if caller.Kind != KindUser {
		return fmt.Errorf("%w: choices are kept for people", ErrForbidden)
	}
	for name, value := range choices {
		if name == "" || len(name)+len(value) > maxChoice {
			return fmt.Errorf("%w: a choice of at most %d bytes", ErrInvalid, maxChoice)
		}
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		for _, name := range slices.Sorted(maps.Keys(choices)) {
			if err := s.setChoice(ctx, tx, caller, name, choices[name]); err != nil {
				return fmt.Errorf("keeping a choice: %w", err)
			}
		}
		return nil
	})
}

func (s *Service) setChoice(ctx context.Context, tx *db.Tx, caller Caller, name, value string) error {
	was := ""
	err := tx.QueryRow(ctx, `SELECT value FROM user_choices WHERE user_id = $1 AND name = $2`, caller.ID, name).Scan(&was)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return err
	}
	if was == value {
		return nil
	}
	if value == "" {
		_, err = tx.Exec(ctx, `DELETE FROM user_choices WHERE user_id = $1 AND name = $2`, caller.ID, name)
	} else {
		_, err = tx.Exec(ctx, `INSERT INTO user_choices (user_id, name, value) VALUES ($1, $2, $3)
			ON CONFLICT (user_id, name) DO UPDATE SET value = excluded.value`, caller.ID, name, value)
	}
	if err != nil {
		return err
	}
	return audit.Append(ctx, tx, audit.Entry{AtMS: s.now().UnixMilli(), Actor: caller.Actor(), Action: "user.choice_set",
		Subject: "user:" + caller.ID, Owner: only(caller.Owners), Details: map[string]string{"choice": name}})
}
