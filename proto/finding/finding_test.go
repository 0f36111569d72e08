package finding_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

var update = flag.Bool("update", false, "append new findings to the golden file")

// TestGolden holds what may never change: code, instances, arguments and their
// units. The file is only ever appended to; -update does that, and fails when a
// line would change.
func TestGolden(t *testing.T) {
	const file = "testdata/codes.golden"
	var b strings.Builder
	for f := range finding.All() {
		fmt.Fprintf(&b, "%s several=%d instances=%s severity=%d..%d", f.Code, f.Several, codes(f.Instances), f.Least, f.Most)
		for _, a := range f.Arguments {
			fmt.Fprintf(&b, " %s(kind=%d unit=%s codes=%s)", a.Name, a.Kind, a.Unit, codes(a.Codes))
		}
		b.WriteByte('\n')
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

func codes(cs []reading.CodeValue) string {
	var out []string
	for _, c := range cs {
		out = append(out, c.Code)
	}
	return strings.Join(out, ",")
}

func TestTableIsSound(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	seen := make(map[string]bool)
	n := 0
	for f := range finding.All() {
		n++
		if !name.MatchString(f.Code) || seen[f.Code] {
			t.Errorf("code %q is not snake_case or not unique", f.Code)
		}
		seen[f.Code] = true
		if f.Least < hmpb.Severity_SEVERITY_NOTICE || f.Least > f.Most || f.Most > hmpb.Severity_SEVERITY_CRITICAL {
			t.Errorf("%s has the severities %v to %v", f.Code, f.Least, f.Most)
		}
		if f.Several < finding.One || f.Several > finding.Known || (f.Several == finding.Known) != (len(f.Instances) > 0) {
			t.Errorf("%s does not say what it may be about: %d, %v", f.Code, f.Several, f.Instances)
		}
		for _, a := range f.Arguments {
			sound := a.Kind == reading.Number && a.Unit != reading.NoUnit && a.Min < a.Max ||
				a.Kind == reading.Text && a.Unit == reading.NoUnit ||
				a.Kind == reading.Code && len(a.Codes) > 1
			if !name.MatchString(a.Name) || a.Name == "instance" || a.Name == finding.ReasonName || !sound {
				t.Errorf("%s has the unsound argument %+v", f.Code, a)
			}
		}
		if got, ok := finding.ByCode(f.Code); !ok || got.Code != f.Code {
			t.Errorf("ByCode(%s) = %s, %v", f.Code, got.Code, ok)
		}
	}
	if n != finding.Len() {
		t.Errorf("Len() = %d, All gives %d", finding.Len(), n)
	}
	if f, ok := finding.ByCode("no_such"); ok {
		t.Errorf("ByCode(no_such) = %s, want none", f.Code)
	}
}

// allWords of a finding, by what they are.
func allWords(f finding.Finding) map[string]reading.Words {
	m := map[string]reading.Words{"title": f.Title, "cause": f.Cause, "teacher": f.Teacher, "support": f.Support}
	for _, c := range f.Instances {
		m["instance "+c.Code] = c.Word
	}
	for _, a := range f.Arguments {
		for _, c := range a.Codes {
			m[a.Name+" "+c.Code] = c.Word
		}
	}
	return m
}

var place = regexp.MustCompile(`\{[^}]*\}`)

func TestWords(t *testing.T) {
	// domain.md section 6, and no sentence that blames the reader.
	avoid := regexp.MustCompile(`(?i)überwach|track|\buser|kill|zwang|einwillig|surveil|monitor`)
	sentence := regexp.MustCompile(`[.!?:]+(\s|$)`)
	for f := range finding.All() {
		for what, w := range allWords(f) {
			if w.DE == "" || w.EN == "" || w.DE == w.EN {
				t.Errorf("%s lacks words for %s: %+v", f.Code, what, w)
			}
			de, en := place.FindAllString(w.DE, -1), place.FindAllString(w.EN, -1)
			slices.Sort(de)
			slices.Sort(en)
			if d := cmp.Diff(de, en); d != "" {
				t.Errorf("%s, %s: places differ by language (-de +en):\n%s", f.Code, what, d)
			}
			if (what == "title" || strings.Contains(what, " ")) && len(de) > 0 {
				t.Errorf("%s, %s has places: %v", f.Code, what, de)
			}
			for _, s := range []string{w.DE, w.EN} {
				if hit := avoid.FindString(s); hit != "" {
					t.Errorf("%s, %s says %q", f.Code, what, hit)
				}
				if !reading.Printable(s, 400) {
					t.Errorf("%s, %s is not printable or too long: %q", f.Code, what, s)
				}
			}
			for _, s := range sentence.Split(w.DE, -1) {
				if n := len(strings.Fields(s)); n > 20 {
					t.Errorf("%s, %s: a sentence of %d words: %q", f.Code, what, n, s)
				}
			}
		}
		if n := len([]rune(f.Title.DE)); n > 36 {
			t.Errorf("%s: the title has %d letters and does not fit a list", f.Code, n)
		}
	}
}

// TestPlacesStandInSentences: what is filled in is a part of its sentence, not a
// remainder behind a colon or before one.
func TestPlacesStandInSentences(t *testing.T) {
	aside := regexp.MustCompile(`:\s*\{|^\{[^}]*\}:`)
	for f := range finding.All() {
		for _, w := range []reading.Words{f.Cause, f.Teacher, f.Support} {
			for _, s := range []string{w.DE, w.EN} {
				if hit := aside.FindString(s); hit != "" {
					t.Errorf("%s says %q: %q is no sentence", f.Code, s, hit)
				}
			}
		}
	}
}

func german(w reading.Words) string { return w.DE }

var speech = finding.Speech{
	Pick:   german,
	Number: func(n int64, u reading.Unit) string { return fmt.Sprintf("%d %s", n, u) },
}

// sample is a raised finding as the table wants it.
func sample(f finding.Finding) *hmpb.Finding {
	m := &hmpb.Finding{}
	m.SetCode(f.Code)
	m.SetRaised(true)
	m.SetSeverity(f.Least)
	switch f.Several {
	case finding.Named:
		m.SetInstance("/home")
	case finding.Known:
		m.SetInstance(f.Instances[0].Code)
	}
	var args []*hmpb.Argument
	for _, a := range f.Arguments {
		v := &hmpb.Argument{}
		v.SetName(a.Name)
		switch a.Kind {
		case reading.Number:
			v.SetNumber(a.Max)
		case reading.Text:
			v.SetText("1.2~rc1")
		case reading.Code:
			v.SetText(a.Codes[0].Code)
		}
		args = append(args, v)
	}
	m.SetArguments(args)
	return m
}

// TestEachPlaceIsFilled: no argument without a place, no place without an
// argument, in either language.
func TestEachPlaceIsFilled(t *testing.T) {
	for f := range finding.All() {
		m := sample(f)
		if err := finding.Check(m); err != nil {
			t.Errorf("Check of the sample of %s = %v", f.Code, err)
		}
		for lang, pick := range map[string]func(reading.Words) string{
			"de": german, "en": func(w reading.Words) string { return w.EN },
		} {
			s := speech
			s.Pick = pick
			got, err := render(f, m, s)
			if err != nil {
				t.Errorf("Render of %s in %s: %v", f.Code, lang, err)
			}
			if all := got.Title + got.Cause + got.Teacher + got.Support; strings.ContainsAny(all, "{}…") {
				t.Errorf("Render of %s in %s left a place: %s", f.Code, lang, all)
			}
		}
	}
}

func TestRender(t *testing.T) {
	f, _ := finding.ByCode(finding.EncryptionOff)
	m := sample(f)
	got, err := render(f, m, speech)
	if want := "Die Verschlüsselung des Datenträgers ist nur teilweise eingeschaltet. Bei Verlust wären die Daten lesbar."; err != nil || got.Cause != want {
		t.Errorf("Render = %q, %v, want %q", got.Cause, err, want)
	}
	f, _ = finding.ByCode(finding.Hot)
	if got, err = render(f, sample(f), speech); err != nil || got.Cause != "Der Fühler „Prozessor“ misst 150000 millicelsius. Das ist zu heiß." {
		t.Errorf("Render = %q, %v", got.Cause, err)
	}
	f, _ = finding.ByCode(finding.DiskLow)
	m = sample(f)
	s := speech
	s.Name = func(f finding.Finding, instance string) string { return "»" + instance + "«" }
	if got, err = render(f, m, s); err != nil || !strings.HasPrefix(got.Cause, "Auf dem Laufwerk »/home« sind") {
		t.Errorf("Render = %q, %v", got.Cause, err)
	}
	m.SetArguments(append(m.GetArguments()[:1:1], argument("colour", "blue")))
	got, err = render(f, m, speech)
	if !errors.Is(err, finding.ErrPlaces) || !strings.Contains(err.Error(), "[total]") || !strings.Contains(err.Error(), "[colour]") {
		t.Errorf("Render without total and with colour: %v", err)
	}
	if !strings.Contains(got.Cause, "von … frei") {
		t.Errorf("Render without total = %q", got.Cause)
	}
}

func render(f finding.Finding, m *hmpb.Finding, s finding.Speech) (finding.Texts, error) {
	return f.Render(m.GetInstance(), finding.Values(m), s)
}

func argument(name, text string) *hmpb.Argument {
	a := &hmpb.Argument{}
	a.SetName(name)
	a.SetText(text)
	return a
}

func number(name string, n int64) *hmpb.Argument {
	a := &hmpb.Argument{}
	a.SetName(name)
	a.SetNumber(n)
	return a
}

func TestCheck(t *testing.T) {
	of := func(code string, change func(m *hmpb.Finding)) *hmpb.Finding {
		f, ok := finding.ByCode(code)
		if !ok {
			t.Fatalf("no %s", code)
		}
		m := sample(f)
		if change != nil {
			change(m)
		}
		return m
	}
	cleared := func(args ...*hmpb.Argument) func(m *hmpb.Finding) {
		return func(m *hmpb.Finding) {
			m.SetRaised(false)
			m.SetArguments(args)
		}
	}
	args := func(args ...*hmpb.Argument) func(m *hmpb.Finding) {
		return func(m *hmpb.Finding) { m.SetArguments(args) }
	}
	instance := func(s string) func(m *hmpb.Finding) {
		return func(m *hmpb.Finding) { m.SetInstance(s) }
	}
	severity := func(s hmpb.Severity) func(m *hmpb.Finding) {
		return func(m *hmpb.Finding) { m.SetSeverity(s) }
	}
	for _, c := range []struct {
		name string
		m    *hmpb.Finding
		want error
	}{
		{"raised", of("disk_low", nil), nil},
		{"cleared", of("disk_low", cleared()), nil},
		{"cleared for a reason", of("disk_low", cleared(argument("reason", "vanished"))), nil},
		{"cleared for no known reason", of("disk_low", cleared(argument("reason", "boredom"))), finding.ErrRange},
		{"cleared with an argument", of("disk_low", cleared(number("free", 1))), finding.ErrForm},
		{"cleared with two reasons", of("disk_low", cleared(argument("reason", "vanished"), argument("reason", "vanished"))), finding.ErrForm},
		{"cleared with a number for a reason", of("disk_low", cleared(number("reason", 1))), finding.ErrForm},
		{"raised for a reason", of("disk_low", args(argument("reason", "vanished"))), finding.ErrForm},
		{"unknown", of("disk_low", func(m *hmpb.Finding) { m.SetCode("disk_low\x1b") }), finding.ErrUnknown},
		{"nothing", &hmpb.Finding{}, finding.ErrUnknown},
		{"no instance", of("disk_low", instance("")), finding.ErrForm},
		{"an instance too many", of("battery_worn", instance("/")), finding.ErrForm},
		{"long instance", of("disk_low", instance(strings.Repeat("x", finding.MaxInstance+1))), finding.ErrForm},
		{"longest instance", of("disk_low", instance(strings.Repeat("x", finding.MaxInstance))), nil},
		{"instance with a line end", of("software_missing", instance("a\nb")), finding.ErrForm},
		{"unknown place", of("hot", instance("desk")), finding.ErrRange},
		{"known place", of("hot", instance("gpu")), nil},
		{"not severe enough", of("disk_low", severity(hmpb.Severity_SEVERITY_NOTICE)), finding.ErrRange},
		{"worst", of("disk_low", severity(hmpb.Severity_SEVERITY_CRITICAL)), nil},
		{"no severity", of("disk_low", severity(0)), finding.ErrRange},
		{"strange severity", of("disk_low", severity(4)), finding.ErrRange},
		{"argument missing", of("disk_low", args(number("free", 1))), finding.ErrForm},
		{"argument too many", of("disk_low", args(number("free", 1), number("total", 2), number("total", 2))), finding.ErrForm},
		{"other order", of("disk_low", args(number("total", 2), number("free", 1))), finding.ErrForm},
		{"other name", of("battery_worn", args(number("age", 1))), finding.ErrForm},
		{"text for a number", of("battery_worn", args(argument("health", "bad"))), finding.ErrForm},
		{"number for a text", of("software_old", args(number("installed", 1), argument("least", "2"))), finding.ErrForm},
		{"number for a code", of("firewall_off", args(number("state", 1))), finding.ErrForm},
		{"number out of range", of("battery_worn", args(number("health", -1))), finding.ErrRange},
		{"unknown code of an argument", of("firewall_off", args(argument("state", "on"))), finding.ErrRange},
		{"empty text", of("software_old", args(argument("installed", ""), argument("least", "2"))), finding.ErrForm},
		{"right to left override", of("software_old", args(argument("installed", "1\u202e"), argument("least", "2"))), finding.ErrForm},
		{"long text", of("software_old", args(argument("installed", strings.Repeat("1", finding.MaxText+1)), argument("least", "2"))), finding.ErrForm},
		{"argument without a value", of("battery_worn", args(hmpb.Argument_builder{Name: new("health")}.Build())), finding.ErrForm},
	} {
		if err := finding.Check(c.m); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: Check = %v, want %v", c.name, err, c.want)
		}
	}
}

func TestReason(t *testing.T) {
	f, _ := finding.ByCode(finding.BatteryWorn)
	m := sample(f)
	if w, ok := finding.Reason(m); ok {
		t.Errorf("Reason of a raise = %v", w)
	}
	m.SetRaised(false)
	m.SetArguments(nil)
	if w, ok := finding.Reason(m); ok {
		t.Errorf("Reason of a plain clear = %v", w)
	}
	for _, reason := range []string{finding.Vanished, finding.NotAsked} {
		m.SetArguments([]*hmpb.Argument{argument(finding.ReasonName, reason)})
		if w, ok := finding.Reason(m); !ok || w.DE == "" || w.EN == "" {
			t.Errorf("Reason of a clear as %s = %v, %v", reason, w, ok)
		}
	}
}

// FuzzCheck: what passes renders without a place left, whatever came.
func FuzzCheck(f *testing.F) {
	for row := range finding.All() {
		b, err := proto.Marshal(sample(row))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &hmpb.Finding{}
		if proto.Unmarshal(b, m) != nil || finding.Check(m) != nil {
			return
		}
		row, ok := finding.ByCode(m.GetCode())
		if !ok || len(m.GetInstance()) > finding.MaxInstance {
			t.Fatalf("passed: %v", m)
		}
		if !m.GetRaised() {
			return
		}
		if _, err := row.Render(m.GetInstance(), finding.Values(m), speech); err != nil {
			t.Errorf("passed, but %v: %v", err, m)
		}
	})
}
