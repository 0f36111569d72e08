package finding_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"hausmeister/agent/finding"
	words "hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

// TestProperties: whatever the values, absences, sleeps, clock jumps, restarts
// and boots, raises and clears alternate, no two raises of the same come within
// a day, each finding passes the table's check, and none that a boot causes
// comes within ten minutes of one. The device minds all of that at each look.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDevice(t, office...)
		span := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Minute
		}
		t.Repeat(map[string]func(*rapid.T){
			"value": func(t *rapid.T) {
				r := rapid.SampledFrom(rows).Draw(t, "rule")
				f := rapid.SampledFrom([]func(*device){r.good, r.bad, r.edge}).Draw(t, "value")
				if f != nil && r.code != words.SlowBoot { // whose values look themselves
					f(d)
				}
			},
			"any value": func(t *rapid.T) { anyValue(t, d) },
			"absent": func(t *rapid.T) {
				for s := range d.values {
					if s.id != reading.ClockOffset && rapid.IntRange(0, 9).Draw(t, "this") == 0 {
						d.absent(s.id, s.instance)
					}
				}
			},
			"look":    func(t *rapid.T) { d.look(span("pass", 30)) },
			"minutes": func(t *rapid.T) { d.run(span("for", 120), time.Minute) },
			"days":    func(t *rapid.T) { d.run(span("for", 3*24*60), 20*time.Minute) },
			"sleep":   func(*rapid.T) { d.sleep(span("for", 3*24*60)) },
			"clock": func(t *rapid.T) {
				d.wrong = rapid.SampledFrom([]time.Duration{0, -20000 * day, 26000 * day, -time.Hour, time.Hour, 3 * day}).Draw(t, "wrong")
				// Measured anew at the next look, or not for a while.
				d.synced = rapid.Bool().Draw(t, "synced")
			},
			"restart": func(t *rapid.T) {
				if err := d.restart(nil); err != nil {
					t.Fatalf("Restore of a snapshot = %v", err)
				}
			},
			"boot": func(*rapid.T) {
				d.reboot(span("off", 60*24*60))
				d.look(time.Minute)
			},
		})
	})
}

// anyValue sets a reading to anything that its row allows.
func anyValue(t *rapid.T, d *device) {
	id := uint32(rapid.IntRange(1, reading.Len()).Draw(t, "id"))
	r, _ := reading.ByID(id)
	instance := ""
	if r.Instanced {
		instance = rapid.SampledFrom([]string{"/", "C:", "disk", "cpu", "memory", "battery"}).Draw(t, "instance")
	}
	switch {
	case id == reading.ClockOffset || id == reading.BootTime: // the device's own
	case r.Kind == reading.Number:
		d.number(id, instance, rapid.Int64Range(r.Min, r.Max).Draw(t, "n"))
	case r.Kind == reading.Code:
		codes := make([]string, len(r.Codes))
		for i, c := range r.Codes {
			codes[i] = c.Code
		}
		d.text(id, instance, rapid.SampledFrom(codes).Draw(t, "code"))
	}
}

// FuzzRestore: no bytes make a watcher that fails, tells what the table refuses,
// or cannot be kept again.
func FuzzRestore(f *testing.F) {
	d := newDevice(f, office...)
	for _, r := range rows[:3] { // small, so that the fuzzer does not spend its time on making it smaller
		r.bad(d)
	}
	d.run(2*day, 20*time.Minute)
	b, err := d.w.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"age_ms":9,"states":[{"code":"battery_worn","level":1,"told":1,"severity":1,"raised_ms":3,"dir":-1,"held_ms":5}],"days":[{"d":0,"f":1}],"boots_ms":[1,2,3],"writable":["/"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := finding.New(finding.Config{Standard: []*hmpb.StandardSoftware{standard("2", "a")}})
		_ = w.Restore(b)
		now := time.Now()
		for i, n := range []int64{600, 900, 600} {
			m := &hmpb.Reading{}
			m.SetId(reading.BatteryHealth)
			m.SetNumber(n)
			for range 6 { // more than a day's calm takes
				now = now.Add(12 * time.Hour)
				in := finding.Input{Clock: now, Readings: []*hmpb.Reading{m}, Programs: []inventory.Program{{Name: "a", Version: "1"}}}
				for _, x := range w.Look(now, in) {
					if err := words.Check(x); err != nil {
						t.Fatalf("part %d: told %v: %v", i, x, err)
					}
				}
			}
		}
		kept, err := w.Snapshot()
		if err != nil {
			t.Fatalf("Snapshot = %v", err)
		}
		if err := finding.New(finding.Config{}).Restore(kept); err != nil {
			t.Fatalf("Restore of what was kept = %v", err)
		}
	})
}
