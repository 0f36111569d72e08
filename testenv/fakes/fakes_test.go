package fakes_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/testenv/fakes"
)

func TestSchools(t *testing.T) {
	all := fakes.Schools()
	if len(all) != 1804 {
		t.Fatalf("%d schools, want 1804", len(all))
	}
	if want := (fakes.School{Code: "S0001", Owner: "Landkreis Ahorn", Form: "Haupt-/Real-/Mittelstufenschule"}); all[0] != want {
		t.Errorf("first school is %+v, want %+v", all[0], want)
	}
	if got := fakes.Inventory("Landkreis Ahorn", 17); got != "AH-00017" {
		t.Errorf("Inventory = %s, want AH-00017", got)
	}
}

// TestMachinesStayReal lets machines live for two days and looks whether their
// values stay within what a machine can have, move, and repeat.
func TestMachinesStayReal(t *testing.T) {
	clock := time.Date(2026, 11, 24, 7, 45, 0, 0, time.UTC)
	now := func() time.Time { return clock }
	systems := map[string]int{}
	for n := range 200 {
		clock = time.Date(2026, 11, 24, 7, 45, 0, 0, time.UTC)
		m, twin := fakes.NewMachine(n, now), fakes.NewMachine(n, now)
		systems[m.OS()]++
		first := m.Read(t.Context())
		if d := cmp.Diff(first, twin.Read(t.Context())); d != "" {
			t.Fatalf("machine %d is not the same twice:\n%s", n, d)
		}
		moved := false
		for range 48 * 60 {
			clock = clock.Add(time.Minute)
			s := m.Read(t.Context())
			used, total := s.Memory.Used.Value, s.Memory.Total.Value
			volume := s.Volumes.Value[0]
			if used <= 0 || used > total || volume.Free.Value <= 0 || volume.Free.Value > volume.Total.Value ||
				s.CPU.Used.Value < 0 || s.CPU.Used.Value > 1000 || s.Power.Charge.Value < 0 || s.Power.Charge.Value > 1000 {
				t.Fatalf("machine %d at %v: %+v", n, clock, s)
			}
			moved = moved || used != first.Memory.Used.Value
		}
		if !moved {
			t.Errorf("machine %d never changed", n)
		}
	}
	if systems["windows"] < 150 || systems["darwin"] == 0 {
		t.Errorf("operating systems of 200 machines: %v", systems)
	}
}
