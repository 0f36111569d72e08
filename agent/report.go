package agent

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/proto/block"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
	"hausmeister/proto/reading"
)

// Report is what was sent last, word for word: the newest message of each kind,
// since they are sent at different times and the person at the device wants to
// see all of them.
type Report struct {
	Sent // of the newest message
	// Kind of the newest report: "state", "block", "finding", "inventory" or
	// "update"; empty before the first one.
	Kind string `json:"kind"`
	// State says when Readings were sent.
	State     *Sent            `json:"state,omitempty"`
	Readings  []ReportReading  `json:"readings"`
	Block     *ReportBlock     `json:"block,omitempty"`
	Findings  []ReportFinding  `json:"findings,omitempty"`
	Updates   []ReportUpdate   `json:"updates,omitempty"`
	Inventory *ReportInventory `json:"inventory,omitempty"`
	// Live is what was shown by the second to somebody who watched this device.
	Live *ReportLive `json:"live,omitempty"`
}

// ReportLive is the last time that somebody watched this device live, since the
// agent started: how much was shown, and the last sample, word for word.
type ReportLive struct {
	Since      time.Time       `json:"since"`   // first sample
	SentAt     time.Time       `json:"sent_at"` // last sample
	DeviceTime time.Time       `json:"device_time"`
	Samples    int             `json:"samples"`
	Readings   []ReportReading `json:"readings"`
}

// Sent is one message's way.
type Sent struct {
	SentAt     time.Time `json:"sent_at"`
	Sequence   uint64    `json:"sequence"`
	DeviceTime time.Time `json:"device_time"` // when it was made
}

// ReportReading is one value with everything that proto/reading says of it.
type ReportReading struct {
	Name     string       `json:"name"`
	Instance string       `json:"instance,omitempty"`
	Unit     reading.Unit `json:"unit,omitempty"`
	Number   *int64       `json:"number,omitempty"`
	Text     *string      `json:"text,omitempty"`
	Absent   string       `json:"absent,omitempty"` // why there is no value
	WordDE   string       `json:"word_de"`
	WordEN   string       `json:"word_en"`
}

// ReportBlock is some minutes of readings.
type ReportBlock struct {
	Sent
	Start   time.Time      `json:"start"`
	Seconds uint32         `json:"step_s"`
	Series  []ReportSeries `json:"series"`
	Damaged string         `json:"damaged,omitempty"` // why it cannot be shown
}

// ReportSeries is one reading over a block.
type ReportSeries struct {
	Name     string       `json:"name"`
	Instance string       `json:"instance,omitempty"`
	Unit     reading.Unit `json:"unit,omitempty"`
	WordDE   string       `json:"word_de"`
	WordEN   string       `json:"word_en"`
	Values   []any        `json:"values"` // a number, code or null (absent) for each step; means of a coarser block
	Min      *int64       `json:"min,omitempty"`
	Mean     *int64       `json:"mean,omitempty"`
	Max      *int64       `json:"max,omitempty"`
}

// ReportFinding is one finding that was raised or cleared.
type ReportFinding struct {
	Sent
	Code      string           `json:"code"`
	Raised    bool             `json:"raised"` // else cleared
	Instance  string           `json:"instance,omitempty"`
	Severity  string           `json:"severity"`
	TitleDE   string           `json:"title_de"`
	TitleEN   string           `json:"title_en"`
	Arguments []ReportArgument `json:"arguments,omitempty"`
}

// ReportArgument is what a finding says beside its code.
type ReportArgument struct {
	Name   string       `json:"name"`
	Unit   reading.Unit `json:"unit,omitempty"`
	Number *int64       `json:"number,omitempty"`
	Text   *string      `json:"text,omitempty"`
}

// ReportUpdate is a step of an update.
type ReportUpdate struct {
	Sent
	State     string `json:"state"`            // journal.State
	Reason    string `json:"reason,omitempty"` // journal.Reason
	Lease     string `json:"lease,omitempty"`
	From      string `json:"from_version,omitempty"`
	FromSum   string `json:"from_sha256,omitempty"`
	To        string `json:"to_version,omitempty"`
	ToSum     string `json:"to_sha256,omitempty"`
	Starts    uint32 `json:"starts,omitempty"`
	Launcher  string `json:"launcher_version,omitempty"`
	Fetched   uint64 `json:"fetched_bytes,omitempty"`
	Signature string `json:"crash_signature,omitempty"`
}

// ReportInventory is what was told to be installed.
type ReportInventory struct {
	Sent
	Count    uint32          `json:"count"`
	Programs []ReportProgram `json:"programs"`
	Damaged  string          `json:"damaged,omitempty"` // why they cannot be shown
}

// ReportProgram is one program.
type ReportProgram struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// maxFindings of one batch are kept to be shown, the newest; as many steps of updates.
const maxFindings = 32

// sentEntry is an entry on its way.
type sentEntry struct {
	entry *hmpb.Entry
	sent  Sent
}

// lastSent keeps the newest message of each kind since the start.
type lastSent struct {
	newest, state, block, inventory sentEntry
	findings, updates               []sentEntry // of the last batch that had any
	programs                        []byte      // inventory as JSON, made when first wanted

	live *hmpb.LiveUp // the last sample; nil = nobody watched
	// Of the while that it belongs to.
	liveSince, liveLast time.Time
	samples             int
}

// liveGap is the silence after which samples count as another while.
const liveGap = time.Minute

// sample takes a sample that was shown at that time, and says whether it is the
// first of a while.
func (l *lastSent) sample(up *hmpb.LiveUp, at time.Time) (first bool) {
	if first = l.live == nil || at.Sub(l.liveLast).Abs() > liveGap; first {
		l.liveSince, l.samples = at, 0
	}
	l.live, l.liveLast = up, at
	l.samples++
	return first
}

func (l *lastSent) take(b *hmpb.Batch, at time.Time) {
	var findings, updates []sentEntry
	for _, e := range b.GetEntries() {
		s := sentEntry{e, Sent{at.UTC(), b.GetFirstSeq() + uint64(e.GetOffset()), time.UnixMilli(e.GetDeviceMs()).UTC()}}
		l.newest = s
		switch e.WhichKind() {
		case hmpb.Entry_State_case:
			l.state = s
		case hmpb.Entry_Block_case:
			l.block = s
		case hmpb.Entry_Finding_case:
			findings = append(findings, s)
		case hmpb.Entry_Inventory_case:
			l.inventory, l.programs = s, nil
		case hmpb.Entry_Update_case:
			updates = append(updates, s)
		}
	}
	if n := len(updates); n > 0 {
		l.updates = slices.Clone(updates[max(0, n-maxFindings):])
	}
	if n := len(findings); n > 0 {
		l.findings = slices.Clone(findings[max(0, n-maxFindings):])
	}
}

var kinds = map[any]string{
	hmpb.Entry_State_case: "state", hmpb.Entry_Block_case: "block",
	hmpb.Entry_Finding_case: "finding", hmpb.Entry_Inventory_case: "inventory",
	hmpb.Entry_Update_case: "update",
}

// json is the report as a file. The list of programs is most of it and seldom
// another, so it is unpacked and written out once and put in
// where encoding/json would put it: after everything else.
func (l *lastSent) json() ([]byte, error) {
	r := l.report()
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil || l.inventory.entry == nil {
		return out, err
	}
	if l.programs == nil {
		if l.programs, err = json.MarshalIndent(reportInventory(l.inventory), "  ", "  "); err != nil {
			return nil, err
		}
	}
	out = append(bytes.TrimSuffix(out, []byte("\n}")), ",\n  \"inventory\": "...)
	return append(append(out, l.programs...), "\n}"...), nil
}

// report is all but the inventory.
func (l *lastSent) report() Report {
	r := Report{Sent: l.newest.sent, Kind: kinds[l.newest.entry.WhichKind()]}
	if l.state.entry != nil {
		r.State = &l.state.sent
		for _, v := range l.state.entry.GetState().GetReadings() {
			r.Readings = append(r.Readings, reportReading(v))
		}
	}
	if l.block.entry != nil {
		r.Block = reportBlock(l.block)
	}
	for _, f := range l.findings {
		r.Findings = append(r.Findings, reportFinding(f))
	}
	for _, u := range l.updates {
		r.Updates = append(r.Updates, reportUpdate(u))
	}
	if l.live != nil {
		r.Live = l.reportLive()
	}
	return r
}

func (l *lastSent) reportLive() *ReportLive {
	out := &ReportLive{Since: l.liveSince.UTC(), SentAt: l.liveLast.UTC(), DeviceTime: time.UnixMilli(l.live.GetDeviceMs()).UTC(), Samples: l.samples}
	for _, v := range l.live.GetReadings() {
		out.Readings = append(out.Readings, reportReading(v))
	}
	return out
}

// rowOf is a reading's row. Only a spool that a newer version wrote holds one
// that is not in the table; it was sent, so it is shown.
func rowOf(id uint32) reading.Reading {
	row, ok := reading.ByID(id)
	if !ok {
		row.Name = fmt.Sprintf("reading_%d", id)
	}
	return row
}

func reportReading(v *hmpb.Reading) ReportReading {
	row := rowOf(v.GetId())
	out := ReportReading{Name: row.Name, Instance: v.GetInstance(), Unit: row.Unit, WordDE: row.Word.DE, WordEN: row.Word.EN}
	switch v.WhichValue() {
	case hmpb.Reading_Number_case:
		out.Number = new(v.GetNumber())
	case hmpb.Reading_Text_case:
		out.Text = new(v.GetText())
	default:
		out.Absent = v.GetAbsent().String()
	}
	return out
}

func reportBlock(s sentEntry) *ReportBlock {
	m := s.entry.GetBlock()
	out := &ReportBlock{Sent: s.sent, Start: time.UnixMilli(m.GetStartMs()).UTC(), Seconds: m.GetStepS()}
	b, err := block.Decode(m.GetPacked())
	if err != nil {
		out.Damaged = err.Error()
		return out
	}
	for _, one := range b.Series {
		out.Series = append(out.Series, reportSeries(one))
	}
	return out
}

func reportSeries(s block.Series) ReportSeries {
	row := rowOf(s.ID)
	out := ReportSeries{Name: row.Name, Instance: s.Instance, Unit: row.Unit, WordDE: row.Word.DE, WordEN: row.Word.EN}
	var sum, n, low, high int64
	for _, v := range s.Values {
		switch {
		case v.N == 0:
			out.Values = append(out.Values, nil)
			continue
		case s.Code && v.Mean >= 0 && v.Mean < int64(len(row.Codes)):
			out.Values = append(out.Values, row.Codes[v.Mean].Code)
			continue
		}
		out.Values = append(out.Values, v.Mean)
		if n == 0 {
			low, high = v.Min, v.Max
		}
		low, high = min(low, v.Min), max(high, v.Max)
		sum, n = sum+v.Mean, n+1
	}
	if n > 0 {
		out.Min, out.Mean, out.Max = &low, new(sum/n), &high
	}
	return out
}

func reportFinding(s sentEntry) ReportFinding {
	m := s.entry.GetFinding()
	row, _ := finding.ByCode(m.GetCode())
	out := ReportFinding{Sent: s.sent, Code: m.GetCode(), Raised: m.GetRaised(), Instance: m.GetInstance(), Severity: m.GetSeverity().String(),
		TitleDE: row.Title.DE, TitleEN: row.Title.EN}
	for _, a := range m.GetArguments() {
		v := ReportArgument{Name: a.GetName()}
		if i := slices.IndexFunc(row.Arguments, func(r finding.Argument) bool { return r.Name == v.Name }); i >= 0 {
			v.Unit = row.Arguments[i].Unit
		}
		if a.HasNumber() {
			v.Number = new(a.GetNumber())
		} else {
			v.Text = new(a.GetText())
		}
		out.Arguments = append(out.Arguments, v)
	}
	return out
}

func reportUpdate(s sentEntry) ReportUpdate {
	m := s.entry.GetUpdate()
	return ReportUpdate{
		Sent: s.sent, State: journal.State(m.GetState()).String(), Reason: journal.Reason(m.GetReason()).String(), Lease: m.GetLease(),
		From: m.GetFromVersion(), FromSum: hex.EncodeToString(m.GetFromSha256()), To: m.GetToVersion(), ToSum: hex.EncodeToString(m.GetToSha256()),
		Starts: m.GetStarts(), Launcher: m.GetLauncherVersion(), Fetched: m.GetFetched(), Signature: m.GetSignature(),
	}
}

func reportInventory(s sentEntry) *ReportInventory {
	m := s.entry.GetInventory()
	out := &ReportInventory{Sent: s.sent, Count: m.GetPrograms()}
	list, err := inventory.Unpack(m)
	if err != nil {
		out.Damaged = err.Error()
		return out
	}
	for _, p := range list {
		out.Programs = append(out.Programs, ReportProgram(p))
	}
	return out
}
