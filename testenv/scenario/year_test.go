package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"hausmeister/agent/finding"
	agenthealth "hausmeister/agent/health"
	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/collector/db/dbtest"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/proto/block"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/testenv/fakes"
)

// TestSchoolYear is what a device costs the database in a school year (Hesse,
// 2026/27): the agent's own health makes what it tells of invented machines,
// eight hours on each school day, and the collector's takes it, merges days and
// deletes what is outlived, by the same clock. Budget (design.md 8): <= 5 MB per
// device, at the worst moment of the year. Sizes are not times, so this is a
// test, and synctest has no benchmarks.
//
// A device is the difference to the database without any report. On PostgreSQL a
// VACUUM each night stands for autovacuum, which goes by the clock of the wall.
//
// HAUSMEISTER_YEAR_DEVICES=2
func TestSchoolYear(t *testing.T) {
	if testing.Short() || os.Getenv("HAUSMEISTER_LONG") != "1" {
		t.Skip("takes minutes; make test-long runs it")
	}
	devices := 2
	if v := os.Getenv("HAUSMEISTER_YEAR_DEVICES"); v != "" {
		if _, err := fmt.Sscan(v, &devices); err != nil || devices < 1 {
			t.Fatalf("HAUSMEISTER_YEAR_DEVICES=%s is not a number above 0", v)
		}
	}
	y := &year{days: yearDays(), told: make([][][]*hmpb.Entry, devices)}
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range devices {
			wg.Go(func() { y.told[i] = live(t.Context(), i+1, y.days) })
		}
		wg.Wait()
	})
	y.describe(t)
	dbtest.Each(t, yearMigrations, y.store)
}

var yearMigrations = []db.Migrations{access.Migrations, audit.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations}

// year is a school year: told[device][day] is what a device makes on a day.
type year struct {
	days []time.Time // when school begins
	told [][][]*hmpb.Entry
}

// yearDays are the school days of Hesse from August 2026 to June 2027, at half
// past six UTC.
func yearDays() (days []time.Time) {
	for d := time.Date(2026, 8, 10, 6, 30, 0, 0, time.UTC); d.Before(time.Date(2027, 6, 26, 0, 0, 0, 0, time.UTC)); d = d.AddDate(0, 0, 1) {
		if fakes.KindOf(d) == fakes.SchoolDay {
			days = append(days, d)
		}
	}
	return days
}

// live lets a machine's agent look for eight hours on each of the days.
func live(ctx context.Context, number int, days []time.Time) (told [][]*hmpb.Entry) {
	time.Sleep(time.Until(days[0]))
	m, s, memory := fakes.NewMachine(number, time.Now), &yearSink{}, &yearMemory{}
	watcher := finding.New(finding.Config{})
	for _, day := range days {
		time.Sleep(time.Until(day))
		h := agenthealth.New(agenthealth.Config{Source: m, Sink: s, Memory: memory, Findings: watcher, Log: slog.New(slog.DiscardHandler)})
		use, stop := context.WithTimeout(ctx, 8*time.Hour)
		_ = h.Run(use, func() {}) // nil when its context ends
		stop()
		told = append(told, s.entries)
		s.entries = nil
	}
	return told
}

type yearSink struct {
	mu      sync.Mutex
	seq     uint64
	entries []*hmpb.Entry
}

func (s *yearSink) Append(_ context.Context, e *hmpb.Entry) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	e.SetDeviceMs(time.Now().UnixMilli())
	s.entries = append(s.entries, e)
	return s.seq, nil
}

// yearMemory is of a device whose clock is right.
type yearMemory struct {
	mu   sync.Mutex
	hash []byte
}

func (m *yearMemory) ClockOffset(time.Time) (time.Duration, bool)   { return 0, true }
func (m *yearMemory) SetClockOffset(time.Time, time.Duration) error { return nil }
func (m *yearMemory) InventoryHash() []byte                         { m.mu.Lock(); defer m.mu.Unlock(); return m.hash }
func (m *yearMemory) SetInventoryHash(hash []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hash = hash
	return nil
}

// describe says what the devices told, and what it takes as entries of a batch.
func (y *year) describe(t *testing.T) {
	count, bytes := map[string]int{}, map[string]int{}
	samples, days := 0, len(y.told)*len(y.days)
	for _, device := range y.told {
		for _, e := range slices.Concat(device...) {
			name := kindOfEntry(e)
			count[name]++
			bytes[name] += proto.Size(e)
			if e.HasBlock() {
				b, err := block.Decode(e.GetBlock().GetPacked())
				if err != nil {
					t.Fatal(err)
				}
				samples += b.Count * len(b.Series)
			}
		}
	}
	t.Logf("%d school days of %d devices", len(y.days), len(y.told))
	for _, name := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%-10s %6.1f a day, %5d bytes each", name, float64(count[name])/float64(days), bytes[name]/count[name])
	}
	t.Logf("a block: %.0f samples, %.2f bytes per sample as an entry", float64(samples)/float64(count["block"]), float64(bytes["block"])/float64(samples))
}

func kindOfEntry(e *hmpb.Entry) string {
	switch e.WhichKind() {
	case hmpb.Entry_State_case:
		return "state"
	case hmpb.Entry_Block_case:
		return "block"
	case hmpb.Entry_Finding_case:
		return "finding"
	}
	return "inventory"
}

// yearStore is a collector's health with its database and the year's clock.
type yearStore struct {
	t       *testing.T
	cfg     db.Config
	db      *db.DB
	health  *health.Health
	now     time.Time
	devices []access.Caller
	seq     []uint64
	empty   sizes
}

// store lets the collector live through the year.
func (y *year) store(t *testing.T, cfg db.Config) {
	s := newYearStore(t, cfg, len(y.told), y.days[0])
	var worst sizes
	worstDay := ""
	var minutes rest
	last := y.days[len(y.days)-1].AddDate(0, 0, 45)
	for day, i := y.days[0], 0; day.Before(last); day = day.AddDate(0, 0, 1) {
		if i < len(y.days) && y.days[i].Equal(day) {
			for quarter := range 33 {
				s.quarter(y, i, day, day.Add(time.Duration(quarter+1)*15*time.Minute))
			}
			i++
		}
		if got := s.size(); got.sum() > worst.sum() {
			worst, worstDay = got, day.Format(time.DateOnly)
			minutes = s.rest()
		}
		s.night(day)
	}
	end := s.size()
	t.Logf("%s: the worst day is %s: %s", s.db.Dialect(), worstDay, worst.per(s.empty, len(y.told)))
	t.Logf("%s: at the end of the holidays: %s", s.db.Dialect(), end.per(s.empty, len(y.told)))
	table := float64(worst["health_blocks"]-s.empty["health_blocks"]) / float64(minutes.samples)
	t.Logf("%s: minutes at rest on the worst day: %d samples in %d rows, %.2f bytes per sample packed, %.2f with row, pages and indexes",
		s.db.Dialect(), minutes.samples, minutes.rows, float64(minutes.packed)/float64(minutes.samples), table)
	if table > 2 {
		t.Errorf("%s: %.2f bytes per sample at rest, want at most 2", s.db.Dialect(), table)
	}
	if each := (worst.sum() - s.empty.sum()) / int64(len(y.told)); each > 5<<20 {
		t.Errorf("%s: %d bytes per device at the worst moment, want at most 5 MB", s.db.Dialect(), each)
	}
	if st := s.health.Stats(); st.BadBlocks+st.BadFindings+st.BadInventories+st.BadReadings+st.FutureClock > 0 {
		t.Errorf("the collector counts %+v", st)
	}
}

func newYearStore(t *testing.T, cfg db.Config, devices int, begin time.Time) *yearStore {
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	s := &yearStore{t: t, cfg: cfg, db: d, now: begin, seq: make([]uint64, devices)}
	clock := func() time.Time { return s.now }
	if s.health, err = health.New(health.Config{DB: d, Bus: bus.New(), Now: clock, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	f, err := fleet.New(fleet.Config{DB: d, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := f.AddOwner(t.Context(), access.System("test"), "Landkreis Ahorn")
	if err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		var id string
		err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
			id, _, err = f.Admit(t.Context(), tx, access.System("test"), owner.ID, "", ident.Hardware{Manufacturer: "FUJITSU", Model: "LIFEBOOK", Serial: fmt.Sprintf("DEMO%06d", i)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		s.devices = append(s.devices, access.ForDevice(id, owner.ID))
	}
	s.empty = s.size()
	return s
}

// quarter takes in what the devices made before until, of this day.
func (s *yearStore) quarter(y *year, day int, begin, until time.Time) {
	s.now = until
	for i, device := range s.devices {
		b := hmpb.Batch_builder{SpoolEpoch: []byte(device.ID)[:health.EpochSize], FirstSeq: proto.Uint64(s.seq[i] + 1)}
		for _, e := range y.told[i][day] {
			at := e.GetDeviceMs()
			if at >= until.UnixMilli() || at < until.Add(-15*time.Minute).UnixMilli() {
				continue
			}
			e := proto.CloneOf(e)
			e.SetOffset(uint32(len(b.Entries)))
			b.Entries = append(b.Entries, e)
			s.seq[i]++
		}
		if len(b.Entries) == 0 {
			continue
		}
		if down, err := s.health.Ingest(s.t.Context(), device, b.Build()); err != nil || down.GetAck().GetThroughSeq() != s.seq[i] {
			s.t.Fatalf("device %d, day %v: Ingest = %v, %v", i, begin, down, err)
		}
	}
}

// night is what the collector does by itself.
func (s *yearStore) night(day time.Time) {
	s.now = day.Truncate(24 * time.Hour).Add(27 * time.Hour)
	if _, err := s.health.MergeDays(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.health.Sweep(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if s.db.Dialect() == db.Postgres {
		if err := db.AdminExec(s.t.Context(), s.cfg.URL, "VACUUM ANALYZE"); err != nil {
			s.t.Fatal(err)
		}
	}
}

// rest is what the database holds of minutes.
type rest struct{ rows, samples, packed int }

func (s *yearStore) rest() (out rest) {
	err := s.db.Read(s.t.Context(), func(tx *db.Tx) error {
		out = rest{}
		rows, err := tx.Query(s.t.Context(), `SELECT body FROM health_blocks`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			b, err := block.Decode(body)
			if err != nil {
				return err
			}
			out.rows++
			out.samples += b.Count * len(b.Series)
			out.packed += len(body)
		}
		return rows.Close()
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// sizes are the bytes of tables with their indexes.
type sizes map[string]int64

func (s sizes) sum() (n int64) {
	for _, v := range s {
		n += v
	}
	return n
}

// per lists what a device takes of each table.
func (s sizes) per(empty sizes, devices int) string {
	var parts []string
	for _, name := range slices.SortedFunc(maps.Keys(s), func(a, b string) int { return int(s[b] - empty[b] - s[a] + empty[a]) }) {
		if n := (s[name] - empty[name]) / int64(devices); n > 500 {
			parts = append(parts, fmt.Sprintf("%s %.1f kB", name, float64(n)/1000))
		}
	}
	return fmt.Sprintf("%.2f MB per device (%s)", float64(s.sum()-empty.sum())/float64(devices)/1e6, strings.Join(parts, ", "))
}

// size of each table with its indexes; on SQLite also of the pages that are
// free, since its file does not shrink.
func (s *yearStore) size() sizes {
	statement := `SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`
	if s.db.Dialect() == db.SQLite {
		statement = `SELECT COALESCE(m.tbl_name, d.name), d.pgsize FROM dbstat d LEFT JOIN sqlite_schema m ON m.name = d.name WHERE d.aggregate = TRUE
			UNION ALL SELECT 'free pages', (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)`
	}
	out := sizes{}
	err := s.db.Read(s.t.Context(), func(tx *db.Tx) error {
		rows, err := tx.Query(s.t.Context(), statement)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var n int64
			if err := rows.Scan(&name, &n); err != nil {
				return err
			}
			out[name] += n
		}
		return rows.Close()
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}
