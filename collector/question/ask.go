package question

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/proto/reading"
)

// Bounds of a question.
const (
	MaxConditions = 8
	MaxValue      = 200 // bytes
)

// Op is how a value is compared.
type Op string

const (
	Below   Op = "lt"
	AtMost  Op = "le"
	Exactly Op = "eq"
	AtLeast Op = "ge"
	Above   Op = "gt"
	Is      Op = "is"
	IsNot   Op = "not"
	Holds   Op = "contains" // without case
)

// Fact is what a device is, as far as a question may ask for it.
type Fact string

const (
	Model        Fact = "model"
	Manufacturer Fact = "manufacturer"
	Owner        Fact = "owner"       // id
	School       Fact = "school"      // id
	SchoolKind   Fact = "school_kind" // Schulform
	System       Fact = "os"          // linux, windows, darwin
	Agent        Fact = "agent"       // version of the agent that it came with last
	OpenFinding  Fact = "finding"     // code of what is open about it
)

// Facts are all of them in the order in which pages offer them.
var Facts = []Fact{Model, Manufacturer, Owner, School, SchoolKind, System, Agent, OpenFinding}

var (
	numberOps = []Op{Below, AtMost, Exactly, AtLeast, Above}
	wordOps   = []Op{Is, IsNot}
	textOps   = []Op{Is, IsNot, Holds}
)

// OpsOf are the ways in which a fact or a reading can be compared; none if there
// is no such thing to ask for.
func OpsOf(name string) []Op {
	switch f := Fact(name); {
	case f == Model || f == Manufacturer:
		return textOps
	case slices.Contains(Facts, f):
		return wordOps
	}
	r, ok := asked(name)
	switch {
	case !ok:
		return nil
	case r.Kind == reading.Number:
		return numberOps
	case r.Kind == reading.Text:
		return textOps
	}
	return wordOps
}

// asked finds a reading that a daily row has.
func asked(name string) (reading.Reading, bool) {
	r, ok := reading.ByName(name)
	return r, ok && r.Daily != 0
}

// Condition is one thing that must hold: of a reading in its base unit (a moment
// as a day, 2026-11-24), of a code as the code, of a fact as itself or its id.
type Condition struct {
	Name  string // of a Fact or a reading
	Op    Op
	Value string
}

// String is the condition as ParseCondition takes it: battery_charge.lt.600.
func (c Condition) String() string { return c.Name + "." + string(c.Op) + "." + c.Value }

// ParseCondition takes a condition apart. Whether it can be asked is not said.
func ParseCondition(text string) (Condition, error) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 3 {
		return Condition{}, &Invalid{-1, "want name.operator.value, such as battery_charge.lt.600"}
	}
	return Condition{parts[0], Op(parts[1]), parts[2]}, nil
}

// reading says whether the condition is about one.
func (c Condition) reading() bool { _, ok := asked(c.Name); return ok }

func (c Condition) check() error {
	ops := OpsOf(c.Name)
	switch {
	case ops == nil:
		return fmt.Errorf("there is no reading or fact %.64q to ask for", c.Name)
	case !slices.Contains(ops, c.Op):
		return fmt.Errorf("%s is compared by %s", c.Name, join(ops))
	case c.Value == "" || !reading.Printable(c.Value, MaxValue):
		return fmt.Errorf("%s needs a value of 1 to %d printable bytes", c.Name, MaxValue)
	}
	r, ok := asked(c.Name)
	switch {
	case !ok || r.Kind == reading.Text:
		return nil
	case r.Kind == reading.Number:
		_, err := limitOf(r, c.Value)
		return err
	}
	if _, ok := r.CodeWord(c.Value); !ok {
		return fmt.Errorf("%s is never %.64q", c.Name, c.Value)
	}
	return nil
}

// limitOf reads the value of a number's condition.
func limitOf(r reading.Reading, text string) (int64, error) {
	if r.Unit == reading.UnixMilli {
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return 0, fmt.Errorf("%s is compared with a day such as 2026-11-24", r.Name)
		}
		return day.UnixMilli(), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < r.Min || n > r.Max {
		return 0, fmt.Errorf("%s is compared with a whole number from %d to %d, in %s", r.Name, r.Min, r.Max, r.Unit)
	}
	return n, nil
}

func join(ops []Op) string {
	names := make([]string, len(ops))
	for i, op := range ops {
		names[i] = string(op)
	}
	return strings.Join(names, ", ")
}

// Question is what is asked: all conditions must hold.
type Question struct {
	Conditions []Condition
	// Show is the reading whose values are shown; empty = that of the first
	// condition about one.
	Show string
}

// Shown is the reading that the answer is about, false if it is about none.
func (q Question) Shown() (reading.Reading, bool) {
	if q.Show != "" {
		return asked(q.Show)
	}
	for _, c := range q.Conditions {
		if r, ok := asked(c.Name); ok {
			return r, true
		}
	}
	return reading.Reading{}, false
}

// Check says what is wrong with the question, as an *Invalid.
func (q Question) Check() error {
	if len(q.Conditions) > MaxConditions {
		return &Invalid{-1, fmt.Sprintf("at most %d conditions", MaxConditions)}
	}
	for i, c := range q.Conditions {
		if err := c.check(); err != nil {
			return &Invalid{i, err.Error()}
		}
	}
	if _, ok := asked(q.Show); !ok && q.Show != "" {
		return &Invalid{-1, fmt.Sprintf("there is no reading %.64q to show", q.Show)}
	}
	if len(q.Conditions) == 0 && q.Show == "" {
		return &Invalid{-1, "it has no condition and shows no reading"}
	}
	return nil
}

// readings are those that the question needs.
func (q Question) readings() (names []string) {
	if r, ok := q.Shown(); ok {
		names = append(names, r.Name)
	}
	for _, c := range q.Conditions {
		if c.reading() && !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}
