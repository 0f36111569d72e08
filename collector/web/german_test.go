package web_test

import (
	"encoding/json"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hausmeister/proto/finding"
	"hausmeister/proto/reading"
)

// germanTexts are all that a page may show in German, by where they stand.
func germanTexts(t *testing.T) iter.Seq2[string, string] {
	t.Helper()
	b, err := os.ReadFile("words/de.json")
	if err != nil {
		t.Fatal(err)
	}
	var words map[string]any
	if err := json.Unmarshal(b, &words); err != nil {
		t.Fatal(err)
	}
	return func(yield func(where, text string) bool) {
		for _, key := range slices.Sorted(maps.Keys(words)) {
			switch v := words[key].(type) {
			case string:
				if !yield(key, v) {
					return
				}
			case map[string]any:
				for form, text := range v {
					if !yield(key+" "+form, text.(string)) {
						return
					}
				}
			}
		}
		for f := range finding.All() {
			for name, text := range map[string]reading.Words{"title": f.Title, "cause": f.Cause, "teacher": f.Teacher, "support": f.Support} {
				if !yield(f.Code+" "+name, text.DE) {
					return
				}
			}
		}
		for _, f := range reading.Catalogue() {
			if !yield(f.Name, f.Word.DE) || !yield(f.Name+" purpose", f.Purpose.DE) {
				return
			}
		}
	}
}

var (
	sentenceEnd = regexp.MustCompile(`[.!?]["“]?(\s|$)`)
	// Words that frighten or are not ours to say (domain.md's glossary), and forms
	// that a screen reader stumbles over.
	avoided = regexp.MustCompile(`(?i)überwach|tracking|\buser|\bkill|\bzwang|einwillig|\p{L}[*:_]in(nen)?\b|(?-i:\p{Ll}Innen\b)`)
	// Users of the pages are spoken to with Sie.
	familiar = regexp.MustCompile(`(?i)\b(du|dein(e[mnrs]?)?|dich|dir|euch|euer|eure[mnrs]?)\b`)
)

// TestGermanReads: no sentence over 20 words, no avoided word, nobody is on
// familiar terms.
func TestGermanReads(t *testing.T) {
	texts := 0
	for where, text := range germanTexts(t) {
		texts++
		for _, sentence := range sentenceEnd.Split(text, -1) {
			if n := len(strings.Fields(sentence)); n > 20 {
				t.Errorf("%s: a sentence of %d words: %s", where, n, sentence)
			}
		}
		for _, bad := range []*regexp.Regexp{avoided, familiar} {
			if found := bad.FindString(text); found != "" {
				t.Errorf("%s: %q in: %s", where, found, text)
			}
		}
	}
	if texts < 700 {
		t.Errorf("only %d texts", texts)
	}
}
