package launcher_test

import (
	"testing"
	"time"

	"hausmeister/agent/launcher"
	"hausmeister/testenv/fault"
)

func TestReadSettings(t *testing.T) {
	for text, want := range map[string]launcher.Settings{
		`{}`: {},
		`{"alive_within": "5s", "bound_for": "1m", "cpu_permille": 500, "memory_more": 2000000, "memory_most": 3000000}`: {
			Times:  launcher.Times{AliveWithin: 5 * time.Second, BoundFor: time.Minute},
			Bounds: launcher.Bounds{CPUPermille: 500, MemoryMore: 2000000, MemoryMost: 3000000},
		},
		`{"handles": 49, "memory_more": 1048575, "memory_most": 1048575, "written": 1048575, "cpu_permille": 9, "hang_after": "25h"}`: {},
		`{"alive_within": "-5s", "hang_after": "1ns", "again": "1000h", "cpu_permille": -1, "memory_times": 0}`:                       {}, // out of bounds
	} {
		d := fault.NewTree("/x")
		d.Put("/x/launcher.json", []byte(text))
		if got, err := launcher.ReadSettings(d, "/x/launcher.json"); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	d := fault.NewTree("/x")
	if got, err := launcher.ReadSettings(d, "/x/launcher.json"); err != nil || got != (launcher.Settings{}) {
		t.Errorf("no file: %+v, %v", got, err)
	}
	for _, text := range []string{"", "x", `{"again": "soon"}`, `{"again": 5}`} {
		d.Put("/x/launcher.json", []byte(text))
		if got, err := launcher.ReadSettings(d, "/x/launcher.json"); err == nil || got != (launcher.Settings{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
