package question_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/question"
)

// TestSaved: who keeps a question, who sees, changes and deletes it, and what
// the record says.
func TestSaved(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		all := w.fill(30)
		admin, eva, tom := user("admin", access.RoleAdmin), user("eva", access.RoleRead, all[0].owner), user("tom", access.RoleSupport)
		q := ask(t, "battery_charge.lt.600")
		own, err := w.Save(t.Context(), eva, question.Draft{Name: " Leere Akkus ", Question: q})
		w.must(err)
		shared, err := w.Save(t.Context(), admin, question.Draft{Name: "Alle", Question: q, Shared: true})
		w.must(err)
		if _, err := w.Save(t.Context(), tom, question.Draft{Name: "Meine", Question: q, Shared: true}); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("somebody who is no admin shares: %v, want ErrForbidden", err)
		}
		for _, bad := range []question.Draft{{Name: " ", Question: q}, {Name: strings.Repeat("x", 121), Question: q}, {Name: "x"}} {
			if _, err := w.Save(t.Context(), eva, bad); !errors.Is(err, question.ErrInvalid) {
				t.Errorf("Save(%+v) = %v, want ErrInvalid", bad, err)
			}
		}
		names := func(caller access.Caller) (out []string) {
			list, err := w.List(t.Context(), caller)
			w.must(err)
			for _, s := range list {
				out = append(out, fmt.Sprintf("%s own=%v may=%v %d/%d %v", s.Name, s.Own, s.May, s.Matching, s.Known, !s.Answered.IsZero()))
			}
			return out
		}
		if got, want := names(eva), []string{"Leere Akkus own=true may=true 0/0 false", "Alle own=false may=false 0/0 false"}; !slices.Equal(got, want) {
			t.Errorf("eva sees %q, want %q", got, want)
		}
		if got, want := names(tom), []string{"Alle own=false may=false 0/0 false"}; !slices.Equal(got, want) {
			t.Errorf("tom sees %q, want %q", got, want)
		}
		// Two scopes get two answers to the one shared question.
		a, _, _, err := w.Ask(t.Context(), eva, shared.Question, question.Page{Saved: shared.ID})
		w.must(err)
		b, _, _, err := w.Ask(t.Context(), tom, shared.Question, question.Page{Saved: shared.ID})
		w.must(err)
		if a.Matching == b.Matching {
			t.Fatalf("both scopes have %d devices", a.Matching)
		}
		if got, want := names(eva)[1], fmt.Sprintf("Alle own=false may=false %d/%d true", a.Matching, a.Known); got != want {
			t.Errorf("eva sees %q, want %q", got, want)
		}
		if got, want := names(tom)[0], fmt.Sprintf("Alle own=false may=false %d/%d true", b.Matching, b.Known); got != want {
			t.Errorf("tom sees %q, want %q", got, want)
		}
		// Another question does not become its answer, another's question is none.
		_, _, _, err = w.Ask(t.Context(), eva, ask(t, "battery_charge.lt.1"), question.Page{Saved: own.ID})
		w.must(err)
		if got := names(eva)[0]; !strings.HasSuffix(got, "0/0 false") {
			t.Errorf("the answer to another question was kept: %q", got)
		}
		for what, err := range map[string]error{
			"tom reads eva's":          second(w.Saved(t.Context(), tom, own.ID)),
			"tom changes eva's":        second(w.Change(t.Context(), tom, own.ID, question.Draft{Name: "x", Question: q})),
			"tom deletes eva's":        w.Delete(t.Context(), tom, own.ID),
			"eva reads what is not":    second(w.Saved(t.Context(), eva, "\x00")),
			"tom asks for eva's":       last(w.Ask(t.Context(), tom, q, question.Page{Saved: own.ID})),
			"the admin reads an own":   second(w.Saved(t.Context(), admin, own.ID)),
			"the admin deletes an own": w.Delete(t.Context(), admin, own.ID),
		} {
			if !errors.Is(err, access.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", what, err)
			}
		}
		if err := w.Delete(t.Context(), eva, shared.ID); !errors.Is(err, access.ErrForbidden) {
			t.Errorf("eva deletes what is shared: %v, want ErrForbidden", err)
		}
		changed, err := w.Change(t.Context(), eva, own.ID, question.Draft{Name: "Volle Akkus", Question: ask(t, "battery_charge.gt.600")})
		if err != nil || changed.Name != "Volle Akkus" || changed.Question.Conditions[0].Op != question.Above {
			t.Errorf("Change = %+v, %v", changed, err)
		}
		w.must(w.Delete(t.Context(), eva, own.ID))
		if _, err := w.Saved(t.Context(), eva, own.ID); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("a deleted question: %v, want ErrNotFound", err)
		}
		if _, err := w.Restore(t.Context(), tom, own.ID); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("tom brings eva's back: %v, want ErrNotFound", err)
		}
		if back, err := w.Restore(t.Context(), eva, own.ID); err != nil || back.Name != "Volle Akkus" || len(names(eva)) != 2 {
			t.Errorf("Restore = %+v, %v; eva has %q", back, err, names(eva))
		}
		if _, err := w.Restore(t.Context(), eva, own.ID); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("bringing back what is there: %v, want ErrNotFound", err)
		}
		w.must(w.Delete(t.Context(), eva, own.ID))
		w.now = w.now.Add(8 * 24 * time.Hour)
		if _, err := w.Restore(t.Context(), eva, own.ID); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("bringing back after a week: %v, want ErrNotFound", err)
		}
		w.must(w.Delete(t.Context(), admin, shared.ID))
		var left int64
		w.must(w.db.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT count(*) FROM question_saved`).Scan(&left)
		}))
		if left != 1 {
			t.Errorf("%d rows are left, want only what was deleted just now", left)
		}
		if got := append(names(eva), names(admin)...); len(got) != 0 {
			t.Errorf("deleted questions are still there: %q", got)
		}
		var actions []string
		w.must(w.db.Read(t.Context(), func(tx *db.Tx) error {
			entries, err := audit.List(t.Context(), tx, audit.Filter{Action: "question", Limit: 100})
			for _, e := range entries {
				actions = append(actions, e.Action+" "+e.Actor)
			}
			return err
		}))
		want := []string{"question.deleted user:admin", "question.deleted user:eva", "question.saved user:eva", "question.deleted user:eva", "question.changed user:eva", "question.saved user:admin", "question.saved user:eva"}
		if !slices.Equal(actions, want) {
			t.Errorf("the record says %q, want %q", actions, want)
		}
	})
}

// TestTooManySaved: nobody fills the list without end.
func TestTooManySaved(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, migrations))
	q := ask(t, "battery_charge.lt.600")
	for i := range question.MaxSaved {
		_, err := w.Save(t.Context(), user("eva", access.RoleRead), question.Draft{Name: fmt.Sprint(i), Question: q})
		w.must(err)
	}
	if _, err := w.Save(t.Context(), user("eva", access.RoleRead), question.Draft{Name: "x", Question: q}); !errors.Is(err, question.ErrTooMany) {
		t.Errorf("one more than may be: %v, want ErrTooMany", err)
	}
	_, err := w.Save(t.Context(), user("tom", access.RoleRead), question.Draft{Name: "x", Question: q})
	w.must(err)
}
