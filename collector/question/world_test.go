package question_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/question"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

var (
	migrations = []db.Migrations{access.Migrations, audit.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations, question.Migrations}
	noon       = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) // a Thursday
	system     = access.System("test")
)

// world is questions about devices that fleet admitted and that told health.
type world struct {
	*question.Questions
	t      testing.TB
	db     *db.DB
	fleet  *fleet.Fleet
	health *health.Health
	now    time.Time
	seq    map[string]uint64
	owners map[string]string // of devices
}

func newWorld(t testing.TB, d *db.DB) *world {
	t.Helper()
	w := &world{t: t, db: d, now: noon, seq: map[string]uint64{}, owners: map[string]string{}}
	clock := func() time.Time { return w.now }
	log := slog.New(slog.DiscardHandler)
	var errs [3]error
	w.fleet, errs[0] = fleet.New(fleet.Config{DB: d, Now: clock})
	w.health, errs[1] = health.New(health.Config{DB: d, Bus: bus.New(), Now: clock, Log: log})
	w.Questions, errs[2] = question.New(question.Config{DB: d, Now: clock, Log: log})
	w.must(errors.Join(errs[:]...))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// schools imports some, and gives their ids by code.
func (w *world) schools() map[string]fleet.School {
	w.t.Helper()
	_, err := w.fleet.ImportSchools(context.Background(), system, strings.NewReader("schul_id;schultraeger;schulform\nS1;Landkreis Ahorn;Gymnasium\nS2;Landkreis Ahorn;Grundschule\nS3;Stadt Topas;Gymnasium\n"))
	w.must(err)
	all, err := w.fleet.Schools(context.Background(), system)
	w.must(err)
	out := map[string]fleet.School{}
	for _, s := range all {
		out[s.Code] = s
	}
	return out
}

func (w *world) admit(s fleet.School, model string) string {
	w.t.Helper()
	var id string
	w.must(w.db.Write(context.Background(), func(tx *db.Tx) (err error) {
		id, _, err = w.fleet.Admit(context.Background(), tx, system, s.Owner, s.ID,
			ident.Hardware{Manufacturer: "FUJITSU", Model: model, Serial: fmt.Sprintf("DEMO%06d", len(w.owners)), OS: "windows"})
		return err
	}))
	w.owners[id] = s.Owner
	return id
}

// tells lets a device tell its values of a day: the numbers in minutes where
// they are kept so, and all of them as its state.
func (w *world) tells(device string, day time.Time, readings ...*hmpb.Reading) {
	w.t.Helper()
	was := w.now
	defer func() { w.now = was }()
	w.now = day.Truncate(24 * time.Hour).Add(10 * time.Hour)
	ms := w.now.UnixMilli()
	b := block.Block{Start: ms, Step: block.Minute, Count: 15}
	w.must(b.Set(ms, block.Key{ID: reading.AgentCPU}, false, 7)) // so that there is a day to merge
	for _, r := range readings {
		if row, _ := reading.ByID(r.GetId()); row.Retain == reading.Fine && row.Kind == reading.Number {
			w.must(b.Set(ms, block.Key{ID: row.ID, Instance: r.GetInstance()}, false, r.GetNumber()))
		}
	}
	packed, err := block.Encode(b)
	w.must(err)
	w.sends(device, hmpb.Entry_builder{State: hmpb.State_builder{Readings: readings}.Build()}.Build(),
		hmpb.Entry_builder{Block: hmpb.Block_builder{StartMs: &b.Start, StepS: proto.Uint32(60), Steps: proto.Uint32(15), Packed: packed}.Build()}.Build())
}

func (w *world) sends(device string, entries ...*hmpb.Entry) {
	w.t.Helper()
	first := w.seq[device] + 1
	for i, e := range entries {
		e.SetOffset(uint32(i))
		e.SetDeviceMs(w.now.UnixMilli())
	}
	w.seq[device] += uint64(len(entries))
	down, err := w.health.Ingest(context.Background(), access.ForDevice(device, w.owners[device]),
		hmpb.Batch_builder{SpoolEpoch: []byte(device)[:health.EpochSize], FirstSeq: &first, Entries: entries}.Build())
	w.must(err)
	if down.GetAck().GetThroughSeq() != w.seq[device] {
		w.t.Fatalf("Ingest = %v, want %d acknowledged", down, w.seq[device])
	}
	if st := w.health.Stats(); st.BadBlocks+st.BadReadings+st.BadFindings > 0 {
		w.t.Fatalf("health leaves something out: %+v", st)
	}
}

// merges makes the daily rows and the columns.
func (w *world) merges() {
	w.t.Helper()
	_, err := w.health.MergeDays(context.Background())
	w.must(err)
	_, err = w.Refresh(context.Background())
	w.must(err)
}

func number(id uint32, n int64) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Number: &n}.Build()
}

func text(id uint32, s string) *hmpb.Reading {
	return hmpb.Reading_builder{Id: &id, Text: &s}.Build()
}

func user(id string, role access.Role, owners ...string) access.Caller {
	return access.Caller{Kind: access.KindUser, ID: id, Name: id, Role: role, Owners: owners}
}

// ask makes a question of conditions as text.
func ask(t testing.TB, conditions ...string) question.Question {
	t.Helper()
	var q question.Question
	for _, text := range conditions {
		c, err := question.ParseCondition(text)
		if err != nil {
			t.Fatal(err)
		}
		q.Conditions = append(q.Conditions, c)
	}
	return q
}
