package audit_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hausmeister/collector/audit"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
)

var migrations = []db.Migrations{audit.Migrations}

func entry(i int) audit.Entry {
	return audit.Entry{AtMS: int64(1000 + i), Actor: "user:u", Action: "device.revoked", Subject: fmt.Sprint("device:", i%3), Owner: fmt.Sprint("o", i%2),
		Details: map[string]string{"n": fmt.Sprint(i)}}
}

func appendAll(t *testing.T, d *db.DB, n int) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		for i := range n {
			if err := audit.Append(t.Context(), tx, entry(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Writers at once, some of whose changes are undone: one chain without a gap.
func TestChainOfManyWriters(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		if head, err := audit.Verify(t.Context(), d); err != nil || head.Seq != 0 {
			t.Errorf("Verify of nothing = %+v, %v", head, err)
		}
		undone := errors.New("undone")
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				err := d.Write(t.Context(), func(tx *db.Tx) error {
					if err := audit.Append(t.Context(), tx, entry(i)); err != nil {
						return err
					}
					if i%3 == 0 {
						return undone
					}
					return nil
				})
				if err != nil && !errors.Is(err, undone) {
					t.Errorf("writer %d = %v", i, err)
				}
			})
		}
		wg.Wait()
		head, err := audit.Verify(t.Context(), d)
		if err != nil || head.Seq != 200 {
			t.Errorf("Verify = %+v, %v, want 200 entries", head, err)
		}
	})
}

func TestVerifyFindsTampering(t *testing.T) {
	tests := []struct{ name, sql, text string }{
		{"time", `UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 1500`, "entry 1500 was changed"},
		{"actor", `UPDATE audit SET actor = 'user:x' WHERE seq = 7`, "entry 7 was changed"},
		{"field moved into the next", `UPDATE audit SET actor = 'user:udevice', action = '.revoked' WHERE seq = 7`, "entry 7 was changed"},
		{"details", `UPDATE audit SET details = '{}' WHERE seq = 1600`, "entry 1600 was changed"},
		{"removed", `DELETE FROM audit WHERE seq = 1000`, "entry 1000 is missing"},
		{"first removed", `DELETE FROM audit WHERE seq = 1`, "entry 1 is missing"},
		{"hash", `UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 1) WHERE seq = 2`, "entry 2 was changed"},
	}
	dbtest.Each(t, migrations, func(t *testing.T, cfg db.Config) {
		d, err := db.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		appendAll(t, d, 1600) // more than a page
		if head, err := audit.Verify(t.Context(), d); err != nil || head.Seq != 1600 {
			t.Fatalf("Verify = %+v, %v", head, err)
		}
		run(t, d, `CREATE TABLE untouched AS SELECT * FROM audit`)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				run(t, d, tt.sql)
				_, err := audit.Verify(t.Context(), d)
				if !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("Verify = %v, want ErrBroken: %s", err, tt.text)
				}
				run(t, d, `DELETE FROM audit`, `INSERT INTO audit SELECT * FROM untouched`)
			})
		}
		if _, err := audit.Verify(t.Context(), d); err != nil {
			t.Errorf("this test did not put the chain back: %v", err)
		}
	})
}

func run(t *testing.T, d *db.DB, statements ...string) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(t.Context(), s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppendRefuses(t *testing.T) {
	d := dbtest.Open(t, migrations)
	for _, e := range []audit.Entry{{}, {Actor: "a", Action: "b"}, {Actor: "a", Subject: "c"}, {Action: "b", Subject: "c"}} {
		if err := d.Write(t.Context(), func(tx *db.Tx) error { return audit.Append(t.Context(), tx, e) }); err == nil {
			t.Errorf("Append(%+v) = nil, want an error", e)
		}
	}
}

func countOf(t *testing.T, d *db.DB, f audit.Filter) (n int64) {
	t.Helper()
	err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
		n, err = audit.Count(t.Context(), tx, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestList(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		appendAll(t, d, 12)
		tests := []struct {
			name   string
			filter audit.Filter
			want   []int64
		}{
			{"newest", audit.Filter{Limit: 3}, []int64{12, 11, 10}},
			{"next page", audit.Filter{Limit: 3, Before: 10}, []int64{9, 8, 7}},
			{"end", audit.Filter{Before: 2}, []int64{1}},
			{"subject", audit.Filter{Subject: "device:0"}, []int64{10, 7, 4, 1}},
			{"owners", audit.Filter{Owners: []string{"o1"}, Limit: 2}, []int64{12, 10}},
			{"two owners", audit.Filter{Owners: []string{"o1", "o0"}, Limit: 2}, []int64{12, 11}},
			{"nobody's", audit.Filter{Owners: []string{}}, nil},
		}
		for _, tt := range tests {
			var got []audit.Entry
			err := d.Read(t.Context(), func(tx *db.Tx) error {
				var err error
				got, err = audit.List(t.Context(), tx, tt.filter)
				return err
			})
			var seqs []int64
			for _, e := range got {
				seqs = append(seqs, e.Seq)
			}
			if diff := cmp.Diff(tt.want, seqs); err != nil || diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
			}
			// All pages together, wherever this one begins.
			want := map[string]int64{"newest": 12, "next page": 12, "end": 12, "subject": 4, "owners": 6, "two owners": 12, "nobody's": 0}[tt.name]
			if n := countOf(t, d, tt.filter); n != want {
				t.Errorf("%s: Count = %d, want %d", tt.name, n, want)
			}
		}
		want := entry(11)
		want.Seq = 12
		var got []audit.Entry
		d.Read(t.Context(), func(tx *db.Tx) (err error) {
			got, err = audit.List(t.Context(), tx, audit.Filter{Limit: 1})
			return err
		})
		if diff := cmp.Diff([]audit.Entry{want}, got); diff != "" {
			t.Errorf("entry (-want +got):\n%s", diff)
		}
	})
}

// TestVerifyFrom reads what is new, and notices an end that was cut off or
// written anew.
func TestVerifyFrom(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		appendAll(t, d, 5)
		head, err := audit.Verify(t.Context(), d)
		if err != nil || head.Seq != 5 {
			t.Fatalf("Verify = %+v, %v", head, err)
		}
		appendAll(t, d, 3)
		next, err := audit.VerifyFrom(t.Context(), d, head)
		if err != nil || next.Seq != 8 {
			t.Fatalf("VerifyFrom = %+v, %v; want 8 entries", next, err)
		}
		if whole, err := audit.Verify(t.Context(), d); err != nil || !cmp.Equal(whole, next) {
			t.Errorf("Verify = %+v, %v; want what VerifyFrom gave", whole, err)
		}
		run(t, d, `DELETE FROM audit WHERE seq >= 7`)
		if got, err := audit.VerifyFrom(t.Context(), d, next); !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), "entry 8 is missing") {
			t.Errorf("after the end was cut off: %+v, %v; want entry 8 missing", got, err)
		}
		appendAll(t, d, 3) // an end that fits what is before it, but is another one
		if _, err := audit.VerifyFrom(t.Context(), d, next); !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), "entry 8 was changed") {
			t.Errorf("after another end was written: %v; want entry 8 changed", err)
		}
	})
}

// TestListFilters: every filter keeps exactly what it names.
func TestListFilters(t *testing.T) {
	dbtest.Run(t, migrations, func(t *testing.T, d *db.DB) {
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			for i, action := range []string{"claim.created", "claims.x", "claim.revoked", "device.revoked"} {
				e := audit.Entry{AtMS: int64(1000 + i), Actor: fmt.Sprint("user:", i%2), Action: action, Subject: "x:1"}
				if err := audit.Append(t.Context(), tx, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			filter audit.Filter
			want   []int64
		}{
			"subject's whole": {audit.Filter{Action: "claim"}, []int64{3, 1}},
			"one action":      {audit.Filter{Action: "claim.revoked"}, []int64{3}},
			"actor":           {audit.Filter{Actor: "user:1"}, []int64{4, 2}},
			"from":            {audit.Filter{FromMS: 1002}, []int64{4, 3}},
			"to":              {audit.Filter{ToMS: 1002}, []int64{2, 1}},
			"all at once":     {audit.Filter{Action: "claim", Actor: "user:0", FromMS: 1001, ToMS: 1003}, []int64{3}},
		} {
			var got []int64
			err := d.Read(t.Context(), func(tx *db.Tx) error {
				entries, err := audit.List(t.Context(), tx, c.filter)
				got = nil
				for _, e := range entries {
					got = append(got, e.Seq)
				}
				return err
			})
			if err != nil || !cmp.Equal(got, c.want) {
				t.Errorf("%s: %v, %v; want %v", what, got, err, c.want)
			}
			if n := countOf(t, d, c.filter); n != int64(len(c.want)) {
				t.Errorf("%s: Count = %d, want %d", what, n, len(c.want))
			}
		}
	})
}
