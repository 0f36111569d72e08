// Package words owns what the pages say and how they write numbers: the texts
// in German and English, plurals, and the formats of figures, sizes, days and
// times. Both languages hold the same keys with the same placeholders; a test
// fails the build otherwise, also on a key that no page uses and on words that
// the glossary avoids.
//
// It is smaller than go-i18n and says one thing more: zero is a sentence of its
// own ("Noch keine Geräte"), which the plural rules of German and English know
// no category for. Texts that come from a device or a person are not its
// business; the templates escape them.
package words

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // Europe/Berlin must be known on a machine without zone files

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

//go:embed de.json en.json
var files embed.FS

// Lang is one of the languages that the pages speak.
type Lang string

// The languages; German is what is spoken to whoever asks for neither.
const (
	German  Lang = "de"
	English Lang = "en"
)

// Langs are all languages, the default first.
var Langs = []Lang{German, English}

// ParseLang reads a stored choice; anything else is no choice.
func ParseLang(s string) (Lang, bool) {
	for _, l := range Langs {
		if s == string(l) {
			return l, true
		}
	}
	return German, false
}

var matcher = language.NewMatcher([]language.Tag{language.German, language.English})

// FromAccept chooses by the Accept-Language header of a browser.
func FromAccept(header string) Lang {
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return German
	}
	_, i, confidence := matcher.Match(tags...)
	if confidence == language.No {
		return German
	}
	return Langs[i]
}

// text is one entry of a language file: a plain sentence, or one sentence per
// plural form, chosen by the argument "n".
type text struct {
	plain string
	forms map[string]string
}

func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.plain)
	}
	return json.Unmarshal(b, &t.forms)
}

// Speaker speaks one language. It is made once and shared by all requests.
type Speaker struct {
	Lang    Lang
	tag     language.Tag
	texts   map[string]text
	printer *message.Printer
	zone    *time.Location
}

// Speakers loads every language. It fails only when the program was built from
// broken files.
func Speakers() (map[Lang]*Speaker, error) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		return nil, fmt.Errorf("loading the time zone of the pages: %w", err)
	}
	all := make(map[Lang]*Speaker)
	for _, l := range Langs {
		raw, err := files.ReadFile(string(l) + ".json")
		if err != nil {
			return nil, fmt.Errorf("reading the texts of %s: %w", l, err)
		}
		s := &Speaker{Lang: l, tag: language.MustParse(string(l)), zone: zone}
		if err := json.Unmarshal(raw, &s.texts); err != nil {
			return nil, fmt.Errorf("reading the texts of %s: %w", l, err)
		}
		s.printer = message.NewPrinter(s.tag)
		all[l] = s
	}
	return all, nil
}

// Say gives the text of key with its {placeholders} filled from pairs of name
// and value. Whole numbers are written as the language writes them; everything
// else is written as it comes. An unknown key comes back in brackets: ugly on
// the page, but a page.
func (s *Speaker) Say(key string, pairs ...any) string {
	t, ok := s.texts[key]
	if !ok {
		return "⟨" + key + "⟩"
	}
	pattern := t.plain
	if t.forms != nil {
		pattern = s.form(t.forms, pairs)
	}
	if len(pairs) == 0 {
		return pattern
	}
	replace := make([]string, 0, 2*len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		place, text := "{"+fmt.Sprint(pairs[i])+"}", s.write(pairs[i+1])
		if strings.HasSuffix(text, ".") { // a date or an abbreviation that ends a sentence has one full stop
			replace = append(replace, place+".", text)
		}
		replace = append(replace, place, text)
	}
	return strings.NewReplacer(replace...).Replace(pattern)
}

// Has reports whether the language knows key.
func (s *Speaker) Has(key string) bool { _, ok := s.texts[key]; return ok }

func (s *Speaker) form(forms map[string]string, pairs []any) string {
	var n int64
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == "n" {
			n, _ = whole(pairs[i+1])
		}
	}
	if zero, ok := forms["zero"]; ok && n == 0 {
		return zero
	}
	// The rules look at the last digits only, so a large count is cut first.
	if plural.Cardinal.MatchPlural(s.tag, int(n%1_000_000), 0, 0, 0, 0) == plural.One && (n == 1 || n == -1) {
		return forms["one"]
	}
	return forms["other"]
}

func (s *Speaker) write(v any) string {
	if n, ok := whole(v); ok {
		return s.Number(n)
	}
	return fmt.Sprint(v)
}

func whole(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), true
	}
	return 0, false
}
