package question

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

const (
	// MaxSaved is how many questions one person or token keeps.
	MaxSaved = 100
	maxName  = 120 // bytes
	// restoreFor is how long a deleted question can be brought back.
	restoreFor = 7 * 24 * time.Hour
)

// Draft is a question that somebody wants to keep. A Shared one is listed for
// everybody; it gives nobody a device that is not in his scope.
type Draft struct {
	Name     string
	Question Question
	Shared   bool
}

// Saved is a question that is kept.
type Saved struct {
	ID string
	Draft
	By      string // who keeps it, for pages
	Own     bool   // the caller keeps it
	May     bool   // the caller may change and delete it
	Created time.Time
	// The last answer for the caller's scope; Answered is zero if there is none.
	Matching, Known int64
	Answered        time.Time
}

func (d *Draft) check(caller access.Caller) error {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return err
	}
	if d.Shared {
		if err := caller.Allow(access.WriteSettings); err != nil {
			return err
		}
	}
	d.Name = strings.TrimSpace(d.Name)
	if d.Name == "" || !reading.Printable(d.Name, maxName) {
		return &Invalid{-1, fmt.Sprintf("its name must be 1 to %d printable bytes", maxName)}
	}
	return d.Question.Check()
}

// Save keeps a question.
func (q *Questions) Save(ctx context.Context, caller access.Caller, d Draft) (Saved, error) {
	if err := d.check(caller); err != nil {
		return Saved{}, err
	}
	asked, err := json.Marshal(d.Question)
	if err != nil {
		return Saved{}, err
	}
	now := q.now()
	s := Saved{ID: ident.NewID(now), Draft: d, By: caller.Name, Own: true, May: true, Created: now}
	err = q.db.Write(ctx, func(tx *db.Tx) error {
		if err := room(ctx, tx, caller.Actor()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO question_saved (id, actor, actor_name, name, asked, shared, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			s.ID, caller.Actor(), caller.Name, d.Name, string(asked), d.Shared, now.UnixMilli())
		if err != nil {
			return err
		}
		return q.record(ctx, tx, caller, "question.saved", s)
	})
	if err != nil {
		return Saved{}, fmt.Errorf("keeping a question: %w", err)
	}
	return s, nil
}

// room says whether somebody can keep one question more.
func room(ctx context.Context, tx *db.Tx, actor string) error {
	var kept int64
	if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM question_saved WHERE actor = $1 AND deleted_ms IS NULL`, actor).Scan(&kept); err != nil {
		return err
	}
	if kept >= MaxSaved {
		return ErrTooMany
	}
	return nil
}

func (q *Questions) record(ctx context.Context, tx *db.Tx, caller access.Caller, action string, s Saved) error {
	conditions := make([]string, len(s.Question.Conditions))
	for i, c := range s.Question.Conditions {
		conditions[i] = c.String()
	}
	details := map[string]string{"name": s.Name, "conditions": strings.Join(conditions, " & ")}
	if s.Shared {
		details["shared"] = "yes"
	}
	return audit.Append(ctx, tx, audit.Entry{Actor: caller.Actor(), Action: action, Subject: "question:" + s.ID, AtMS: q.now().UnixMilli(), Details: details})
}

// Change gives a kept question another name, content or reach.
func (q *Questions) Change(ctx context.Context, caller access.Caller, id string, d Draft) (Saved, error) {
	if err := d.check(caller); err != nil {
		return Saved{}, err
	}
	asked, err := json.Marshal(d.Question)
	if err != nil {
		return Saved{}, err
	}
	var s Saved
	err = q.db.Write(ctx, func(tx *db.Tx) (err error) {
		if s, err = mine(ctx, tx, caller, id, isKept); err != nil {
			return err
		}
		// Its last answer was to another question.
		if !sameQuestion(s.Question, d.Question) {
			if _, err := tx.Exec(ctx, `DELETE FROM question_answers WHERE question = $1`, id); err != nil {
				return err
			}
			s.Matching, s.Known, s.Answered = 0, 0, time.Time{}
		}
		s.Draft = d
		if _, err := tx.Exec(ctx, `UPDATE question_saved SET name = $2, asked = $3, shared = $4 WHERE id = $1`, id, d.Name, string(asked), d.Shared); err != nil {
			return err
		}
		return q.record(ctx, tx, caller, "question.changed", s)
	})
	if err != nil {
		return Saved{}, fmt.Errorf("changing a question: %w", found(err))
	}
	return s, nil
}

// Delete takes a kept question away; Restore brings it back, for a week.
func (q *Questions) Delete(ctx context.Context, caller access.Caller, id string) error {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return err
	}
	err := q.db.Write(ctx, func(tx *db.Tx) error {
		s, err := mine(ctx, tx, caller, id, isKept)
		if err != nil {
			return err
		}
		now := q.now()
		for _, statement := range []string{`DELETE FROM question_answers WHERE question IN (SELECT id FROM question_saved WHERE deleted_ms < $1)`, `DELETE FROM question_saved WHERE deleted_ms < $1`} {
			if _, err := tx.Exec(ctx, statement, now.Add(-restoreFor).UnixMilli()); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE question_saved SET deleted_ms = $2 WHERE id = $1`, id, now.UnixMilli()); err != nil {
			return err
		}
		return q.record(ctx, tx, caller, "question.deleted", s)
	})
	if err != nil {
		return fmt.Errorf("deleting a question: %w", found(err))
	}
	return nil
}

// Restore: see Delete.
func (q *Questions) Restore(ctx context.Context, caller access.Caller, id string) (s Saved, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Saved{}, err
	}
	err = q.db.Write(ctx, func(tx *db.Tx) error {
		if s, err = mine(ctx, tx, caller, id, isDeleted); err != nil {
			return err
		}
		var actor string
		if err := tx.QueryRow(ctx, `SELECT actor FROM question_saved WHERE id = $1 AND deleted_ms >= $2`, id, q.now().Add(-restoreFor).UnixMilli()).Scan(&actor); err != nil {
			return err
		}
		if err := room(ctx, tx, actor); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE question_saved SET deleted_ms = NULL WHERE id = $1`, id); err != nil {
			return err
		}
		return q.record(ctx, tx, caller, "question.saved", s)
	})
	if err != nil {
		return Saved{}, fmt.Errorf("bringing a question back: %w", found(err))
	}
	return s, nil
}

// Saved gives a question that the caller keeps or that is shared.
func (q *Questions) Saved(ctx context.Context, caller access.Caller, id string) (s Saved, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return Saved{}, err
	}
	err = q.db.Read(ctx, func(tx *db.Tx) (err error) {
		s, err = one(ctx, tx, caller, id, isKept)
		return err
	})
	if err != nil {
		return Saved{}, fmt.Errorf("reading a question: %w", found(err))
	}
	return s, nil
}

// found takes text that no id can be for an id that there is not.
func found(err error) error {
	if errors.Is(err, db.ErrNoRows) {
		return access.ErrNotFound
	}
	return err
}

// List gives the questions that the caller keeps and those that are shared, by
// name, own ones first.
func (q *Questions) List(ctx context.Context, caller access.Caller) (all []Saved, err error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	err = q.db.Read(ctx, func(tx *db.Tx) (err error) {
		all, err = kept(ctx, tx, caller, "(s.actor = $1 OR s.shared = 1) AND "+isKept, caller.Actor())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing questions: %w", err)
	}
	slices.SortFunc(all, func(a, b Saved) int {
		if a.Own != b.Own {
			if a.Own {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Which of the questions that somebody may know of.
const isKept, isDeleted = "s.deleted_ms IS NULL", "s.deleted_ms IS NOT NULL"

// mine is one that the caller may change.
func mine(ctx context.Context, tx *db.Tx, caller access.Caller, id, which string) (Saved, error) {
	s, err := one(ctx, tx, caller, id, which)
	if err == nil && !s.May {
		err = access.ErrForbidden
	}
	return s, err
}

func one(ctx context.Context, tx *db.Tx, caller access.Caller, id, which string) (Saved, error) {
	all, err := kept(ctx, tx, caller, "s.id = $1 AND (s.actor = $2 OR s.shared = 1) AND "+which, id, caller.Actor())
	if err != nil {
		return Saved{}, err
	}
	if len(all) == 0 {
		return Saved{}, access.ErrNotFound
	}
	return all[0], nil
}

func kept(ctx context.Context, tx *db.Tx, caller access.Caller, where string, args ...any) ([]Saved, error) {
	args = append(args, scopeOf(caller))
	rows, err := tx.Query(ctx, `SELECT s.id, s.actor, s.actor_name, s.name, s.asked, s.shared, s.created_ms, COALESCE(a.matching, 0), COALESCE(a.known, 0), COALESCE(a.answered_ms, 0)
		FROM question_saved s LEFT JOIN question_answers a ON a.question = s.id AND a.scope = `+fmt.Sprintf("$%d", len(args))+` WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Saved
	for rows.Next() {
		var s Saved
		var actor, asked string
		var shared, created, answered int64
		if err := rows.Scan(&s.ID, &actor, &s.By, &s.Name, &asked, &shared, &created, &s.Matching, &s.Known, &answered); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(asked), &s.Question); err != nil {
			return nil, fmt.Errorf("question %s: %w", s.ID, err)
		}
		s.Shared, s.Own = shared == 1, actor == caller.Actor()
		s.May = s.Own || caller.Allow(access.WriteSettings) == nil
		s.Created = time.UnixMilli(created).UTC()
		if answered > 0 {
			s.Answered = time.UnixMilli(answered).UTC()
		}
		all = append(all, s)
	}
	return all, rows.Close()
}

func sameQuestion(a, b Question) bool {
	return a.Show == b.Show && slices.Equal(a.Conditions, b.Conditions)
}

// scopeOf names whose devices an answer is about.
func scopeOf(caller access.Caller) string {
	if caller.Owners == nil {
		return "*"
	}
	owners := slices.Sorted(slices.Values(caller.Owners))
	sum := sha256.Sum256([]byte(strings.Join(owners, "\n")))
	return hex.EncodeToString(sum[:16])
}

// remember keeps the answer to a kept question, if it is that question still.
// It is no change of anything that somebody decided, and so is not audited.
func (q *Questions) remember(ctx context.Context, caller access.Caller, id string, question Question, a Answer) error {
	s, err := q.Saved(ctx, caller, id)
	if err != nil {
		return err
	}
	now := q.now()
	if !sameQuestion(s.Question, question) || s.Matching == a.Matching && s.Known == a.Known && now.Sub(s.Answered) < time.Hour {
		return nil
	}
	return q.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO question_answers (question, scope, matching, known, answered_ms) SELECT id, CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT)
			FROM question_saved WHERE id = $1
			ON CONFLICT (question, scope) DO UPDATE SET matching = excluded.matching, known = excluded.known, answered_ms = excluded.answered_ms`,
			id, scopeOf(caller), a.Matching, a.Known, now.UnixMilli())
		return err
	})
}
