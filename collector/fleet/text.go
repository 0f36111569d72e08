package fleet

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// fold brings text into the form that is searched and compared: lower case,
// umlauts written out, other accents gone, single blanks. Who types "muehle"
// or "MÜHLE" finds "Mühle".
func fold(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return unicode.ToLower(r)
	}, norm.NFC.String(s))
	s = umlauts.Replace(s)
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFD.String(s))
	return strings.Join(strings.Fields(s), " ")
}

var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss")

// digitsWide is how wide naturalKey writes a number.
const digitsWide = 10

// naturalKey sorts by bytes as people sort: AH-2 before AH-10.
func naturalKey(s string) string {
	var b strings.Builder
	digits := 0 // of the run that ends before i
	folded := fold(s)
	for i := 0; i <= len(folded); i++ {
		if i < len(folded) && '0' <= folded[i] && folded[i] <= '9' {
			digits++
			continue
		}
		if digits > 0 {
			number := strings.TrimLeft(folded[i-digits:i], "0")
			b.WriteString(strings.Repeat("0", max(0, digitsWide-len(number))))
			b.WriteString(number)
			digits = 0
		}
		if i < len(folded) {
			b.WriteByte(folded[i])
		}
	}
	return b.String()
}

// label is what pages call a device.
func label(inventory, serial, id string) string {
	switch {
	case inventory != "":
		return inventory
	case serial != "":
		return serial
	}
	return "…" + id[max(0, len(id)-8):]
}

func schoolTitle(name, kind, code string) string {
	switch {
	case name != "":
		return name
	case kind != "":
		return kind + " " + code
	}
	return code
}

// searchText is what a query is looked for in.
func searchText(inventory, serial, manufacturer, model string, s School) string {
	parts := []string{inventory, serial, model, manufacturer}
	if s.ID != "" {
		parts = append(parts, s.Code, s.Name, s.Kind)
	}
	return fold(strings.Join(parts, " "))
}

// MaxWords bounds the words of a query: each costs a look at every row.
const MaxWords = 6

// TooManyWords says of a query that List refuses it with ErrWords.
func TooManyWords(query string) bool { return len(words(query)) > MaxWords }

func checkQuery(query string) error {
	if TooManyWords(query) {
		return fmt.Errorf("%w: at most %d", ErrWords, MaxWords)
	}
	return nil
}

// words are those of a query, as they are looked for in what is searched.
func words(query string) []string { return strings.Fields(fold(query)) }

// text checks what a person or a file gave: trimmed, one line, not too long.
func text(what, s string, most int) (string, error) {
	s = strings.TrimSpace(s)
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most {
		return "", fmt.Errorf("%w: %s is not text of at most %d characters", ErrInvalid, what, most)
	}
	for _, r := range s {
		if r == utf8.RuneError {
			return "", fmt.Errorf("%w: %s has a letter that an earlier conversion has lost (U+FFFD)", ErrInvalid, what)
		}
		if !unicode.IsPrint(r) {
			return "", fmt.Errorf("%w: %s has a character that cannot be printed", ErrInvalid, what)
		}
	}
	return s, nil
}
