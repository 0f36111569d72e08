package health

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// item is one step of a batch: a report, or a range that is missing.
type item struct {
	from, to uint64
	report   *report // nil = missing
	thinned  bool    // what is missing lives on in a later block; else it was dropped
}

// report is an entry, checked and ready to be stored.
type report struct {
	seq      int64
	deviceMS int64
	offset   *int64 // collector's clock minus the device's, as the report says, nil = it does not
	next     *int64 // as a later report of the batch says of the same clock
	atMS     int64  // when it was made by the collector's clock
	marks    int64
	body     []byte // of a State; empty for kinds of newer agents
	state    bool
	glance   glance
	// At most one of these, for what is not a State.
	block     *minutes
	finding   *hmpb.Finding
	inventory *hmpb.Inventory
	update    *hmpb.Update
}

// glance is what lists show of a state.
type glance struct {
	battery, diskFree, diskPermille any // int64 or nil
	system, path, trouble, issuer   string
}

// parsed is a batch in the order of its sequences.
type parsed struct {
	epoch []byte
	items []item
	rest  uint64 // where the part begins that is left for another batch; 0 = none

	unknownReadings, badReadings, future, past uint64
	badBlocks, badFindings, badInventories     uint64
}

// parse checks a batch and brings it into one order. What it returns shares
// nothing with b. All work that needs no database is done here, outside of the
// one writing transaction.
func parse(b *hmpb.Batch, collectorMS int64) (parsed, error) {
	p := parsed{epoch: slices.Clone(b.GetSpoolEpoch())}
	first := b.GetFirstSeq()
	entries, dropped, thinned := b.GetEntries(), b.GetDropped(), b.GetThinned()
	switch {
	case len(p.epoch) != EpochSize:
		return p, fmt.Errorf("%w: spool epoch of %d bytes", ErrMalformed, len(p.epoch))
	case first == 0 || first > math.MaxInt64:
		return p, fmt.Errorf("%w: first sequence %d", ErrMalformed, first)
	case len(entries)+len(dropped)+len(thinned) == 0:
		return p, fmt.Errorf("%w: empty", ErrMalformed)
	}
	if len(entries) > MaxEntries {
		p.rest = first + uint64(entries[MaxEntries].GetOffset())
		entries = entries[:MaxEntries]
	}
	p.items = make([]item, 0, len(entries)+len(dropped)+len(thinned))
	for i, e := range entries {
		seq := first + uint64(e.GetOffset()) // no overflow: 63 and 32 bits
		if seq > math.MaxInt64 {
			return p, fmt.Errorf("%w: sequence %d", ErrMalformed, seq)
		}
		if i > 0 && e.GetOffset() <= entries[i-1].GetOffset() {
			return p, fmt.Errorf("%w: offset %d after %d", ErrMalformed, e.GetOffset(), entries[i-1].GetOffset())
		}
		r, err := p.report(e, seq, collectorMS)
		if err != nil {
			return p, err
		}
		p.items = append(p.items, item{from: seq, to: seq, report: r})
	}
	if err := p.missing("dropped", dropped, first, false); err != nil {
		return p, err
	}
	if err := p.missing("thinned", thinned, first, true); err != nil {
		return p, err
	}
	slices.SortFunc(p.items, func(a, b item) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(p.items); i++ {
		if p.items[i].from <= p.items[i-1].to {
			return p, fmt.Errorf("%w: sequence %d stands twice", ErrMalformed, p.items[i].from)
		}
	}
	p.nextOffsets()
	return p, nil
}

// missing adds ranges that the batch names as missing.
func (p *parsed) missing(how string, ranges []*hmpb.Range, first uint64, thinned bool) error {
	for _, r := range ranges {
		if r.GetFrom() < first || r.GetTo() < r.GetFrom() || r.GetTo() > math.MaxInt64 {
			return fmt.Errorf("%w: %s range %d to %d in a batch from %d", ErrMalformed, how, r.GetFrom(), r.GetTo(), first)
		}
		if p.rest == 0 || r.GetFrom() < p.rest {
			p.items = append(p.items, item{from: r.GetFrom(), to: r.GetTo(), thinned: thinned})
		}
	}
	return nil
}

// report checks the entry's content.
func (p *parsed) report(e *hmpb.Entry, seq uint64, collectorMS int64) (*report, error) {
	r := &report{seq: int64(seq), body: []byte{}, deviceMS: e.GetDeviceMs(), offset: offsetOf(e), marks: p.mark(e.GetDeviceMs(), collectorMS)}
	switch e.WhichKind() {
	case hmpb.Entry_State_case:
	case hmpb.Entry_Block_case:
		r.block = p.minutes(e.GetBlock(), collectorMS)
		return r, nil
	case hmpb.Entry_Finding_case:
		r.finding = p.finding(e.GetFinding())
		return r, nil
	case hmpb.Entry_Inventory_case:
		r.inventory = p.inventory(e.GetInventory())
		return r, nil
	case hmpb.Entry_Update_case:
		r.update = proto.CloneOf(e.GetUpdate())
		return r, nil
	default:
		// An entry of a newer agent's kind: its place is kept, so that the
		// cursor can pass, and it shows nothing.
		return r, nil
	}
	kept := p.readings(e.GetState().GetReadings())
	body, err := proto.Marshal(hmpb.State_builder{Readings: kept}.Build())
	if err != nil {
		return nil, fmt.Errorf("%w: encoding a state anew: %w", ErrMalformed, err)
	}
	r.body, r.state, r.glance = body, true, glanceOf(kept)
	return r, nil
}

// readings leaves out and counts what the table does not know or allow, and
// what stands there a second time.
func (p *parsed) readings(all []*hmpb.Reading) []*hmpb.Reading {
	type key struct {
		id       uint32
		instance string
	}
	seen := make(map[key]bool, len(all))
	instances := make(map[uint32]int)
	return slices.DeleteFunc(slices.Clone(all), func(m *hmpb.Reading) bool {
		if err := reading.Check(m); err != nil {
			if errors.Is(err, reading.ErrUnknown) {
				p.unknownReadings++
			} else {
				p.badReadings++
			}
			return true
		}
		k := key{m.GetId(), m.GetInstance()}
		if instances[k.id]++; seen[k] || instances[k.id] > reading.MaxInstances {
			p.badReadings++
			return true
		}
		seen[k] = true
		return false
	})
}

// mark judges the device's clock. The report counts whatever it says: a device
// with an empty clock battery is one to be looked after.
func (p *parsed) mark(deviceMS, collectorMS int64) (marks int64) {
	// Compared without a difference, which need not fit.
	if deviceMS > collectorMS+FutureSlack.Milliseconds() {
		p.future++
		marks |= MarkFuture
	}
	if deviceMS < FirstRelease.UnixMilli() {
		p.past++
		marks |= MarkPast
	}
	return marks
}

// glanceOf takes from a state what lists show: the battery, the system and its
// build, the way to us, and the volume of the system or, where none is known as that, the largest.
func glanceOf(all []*hmpb.Reading) glance {
	var g glance
	total, free, texts := map[string]int64{}, map[string]int64{}, map[uint32]string{}
	for _, m := range all {
		switch id := m.GetId(); id {
		case reading.OSName, reading.OSBuild, reading.CollectorPath, reading.NetworkTrouble, reading.InspectionIssuer:
			texts[id] = m.GetText()
		}
		if m.WhichValue() != hmpb.Reading_Number_case {
			continue
		}
		switch m.GetId() {
		case reading.BatteryCharge:
			g.battery = m.GetNumber()
		case reading.VolumeTotal:
			total[m.GetInstance()] = m.GetNumber()
		case reading.VolumeFree:
			free[m.GetInstance()] = m.GetNumber()
		}
	}
	g.system = strings.TrimSpace(texts[reading.OSName] + " " + texts[reading.OSBuild])
	g.path, g.trouble, g.issuer = texts[reading.CollectorPath], texts[reading.NetworkTrouble], texts[reading.InspectionIssuer]
	system := ""
	for _, volume := range slices.Sorted(maps.Keys(total)) {
		if _, ok := free[volume]; !ok || system == "/" || system == "C:" {
			continue
		}
		if system == "" || volume == "/" || volume == "C:" || total[volume] > total[system] {
			system = volume
		}
	}
	if system != "" && total[system] > 0 {
		g.diskFree = free[system]
		g.diskPermille = permille(free[system], total[system])
	}
	return g
}

// permille of a whole; in floating point, since petabytes times a thousand
// come near the end of int64.
func permille(part, whole int64) int64 {
	return min(1000, int64(float64(part)/float64(whole)*1000))
}
