package reading

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"hausmeister/proto/hmpb"
)

var (
	// ErrUnknown: a number that is not in the table, from a newer agent or not ours.
	ErrUnknown = errors.New("unknown reading")
	// ErrForm: the wrong kind of value, instance or characters.
	ErrForm = errors.New("reading of the wrong form")
	// ErrRange: a number or code outside of what the table allows.
	ErrRange = errors.New("reading out of range")
)

// Check says whether a reading is as the table wants it. Both ends ask: the
// agent before anything leaves, the collector before anything is kept.
func Check(m *hmpb.Reading) error {
	r, ok := ByID(m.GetId())
	if !ok {
		return fmt.Errorf("%w: number %d", ErrUnknown, m.GetId())
	}
	if err := r.check(m); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	return nil
}

func (r Reading) check(m *hmpb.Reading) error {
	absent := m.WhichValue() == hmpb.Reading_Absent_case
	instance := m.GetInstance()
	switch {
	case !r.Instanced && instance != "":
		return fmt.Errorf("%w: an instance", ErrForm)
	// An absent one may stand for the whole group: which volumes there are
	// could not be read either.
	case r.Instanced && instance == "" && !absent:
		return fmt.Errorf("%w: no instance", ErrForm)
	case !Printable(instance, MaxInstance):
		return fmt.Errorf("%w: instance is too long or not printable", ErrForm)
	}
	switch m.WhichValue() {
	case hmpb.Reading_Number_case:
		return r.checkNumber(m.GetNumber())
	case hmpb.Reading_Text_case:
		return r.checkText(m.GetText())
	case hmpb.Reading_Absent_case:
		if _, ok := hmpb.Absent_name[int32(m.GetAbsent())]; !ok || m.GetAbsent() == hmpb.Absent_ABSENT_UNSPECIFIED {
			return fmt.Errorf("%w: absent for the unknown reason %d", ErrForm, m.GetAbsent())
		}
		return nil
	}
	return fmt.Errorf("%w: no value", ErrForm)
}

func (r Reading) checkNumber(n int64) error {
	if r.Kind != Number {
		return fmt.Errorf("%w: a number", ErrForm)
	}
	if n < r.Min || n > r.Max {
		return fmt.Errorf("%w: %d is not in %d..%d", ErrRange, n, r.Min, r.Max)
	}
	return nil
}

func (r Reading) checkText(s string) error {
	switch r.Kind {
	case Text:
		if s == "" || !Printable(s, MaxText) {
			return fmt.Errorf("%w: text is empty, too long or not printable", ErrForm)
		}
		return nil
	case Code:
		if _, ok := r.CodeWord(s); !ok {
			return fmt.Errorf("%w: unknown code", ErrRange)
		}
		return nil
	}
	return fmt.Errorf("%w: a text", ErrForm)
}

// Printable says whether s is at most so many bytes long and valid UTF-8 that shows as what it is, without control, format
// (bidirectional overrides) or private characters.
func Printable(s string, most int) bool {
	if len(s) > most || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}
