package health_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"hausmeister/agent/finding"
	"hausmeister/agent/health"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/testenv/fakes"
)

// recorder keeps what a machine was at each look.
type recorder struct {
	*fakes.Machine
	at   []time.Time
	seen []sysinfo.Snapshot
}

func (r *recorder) Read(ctx context.Context) sysinfo.Snapshot {
	s := r.Machine.Read(ctx)
	r.at, r.seen = append(r.at, time.Now()), append(r.seen, s)
	return s
}

// tape is a recorder's, as a source for a Replay.
type tape struct {
	*recorder
	next int
}

func (t *tape) Read(context.Context) sysinfo.Snapshot {
	t.next++
	return t.seen[t.next-1]
}

// TestReplay: what Run told of a machine, a Replay tells of the same looks:
// States, blocks, findings and the list, each at its time.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const disk = 14 // nearly full: it has something to find
		source := &recorder{Machine: fakes.NewMachine(disk, time.Now)}
		about := func() health.Facts { return health.Facts{Path: "quic", Heard: time.Now()} }
		s := &sink{begin: time.Now()}
		conf := health.Config{Source: source, Sink: s, Memory: &memory{}, Log: slog.New(slog.DiscardHandler), Random: func() float64 { return 0.5 },
			Findings: finding.New(finding.Config{}), About: about}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- health.New(conf).Run(ctx, func() {}) }()
		time.Sleep(100*time.Minute + 30*time.Second)
		cancel()
		<-done

		var now time.Time
		again := &sink{begin: s.begin}
		conf.Source, conf.Sink, conf.Memory, conf.Findings = &tape{recorder: source, next: 1}, again, &memory{}, finding.New(finding.Config{})
		conf.Now, conf.About = func() time.Time { return now }, func() health.Facts { return health.Facts{Path: "quic", Heard: now} }
		r := health.NewReplay(conf)
		for i, at := range source.at[1:] { // the first gave counters their beginning
			now = at
			r.Look(t.Context(), at)
			if i == 6 {
				r.List(t.Context())
			}
		}
		now = s.begin.Add(100*time.Minute + 30*time.Second)
		r.End(t.Context())

		if d := cmp.Diff(byKind(s.all), byKind(again.all), protocmp.Transform()); d != "" {
			t.Errorf("a replay tells something else (-Run +Replay):\n%s", d)
		}
		for kind, n := range map[string]int{"state": 15, "block": 7, "finding": 1, "inventory": 1} {
			if got := len(byKind(again.all)[kind]); got < n {
				t.Errorf("%d of kind %s, want %d at least", got, kind, n)
			}
		}
	})
}

// byKind sorts entries by their kind, each in its order: when the list was read
// is of another goroutine. The number of programs stands in States from then on.
func byKind(all []*hmpb.Entry) map[string][]*hmpb.Entry {
	kinds := map[string][]*hmpb.Entry{}
	for _, e := range all {
		switch e.WhichKind() {
		case hmpb.Entry_State_case:
			kinds["state"] = append(kinds["state"], e)
		case hmpb.Entry_Block_case:
			kinds["block"] = append(kinds["block"], e)
		case hmpb.Entry_Finding_case:
			kinds["finding"] = append(kinds["finding"], e)
		case hmpb.Entry_Inventory_case:
			kinds["inventory"] = append(kinds["inventory"], e)
		}
	}
	return kinds
}

// TestReplayOfMinutes: minutes between looks go into the block, and nowhere else.
func TestReplayOfMinutes(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 20, 0, time.UTC)
	m := fakes.NewMachine(7, func() time.Time { return now })
	s := &sink{begin: now}
	r := health.NewReplay(health.Config{Source: m, Sink: s, Memory: &memory{}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	for i := range 15 {
		if i == 0 {
			r.Look(t.Context(), now)
		} else {
			r.Minute(t.Context(), now)
		}
		now = now.Add(time.Minute)
	}
	r.End(t.Context())
	blocks := s.entries((*hmpb.Entry).HasBlock)
	if len(s.all) != 2 || len(blocks) != 1 || blocks[0].GetBlock().GetSteps() != 15 {
		t.Errorf("told %v, want a State and a block of 15 minutes", s.all)
	}
}
