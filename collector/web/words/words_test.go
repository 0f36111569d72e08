package words_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hausmeister/collector/web/words"
)

// read gives each key's sentences: one for a plain text, one per plural form.
func read(t *testing.T, file string) map[string]map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	out := map[string]map[string]string{}
	for key, v := range raw {
		out[key] = map[string]string{}
		switch v := v.(type) {
		case string:
			out[key][""] = v
		case map[string]any:
			for form, s := range v {
				out[key][form] = s.(string)
			}
		}
	}
	return out
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

func placeholders(s string) []string {
	found := placeholder.FindAllString(s, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// faults are what is wrong with two language files.
func faults(de, en map[string]map[string]string) (out []string) {
	for key, forms := range de {
		other, ok := en[key]
		if !ok {
			out = append(out, key+": not in English")
			continue
		}
		for form, s := range forms {
			if _, ok := other[form]; !ok {
				out = append(out, key+": English lacks the form "+form)
			}
			out = append(out, style(key, s, de[key], other)...)
		}
		if _, plural := forms["other"]; plural {
			if _, ok := forms["one"]; !ok {
				out = append(out, key+": no form for one")
			}
		}
	}
	for key := range en {
		if _, ok := de[key]; !ok {
			out = append(out, key+": not in German")
		}
	}
	for _, lang := range []map[string]map[string]string{de, en} {
		for key, forms := range lang {
			for _, s := range forms {
				if word := avoided.FindString(s); word != "" {
					out = append(out, key+": avoided word "+word)
				}
			}
		}
	}
	return out
}

var avoided = regexp.MustCompile(`(?i)\p{L}*überwach\p{L}*|\btracking\b|\buser\p{L}*|\bkill\p{L}*|\bzwang\p{L}*|einwilligung|nutzer\p{L}*|[a-zäöü][:*_]innen`)

func style(key, s string, de, en map[string]string) (out []string) {
	for _, sentence := range regexp.MustCompile(`[.!?:]\s+`).Split(s, -1) {
		if n := len(strings.Fields(sentence)); n > 20 {
			out = append(out, key+": a German sentence of more than 20 words")
		}
	}
	// A placeholder may rest in "one" and "zero", which say the number in words.
	if full := func(m map[string]string) []string { return placeholders(m[""] + m["other"]) }; !slices.Equal(full(de), full(en)) {
		out = append(out, key+": placeholders differ")
	}
	if strings.TrimSpace(s) != s || s == "" {
		out = append(out, key+": empty, or with blanks at its ends")
	}
	return out
}

func TestBothLanguagesAreWhole(t *testing.T) {
	de, en := read(t, "de.json"), read(t, "en.json")
	if len(de) < 100 {
		t.Fatalf("%d keys read", len(de))
	}
	for _, f := range faults(de, en) {
		t.Error(f)
	}
}

// TestFaultsAreFound plants each fault once.
// TestKeysStandOnce: of a key that stands twice, as after a merge of two branches, the
// first sentence would be lost without a word.
func TestKeysStandOnce(t *testing.T) {
	key := regexp.MustCompile(`(?m)^  "([^"]+)":`)
	for _, file := range []string{"de.json", "en.json"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, m := range key.FindAllStringSubmatch(string(b), -1) {
			if seen[m[1]] {
				t.Errorf("%s has %q twice", file, m[1])
			}
			seen[m[1]] = true
		}
		if len(seen) < 500 {
			t.Errorf("%s has %d keys in the form that this test knows", file, len(seen))
		}
	}
}

func TestFaultsAreFound(t *testing.T) {
	one := func(s string) map[string]string { return map[string]string{"": s} }
	tests := []struct {
		name   string
		de, en map[string]map[string]string
	}{
		{"missing in English", map[string]map[string]string{"a": one("x")}, nil},
		{"missing in German", nil, map[string]map[string]string{"a": one("x")}},
		{"placeholders", map[string]map[string]string{"a": one("x {n}")}, map[string]map[string]string{"a": one("x {m}")}},
		{"plural form", map[string]map[string]string{"a": {"one": "x", "other": "y", "zero": "z"}}, map[string]map[string]string{"a": {"one": "x", "other": "y"}}},
		{"long sentence", map[string]map[string]string{"a": one(strings.Repeat("wort ", 20) + "wort")}, map[string]map[string]string{"a": one("x")}},
		{"avoided word", map[string]map[string]string{"a": one("Die Geräteüberwachung")}, map[string]map[string]string{"a": one("x")}},
		{"avoided English word", map[string]map[string]string{"a": one("x")}, map[string]map[string]string{"a": one("Users only")}},
		{"empty", map[string]map[string]string{"a": one("")}, map[string]map[string]string{"a": one("x")}},
	}
	for _, tt := range tests {
		if got := faults(tt.de, tt.en); len(got) == 0 {
			t.Errorf("%s: not found", tt.name)
		}
	}
}

func speakers(t *testing.T) (de, en *words.Speaker) {
	t.Helper()
	all, err := words.Speakers()
	if err != nil {
		t.Fatal(err)
	}
	return all[words.German], all[words.English]
}

func TestSay(t *testing.T) {
	de, en := speakers(t)
	tests := []struct {
		s    *words.Speaker
		key  string
		args []any
		want string
	}{
		{de, "software.told", []any{"day", "Mi 25.11."}, "Zuletzt gemeldet: Mi 25.11."},
		{de, "software.told", []any{"day", "heute"}, "Zuletzt gemeldet: heute."},
		{de, "devices.count", []any{"n", 0}, "keine Geräte"},
		{de, "devices.count", []any{"n", 1}, "1 Gerät"},
		{de, "devices.count", []any{"n", 69214}, "69.214 Geräte"},
		{en, "devices.count", []any{"n", int64(69214)}, "69,214 devices"},
		{en, "devices.count", []any{"n", 1}, "1 device"},
		{en, "devices.count", []any{"n", 21}, "21 devices"},
		{de, "device.silent", []any{"n", 1}, "Das Gerät ist seit einem Tag still. Nächster Schritt: bei der Schule nachfragen."},
		{de, "no.such.key", nil, "⟨no.such.key⟩"},
		{de, "devices.chip.school", []any{"school", "{state} & <b>"}, "Schule: {state} & <b>"},
	}
	for _, tt := range tests {
		if got := tt.s.Say(tt.key, tt.args...); got != tt.want {
			t.Errorf("%s: Say(%s, %v) = %q, want %q", tt.s.Lang, tt.key, tt.args, got, tt.want)
		}
	}
}

func TestFormats(t *testing.T) {
	de, en := speakers(t)
	// · stands for the no-break space.
	tests := []struct{ what, got, want string }{
		{"bytes", de.Bytes(4_100_000_000), "4,1·GB"}, {"bytes", en.Bytes(4_100_000_000), "4.1·GB"},
		{"bytes", de.Bytes(0), "0·B"}, {"bytes", de.Bytes(999), "999·B"}, {"bytes", de.Bytes(1000), "1,0·kB"},
		{"bytes", de.Bytes(999_499), "999·kB"}, {"bytes", de.Bytes(999_999), "1,0·MB"}, {"bytes", de.Bytes(256_000_000_000), "256·GB"},
		{"bytes", de.Bytes(9_960_000_000), "10·GB"}, {"bytes", de.Bytes(3_200_000_000_000_000), "3.200·TB"},
		{"memory", de.Memory(8 << 30), "8,0·GB"}, {"memory", de.Memory(16<<30 - 300<<20), "16·GB"}, {"memory", en.Memory(512 << 20), "512·MB"},
		{"permille", de.Percent(610), "61·%"}, {"permille", en.Percent(610), "61%"}, {"permille", de.Percent(0), "0·%"}, {"permille", de.Percent(4), "0,4·%"}, {"permille", de.Percent(1000), "100·%"},
		{"ppm", de.SmallPercent(310), "0,03·%"}, {"ppm", en.SmallPercent(12_000), "1.20%"},
		{"celsius", de.Celsius(-4_600), "-5·°C"}, {"celsius", en.Celsius(48_400), "48·°C"},
		{"milli", de.Fixed2(1234), "1,23"}, {"milli", en.Fixed2(20), "0.02"},
		{"bits", de.BitRate(1_000_000_000), "1,0·Gbit/s"}, {"bits", de.BitRate(866_000_000), "866·Mbit/s"},
		{"number", de.Number(-1234), "-1.234"}, {"number", en.Number(1234567), "1,234,567"},
		{"span", de.Span(110 * time.Minute), "1·h·50·min"}, {"span", de.Span(2 * time.Hour), "2·h"}, {"span", de.Span(59 * time.Second), "59·s"}, {"span", de.Span(70 * time.Second), "1·min·10·s"}, {"span", de.Span(601 * time.Second), "10·min"},
		{"span", de.Span(76 * time.Hour), "3 Tage 4·h"}, {"span", en.Span(24 * time.Hour), "1 day"}, {"span", de.Span(20 * 24 * time.Hour), "20 Tage"}, {"span", de.Span(0), "0·s"},
	}
	for _, tt := range tests {
		if got := strings.ReplaceAll(tt.got, "\u00a0", "·"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}

func TestDays(t *testing.T) {
	de, en := speakers(t)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 8, 14, 0, 0, berlin)
	tests := []struct{ what, got, want string }{
		{"today", de.Day(now.Add(-8*time.Hour), now), "heute"}, {"today", en.Day(now, now), "today"},
		{"yesterday", de.Day(now.Add(-9*time.Hour), now), "gestern"},
		{"this year", de.Day(now.AddDate(0, 0, -3), now), "Fr·20.11."}, {"this year", en.Day(now.AddDate(0, 0, -3), now), "Fri·20·Nov"},
		{"another year", de.Day(time.Date(2021, 4, 19, 12, 0, 0, 0, berlin), now), "Mo·19.04.2021"},
		{"another year", en.Day(time.Date(2021, 4, 19, 12, 0, 0, 0, berlin), now), "Mon·19·Apr·2021"},
		{"date", de.Date(time.Date(2026, 8, 10, 7, 52, 0, 0, berlin)), "Mo·10.08.2026"},
		{"time", de.Time(time.Date(2026, 8, 10, 7, 52, 0, 0, berlin)), "Mo·10.08.2026, 07:52·Uhr"},
		{"time", en.Time(time.Date(2026, 8, 10, 7, 52, 0, 0, berlin)), "Mon·10·Aug·2026, 07:52"},
		// Berlin is ahead of UTC: late evening there is the next day here.
		{"midnight", de.Date(time.Date(2026, 7, 31, 22, 30, 0, 0, time.UTC)), "Sa·01.08.2026"},
		// The night when clocks go back has 25 hours and is still one day.
		{"end of summer time", de.Day(time.Date(2026, 10, 25, 0, 10, 0, 0, berlin), time.Date(2026, 10, 26, 0, 5, 0, 0, berlin)), "gestern"},
	}
	for _, tt := range tests {
		if got := strings.ReplaceAll(tt.got, "\u00a0", "·"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}

func TestFromAccept(t *testing.T) {
	for header, want := range map[string]words.Lang{
		"": words.German, "de-DE,de;q=0.9,en;q=0.8": words.German, "en-GB,en;q=0.9": words.English, "fr": words.German,
		"fr,en;q=0.5": words.English, "de-AT": words.German, "*": words.German, ";;;": words.German, "tr, de;q=0.1": words.German,
	} {
		if got := words.FromAccept(header); got != want {
			t.Errorf("FromAccept(%q) = %s, want %s", header, got, want)
		}
	}
}
