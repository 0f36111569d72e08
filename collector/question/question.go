// Package question answers what is asked of the whole fleet without SQL: how
// many devices have a battery below 60 % and are of this model at that kind of
// school, which they are, how the asked reading is spread, and how that went in
// the last weeks. It keeps the questions that people want to ask again.
//
// A daily row has some sixty values; to look one of them up in the rows of
// 70,000 devices and twelve weeks takes a database seconds. So the rows of each
// week are kept a second time as one packed column of each reading, by the
// devices' numbers, and a question reads only the columns that it is about.
// Columns are made of the daily rows alone: a crash while they are made leaves
// the old ones or some new ones, and the next run makes them anew. What a device
// is (model, school, owner, what is open about it) is asked of the tables at
// each question, so a change of it counts at once, and so does the caller's
// scope.
//
// A question is bounded: in conditions, in how many are answered at once, and
// in time. It leaves readings to health and devices to fleet, and reads the views
// that they publish: health_daily, health_changed_weeks, health_open_findings,
// health_agent_versions, enroll_devices, fleet_facts and fleet_schools.
package question

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"hausmeister/collector/db"
	"hausmeister/proto/reading"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of this package.
var Migrations = db.Migrations{Name: "question", FS: files}

var (
	// ErrInvalid: a question that cannot be; it is an *Invalid, which says where.
	ErrInvalid = errors.New("invalid question")
	// ErrBusy: too many questions are being answered; ask again in a moment.
	ErrBusy = errors.New("too many questions at once")
	// ErrTooLong: no answer within the time that a question may take.
	ErrTooLong = errors.New("the question takes too long")
	// ErrCursor: a cursor that was not given, or for another question.
	ErrCursor = errors.New("invalid cursor")
	// ErrTooMany: somebody keeps as many questions as one may.
	ErrTooMany = errors.New("too many saved questions")
)

// Invalid says which condition (from 0; -1 none) is wrong, and why.
type Invalid struct {
	At  int
	Why string
}

func (e *Invalid) Error() string { return ErrInvalid.Error() + ": " + e.Why }

// Is makes each an ErrInvalid.
func (e *Invalid) Is(target error) bool { return target == ErrInvalid }

const (
	dayMS = 24 * 60 * 60 * 1000
	// TrendWeeks is how far back a trend goes, this week included.
	TrendWeeks = 12
	// FreshWeeks is how old a value may be that counts as a device's present one:
	// of this week or the two before, so that holidays leave no fleet unknown.
	FreshWeeks = 3
)

// Config is what Questions need.
type Config struct {
	DB  *db.DB
	Now func() time.Time
	Log *slog.Logger
	// Most bounds the questions answered at once, Wait how long one waits for
	// its turn, Limit how long the answer may take. 0 = 2, 2 s and 5 s.
	Most        int
	Wait, Limit time.Duration
}

// Questions answers and keeps them. Between calls it holds the numbers of devices only.
type Questions struct {
	db    *db.DB
	lease *db.Lease // of making columns
	given numbers
	now   func() time.Time
	log   *slog.Logger
	turns chan struct{}
	wait  time.Duration
	limit time.Duration
}

// New checks the Config.
func New(cfg Config) (*Questions, error) {
	if cfg.DB == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("making questions: DB, Now and Log are needed")
	}
	if cfg.Most == 0 {
		cfg.Most = 2
	}
	if cfg.Wait == 0 {
		cfg.Wait = 2 * time.Second
	}
	if cfg.Limit == 0 {
		cfg.Limit = 5 * time.Second
	}
	if cfg.Most < 1 || cfg.Wait < 0 || cfg.Limit < 0 {
		return nil, errors.New("making questions: bounds must be positive")
	}
	return &Questions{db: cfg.DB, lease: cfg.DB.Lease("questions", cfg.Now), now: cfg.Now, log: cfg.Log, turns: make(chan struct{}, cfg.Most), wait: cfg.Wait, limit: cfg.Limit}, nil
}

// lookEvery is how often Run looks for weeks that changed.
const lookEvery = time.Minute

// Run makes the columns of weeks that changed, until ctx ends. Of several
// collectors on a database one does that, as long as it has the lease.
func (q *Questions) Run(ctx context.Context, ready func()) error {
	ready()
	for {
		if n, err := q.Refresh(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, db.ErrLeased) {
			q.log.Warn("preparing questions", "error", err)
		} else if n > 0 {
			q.log.Debug("questions prepared", "weeks", n)
		}
		// Not at fixed times, so that several collectors do not meet.
		next := time.NewTimer(lookEvery/2 + rand.N(lookEvery))
		select {
		case <-ctx.Done():
			next.Stop()
			return nil
		case <-next.C:
		}
	}
}

// Readings are those that a daily row holds, in the order of the table.
func Readings() (out []reading.Reading) {
	for r := range reading.All() {
		if r.Daily != 0 {
			out = append(out, r)
		}
	}
	return out
}

// turn waits until the question may be answered, and gives the context that it
// is answered in.
func (q *Questions) turn(ctx context.Context) (context.Context, func(), error) {
	wait := time.NewTimer(q.wait)
	defer wait.Stop()
	select {
	case q.turns <- struct{}{}:
	case <-wait.C:
		return nil, nil, ErrBusy
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, q.limit, ErrTooLong)
	return bounded, func() { cancel(); <-q.turns }, nil
}
