package config_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"hausmeister/agent/config"
	"hausmeister/testenv/fakes"
)

func look(at time.Time, id string) config.Look {
	return config.Look{ID: id, Name: "petra", Role: "support", Reason: "ticket 17", OpenedMS: at.UnixMilli(), UntilMS: at.Add(time.Hour).UnixMilli()}
}

func ids(list []config.Look) (out []string) {
	for _, l := range list {
		out = append(out, l.ID)
	}
	return out
}

// TestLooks: the list is the latest first, knows what it has, and outlives the program.
func TestLooks(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	d := fakes.NewDisk()
	m := config.OpenMemory(d)
	if got := m.Looks(); len(got) != 0 {
		t.Fatalf("looks at first: %v", got)
	}
	add := func(want bool, list ...config.Look) {
		t.Helper()
		if changed, err := m.AddLooks(list); changed != want || err != nil {
			t.Fatalf("AddLooks(%v) = %v, %v, want %v", ids(list), changed, err, want)
		}
	}
	add(false)
	add(true, look(now, "b"), look(now.Add(-time.Hour), "a"))
	add(false, look(now, "b"))
	add(true, look(now, "b"), look(now.Add(time.Minute), "d"), look(now, "c"), look(now, "c"))
	want := []string{"d", "c", "b", "a"}
	if got := ids(m.Looks()); !slices.Equal(got, want) {
		t.Errorf("looks %v, want %v", got, want)
	}
	m = config.OpenMemory(d)
	if got := m.Looks(); !slices.Equal(ids(got), want) || got[2] != look(now, "b") {
		t.Errorf("after a restart: %+v, want %v as they were", got, want)
	}
	// A year, by the newest.
	add(true, look(now.Add(365*24*time.Hour), "e"))
	if got, want := ids(m.Looks()), []string{"e", "d", "c", "b"}; !slices.Equal(got, want) {
		t.Errorf("a year on: %v, want %v", got, want)
	}
}

func TestLooksAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	m := config.OpenMemory(fakes.NewDisk())
	var many []config.Look
	for i := range 1200 {
		many = append(many, look(now.Add(time.Duration(i)*time.Second), fmt.Sprintf("%04d", i)))
	}
	if _, err := m.AddLooks(many); err != nil {
		t.Fatal(err)
	}
	if got := m.Looks(); len(got) != 500 || got[0].ID != "1199" || got[499].ID != "0700" {
		t.Errorf("%d looks from %s to %s, want the newest 500", len(got), got[0].ID, got[len(got)-1].ID)
	}
}

// full is a disk that takes nothing.
type full struct{ config.Files }

func (full) Write(string, []byte) error { return errors.New("no space left on device") }

// TestLooksOnAFullDisk: what is not stored is not known, so that the collector
// tells it again.
func TestLooksOnAFullDisk(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	d := fakes.NewDisk()
	m := config.OpenMemory(full{d})
	if changed, err := m.AddLooks([]config.Look{look(now, "a")}); changed || err == nil {
		t.Errorf("AddLooks on a full disk = %v, %v", changed, err)
	}
	if got := m.Looks(); len(got) != 0 {
		t.Errorf("looks that were not stored: %v", got)
	}
}
