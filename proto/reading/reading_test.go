package reading_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

var update = flag.Bool("update", false, "append new readings to the golden file")

// TestGolden holds what may never change: number, name, kind, unit, instanced,
// and the codes. The file is only ever appended to; -update does that, and
// fails when a line would change.
func TestGolden(t *testing.T) {
	const file = "testdata/table.golden"
	var b strings.Builder
	for r := range reading.All() {
		var codes []string
		for _, c := range r.Codes {
			codes = append(codes, c.Code)
		}
		fmt.Fprintf(&b, "%d %s kind=%d unit=%s instanced=%v codes=%s\n", r.ID, r.Name, r.Kind, r.Unit, r.Instanced, strings.Join(codes, ","))
	}
	got := b.String()
	want, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	if *update && strings.HasPrefix(got, string(want)) {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("the table is append only (-released +now; -update adds new rows):\n%s", d)
	}
}

func TestTableIsSound(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	seen := make(map[string]bool)
	next := uint32(1)
	for r := range reading.All() {
		if r.ID != next {
			t.Errorf("%s has number %d, want %d: numbers are dense", r.Name, r.ID, next)
		}
		next++
		if !name.MatchString(r.Name) || seen[r.Name] {
			t.Errorf("name %q is not snake_case or not unique", r.Name)
		}
		seen[r.Name] = true
		for what, w := range map[string]reading.Words{"word": r.Word, "purpose": r.Purpose} {
			if w.DE == "" || w.EN == "" {
				t.Errorf("%s lacks a %s: %+v", r.Name, what, w)
			}
		}
		if r.Class.Word() == (reading.Words{}) || r.Basis.Word() == (reading.Words{}) || r.Retain.Word() == (reading.Words{}) {
			t.Errorf("%s lacks a class, a legal basis or a retention: %+v", r.Name, r)
		}
		if (r.Retain == reading.Now) != (r.Daily == 0) && r.Retain != reading.Fine || r.Retain == reading.Fine && r.Kind != reading.Number {
			t.Errorf("%s is kept in a way that does not fit: %+v", r.Name, r)
		}
		switch r.Kind {
		case reading.Number:
			if r.Unit == reading.NoUnit || r.Min >= r.Max || r.DeadBand < 0 || r.Codes != nil {
				t.Errorf("%s is no sound number: %+v", r.Name, r)
			}
		case reading.Text, reading.Code:
			if r.Unit != reading.NoUnit || r.Min != 0 || r.Max != 0 || r.DeadBand != 0 || (r.Kind == reading.Code) != (len(r.Codes) > 1) {
				t.Errorf("%s is no sound text: %+v", r.Name, r)
			}
		default:
			t.Errorf("%s has no kind", r.Name)
		}
		if got, ok := reading.ByID(r.ID); !ok || got.Name != r.Name {
			t.Errorf("ByID(%d) = %s, %v", r.ID, got.Name, ok)
		}
		if got, ok := reading.ByName(r.Name); !ok || got.ID != r.ID {
			t.Errorf("ByName(%s) = %d, %v", r.Name, got.ID, ok)
		}
	}
	for _, id := range []uint32{0, next, math.MaxUint32} {
		if r, ok := reading.ByID(id); ok {
			t.Errorf("ByID(%d) = %s, want none", id, r.Name)
		}
	}
}

// TestNothingPersonal: words that must not become readings (requirements TE-2).
func TestNothingPersonal(t *testing.T) {
	never := regexp.MustCompile(`user|login|logon|host_?name|ssid|mac_|address|ip_|location|process|window|browser|account`)
	for r := range reading.All() {
		if never.MatchString(r.Name) {
			t.Errorf("%s is not for this table", r.Name)
		}
	}
}

func TestMoved(t *testing.T) {
	r := reading.Reading{DeadBand: 10}
	for _, c := range []struct {
		a, b int64
		want bool
	}{
		{100, 100, false}, {100, 110, false}, {110, 100, false}, {100, 111, true}, {111, 100, true},
		{math.MinInt64, math.MaxInt64, true}, {-5, 5, false}, {-5, 6, true},
	} {
		if got := r.Moved(c.a, c.b); got != c.want {
			t.Errorf("Moved(%d, %d) with a band of 10 = %v, want %v", c.a, c.b, got, c.want)
		}
	}
	if (reading.Reading{}).Moved(3, 3) || !(reading.Reading{}).Moved(3, 4) {
		t.Error("without a band any change matters, and only a change")
	}
}

func number(id uint32, instance string, n int64) *hmpb.Reading {
	m := hmpb.Reading_builder{Id: &id, Instance: &instance, Number: &n}
	return m.Build()
}

func text(id uint32, instance, s string) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Instance: &instance, Text: &s}.Build()
}

func absent(id uint32, instance string, a hmpb.Absent) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Instance: &instance, Absent: &a}.Build()
}

func TestCheck(t *testing.T) {
	noValue := &hmpb.Reading{}
	noValue.SetId(reading.CPUUsed)
	for _, c := range []struct {
		name string
		m    *hmpb.Reading
		want error
	}{
		{"a number", number(reading.CPUUsed, "", 1000), nil},
		{"lowest", number(reading.CPUUsed, "", 0), nil},
		{"too high", number(reading.CPUUsed, "", 1001), reading.ErrRange},
		{"too low", number(reading.CPUUsed, "", -1), reading.ErrRange},
		{"unknown", number(9999, "", 1), reading.ErrUnknown},
		{"number zero", number(0, "", 1), reading.ErrUnknown},
		{"nothing", noValue, reading.ErrForm},
		{"text for a number", text(reading.CPUUsed, "", "much"), reading.ErrForm},
		{"number for a text", number(reading.Model, "", 1), reading.ErrForm},
		{"number for a code", number(reading.PowerSource, "", 1), reading.ErrForm},
		{"instance too many", number(reading.CPUUsed, "0", 1), reading.ErrForm},
		{"instance", number(reading.VolumeFree, "/", 1), nil},
		{"no instance", number(reading.VolumeFree, "", 1), reading.ErrForm},
		{"long instance", number(reading.VolumeFree, strings.Repeat("x", reading.MaxInstance+1), 1), reading.ErrForm},
		{"instance with a line end", number(reading.VolumeFree, "a\nb", 1), reading.ErrForm},
		{"code", text(reading.PowerSource, "", "mains"), nil},
		{"unknown code", text(reading.PowerSource, "", "wind"), reading.ErrRange},
		{"text", text(reading.Model, "", "LIFEBOOK A3510 – größer"), nil},
		{"empty text", text(reading.Model, "", ""), reading.ErrForm},
		{"longest text", text(reading.Model, "", strings.Repeat("x", reading.MaxText)), nil},
		{"long text", text(reading.Model, "", strings.Repeat("x", reading.MaxText+1)), reading.ErrForm},
		{"control character", text(reading.Model, "", "a\x1b[31m"), reading.ErrForm},
		{"right to left override", text(reading.Model, "", "a\u202eb"), reading.ErrForm},
		{"not UTF-8", text(reading.Model, "", "a\xff"), reading.ErrForm},
		{"absent", absent(reading.BatteryCharge, "", hmpb.Absent_ABSENT_NO_HARDWARE), nil},
		{"whole group absent", absent(reading.VolumeFree, "", hmpb.Absent_ABSENT_TIMEOUT), nil},
		{"one instance absent", absent(reading.VolumeFree, "/", hmpb.Absent_ABSENT_DENIED), nil},
		{"absent without a reason", absent(reading.BatteryCharge, "", hmpb.Absent_ABSENT_UNSPECIFIED), reading.ErrForm},
		{"absent for no known reason", absent(reading.BatteryCharge, "", 99), reading.ErrForm},
	} {
		if err := reading.Check(c.m); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: Check = %v, want %v", c.name, err, c.want)
		}
	}
}

// FuzzCheck: what passes is what the table allows, whatever came.
func FuzzCheck(f *testing.F) {
	for _, m := range []*hmpb.Reading{
		number(reading.CPUUsed, "", 1000), text(reading.Model, "", "x"), absent(reading.Serial, "", hmpb.Absent_ABSENT_DENIED),
		number(reading.VolumeFree, "/", 1),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &hmpb.Reading{}
		if proto.Unmarshal(b, m) != nil || reading.Check(m) != nil {
			return
		}
		r, ok := reading.ByID(m.GetId())
		if !ok || len(m.GetText()) > reading.MaxText || len(m.GetInstance()) > reading.MaxInstance {
			t.Errorf("passed: %v", m)
		}
		if m.HasNumber() && (m.GetNumber() < r.Min || m.GetNumber() > r.Max) {
			t.Errorf("passed out of range: %v", m)
		}
	})
}
