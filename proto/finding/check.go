package finding

import (
	"errors"
	"fmt"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

var (
	// ErrUnknown: a code that is not in the table, from a newer agent or not ours.
	ErrUnknown = errors.New("unknown finding")
	// ErrForm: not the instance, arguments or characters that the table wants.
	ErrForm = errors.New("finding of the wrong form")
	// ErrRange: a severity, number or code outside of what the table allows.
	ErrRange = errors.New("finding out of range")
)

// Check says whether a finding is as the table wants it. Both ends ask: the
// agent before anything leaves, the collector before anything is kept.
//
// A raise has the arguments exactly as declared and in their order. A clear has
// none, or one that gives the reason.
func Check(m *hmpb.Finding) error {
	f, ok := ByCode(m.GetCode())
	if !ok {
		return ErrUnknown // without the code, which may be anything
	}
	if err := f.check(m); err != nil {
		return fmt.Errorf("%s: %w", f.Code, err)
	}
	return nil
}

func (f Finding) check(m *hmpb.Finding) error {
	if err := f.checkInstance(m.GetInstance()); err != nil {
		return err
	}
	if s := m.GetSeverity(); s < f.Least || s > f.Most {
		return fmt.Errorf("%w: severity %d", ErrRange, s)
	}
	args := m.GetArguments()
	if !m.GetRaised() {
		switch {
		case len(args) == 0:
			return nil
		case len(args) > 1 || args[0].GetName() != ReasonName:
			return fmt.Errorf("%w: a clear with arguments", ErrForm)
		}
		return Argument{Name: ReasonName, Kind: reading.Code, Codes: reasons}.check(args[0])
	}
	if len(args) != len(f.Arguments) {
		return fmt.Errorf("%w: %d arguments, not %d", ErrForm, len(args), len(f.Arguments))
	}
	for i, a := range f.Arguments {
		if err := a.check(args[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f Finding) checkInstance(instance string) error {
	switch f.Several {
	case Named:
		if instance == "" || !reading.Printable(instance, MaxInstance) {
			return fmt.Errorf("%w: instance is empty, too long or not printable", ErrForm)
		}
	case Known:
		if _, ok := f.InstanceWord(instance); !ok {
			return fmt.Errorf("%w: unknown instance", ErrRange)
		}
	default:
		if instance != "" {
			return fmt.Errorf("%w: an instance", ErrForm)
		}
	}
	return nil
}

func (a Argument) check(m *hmpb.Argument) error {
	if m.GetName() != a.Name {
		return fmt.Errorf("%w: no argument %s in its place", ErrForm, a.Name)
	}
	switch {
	case a.Kind == reading.Number && m.HasNumber():
		if n := m.GetNumber(); n < a.Min || n > a.Max {
			return fmt.Errorf("%w: %s %d is not in %d..%d", ErrRange, a.Name, n, a.Min, a.Max)
		}
	case a.Kind == reading.Text && m.HasText():
		if s := m.GetText(); s == "" || !reading.Printable(s, MaxText) {
			return fmt.Errorf("%w: %s is empty, too long or not printable", ErrForm, a.Name)
		}
	case a.Kind == reading.Code && m.HasText():
		if _, ok := a.CodeWord(m.GetText()); !ok {
			return fmt.Errorf("%w: %s has an unknown code", ErrRange, a.Name)
		}
	default:
		return fmt.Errorf("%w: %s is of another kind", ErrForm, a.Name)
	}
	return nil
}
