package question

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/crowd"
	"hausmeister/collector/db"
	"hausmeister/proto/reading"
)

// Answer says how many devices a question is true of. Of the Devices that are
// what it asks for (model, school, ...), Known told each reading that it is
// about, and of those it is true of Matching.
type Answer struct {
	Devices, Known, Matching int64
	Bars                     []Bar
	InBars                   int64 // devices in all bars, also those whose number is left out
	Trend                    []Point
	// Prepared is when the youngest of the columns that were read was made; zero
	// if there are none yet.
	Prepared time.Time
}

// Bar is a part of the shown reading's distribution, over all devices that the
// conditions about other things leave. With Few their number is left out: they
// are less than crowd.FewPersons, or would tell how many such ones are. There are no bars
// where all would.
type Bar struct {
	From, To       int64 // of a number: from, and up to but without
	OpenLow, OpenH bool  // there is no lower or upper end
	Text           string
	Rest           bool // all texts that have no bar of their own
	Devices        int64
	Few            bool
	side           side
}

// Point is one week of the trend: Known devices told what the question is about
// in it, and of those it was true of Matching. With Few that is left out.
type Point struct {
	Week            time.Time // its Monday
	Known, Matching int64
	Few             bool
}

// Page says which part of the matching devices is asked for: by the shown
// reading's value, the lowest first unless Desc.
type Page struct {
	Desc   bool
	Cursor string
	Limit  int // 0 = 50, at most 500
	// Saved is the id of the kept question that this is, so that its last answer
	// is kept too.
	Saved string
}

// Hit is a device that the question is true of, and its value of the shown reading.
type Hit struct {
	Device string
	Known  bool
	Number int64
	Text   string
}

// Ask answers a question, with one page of the devices that it is true of. next
// is the cursor of the following page, empty on the last.
func (q *Questions) Ask(ctx context.Context, caller access.Caller, question Question, page Page) (a Answer, hits []Hit, next string, err error) {
	if page.Limit == 0 {
		page.Limit = 50
	}
	if page.Limit < 1 || page.Limit > 500 {
		return Answer{}, nil, "", &Invalid{-1, "limit must be 1 to 500"}
	}
	var after *place
	if page.Cursor != "" {
		if after, err = decodePlace(page.Cursor, question, page.Desc); err != nil {
			return Answer{}, nil, "", err
		}
	}
	r, err := q.evaluate(ctx, caller, question, func(ctx context.Context, tx *db.Tx, r *result) error {
		places := r.page(page, after)
		if len(places) > page.Limit {
			places = places[:page.Limit]
			next = places[page.Limit-1].encode(question, page.Desc)
		}
		var err error
		hits, err = r.hits(ctx, tx, places)
		return err
	})
	if err != nil {
		return Answer{}, nil, "", err
	}
	a = r.answer()
	if page.Saved != "" {
		err = q.remember(ctx, caller, page.Saved, question, a)
	}
	return a, hits, next, err
}

// exportStep is how many devices Export hands over at once.
const exportStep = 500

// Export hands over all devices that the question is true of as one answer: what
// changes meanwhile does not count.
func (q *Questions) Export(ctx context.Context, caller access.Caller, question Question, desc bool, give func([]Hit) error) error {
	r, err := q.evaluate(ctx, caller, question, nil)
	if err != nil {
		return err
	}
	all := r.page(Page{Desc: desc, Limit: int(r.matching.count())}, nil)
	for part := range slices.Chunk(all, exportStep) {
		var hits []Hit
		err := q.db.Read(ctx, func(tx *db.Tx) (err error) {
			hits, err = r.hits(ctx, tx, part)
			return err
		})
		if err != nil {
			return err
		}
		if err := give(hits); err != nil {
			return err
		}
	}
	return nil
}

// loaded is a week's columns of some readings.
type loaded struct {
	week    int64
	builtMS int64
	columns map[string]*column
}

// result is what is known once a question is evaluated.
type result struct {
	question Question
	devices  set // that are what it asks for
	known    set // that told each reading of it
	matching set
	weeks    []loaded // the newest first
	now      map[string]*column
	thisWeek int64
	show     *column // nil = none
	reading  reading.Reading
}

// evaluate answers a question within its bounds; more goes on in its transaction.
func (q *Questions) evaluate(ctx context.Context, caller access.Caller, question Question, more func(context.Context, *db.Tx, *result) error) (*result, error) {
	if err := caller.Allow(access.ReadDevices); err != nil {
		return nil, err
	}
	if err := question.Check(); err != nil {
		return nil, err
	}
	ctx, done, err := q.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var r *result
	err = q.db.Read(ctx, func(tx *db.Tx) (err error) {
		r = &result{question: question, thisWeek: q.thisWeek(), now: map[string]*column{}}
		if r.devices, err = q.devices(ctx, tx, caller, question); err != nil {
			return err
		}
		names := question.readings()
		if r.weeks, err = q.load(ctx, tx, names); err != nil {
			return err
		}
		for _, name := range names {
			r.now[name] = present(r.fresh(), name)
		}
		if row, ok := question.Shown(); ok {
			r.reading, r.show = row, r.now[row.Name]
		}
		r.known, r.matching = r.holds(r.now, "")
		if more == nil {
			return nil
		}
		return more(ctx, tx, r)
	})
	if err != nil {
		return nil, fmt.Errorf("answering a question: %w", tooLong(ctx, err))
	}
	return r, nil
}

// tooLong tells the end of a question's time from any other error of a database,
// which says it in its own words.
func tooLong(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), ErrTooLong) {
		return ErrTooLong
	}
	return err
}

// fresh are the weeks whose values count as present.
func (r *result) fresh() []loaded {
	n := 0
	for n < len(r.weeks) && r.weeks[n].week > r.thisWeek-FreshWeeks {
		n++
	}
	return r.weeks[:n]
}

// load reads the columns of these readings, the newest week first.
func (q *Questions) load(ctx context.Context, tx *db.Tx, names []string) ([]loaded, error) {
	if len(names) == 0 {
		return nil, nil
	}
	marks, args := make([]string, len(names)), []any{q.thisWeek() - TrendWeeks, q.thisWeek()}
	for i, name := range names {
		args = append(args, name)
		marks[i] = fmt.Sprintf("$%d", len(args))
	}
	rows, err := tx.Query(ctx, `SELECT c.week, w.built_ms, c.reading, c.body FROM question_columns c JOIN question_weeks w ON w.week = c.week
		WHERE c.week > $1 AND c.week <= $2 AND c.reading IN (`+strings.Join(marks, ", ")+`)`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []loaded
	for rows.Next() {
		l := loaded{columns: map[string]*column{}}
		var name string
		var body []byte
		if err := rows.Scan(&l.week, &l.builtMS, &name, &body); err != nil {
			return nil, err
		}
		c, err := decode(body)
		if err != nil {
			return nil, fmt.Errorf("column %s of week %d: %w", name, l.week, err)
		}
		at := slices.IndexFunc(out, func(o loaded) bool { return o.week == l.week })
		if at < 0 {
			at, out = len(out), append(out, l)
		}
		out[at].columns[name] = c
	}
	slices.SortFunc(out, func(a, b loaded) int { return cmp.Compare(b.week, a.week) })
	return out, rows.Close()
}

// present lays the weeks' columns of a reading over each other, the newest on top.
func present(weeks []loaded, name string) *column {
	out := newColumn(0)
	for _, w := range weeks {
		if c := w.columns[name]; c != nil {
			out.under(c)
		}
	}
	return out
}

// holds says of which devices all readings are known, and all conditions true;
// those about the reading but are passed over.
func (r *result) holds(columns map[string]*column, but string) (known, matching set) {
	known = r.devices.clone()
	names := r.question.readings()
	for _, name := range names {
		if name == but {
			continue
		}
		if c := columns[name]; c != nil {
			known.keep(c.known)
		} else {
			known.keep(nil)
		}
	}
	matching = known.clone()
	for _, cond := range r.question.Conditions {
		if c := columns[cond.Name]; cond.reading() && cond.Name != but && c != nil {
			test := cond.test(c)
			matching.each(func(n int) bool {
				if !test(c.values[n]) {
					matching[n/64] &^= 1 << (n % 64)
				}
				return true
			})
		}
	}
	return known, matching
}

// test is the condition as a function of a column's values. It has been checked.
func (c Condition) test(col *column) func(int64) bool {
	r, _ := asked(c.Name)
	if r.Kind == reading.Number {
		limit, err := limitOf(r, c.Value)
		if err != nil {
			return func(int64) bool { return false }
		}
		switch c.Op {
		case Below:
			return func(v int64) bool { return v < limit }
		case AtMost:
			return func(v int64) bool { return v <= limit }
		case AtLeast:
			return func(v int64) bool { return v >= limit }
		case Above:
			return func(v int64) bool { return v > limit }
		}
		return func(v int64) bool { return v == limit }
	}
	true_ := make([]bool, len(col.words))
	for i, word := range col.words {
		switch c.Op {
		case Is:
			true_[i] = word == c.Value
		case IsNot:
			true_[i] = word != c.Value
		default:
			true_[i] = strings.Contains(strings.ToLower(word), strings.ToLower(c.Value))
		}
	}
	return func(v int64) bool { return true_[v] }
}

// answer counts.
func (r *result) answer() Answer {
	a := Answer{Devices: r.devices.count(), Known: r.known.count(), Matching: r.matching.count()}
	var youngest int64
	for _, w := range r.weeks {
		youngest = max(youngest, w.builtMS)
		if len(r.question.readings()) == 0 {
			break
		}
		known, matching := r.holds(w.columns, "")
		p := Point{Week: Monday(w.week), Known: known.count(), Matching: matching.count()}
		if p.Matching > 0 && p.Matching < crowd.FewPersons || p.Known > 0 && p.Known < crowd.FewPersons {
			p.Few, p.Known, p.Matching = true, 0, 0
		}
		a.Trend = append(a.Trend, p)
	}
	slices.Reverse(a.Trend)
	if youngest > 0 {
		a.Prepared = time.UnixMilli(youngest).UTC()
	}
	if r.show != nil {
		a.Bars, a.InBars = r.bars()
	}
	return a
}

// place is where a device stands in the order of the answer.
type place struct {
	Number int    `json:"n"`
	Value  int64  `json:"v,omitempty"`
	Text   string `json:"t,omitempty"`
	Of     string `json:"f,omitempty"` // the question and the order
}

func (p place) compare(o place, desc bool) int {
	c := cmp.Or(cmp.Compare(p.Value, o.Value), cmp.Compare(p.Text, o.Text))
	if desc {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(p.Number, o.Number))
}

func sumOf(q Question, desc bool) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %v", q.Conditions, q.Show, desc)
	return strconv.FormatUint(h.Sum64(), 36)
}

func (p place) encode(q Question, desc bool) string {
	p.Of = sumOf(q, desc)
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("question: encoding a cursor: %v", err)) // strings and numbers only
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodePlace(text string, q Question, desc bool) (*place, error) {
	var p place
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(b, &p) != nil || p.Of != sumOf(q, desc) {
		return nil, ErrCursor
	}
	return &p, nil
}

// page gives the first places behind after, one more than the page is long.
func (r *result) page(page Page, after *place) []place {
	var best []place
	r.matching.each(func(n int) bool {
		p := place{Number: n}
		switch {
		case r.show == nil:
		case r.show.words != nil:
			p.Text = r.show.words[r.show.values[n]]
		default:
			p.Value = r.show.values[n]
		}
		if after != nil && p.compare(*after, page.Desc) <= 0 {
			return true
		}
		full := len(best) > page.Limit
		if page.Limit > exportStep { // everything: sorted once, below
			best = append(best, p)
			return true
		}
		if full && p.compare(best[len(best)-1], page.Desc) >= 0 {
			return true
		}
		at := sort.Search(len(best), func(i int) bool { return best[i].compare(p, page.Desc) > 0 })
		best = slices.Insert(best, at, p)
		if full {
			best = best[:len(best)-1]
		}
		return true
	})
	if page.Limit > exportStep {
		slices.SortFunc(best, func(a, b place) int { return a.compare(b, page.Desc) })
	}
	return best
}

func (r *result) hits(ctx context.Context, tx *db.Tx, places []place) ([]Hit, error) {
	numbers := make([]int, len(places))
	for i, p := range places {
		numbers[i] = p.Number
	}
	ids, err := deviceIDs(ctx, tx, numbers)
	if err != nil {
		return nil, err
	}
	hits := make([]Hit, 0, len(places))
	for _, p := range places {
		if id := ids[p.Number]; id != "" {
			hits = append(hits, Hit{Device: id, Known: r.show != nil, Number: p.Value, Text: p.Text})
		}
	}
	return hits, nil
}
