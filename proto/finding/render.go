package finding

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// ErrPlaces: texts and arguments do not fit each other.
var ErrPlaces = errors.New("texts and arguments do not fit")

// Speech is how a page or program says things in its reader's language.
type Speech struct {
	Pick   func(reading.Words) string              // the reader's language
	Number func(n int64, u reading.Unit) string    // 12345678 bytes as "12,3 MB"
	Name   func(f Finding, instance string) string // a volume's or disk's name; nil: as it is
}

// Texts is what people read of one finding.
type Texts struct {
	Title, Cause, Teacher, Support string
}

// Values are a finding's arguments by name: int64 or string.
func Values(m *hmpb.Finding) map[string]any {
	out := make(map[string]any, len(m.GetArguments()))
	for _, a := range m.GetArguments() {
		if a.HasNumber() {
			out[a.GetName()] = a.GetNumber()
		} else {
			out[a.GetName()] = a.GetText()
		}
	}
	return out
}

// Render says a raised finding in words; values are as Values gives them. It
// gives texts in any case; the error names places without an argument (they
// show as "…") and arguments without a place, so that a test notices both.
func (f Finding) Render(instance string, values map[string]any, s Speech) (Texts, error) {
	fill := &filling{values: make(map[string]string), used: make(map[string]bool)}
	if f.Several != One {
		fill.values["instance"] = f.name(instance, s)
	}
	for _, a := range f.Arguments {
		if v, ok := a.say(values[a.Name], s); ok {
			fill.values[a.Name] = v
		}
	}
	for name := range values {
		if _, ok := fill.values[name]; !ok {
			fill.unused = append(fill.unused, name)
		}
	}
	t := Texts{
		Title: fill.in(s.Pick(f.Title)), Cause: fill.in(s.Pick(f.Cause)),
		Teacher: fill.in(s.Pick(f.Teacher)), Support: fill.in(s.Pick(f.Support)),
	}
	return t, fill.problem()
}

func (f Finding) name(instance string, s Speech) string {
	if w, ok := f.InstanceWord(instance); ok {
		return s.Pick(w)
	}
	if s.Name != nil {
		return s.Name(f, instance)
	}
	return instance
}

// say gives false for a value that is not of the argument's kind.
func (a Argument) say(value any, s Speech) (string, bool) {
	switch v := value.(type) {
	case int64:
		return s.Number(v, cmp.Or(a.Said, a.Unit)), a.Kind == reading.Number
	case string:
		if w, ok := a.CodeWord(v); ok {
			return s.Pick(w), true
		}
		return v, a.Kind == reading.Text
	}
	return "", false
}

// filling fills places and remembers what did not fit.
type filling struct {
	values  map[string]string
	used    map[string]bool
	missing []string
	unused  []string
}

func (f *filling) in(text string) string {
	var b strings.Builder
	for {
		before, rest, open := strings.Cut(text, "{")
		b.WriteString(before)
		place, after, closed := strings.Cut(rest, "}")
		if !open || !closed {
			b.WriteString(rest)
			return b.String()
		}
		v, ok := f.values[place]
		if !ok {
			v = "…"
			f.missing = append(f.missing, place)
		}
		f.used[place] = true
		b.WriteString(v)
		text = after
	}
}

func (f *filling) problem() error {
	for name := range f.values {
		if !f.used[name] {
			f.unused = append(f.unused, name)
		}
	}
	if len(f.missing)+len(f.unused) == 0 {
		return nil
	}
	slices.Sort(f.missing)
	slices.Sort(f.unused)
	return fmt.Errorf("%w: no argument for %v, no place for %v", ErrPlaces, slices.Compact(f.missing), f.unused)
}
