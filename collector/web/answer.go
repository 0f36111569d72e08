package web

import (
	"encoding/csv"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/crowd"
	questions "hausmeister/collector/question"
	"hausmeister/proto/reading"
)

// barsCard is a distribution, and the choice of another.
type barsCard struct {
	Title  string
	Show   field
	Rows   []spreadRow
	Hidden string // why numbers are left out
	Says   string // instead of bars, where they would show nothing
}

type trendRow struct {
	Week, Devices, Share string
	Meter                int64
}

type answerRow struct{ Href, Name, Model, School, Owner, Value string }

func (v *visit) fillAnswer(main *questionsMain, a asking) error {
	ctx := v.r.Context()
	got, hits, next, err := v.s.cfg.Questions.Ask(ctx, v.caller, a.Question, questions.Page{Desc: a.desc, Cursor: a.cursor, Limit: pageSize, Saved: a.saved})
	if errors.Is(err, access.ErrNotFound) { // the kept question is gone; what it asked can still be asked
		a.saved = ""
		got, hits, next, err = v.s.cfg.Questions.Ask(ctx, v.caller, a.Question, questions.Page{Desc: a.desc, Cursor: a.cursor, Limit: pageSize})
	}
	if err != nil {
		return err
	}
	ids := make([]string, len(hits))
	for i, h := range hits {
		ids[i] = h.Device
	}
	devices, err := v.s.cfg.Fleet.Devices(ctx, v.caller, ids)
	if err != nil {
		return err
	}
	main.Figure = v.say.Number(got.Matching)
	shown, shows := a.Shown()
	if shows {
		main.Sentence = v.say.Say("question.answer", "n", got.Known, "devices", v.say.Number(got.Devices))
		main.Bars = v.barsCard(a, shown, got)
		main.Value = v.valueColumn(a, shown)
	} else {
		main.Sentence = v.say.Say("question.answer.plain", "n", got.Matching)
	}
	if !got.Prepared.IsZero() {
		main.Prepared = v.say.Say("question.prepared", "when", v.say.Time(got.Prepared))
	} else if shows {
		main.Prepared = v.say.Say("question.unprepared")
	}
	for _, p := range got.Trend {
		main.Trend = append(main.Trend, v.trendRow(p))
	}
	for _, d := range devices {
		h := hits[slices.Index(ids, d.ID)]
		r := answerRow{Href: "/devices/" + d.ID, Name: d.Label(), Model: d.Model, School: d.SchoolName, Owner: d.OwnerName}
		if h.Known {
			r.Value = v.hit(shown, h)
		}
		main.Rows = append(main.Rows, r)
	}
	main.CSV = strings.Replace(a.first().href(), "/questions", "/questions.csv", 1)
	if len(main.Rows) > 0 {
		last := a.from + int64(len(main.Rows)) - 1
		main.Range = v.say.Say("devices.range", "first", a.from, "last", last, "all", max(got.Matching, last))
		if a.cursor != "" {
			main.First = a.first().href()
		}
		if next != "" {
			a.cursor, a.from = next, last+1
			main.Next = a.href()
		}
	}
	return nil
}

// valueColumn is the head of the shown reading; a click turns the order round.
func (v *visit) valueColumn(a asking, shown reading.Reading) column {
	turned := a.first()
	turned.desc = !a.desc
	c := column{Word: pick(v.say.Lang, shown.Word), Href: turned.href(), Aria: "ascending"}
	if a.desc {
		c.Aria = "descending"
	}
	if shown.Kind == reading.Number {
		c.Class = "num"
	}
	return c
}

// barsCard draws the distribution of the shown reading.
func (v *visit) barsCard(a asking, shown reading.Reading, got questions.Answer) *barsCard {
	card := &barsCard{Title: v.say.Say("question.spread", "reading", pick(v.say.Lang, shown.Word)),
		Show: field{Name: "show", Label: v.say.Say("question.show"), Value: shown.Name, Options: v.readingOptions()}}
	var most, told int64
	for _, b := range got.Bars {
		most = max(most, b.Devices)
		if !b.Few {
			told++
		}
	}
	switch {
	case got.InBars > 0 && told == 0:
		card.Says = v.say.Say("question.spread.few", "n", crowd.FewPersons)
		return card
	case len(got.Bars) == 1:
		card.Says = v.say.Say("question.spread.one", "n", got.Bars[0].Devices, "value", v.barName(shown, got.Bars[0]))
		return card
	case len(got.Bars) == 2:
		most = got.InBars // of two, a bar as long as there is room would seem to be all
	}
	for _, b := range got.Bars {
		r := spreadRow{Name: v.barName(shown, b), Devices: v.say.Number(b.Devices), Share: v.say.Percent(b.Devices * 1000 / max(got.InBars, 1)), Meter: b.Devices * 1000 / max(most, 1)}
		if b.Few {
			r.Devices, r.Share = v.say.Say("question.hidden"), ""
			card.Hidden = v.say.Say("question.hidden.why", "n", crowd.FewPersons)
		}
		card.Rows = append(card.Rows, r)
	}
	return card
}

func (v *visit) barName(shown reading.Reading, b questions.Bar) string {
	switch {
	case b.Rest:
		return v.say.Say("findings.rest")
	case shown.Kind == reading.Number && b.OpenLow:
		return v.say.Say("question.bar.low", "to", v.amount(shown, b.To))
	case shown.Kind == reading.Number && b.OpenH:
		return v.say.Say("question.bar.high", "from", v.amount(shown, b.From))
	case shown.Kind == reading.Number && b.To == b.From+1:
		return v.amount(shown, b.From)
	case shown.Kind == reading.Number:
		return v.say.Say("question.bar", "from", v.amount(shown, b.From), "to", v.amount(shown, b.To))
	case b.Text == "":
		return v.say.Say("findings.unknown")
	}
	return v.codeWord(shown, b.Text)
}

// amount writes a number of a reading.
func (v *visit) amount(r reading.Reading, n int64) string {
	if r.Unit == reading.UnixMilli {
		return v.say.Date(time.UnixMilli(n).UTC().Add(12 * time.Hour)) // a day, in whatever zone
	}
	return measure(v.say, n, r.Unit, !r.Instanced, v.s.cfg.Now())
}

func (v *visit) codeWord(r reading.Reading, code string) string {
	if word, ok := r.CodeWord(code); ok {
		return pick(v.say.Lang, word)
	}
	return code
}

func (v *visit) hit(r reading.Reading, h questions.Hit) string {
	if r.Kind == reading.Number {
		return v.amount(r, h.Number)
	}
	return v.codeWord(r, h.Text)
}

func (v *visit) trendRow(p questions.Point) trendRow {
	r := trendRow{Week: v.say.Say("question.week", "day", v.say.Date(p.Week))}
	if p.Few {
		r.Devices = v.say.Say("findings.few", "n", crowd.FewPersons)
		return r
	}
	permille := p.Matching * 1000 / max(p.Known, 1)
	r.Devices, r.Meter = v.say.Number(p.Matching), permille
	r.Share = v.say.Say("findings.share", "share", v.say.Percent(permille), "of", p.Known)
	return r
}

func (s *Server) questionsCSV(v *visit) error {
	a, err := askingOf(v.asked)
	if err != nil {
		return err
	}
	return s.answerCSV(v, a)
}

// answerCSV streams exactly the devices of an answer, in its order.
func (s *Server) answerCSV(v *visit, a asking) error {
	ctx := v.r.Context()
	shown, shows := a.Shown()
	var out *csv.Writer
	begin := func() {
		h := v.w.Header()
		h.Set("Content-Type", "text/csv; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="hausmeister-answer-`+s.cfg.Now().In(v.say.Zone()).Format(time.DateOnly)+`.csv"`)
		out = csv.NewWriter(v.w)
		head := slices.Clone(deviceHead)
		if shows {
			head = append(head, shown.Name)
		}
		out.Write(head)
	}
	gone := errors.New("the peer is gone")
	err := s.cfg.Questions.Export(ctx, v.caller, a.Question, a.desc, func(hits []questions.Hit) error {
		ids := make([]string, len(hits))
		byID := make(map[string]questions.Hit, len(hits))
		for i, h := range hits {
			ids[i], byID[h.Device] = h.Device, h
		}
		devices, err := s.cfg.Fleet.Devices(ctx, v.caller, ids)
		if err != nil {
			return err
		}
		if out == nil {
			begin()
		}
		shownOf, err := v.listed(devices, []string{updateColumn})
		if err != nil {
			return err
		}
		for _, d := range shownOf {
			record := deviceRecord(d)
			if shows {
				record = append(record, harmless(plainHit(shown, byID[d.ID])))
			}
			out.Write(record)
		}
		if out.Flush(); out.Error() != nil {
			return gone
		}
		// Each part has its own time: a slow line may take all day for the whole.
		http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(writeWithin))
		return nil
	})
	switch {
	case errors.Is(err, gone):
		return nil
	case err != nil && out == nil: // before the head is sent, so that a refusal is one
		return refusedQuestion(err)
	case err != nil:
		// What was sent cannot be taken back: the connection breaks instead of an
		// end that looks like one.
		s.cfg.Log.Error("exporting an answer", "error", err)
		panic(http.ErrAbortHandler)
	case out == nil:
		begin()
		out.Flush()
	}
	return nil
}

// plainHit is a value as the API gives it.
func plainHit(r reading.Reading, h questions.Hit) string {
	switch {
	case !h.Known:
		return ""
	case r.Kind != reading.Number:
		return h.Text
	case r.Unit == reading.UnixMilli:
		return time.UnixMilli(h.Number).UTC().Format(time.DateOnly)
	}
	return strconv.FormatInt(h.Number, 10)
}
