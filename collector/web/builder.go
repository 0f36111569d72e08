package web

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	questions "hausmeister/collector/question"
	"hausmeister/proto/finding"
	"hausmeister/proto/reading"
)

// builder is the part of the page of questions that adds a condition, in two
// steps so that it works without script: what, then how it is compared.
type builder struct {
	Kept   []option // hidden fields: the question so far
	What   field
	Chosen string // what was chosen in the first step
	Name   string // its word
	Op     field
	Field  field // the value; its Error says what is wrong with it
	List   []string
	Cancel string
}

// builder reads the step that the address is at. added is the new condition
// once both are done.
func (v *visit) builder(a asking) (b builder, added *questions.Condition, err error) {
	for _, c := range a.Conditions {
		b.Kept = append(b.Kept, option{"if", c.String()})
	}
	if a.Show != "" {
		b.Kept = append(b.Kept, option{"show", a.Show})
	}
	if a.edits.id != "" {
		b.Kept = append(b.Kept, option{"edits", a.edits.String()})
	}
	what := v.asked.Get("what")
	ops := questions.OpsOf(what)
	if ops == nil {
		b.What = field{Name: "what", Label: v.say.Say("question.add"), Options: append(v.factOptions(), v.readingOptions()...)}
		return b, nil, nil
	}
	b.Chosen, b.Name, b.Cancel = what, v.what(what), a.href()
	b.Op = field{Name: "op", Label: v.say.Say("question.how"), Value: v.asked.Get("op")}
	for _, op := range ops {
		b.Op.Options = append(b.Op.Options, option{string(op), v.op(what, op)})
	}
	name := "value"
	if questions.Fact(what) == questions.School {
		name = "school" // as /schools/options reads it
	}
	b.Field = field{Name: name, Label: v.say.Say("question.value"), Value: strings.TrimSpace(v.asked.Get(name))}
	if err := v.fillValue(&b); err != nil {
		return b, nil, err
	}
	if !v.asked.Has(name) {
		return b, nil, nil
	}
	c, wrong, err := v.typedCondition(what, questions.Op(v.asked.Get("op")), b.Field.Value)
	if err != nil {
		return b, nil, err
	}
	if wrong == "" && len(a.Conditions) >= questions.MaxConditions {
		wrong = v.say.Say("question.too_many", "n", questions.MaxConditions)
	}
	if wrong != "" {
		b.Field.Error = wrong
		return b, nil, nil
	}
	return b, &c, nil
}

// fillValue chooses the control for a value.
func (v *visit) fillValue(b *builder) error {
	ctx := v.r.Context()
	r, ok := reading.ByName(b.Chosen)
	switch {
	case ok && r.Kind == reading.Code:
		b.Field.Type = "select"
		for _, c := range r.Codes {
			b.Field.Options = append(b.Field.Options, option{c.Code, pick(v.say.Lang, c.Word)})
		}
		return nil
	case ok && r.Unit == reading.UnixMilli:
		b.Field.Type = "date"
		return nil
	case ok && r.Kind == reading.Number:
		b.Field.Type, b.Field.Help = "number", v.unit(r).word
		return nil
	}
	switch questions.Fact(b.Chosen) {
	case questions.Owner:
		b.Field.Type = "select"
		owners, err := v.s.cfg.Fleet.Owners(ctx, v.caller)
		for _, o := range owners {
			b.Field.Options = append(b.Field.Options, option{o.ID, o.Name})
		}
		return err
	case questions.School:
		b.Field.Type = "school"
		return nil
	case questions.OpenFinding:
		b.Field.Type = "select"
		for f := range finding.All() {
			b.Field.Options = append(b.Field.Options, option{f.Code, pick(v.say.Lang, f.Title)})
		}
		return nil
	}
	values, err := v.s.cfg.Questions.Choices(ctx, v.caller, b.Chosen)
	if err != nil {
		return err
	}
	if f := questions.Fact(b.Chosen); f == questions.SchoolKind || f == questions.System || f == questions.Agent {
		b.Field.Type = "select"
		for _, value := range values {
			b.Field.Options = append(b.Field.Options, option{value, v.factWord(f, value, nil)})
		}
		return nil
	}
	b.List = values
	return nil
}

// typedCondition reads what was typed; wrong says in words what is wrong with it.
func (v *visit) typedCondition(what string, op questions.Op, typed string) (c questions.Condition, wrong string, err error) {
	c = questions.Condition{Name: what, Op: op, Value: typed}
	r, ok := reading.ByName(what)
	switch {
	case ok && r.Kind == reading.Number && r.Unit != reading.UnixMilli:
		n, ok := v.unit(r).parse(typed)
		if !ok {
			return c, v.say.Say("question.value.number"), nil
		}
		c.Value = strconv.FormatInt(n, 10)
	case questions.Fact(what) == questions.School:
		school, err := v.s.school(v, typed)
		if err != nil || school.ID == "" {
			if err != nil && err != errNoSchool {
				return c, "", err
			}
			return c, v.say.Say("claims.school.wrong"), nil
		}
		c.Value = school.ID
	}
	if (questions.Question{Conditions: []questions.Condition{c}}).Check() == nil {
		return c, "", nil
	}
	switch {
	case typed == "":
		return c, v.say.Say("question.value.none"), nil
	case ok && r.Kind == reading.Number && r.Unit != reading.UnixMilli:
		return c, v.say.Say("question.value.range", "from", v.amount(r, r.Min), "to", v.amount(r, r.Max)), nil
	}
	return c, v.say.Say("question.value.wrong"), nil
}

// unit is what people write a reading's values in.
type unit struct {
	word   string
	factor float64 // base units in one
}

func (v *visit) unit(r reading.Reading) unit {
	in := func(word string, factor float64) unit { return unit{v.say.Say("question.in", "unit", word), factor} }
	switch r.Unit {
	case reading.Permille:
		return in("%", 10)
	case reading.Milli:
		return unit{"", 1000}
	case reading.Bytes:
		if r.Instanced {
			return in("GB", 1e9)
		}
		return in("GB", 1<<30) // of main memory, counted in powers of two
	case reading.MilliCelsius:
		return in("°C", 1000)
	case reading.BitPerSecond:
		return in("Mbit/s", 1e6)
	case reading.PPM:
		return in(v.say.Say("question.unit.core"), 10_000)
	case reading.Milliseconds:
		return in(v.say.Say("question.unit.seconds"), 1000)
	case reading.Seconds:
		return in(v.say.Say("question.unit.days"), 86_400)
	case reading.MilliwattHours:
		return in("Wh", 1000)
	case reading.DecibelMilliwatts:
		return in("dBm", 1)
	}
	return unit{"", 1}
}

// parse reads a number with a point or a comma, whatever the language: a
// thousand is typed without either.
func (u unit) parse(text string) (int64, bool) {
	text = strings.NewReplacer(" ", "", "\u00a0", "", "%", "", ",", ".", "−", "-").Replace(text)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f*u.factor) > 1<<60 {
		return 0, false
	}
	return int64(math.Round(f * u.factor)), true
}

func (v *visit) factOptions() (out []option) {
	for _, f := range questions.Facts {
		out = append(out, option{string(f), v.what(string(f))})
	}
	return out
}

// readingOptions are all readings that can be asked for, by their words.
func (v *visit) readingOptions() (out []option) {
	for _, r := range questions.Readings() {
		out = append(out, option{r.Name, pick(v.say.Lang, r.Word)})
	}
	slices.SortFunc(out, func(a, b option) int { return strings.Compare(strings.ToLower(a.Word), strings.ToLower(b.Word)) })
	return out
}

// what is the word for a fact or a reading.
func (v *visit) what(name string) string {
	if slices.Contains(questions.Facts, questions.Fact(name)) {
		return v.say.Say("question.fact." + name)
	}
	r, _ := reading.ByName(name)
	return pick(v.say.Lang, r.Word)
}

// op is the word for a comparison; days are before and after each other.
func (v *visit) op(name string, op questions.Op) string {
	if r, ok := reading.ByName(name); ok && r.Unit == reading.UnixMilli {
		return v.say.Say("question.day." + string(op))
	}
	return v.say.Say("question.op." + string(op))
}

// conditionWords says a condition in words.
func (v *visit) conditionWords(c questions.Condition, names map[string]string) string {
	value := c.Value
	r, ok := reading.ByName(c.Name)
	switch {
	case !ok:
		value = v.factWord(questions.Fact(c.Name), c.Value, names)
	case r.Unit == reading.UnixMilli:
		if day, err := time.Parse(time.DateOnly, c.Value); err == nil {
			value = v.say.Date(day.Add(12 * time.Hour))
		}
	case r.Kind == reading.Number:
		if n, err := strconv.ParseInt(c.Value, 10, 64); err == nil {
			value = v.amount(r, n)
			if r.Unit == reading.Permille && n%10 != 0 { // a limit is not rounded
				value = v.say.SmallPercent(n * 1000)
			}
		}
	default:
		value = v.codeWord(r, c.Value)
	}
	return v.say.Say("question.condition", "what", v.what(c.Name), "op", v.op(c.Name, c.Op), "value", value)
}

func (v *visit) factWord(f questions.Fact, value string, names map[string]string) string {
	switch f {
	case questions.System:
		return v.system(value)
	case questions.Owner, questions.School:
		if names[value] == "" {
			return v.say.Say("findings.unknown") // not of this scope
		}
		return names[value]
	case questions.OpenFinding:
		if row, ok := finding.ByCode(value); ok {
			return pick(v.say.Lang, row.Title)
		}
	}
	return value
}

// conditions says a question in words.
func (v *visit) conditions(q questions.Question, names map[string]string) string {
	var all []string
	for _, c := range q.Conditions {
		all = append(all, v.conditionWords(c, names))
	}
	if len(all) == 0 {
		return v.say.Say("question.spread", "reading", v.what(q.Show))
	}
	return strings.Join(all, " · ")
}
