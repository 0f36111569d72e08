package web

import (
	"fmt"
	"hash/fnv"
	"html/template"
	"slices"
	"strings"
	"time"

	"hausmeister/collector/health"
	"hausmeister/collector/web/words"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// cell is one place on the device page whose content changes while it is
// looked at. The live stream sends it under its key, the page shows it there,
// and both take it from here, so that they cannot differ.
type cell struct {
	Key  string
	HTML template.HTML
}

// group is a card of readings that belong together.
type group struct {
	ID, Title, Icon string
	Blocks          []block
	Absent          cell // instead of blocks, when there is nothing to show
}

// block is the part of a card about one thing, such as one volume.
type block struct {
	Title  string
	Figure cell
	Meter  cell
	Facts  []fact
}

type fact struct {
	Label string
	cell
}

// sheet makes the cards from the latest readings.
type sheet struct {
	say   *words.Speaker
	pages *template.Template
	now   time.Time
	all   map[uint32]map[string]health.Value // by number and instance

	booted time.Time // with its time of day, while a look is open
}

func newSheet(say *words.Speaker, pages *template.Template, now time.Time, values []health.Value) *sheet {
	s := &sheet{say: say, pages: pages, now: now, all: map[uint32]map[string]health.Value{}}
	for _, v := range values {
		if s.all[v.Reading.ID] == nil {
			s.all[v.Reading.ID] = map[string]health.Value{}
		}
		s.all[v.Reading.ID][v.Instance] = v
	}
	return s
}

// columns are the cards as they stand beside each other. Which card stands in
// which column is fixed: a value that grows moves nothing to another place.
func (s *sheet) columns() [][]group {
	columns := [][]group{
		{s.memory(), s.processor(), s.network(), s.protection()},
		{s.volumes(), s.disks(), s.battery(), s.temperatures(), s.printers()},
		{s.system(), s.crashes(), s.agent()}, // below what the device is
	}
	for i, groups := range columns {
		columns[i] = slices.DeleteFunc(groups, func(g group) bool { return g.ID == "" })
	}
	return columns
}

// cells are all places that change, in the order of the page.
func (s *sheet) cells() []cell {
	var cells []cell
	for _, groups := range s.columns() {
		for _, g := range groups {
			cells = append(cells, g.Absent)
			for _, b := range g.Blocks {
				cells = append(cells, b.Figure, b.Meter)
				for _, f := range b.Facts {
					cells = append(cells, f.cell)
				}
			}
		}
	}
	return slices.DeleteFunc(cells, func(c cell) bool { return c.Key == "" })
}

// group makes a card: none when the device says nothing about its readings, and
// one with a single reason when all of them are absent.
func (s *sheet) group(id, icon string, of []uint32, blocks func() []block) group {
	said, why := false, hmpb.Absent_ABSENT_UNSPECIFIED
	for _, number := range of {
		for _, v := range s.all[number] {
			if v.Absent == hmpb.Absent_ABSENT_UNSPECIFIED {
				return group{ID: id, Icon: icon, Title: s.say.Say("group." + id), Blocks: blocks()}
			}
			said = true
			// "There is none" is the better reason where several differ.
			if why == hmpb.Absent_ABSENT_UNSPECIFIED || v.Absent == hmpb.Absent_ABSENT_NO_HARDWARE {
				why = v.Absent
			}
		}
	}
	if !said {
		return group{}
	}
	text := s.say.Say("absent." + absentName(why))
	if why == hmpb.Absent_ABSENT_NO_HARDWARE && s.say.Has("group."+id+".none") {
		text = s.say.Say("group." + id + ".none")
	}
	return group{ID: id, Icon: icon, Title: s.say.Say("group." + id), Absent: cell{id + "-absent", s.absent(text)}}
}

// instances are the names of several, sorted.
func (s *sheet) instances(of ...uint32) []string {
	var names []string
	for _, number := range of {
		for name := range s.all[number] {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// facts are lines of a card; what the device says nothing about has none.
func (s *sheet) facts(instance string, of ...uint32) []fact {
	var facts []fact
	for _, number := range of {
		if v, ok := s.find(number, instance); ok {
			facts = append(facts, s.fact(number, instance, s.word(v.Reading.Word)))
		}
	}
	return facts
}

// told are facts without those that this kind of machine or system does not
// have: a card is not a list of what is missing. What failed or was refused
// still has its line.
func (s *sheet) told(instance string, of ...uint32) []fact {
	return s.facts(instance, slices.DeleteFunc(of, func(number uint32) bool {
		why := s.all[number][instance].Absent
		return why == hmpb.Absent_ABSENT_NO_HARDWARE || why == hmpb.Absent_ABSENT_NOT_SUPPORTED
	})...)
}

// each are facts of all instances of a reading, by their words.
func (s *sheet) each(number uint32) []fact {
	var facts []fact
	for _, name := range s.instances(number) {
		facts = append(facts, s.fact(number, name, s.word(reading.InstanceWord(name))))
	}
	return facts
}

func (s *sheet) fact(number uint32, instance, label string) fact {
	row, _ := reading.ByID(number)
	key := row.Name
	if instance != "" {
		key += "." + short(instance)
	}
	text, why := s.value(number, instance)
	if why != "" {
		return fact{label, cell{key, s.absent(why)}}
	}
	if number == reading.BootTime && !s.booted.IsZero() {
		text = s.say.Time(s.booted)
	}
	if offset, ok := s.number(number, instance); ok && number == reading.ClockOffset {
		label, text = s.say.Say("device.clock"), clockError(s.say, offset)
	}
	return fact{label, cell{key, template.HTML(template.HTMLEscapeString(text))}}
}

// figure is a large number and what it is about.
func (s *sheet) figure(key string, number uint32, instance, rest string) cell {
	text, why := s.value(number, instance)
	if why != "" {
		return cell{key + "-figure", s.absent(why)}
	}
	return cell{key + "-figure", s.render("figure", struct{ Big, Rest string }{text, rest})}
}

// share is a large number and the whole that it is a part of.
func (s *sheet) share(key string, part, whole uint32, instance, phrase string) cell {
	total, why := s.value(whole, instance)
	if why != "" {
		return s.figure(key, part, instance, "")
	}
	return s.figure(key, part, instance, s.say.Say(phrase, "total", total))
}

// meter is a bar that shows how much of the whole is used; free says that the
// part is what is not used. Without both numbers it stays empty, and the figure
// beside it says why.
func (s *sheet) meter(key string, part, whole uint32, instance string) cell {
	p, ok := s.number(part, instance)
	w, wok := s.number(whole, instance)
	width := int64(0)
	if ok && wok && w > 0 {
		width = min(max(int64(float64(p)/float64(w)*1000+0.5), 0), 1000)
		if part == reading.VolumeFree {
			width = 1000 - width
		}
	}
	return cell{key + "-meter", s.render("meter", width)}
}

func (s *sheet) permille(key string, number uint32, instance string) cell {
	n, _ := s.number(number, instance)
	return cell{key + "-meter", s.render("meter", min(max(n, 0), 1000))}
}

// find looks up a reading; one that is absent without an instance is so for each.
func (s *sheet) find(number uint32, instance string) (health.Value, bool) {
	v, ok := s.all[number][instance]
	if !ok {
		v, ok = s.all[number][""]
		ok = ok && v.Absent != hmpb.Absent_ABSENT_UNSPECIFIED
	}
	return v, ok
}

// unread says why the device could not read what it has once, empty if it could
// or did not try.
func (s *sheet) unread(number uint32) string {
	v, ok := s.all[number][""]
	if !ok || v.Absent == hmpb.Absent_ABSENT_UNSPECIFIED {
		return ""
	}
	return s.say.Say("absent." + absentName(v.Absent))
}

func (s *sheet) number(number uint32, instance string) (int64, bool) {
	v, ok := s.all[number][instance]
	if !ok || v.Absent != hmpb.Absent_ABSENT_UNSPECIFIED {
		return 0, false
	}
	return v.Number, true
}

// value writes a reading, or says why there is none.
func (s *sheet) value(number uint32, instance string) (text, why string) {
	v, ok := s.find(number, instance)
	switch {
	case !ok:
		return "", s.say.Say("absent.not_told")
	case v.Absent != hmpb.Absent_ABSENT_UNSPECIFIED:
		return "", s.say.Say("absent." + absentName(v.Absent))
	case v.Reading.Kind == reading.Number:
		return s.write(v.Reading, v.Number), ""
	}
	if word, ok := v.Reading.CodeWord(v.Text); ok {
		return s.word(word), ""
	}
	return v.Text, ""
}

// write gives a number in the unit that people use for it. Sizes of volumes are
// counted as on their boxes, all others are of main memory.
func (s *sheet) write(row reading.Reading, n int64) string {
	return measure(s.say, n, row.Unit, !row.Instanced, s.now)
}

func (s *sheet) word(w reading.Words) string { return pick(s.say.Lang, w) }

func (s *sheet) absent(why string) template.HTML { return s.render("absent", why) }

func (s *sheet) render(name string, data any) template.HTML {
	var b strings.Builder
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("web: rendering %s: %v", name, err)) // our own template and a string
	}
	return template.HTML(b.String())
}

// absentName is the reason's name in the API and in the message keys.
func absentName(a hmpb.Absent) string {
	name, ok := strings.CutPrefix(a.String(), "ABSENT_")
	if !ok || a == hmpb.Absent_ABSENT_UNSPECIFIED {
		return "failed"
	}
	return strings.ToLower(name)
}

// short makes an event's name of an instance, which may hold any character.
func short(instance string) string {
	h := fnv.New32a()
	h.Write([]byte(instance))
	return fmt.Sprintf("%08x", h.Sum32())
}
