package finding

import (
	"iter"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// Days is the one unit that readings do not have: what is reckoned over weeks
// has no milliseconds.
const Days reading.Unit = "days"

// Times is how a count is said that stands in a sentence: once, 12 times.
const Times reading.Unit = "times"

const (
	// MaxInstance is the longest instance in bytes: names of programs are longer
	// than those of volumes and sensors.
	MaxInstance = reading.MaxText
	// MaxText is the longest text argument in bytes.
	MaxText = reading.MaxText
)

// Several says which of several things a finding may be about.
type Several int

const (
	One   Several = iota + 1 // there is only one; instance is empty
	Named                    // the instance is the name of a volume, disk or program
	Known                    // the instance is one of Finding.Instances
)

// Argument fills places in the texts.
type Argument struct {
	Name string
	Kind reading.Kind
	Unit reading.Unit // of a Number
	Said reading.Unit // how a Number is said, where that is not its Unit
	// Min and Max are the range of a Number, both inclusive.
	Min, Max int64
	Codes    []reading.CodeValue // of a Code, with the words that fit the sentence
}

// Finding is one row of the table.
type Finding struct {
	Code    string
	Several Several
	// Instances are the Known ones, with their names.
	Instances []reading.CodeValue
	// Least and Most bound the severity; between them it goes by how bad it is.
	Least, Most hmpb.Severity
	Arguments   []Argument
	// Title stands alone, in lists and filters, and has no places.
	Title reading.Words
	// Cause, Teacher and Support have places: {instance} and {name of argument}.
	Cause   reading.Words
	Teacher reading.Words // next step for who has the device
	Support reading.Words // next step for who looks after it
}

// Why a finding was cleared although nobody saw that things are well again: the
// text of the one argument that a clear may have, named ReasonName.
const (
	ReasonName = "reason"
	// Vanished: what it was about is no longer there or no longer readable.
	Vanished = "vanished"
	// NotAsked: the owner no longer asks for it.
	NotAsked = "not_asked"
)

var reasons = []reading.CodeValue{
	{Code: Vanished, Word: reading.Words{DE: "nicht mehr messbar", EN: "no longer measurable"}},
	{Code: NotAsked, Word: reading.Words{DE: "nicht mehr verlangt", EN: "no longer asked for"}},
}

// Reason says in words why m was cleared; false for a raise and for a clear
// because all is well.
func Reason(m *hmpb.Finding) (reading.Words, bool) {
	if m.GetRaised() || len(m.GetArguments()) != 1 {
		return reading.Words{}, false
	}
	return word(reasons, m.GetArguments()[0].GetText())
}

// InstanceWord is the name of a Known instance.
func (f Finding) InstanceWord(instance string) (reading.Words, bool) {
	return word(f.Instances, instance)
}

// CodeWord is the word for a Code argument's value.
func (a Argument) CodeWord(code string) (reading.Words, bool) { return word(a.Codes, code) }

func word(codes []reading.CodeValue, code string) (reading.Words, bool) {
	for _, c := range codes {
		if c.Code == code {
			return c.Word, true
		}
	}
	return reading.Words{}, false
}

// All gives the findings in the table's order.
func All() iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, f := range table {
			if !yield(f) {
				return
			}
		}
	}
}

// Len is how many findings there are.
func Len() int { return len(table) }

// ByCode finds a finding by its code.
func ByCode(code string) (Finding, bool) {
	for _, f := range table {
		if f.Code == code {
			return f, true
		}
	}
	return Finding{}, false
}
