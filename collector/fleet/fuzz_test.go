package fleet_test

import (
	"errors"
	"strings"
	"testing"

	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/fleet"
)

// FuzzList asks for anything: an answer, or an error that says whose fault it is.
func FuzzList(f *testing.F) {
	w := newWorld(f, dbtest.Open(f, migrations))
	o := w.owner(f, "Landkreis Ahorn")
	for i := range 3 {
		w.device(f, o, "", serial(i))
	}
	p, err := w.List(f.Context(), system, fleet.Filter{Limit: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("demo", p.Cursor, "", "")
	f.Add(`\%_'"`, "e30", "silent", "battery")
	f.Fuzz(func(t *testing.T, query, cursor, state, order string) {
		_, err := w.List(t.Context(), system, fleet.Filter{Query: query, Cursor: cursor, State: fleet.State(state), Sort: fleet.Sort(order)})
		if err != nil && !errors.Is(err, fleet.ErrCursor) && !errors.Is(err, fleet.ErrInvalid) {
			t.Errorf("List = %v, want ErrCursor or ErrInvalid", err)
		}
	})
}

// FuzzImport reads any file: the same file again changes nothing.
func FuzzImport(f *testing.F) {
	w := newWorld(f, dbtest.Open(f, migrations))
	f.Add("schul_id;schultraeger;schulform;geraete\nS0001;Landkreis Ahorn;Grundschule;44\n")
	f.Add("\ufeffname,schultraeger,schul_id\n\"a, b\",Stadt,S1\n")
	f.Add("schul_id;schultraeger;name\nS1;Stadt;\"a\nS2;Stadt;M\xfchle\n")
	f.Fuzz(func(t *testing.T, file string) {
		first, err := w.ImportSchools(t.Context(), system, strings.NewReader(file))
		if err != nil {
			if !errors.Is(err, fleet.ErrInvalid) {
				t.Fatalf("ImportSchools = %v, want ErrInvalid", err)
			}
			return
		}
		again, err := w.ImportSchools(t.Context(), system, strings.NewReader(file))
		if err != nil || again.Added+again.Changed+again.Owners > 0 || again.Unchanged != first.Added+first.Changed+first.Unchanged || len(again.Errors) != len(first.Errors) {
			t.Fatalf("the same file again = %+v, %v, after %+v", again, err, first)
		}
	})
}
