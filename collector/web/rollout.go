package web

import (
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"hausmeister/collector/access"
	"hausmeister/collector/bus"
	"hausmeister/collector/rollout"
	"hausmeister/collector/rollout/gate"
)

// rolloutMain is the page of one rollout.
type rolloutMain struct {
	Name, Channel string
	State         mark
	Sentence      string
	Done          string
	Moved         string // instead of Done: nothing was done
	Live          string // address of the stream
	Latest        string // id of the latest decision, which the page knows
	Was           string // how the rollout is, for the forms of the page
	News          rolloutNews
	Warnings      []string

	Pause, Resume, ResumePage, Abort string // addresses; empty = not for this role, or not possible
	Approve, Promote, Back, Parts    string
	Asked                            string // who asked for the next ring, where the caller can be the second
	Note                             string // where a reason is added that was not said yet
	NoteTyped, NoteError             string

	Rings     []ringRow
	Checks    []checkRow
	CheckWord string
	Evidence  []evidenceRow
	Blocked   []blockedPart
	Whys      []whyRow
	Devices   string // address of their list
	Decisions []decisionRow
}

// ringRow is a ring with how far it has come.
type ringRow struct {
	Name, Rule, Adds string
	Key              string // of its cells in the stream
	Bar              ringBar
	OK, Fly, Bad     string
	Had, None, Open  string
	State            mark
	Word             string // instead of State, of rings that have not come
	Whys             string // why how many of its devices are not current
	Current          bool
}

// ringBar are the widths of the parts of a ring's picture, of 1000, and where they begin.
type ringBar struct {
	Parts []barPart
	Says  string
}

type barPart struct {
	Class    string
	X, Width int64
}

// checkRow is what the next ring waits for.
type checkRow struct {
	Key   string
	State mark
}

// evidenceRow is one thing that the gate sees.
type evidenceRow struct {
	Key, Label, Text string
}

// blockedPart is a part of the devices that is left out.
type blockedPart struct {
	Word, Dimension, Value string
}

// whyRow is how many devices have a word.
type whyRow struct {
	Why, Word, Href string
	Devices         int64
	Meter           int64
	Current         bool
}

// decisionRow is what was decided, by whom and what was known.
type decisionRow struct {
	Shape, When, What, Who string
	Ring                   string
	Reason                 string
	Said                   bool // the reason is a person's own words
	Evidence               string
}

func (s *Server) rolloutPage(v *visit) error { return s.showRollout(v, http.StatusOK, nil) }

func (s *Server) showRollout(v *visit, code int, change func(*rolloutMain)) error {
	ctx := v.r.Context()
	r, err := s.cfg.Rollouts.Rollout(ctx, v.caller, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	owners, err := v.ownerNames()
	if err != nil {
		return err
	}
	main := rolloutMain{Name: v.versionName(r.Product, r.Version), Channel: v.channel(r.Channel), State: v.rolloutMark(r.State), Sentence: v.rolloutSentence(r), Done: v.done(),
		Devices: "/rollouts/" + r.ID + "/devices", Checks: v.checks(r), Evidence: v.evidenceRows(r), Decisions: v.decisionRows(r, owners)}
	if v.asked.Get("done") == "rollout_moved" {
		main.Moved, main.Done = main.Done, ""
	}
	if len(r.Decisions) > 0 {
		main.Latest = r.Decisions[0].ID
	}
	main.Live = "/rollouts/" + r.ID + "/live?after=" + main.Latest
	main.News = v.rolloutNews(r, main.Latest)
	if main.Was, err = seenAs(r); err != nil {
		return err
	}
	main.CheckWord = v.say.Say("rollout.next", "ring", r.Ring+1)
	for _, b := range r.Evidence.Blocked {
		main.Blocked = append(main.Blocked, blockedPart{v.stratum(b, owners), b.Dimension, b.Value})
	}
	if err := v.rolloutActs(&main, r); err != nil {
		return err
	}
	c, err := s.cfg.Rollouts.Compliance(ctx, v.caller, r.ID)
	if err != nil {
		return err
	}
	main.Whys, main.Rings = v.whyRows(r, c, ""), v.ringRows(r, c)
	if change != nil {
		change(&main)
	}
	p := v.at("updates", main.Name, main)
	p.Back = "/rollouts/" + r.ID
	return v.show(code, "rollout", p)
}

// rolloutActs says what the caller may do now.
func (v *visit) rolloutActs(main *rolloutMain, r rollout.Rollout) error {
	if r.NeedsSecond {
		one, two := "rollout.second.later", "rollout.second.later.both"
		if r.State == rollout.Waiting {
			one, two = "rollout.second.now", "rollout.second.now.both"
		}
		if r.First == "" {
			one = two
		}
		main.Warnings = append(main.Warnings, v.say.Say(one))
	}
	if !v.mayRollOut() {
		return nil
	}
	at := "/rollouts/" + r.ID
	switch r.State {
	case rollout.Running, rollout.Placing, rollout.Done:
		main.Pause = at + "/pause"
	case rollout.Paused:
		main.Resume = at + "/resume"
	case rollout.Halted:
		main.ResumePage = at + "/resume"
	}
	if r.MayApprove {
		main.Approve = at + "/approve"
	}
	if r.Ended.IsZero() {
		main.Abort, main.Parts = at+"/abort", at+"/parts"
	}
	if r.State == rollout.Running && r.Ring < len(r.Rings) {
		p, err := v.s.cfg.Rollouts.Preview(v.r.Context(), v.caller, r.ID)
		if err != nil {
			return err
		}
		switch {
		case p.Asked != "" && p.Waiting:
			main.Warnings = append(main.Warnings, v.say.Say("rollout.asked", "who", v.who(p.Asked), "ring", p.Ring))
		case p.Asked != "":
			main.Asked = v.say.Say("rollout.asked", "who", v.who(p.Asked), "ring", p.Ring)
			fallthrough
		case p.May:
			main.Promote = at + "/promote"
		}
	}
	if len(r.Decisions) > 0 && r.Decisions[0].Reason == rollout.Unsaid {
		main.Note = at + "/note"
	}
	back, err := v.waysBack(r)
	if len(back) > 0 {
		main.Back = at + "/rollback"
	}
	return err
}

// waysBack are the releases that are signed as the way back from a rollout.
func (v *visit) waysBack(r rollout.Rollout) (back []rollout.Release, err error) {
	if r.State == rollout.Replaced {
		return nil, nil
	}
	all, err := v.s.cfg.Rollouts.Releases(v.r.Context(), v.caller)
	for _, rel := range all {
		if rel.RollbackOf == r.Version && rel.Product == r.Product && rel.Channel == r.Channel && rel.Gone.IsZero() && rel.Blocked.IsZero() {
			back = append(back, rel)
		}
	}
	return back, err
}

// rolloutSentence says how it stands.
func (v *visit) rolloutSentence(r rollout.Rollout) string {
	pairs := []any{"ring", r.Ring, "n", len(r.Rings), "when", v.say.Time(r.Entered), "ended", v.say.Time(r.Ended), "by", v.who(r.StartedBy), "started", v.say.Time(r.Started)}
	key := "rollout.sentence." + string(r.State)
	if r.State == rollout.Waiting && r.First == "" {
		key = "rollout.sentence.waiting.both"
	}
	if r.State == rollout.Done && !slices.ContainsFunc(r.Rings, func(ring rollout.RingView) bool { return ring.OK > 0 }) {
		key = "rollout.sentence.done.none" // of a small fleet nobody is waited for who had his turn
	}
	if r.State == rollout.Halted && r.Cause != "" {
		return v.say.Say(key, pairs...) + " " + v.say.Say("rollout.cause."+string(r.Cause))
	}
	return v.say.Say(key, pairs...)
}

// ringRows are the rings as they are now.
func (v *visit) ringRows(r rollout.Rollout, c rollout.Compliance) (rows []ringRow) {
	for i, ring := range r.Rings {
		n := i + 1
		row := ringRow{Name: v.say.Say("rollout.ring", "ring", n), Rule: v.ringRule(ring), Key: "r" + strconv.Itoa(n), Adds: v.say.Number(ring.Adds),
			OK: v.say.Number(ring.OK), Fly: v.say.Number(ring.InFlight), Bad: v.say.Number(ring.Bad), Had: v.say.Number(ring.Had), None: v.say.Number(ring.Silent), Open: v.say.Number(ring.Open), Current: n == r.Ring}
		row.Bar = bar(ring.Adds, barPart{Class: "ok", Width: ring.OK}, barPart{Class: "had", Width: ring.Had}, barPart{Class: "fly", Width: ring.InFlight}, barPart{Class: "bad", Width: ring.Bad}, barPart{Class: "none", Width: ring.Silent})
		switch {
		case n < r.Ring, n == r.Ring && (r.State == rollout.Done || r.State == rollout.Replaced):
			row.State = mark{"ok", v.say.Say("rollout.ring.over")}
		case n == r.Ring:
			row.State = v.rolloutMark(r.State)
		case r.State == rollout.Aborted:
			row.Word = "–"
		case n == r.Ring+1 && r.State == rollout.Running:
			row.Word = v.say.Say("rollout.ring.earliest", "when", v.say.Time(r.Entered.Add(r.Rings[r.Ring-1].Soak)))
		case ring.Wide && r.ApprovedBy == "":
			row.Word = v.say.Say("rollout.ring.second")
		default:
			row.Word = v.say.Say("rollout.ring.later")
		}
		if i < len(c.Rings) && len(c.Rings[i]) > 0 {
			row.Whys = v.ringWhys(c.Rings[i])
		}
		rows = append(rows, row)
	}
	return rows
}

// ringWhys says why how many of a ring's devices are not current, those of most first.
func (v *visit) ringWhys(counts map[rollout.Why]int64) string {
	whys := slices.DeleteFunc(slices.Clone(rollout.Whys), func(why rollout.Why) bool { return why == rollout.Current || counts[why] == 0 })
	slices.SortStableFunc(whys, func(a, b rollout.Why) int { return cmp.Compare(counts[b], counts[a]) })
	if len(whys) == 0 {
		return v.say.Say("rollout.ring.current")
	}
	parts := make([]string, len(whys))
	for i, why := range whys {
		parts[i] = v.updateWord(string(why)) + "\u00a0" + v.say.Number(counts[why])
	}
	return strings.Join(parts, " · ")
}

// bar lays the parts of a picture side by side; what is there is seen, however little.
func bar(all int64, parts ...barPart) (out ringBar) {
	x := int64(0)
	for _, p := range parts {
		if p.Width == 0 {
			continue
		}
		p.X, p.Width = x, min(max(p.Width*1000/max(all, 1), 8), 1000-x)
		x += p.Width
		out.Parts = append(out.Parts, p)
	}
	return out
}

// ringRule says how long a ring is watched at least.
func (v *visit) ringRule(r rollout.RingView) string {
	var parts []string
	if r.Soak > 0 {
		parts = append(parts, v.say.Say("rollout.rule.soak", "span", v.say.Span(r.Soak)))
	}
	if r.SchoolDay {
		parts = append(parts, v.say.Say("rollout.rule.school"))
	}
	return strings.Join(parts, ", ")
}

// checks are what the next ring waits for, done or not.
func (v *visit) checks(r rollout.Rollout) (rows []checkRow) {
	if r.Ring >= len(r.Rings) || !r.Ended.IsZero() || r.State == rollout.Waiting || r.State == rollout.Placing {
		return nil
	}
	ring, next := r.Rings[r.Ring-1], r.Rings[r.Ring]
	add := func(key string, done bool, text string) {
		m := mark{"idle", text}
		if done {
			m.Shape = "ok"
		}
		rows = append(rows, checkRow{"check." + key, m})
	}
	if ring.Soak > 0 {
		word := "rollout.check.soak"
		if ring.Soaked {
			word = "rollout.check.soaked"
		}
		add("soak", ring.Soaked, v.say.Say(word, "when", v.say.Time(r.Entered.Add(ring.Soak)), "span", v.say.Span(ring.Soak)))
	}
	if ring.SchoolDay {
		add("school", ring.Taught, v.say.Say("rollout.check.school"))
	}
	e := r.Evidence
	have := e.RingOK + e.RingBad
	switch {
	case ring.Wait == gate.WaitNobody:
		add("fresh", false, v.say.Say("rollout.check.nobody"))
	case ring.Need > 0:
		add("fresh", have >= ring.Need, v.say.Say("rollout.check.fresh", "have", have, "need", ring.Need))
	}
	add("rate", e.OK+e.Bad > 0 && e.Doubt > 0 && e.Risk < e.Doubt, v.say.Say("rollout.check.rate", "limit", v.share(e.Limit)))
	if next.Wide {
		word := "rollout.check.second"
		switch {
		case r.ApprovedBy != "":
			word = "rollout.check.approved"
		case r.First == "":
			word = "rollout.check.second.both"
		}
		add("second", r.ApprovedBy != "", v.say.Say(word, "who", r.ApprovedBy))
	}
	return rows
}

// share writes a part of one.
func (v *visit) share(f float64) string {
	if f >= 0.01 || f == 0 {
		return v.say.Percent(int64(f*1000 + 0.5))
	}
	return v.say.SmallPercent(int64(f*1_000_000 + 0.5))
}

// rate of failures among the outcomes.
func (v *visit) rate(e rollout.Evidence) string {
	if e.OK+e.Bad == 0 {
		return "–"
	}
	return v.share(float64(e.Bad) / float64(e.OK+e.Bad))
}

// evidenceRows are what the gate sees now.
func (v *visit) evidenceRows(r rollout.Rollout) []evidenceRow {
	e := r.Evidence
	return []evidenceRow{
		{"seen.outcomes", v.say.Say("rollout.seen.outcomes"), v.say.Say("rollout.seen.outcomes.text", "ok", e.OK, "bad", e.Bad)},
		{"seen.rate", v.say.Say("rollout.seen.rate"), v.say.Say("rollout.seen.rate.text", "rate", v.rate(e), "limit", v.share(e.Limit))},
		{"seen.risk", v.say.Say("rollout.seen.risk"), v.riskWords(r)},
		{"seen.alarm", v.say.Say("rollout.seen.alarm"), v.say.Say("rollout.seen.alarm.text", "sum", v.say.Fixed2(int64(e.Sum*1000)), "bound", v.say.Fixed2(int64(e.Bound*1000)))},
		{"seen.flight", v.say.Say("rollout.seen.flight"), v.say.Say("rollout.seen.flight.text", "n", r.InFlight, "cap", r.Cap)},
	}
}

// riskWords says how sure it is that the rate is below the limit; behind the last ring
// nothing waits for that.
func (v *visit) riskWords(r rollout.Rollout) string {
	e := r.Evidence
	if r.Ring == len(r.Rings) {
		return "–"
	}
	if e.OK+e.Bad == 0 {
		return v.say.Say("rollout.seen.nothing")
	}
	return v.say.Say("rollout.seen.risk.text", "risk", v.share(e.Risk), "doubt", v.share(cmp.Or(e.Doubt, gate.Defaults().Doubt)))
}

// evidenceWords is what was known when something was decided, in one line; of the last of
// so many rings without the risk, for which no ring waits.
func (v *visit) evidenceWords(e rollout.Evidence, rings int) string {
	key := "rollout.seen.line"
	switch {
	case e.OK+e.Bad == 0:
		return v.say.Say("rollout.seen.nothing")
	case e.Ring == rings:
		key = "rollout.seen.line.last"
	}
	return v.say.Say(key, "ok", e.OK, "bad", e.Bad, "rate", v.rate(e), "limit", v.share(e.Limit), "risk", v.share(e.Risk),
		"sum", v.say.Fixed2(int64(e.Sum*1000)), "bound", v.say.Fixed2(int64(e.Bound*1000)))
}

// evidenceSentence is evidenceWords among other sentences.
func (v *visit) evidenceSentence(e rollout.Evidence, rings int) string {
	return strings.TrimSuffix(v.evidenceWords(e, rings), ".") + "."
}

// decidedOn is what was known at a decision, with the numbers of the ring that it was
// about: who enters one does so on those of the ring before.
func (v *visit) decidedOn(d rollout.Decision, rings int) string {
	e := d.Evidence
	text, key := v.evidenceWords(e, rings), "rollout.seen.ring"
	if e.Ring == 0 || e.OK+e.Bad == 0 {
		return text
	}
	if e.Ring == rings {
		key = "rollout.seen.ring.last"
	}
	return text + " · " + v.say.Say(key, "ring", e.Ring, "ok", e.RingOK, "bad", e.RingBad, "doubt", v.share(e.Doubt))
}

// stratum names a part of the devices.
func (v *visit) stratum(s gate.Stratum, owners map[string]string) string {
	value := s.Value
	if s.Dimension == "owner" {
		value = cmp.Or(owners[s.Value], v.say.Say("audit.unnamed.owner"))
	}
	return v.say.Say("rollout.part", "what", v.say.Say("rollout.dimension."+s.Dimension), "value", cmp.Or(value, v.say.Say("findings.unknown")))
}

// decisionShapes are the signs beside decisions; others have none of weight.
var decisionShapes = map[string]string{"halted": "crit", "part_blocked": "warn", "paused": "warn", "aborted": "off", "rolled_back": "warn", "approved": "ok", "done": "ok", "promoted": "run", "ring_entered": "run", "began": "run", "resumed": "run"}

func (v *visit) decisionRows(r rollout.Rollout, owners map[string]string) (rows []decisionRow) {
	for _, d := range r.Decisions {
		rows = append(rows, decisionRow{Shape: cmp.Or(decisionShapes[d.Verb], "info"), When: v.say.Time(d.At), What: v.say.Say("audit.action.rollout." + d.Verb), Who: v.decider(d),
			Ring: v.say.Say("rollout.ring", "ring", d.Ring), Reason: v.decisionReason(d, owners), Said: said(d) && d.Reason != rollout.Unsaid, Evidence: v.decidedOn(d, len(r.Rings))})
	}
	return rows
}

// decider names who decided.
func (v *visit) decider(d rollout.Decision) string {
	switch kind, _, _ := strings.Cut(d.Actor, ":"); {
	case kind == "system" || d.By == d.Actor:
		return v.party(d.Actor, nil)
	case kind == "user":
		return d.By
	}
	return v.party(d.Actor, map[string]string{d.Actor: d.By})
}

// said says whether a reason is somebody's own words: also the operator at the collector is
// no part of it.
func said(d rollout.Decision) bool {
	return !strings.HasPrefix(d.Actor, "system:") || d.Actor == access.System("operator").Actor()
}

// decisionReason is a person's own, or the word for what the collector found.
func (v *visit) decisionReason(d rollout.Decision, owners map[string]string) string {
	if d.Reason == rollout.Unsaid {
		return v.say.Say("rollout.unsaid")
	}
	if said(d) {
		return d.Reason
	}
	if slices.Contains(gate.Causes, gate.Cause(d.Reason)) {
		return v.say.Say("rollout.cause." + d.Reason)
	}
	if dimension, value, ok := strings.Cut(d.Reason, ": "); ok && slices.Contains(gate.Dimensions, dimension) {
		return v.stratum(gate.Stratum{Dimension: dimension, Value: value}, owners)
	}
	return d.Reason
}

// whyRows are the words that devices have, each with how many.
func (v *visit) whyRows(r rollout.Rollout, c rollout.Compliance, chosen rollout.Why) (rows []whyRow) {
	for _, why := range rollout.Whys {
		if n := c.Counts[why]; n > 0 || why == chosen {
			rows = append(rows, whyRow{Why: string(why), Word: v.say.Say("why." + string(why)), Href: "/rollouts/" + r.ID + "/devices?why=" + string(why), Devices: n, Meter: n * 1000 / max(c.Devices, 1), Current: why == chosen})
		}
	}
	return rows
}

// render makes one cell by a template.
func (v *visit) render(name string, data any) template.HTML {
	var b strings.Builder
	if err := v.s.pages.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("web: rendering %s: %v", name, err)) // our own template and data
	}
	return template.HTML(b.String())
}

// rolloutNews is how many decisions there are that a page does not know.
type rolloutNews struct {
	N    int
	Word string
	Back string
}

func (v *visit) rolloutNews(r rollout.Rollout, known string) rolloutNews {
	n := slices.IndexFunc(r.Decisions, func(d rollout.Decision) bool { return d.ID == known })
	if n < 0 {
		n = len(r.Decisions)
	}
	return rolloutNews{n, v.say.Say("rollout.news", "n", n), "/rollouts/" + r.ID}
}

// rolloutCells are what changes on the page of a rollout, as it is now.
func (v *visit) rolloutCells(r rollout.Rollout, c rollout.Compliance, known string) []cell {
	text := func(key, s string) cell { return cell{key, template.HTML(template.HTMLEscapeString(s))} }
	cells := []cell{{"state", v.render("pill", v.rolloutMark(r.State))}, text("sentence", v.rolloutSentence(r)),
		{"news", v.render("rollout-news", v.rolloutNews(r, known))}}
	for _, ring := range v.ringRows(r, c) {
		cells = append(cells, cell{ring.Key + ".bar", v.render("ring-bar", ring.Bar)}, text(ring.Key+".ok", ring.OK), text(ring.Key+".had", ring.Had), text(ring.Key+".fly", ring.Fly), text(ring.Key+".bad", ring.Bad),
			text(ring.Key+".none", ring.None), text(ring.Key+".open", ring.Open), text(ring.Key+".whys", ring.Whys), cell{ring.Key + ".state", v.render("ring-state", ring)})
	}
	for _, c := range v.checks(r) {
		cells = append(cells, cell{c.Key, v.render("check", c.State)})
	}
	for _, e := range v.evidenceRows(r) {
		cells = append(cells, text(e.Key, e.Text))
	}
	return cells
}

// rolloutStream tells the page of a rollout what changed, in place. What was decided
// meanwhile waits until the reader asks for it.
func (s *Server) rolloutStream(v *visit) error {
	if err := v.caller.Allow(access.ReadRollouts); err != nil {
		return err
	}
	id, known := v.r.PathValue("id"), v.asked.Get("after")
	f := &feed{stream: stream{v: v, every: beatEvery, sent: map[string]string{}}, most: maxPages, calm: calmEvery}
	f.beat = func() { f.put("beat", "") }
	f.tell = func(event string) { f.put(event, "") }
	f.read = func() error {
		r, err := s.cfg.Rollouts.Rollout(v.r.Context(), v.caller, id)
		if err != nil {
			return err
		}
		c, err := s.cfg.Rollouts.Compliance(v.r.Context(), v.caller, id)
		if err != nil {
			return err
		}
		f.stream.changes(v.rolloutCells(r, c, known))
		return nil
	}
	if _, err := s.cfg.Rollouts.Rollout(v.r.Context(), v.caller, id); err != nil {
		return err // before the head of a stream is sent
	}
	f.retry()
	f.put("beat", "")
	return s.serveFeed(f, bus.Offers)
}
