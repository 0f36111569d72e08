// Package health owns what devices tell about themselves: it takes their
// reports exactly once, keeps each for three days, and knows the latest state.
//
// A report's key is (device, spool epoch, sequence). Reports and the cursor of
// their spool are stored in one transaction, many devices' together in one
// commit, and an answer leaves only after it: a device may throw away what is
// acknowledged, and a crash at any point leaves either nothing of a batch or
// all of it with its cursor. What is known already is acknowledged again and
// not stored; a gap is stepped over only when the batch names it as dropped
// or thinned, otherwise it is asked for again.
//
// The device's clock may say anything. Both clocks' times are stored, reports
// from an impossible time are counted and marked, and the collector's time is
// the one that days, retention and order go by; clock.go turns what devices say into it.
//
// Lists and pages get days from here, never times of day (view health_devices).
package health

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"hausmeister/collector/bus"
	"hausmeister/collector/db"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/reading"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of this package.
var Migrations = db.Migrations{Name: "health", FS: files}

// ErrMalformed: a batch that no honest agent sends; the session ends.
var ErrMalformed = errors.New("malformed batch")

// Marks of a stored report.
const (
	MarkFuture = 1 << iota // the device's clock was more than FutureSlack ahead
	MarkPast               // the device's clock stood before FirstRelease
)

const (
	// FutureSlack is how far a device's clock may be ahead unmarked.
	FutureSlack = 10 * time.Minute
	// EpochSize is the length of a spool epoch.
	EpochSize = 16
	// MaxEntries is how many entries of one batch are stored in one
	// transaction; the rest is asked for again. An entry may be a few bytes,
	// and others wait for the commit.
	MaxEntries = 8192
)

// FirstRelease is a time before which no report can have been made.
var FirstRelease = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const dayMS = 24 * 60 * 60 * 1000

// Updates takes a step of a device's update in the transaction that stores it, so that
// each counts once. It must do nothing that waits, nor anything to memory that a
// transaction which is undone could not leave behind. collector/rollout does.
type Updates interface {
	Told(ctx context.Context, tx *db.Tx, device string, u *hmpb.Update, nowMS int64) error
}

// Config is what health needs.
type Config struct {
	DB  *db.DB
	Bus *bus.Bus
	Now func() time.Time
	Log *slog.Logger
	// Updates takes what devices tell of their updates; nil = nobody does.
	Updates Updates
	Keep    time.Duration // of reports, 1 day to reading.KeepReports; 0 = that
}

// Health takes and gives reports. Between calls it holds counters only.
type Health struct {
	db    *db.DB
	lease *db.Lease // of what Run does by the clock
	bus   *bus.Bus
	now   func() time.Time
	log   *slog.Logger
	keep  time.Duration
	count counters
	// updates is nil where nobody wants them.
	updates Updates
	late    chan struct{} // minutes came for a day that is over; holds one
}

// New checks the Config.
func New(cfg Config) (*Health, error) {
	if cfg.DB == nil || cfg.Bus == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("making health: DB, Bus, Now and Log are needed")
	}
	if cfg.Keep == 0 {
		cfg.Keep = reading.KeepReports
	}
	if cfg.Keep < 24*time.Hour || cfg.Keep > reading.KeepReports {
		return nil, errors.New("making health: reports are kept 1 day to as long as the catalogue says")
	}
	return &Health{db: cfg.DB, lease: cfg.DB.Lease("health", cfg.Now), bus: cfg.Bus, now: cfg.Now, log: cfg.Log, keep: cfg.Keep, updates: cfg.Updates, late: make(chan struct{}, 1)}, nil
}

// Stats are counts since the start of this collector. All only rise.
type Stats struct {
	Batches         uint64
	Stored          uint64 // reports
	Duplicates      uint64 // reports that were known already
	Dropped         uint64 // sequences that agents named as dropped
	Thinned         uint64 // sequences whose content agents put into a coarser block
	Gaps            uint64 // batches with an unnamed gap
	Malformed       uint64 // batches
	FutureClock     uint64 // reports
	PastClock       uint64 // reports
	UnknownReadings uint64 // left out: not in the table, from a newer agent
	BadReadings     uint64 // left out: against the table
	StoreErrors     uint64 // batches that could not be stored now
	BadBlocks       uint64 // left out: broken, or against the table
	BadFindings     uint64 // left out
	BadInventories  uint64 // left out
}

type counters struct {
	batches, stored, duplicates, dropped, thinned, gaps, malformed atomic.Uint64
	future, past, unknownReadings, badReadings, storeErrors        atomic.Uint64
	badBlocks, badFindings, badInventories                         atomic.Uint64
}

// Stats gives the counts.
func (h *Health) Stats() Stats {
	c := &h.count
	return Stats{
		Batches: c.batches.Load(), Stored: c.stored.Load(), Duplicates: c.duplicates.Load(), Dropped: c.dropped.Load(), Thinned: c.thinned.Load(),
		Gaps: c.gaps.Load(), Malformed: c.malformed.Load(), FutureClock: c.future.Load(), PastClock: c.past.Load(),
		UnknownReadings: c.unknownReadings.Load(), BadReadings: c.badReadings.Load(), StoreErrors: c.storeErrors.Load(),
		BadBlocks: c.badBlocks.Load(), BadFindings: c.badFindings.Load(), BadInventories: c.badInventories.Load(),
	}
}
