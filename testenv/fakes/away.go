package fakes

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/spool"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

// Away is what a device makes that is used without network, eight hours on
// each day: a State each minute (more than a real one, which tells only what
// moved), a block each quarter of an hour, two findings a day, an inventory a
// week. All of it is invented.
type Away struct {
	Number int
	Begin  time.Time // of the first day of use; in the morning
	Days   int
	Cores  int          // of its processor; 0 = 8
	Spool  spool.Config // Now and MaxBytes are as the agent would have them; nil Now is the time of the entries
}

const useHours = 8

// Fill appends it all and gives what was made, by sequence.
func (a Away) Fill(ctx context.Context) (made map[uint64]*hmpb.Entry, err error) {
	if a.Cores == 0 {
		a.Cores = 8
	}
	f := &away{cores: a.Cores, random: rand.New(rand.NewPCG(seed, uint64(a.Number))), now: a.Begin, made: map[uint64]*hmpb.Entry{}}
	if a.Spool.Now == nil {
		a.Spool.Now = func() time.Time { return f.now }
	}
	if f.spool, err = spool.Open(a.Spool); err != nil {
		return nil, err
	}
	for day := range a.Days {
		f.now = a.Begin.AddDate(0, 0, day)
		if err := f.day(ctx, day); err != nil {
			f.spool.Close()
			return nil, fmt.Errorf("day %d: %w", day, err)
		}
	}
	return f.made, f.spool.Close()
}

type away struct {
	cores  int
	spool  *spool.Spool
	random *rand.Rand
	now    time.Time
	made   map[uint64]*hmpb.Entry
	values map[source]int64
}

func (f *away) append(ctx context.Context, e *hmpb.Entry) error {
	e.SetDeviceMs(f.now.UnixMilli())
	seq, err := f.spool.Append(ctx, e)
	f.made[seq] = e
	return err
}

func (f *away) day(ctx context.Context, day int) error {
	if day%7 == 0 {
		packed := make([]byte, 6000) // some 300 programs after zstd
		for i := range packed {
			packed[i] = byte(f.random.Uint32())
		}
		i := hmpb.Inventory_builder{Hash: bytes.Repeat([]byte{byte(day)}, 32), Packed: packed, Programs: proto.Uint32(300)}.Build()
		if err := f.append(ctx, hmpb.Entry_builder{Inventory: i}.Build()); err != nil {
			return err
		}
	}
	for quarter := range useHours * 4 {
		if quarter == 3 || quarter == 20 {
			e := hmpb.Finding_builder{Code: proto.String("disk_low"), Raised: proto.Bool(quarter == 3), Instance: proto.String("C:"), Severity: hmpb.Severity_SEVERITY_WARNING.Enum()}
			if err := f.append(ctx, hmpb.Entry_builder{Finding: e.Build()}.Build()); err != nil {
				return err
			}
		}
		if err := f.quarter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// quarter is fifteen minutes, with the block of them at their end.
func (f *away) quarter(ctx context.Context) error {
	b := block.Block{Start: f.now.Truncate(time.Minute).UnixMilli(), Step: block.Minute, Count: 15}
	for minute := range 15 {
		readings := f.read()
		for _, r := range readings {
			if row, _ := reading.ByID(r.GetId()); row.Kind != reading.Number || row.Retain != reading.Fine {
				continue // the collector would leave it out
			}
			if err := b.Set(b.Start+int64(minute)*b.Step, block.Key{ID: r.GetId(), Instance: r.GetInstance()}, false, r.GetNumber()); err != nil {
				return err
			}
		}
		if err := f.append(ctx, hmpb.Entry_builder{State: hmpb.State_builder{Readings: readings}.Build()}.Build()); err != nil {
			return err
		}
		f.now = f.now.Add(time.Minute)
	}
	packed, err := block.Encode(b)
	if err != nil {
		return err
	}
	e := hmpb.Block_builder{StartMs: &b.Start, StepS: proto.Uint32(60), Steps: proto.Uint32(15), Packed: packed}.Build()
	return f.append(ctx, hmpb.Entry_builder{Block: e}.Build())
}

// read gives a value for each reading of the table, and for each core: a third
// of the numbers moves from minute to minute, and all cores.
func (f *away) read() (all []*hmpb.Reading) {
	if f.values == nil {
		f.values = map[source]int64{}
	}
	for row := range reading.All() {
		switch {
		case row.ID == reading.CPUCoreUsed:
			for i := range f.cores {
				all = append(all, f.one(row, strconv.Itoa(i+1)))
			}
		case row.Instanced:
			all = append(all, f.one(row, "C:"))
		case row.Kind == reading.Code && len(row.Codes) == 0:
		default:
			all = append(all, f.one(row, ""))
		}
	}
	return all
}

// source is what a value is of.
type source struct {
	id       uint32
	instance string
}

func (f *away) one(row reading.Reading, instance string) *hmpb.Reading {
	r := hmpb.Reading_builder{Id: proto.Uint32(row.ID)}
	if instance != "" {
		r.Instance = &instance
	}
	switch row.Kind {
	case reading.Number:
		r.Number = proto.Int64(f.number(row, source{row.ID, instance}))
	case reading.Text:
		r.Text = proto.String("Windows 11")
	default:
		r.Text = proto.String(row.Codes[0].Code)
	}
	return r.Build()
}

func (f *away) number(row reading.Reading, of source) int64 {
	v, ok := f.values[of]
	if !ok {
		v = row.Min + (row.Max-row.Min)/int64(3+f.random.IntN(5))
	}
	step := (row.Max - row.Min) / 100
	if row.ID == reading.CPUCoreUsed {
		step *= 10
	}
	if (row.ID%3 == 0 || row.ID == reading.CPUCoreUsed) && step > 0 {
		v = min(max(v+f.random.Int64N(2*step+1)-step, row.Min), row.Max)
	}
	f.values[of] = v
	return v
}
