// Package fleet owns the records of owners, schools and devices: which device
// there is, whose it is, at which school, under which inventory number, and how
// it is found in a list of seventy thousand.
//
// A record outlives the device's software: the same manufacturer and serial is
// the same record, whatever key or operating system it comes with. The list
// knows days only, never times of day, for a list of those tells when people
// work. Every function takes a Caller; another owner's device, school or owner
// is not found. Each change and its audit entry are one transaction, so a crash
// leaves both or none.
// A change of many devices is a job (job_run.go): Run carries it out in steps,
// and goes on with it after a crash.
//
// It leaves credentials to enroll and readings to health, and joins the views
// that they publish: enroll_devices and health_devices.
package fleet

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/db"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the tables of this package.
var Migrations = db.Migrations{Name: "fleet", FS: files}

var (
	// ErrRefused: this hardware cannot be admitted for this owner.
	ErrRefused = errors.New("device is not admitted")
	// ErrInventoryTaken: another device of the owner has this number.
	ErrInventoryTaken = errors.New("inventory number is taken")
	// ErrInvalid: a value that a person or a program gave is not of its form.
	ErrInvalid = errors.New("invalid value")
	// ErrWords: a query of more than MaxWords words. It is an ErrInvalid.
	ErrWords = fmt.Errorf("%w: too many words to search for", ErrInvalid)
)

// State is what the list says of a device. The first that holds counts:
//
//	revoked    it has had credentials and none of them is good any more
//	new        it has never sent a report, and no session of it is open
//	silent     its last contact was more than SilentDays days ago, and no session of it is open
//	critical   it has an open finding of that severity
//	warning    it has an open finding of that severity
//	connected  a session of it is open now
//	ok         otherwise; it may have notices
//
// A contact is the begin or end of a session or a report, by the collector's
// clock; days are those of UTC.
type State string

const (
	StateRevoked   State = "revoked"
	StateCritical  State = "critical"
	StateWarning   State = "warning"
	StateConnected State = "connected"
	StateNew       State = "new"
	StateSilent    State = "silent"
	StateOK        State = "ok"
)

// States are all states in the order in which pages offer them.
var States = []State{StateCritical, StateWarning, StateConnected, StateOK, StateSilent, StateNew, StateRevoked}

// Config is what the fleet needs.
type Config struct {
	DB         *db.DB
	Now        func() time.Time
	SilentDays int          // 1..400, 0 = 14
	Log        *slog.Logger // nil = slog.Default
	Quieter    Quieter      // nil = no job makes findings quiet
	Updates    Updates      // nil = nobody knows of them
}

// Updates says how far devices are on their way to the version that they should have, each
// by one word; collector/rollout does.
type Updates interface {
	Knows(word string) bool
	// DevicesWith are the ids of those that have it, of those that the caller may see.
	DevicesWith(ctx context.Context, caller access.Caller, word string) ([]string, error)
}

// Fleet answers questions about devices, and changes many of them in jobs. In
// memory it keeps facts only.
type Fleet struct {
	db         *db.DB
	now        func() time.Time
	silentDays int
	looked     int64 // mostLooked, less in a test
	many       int64
	owned      int64 // fewOwned, less in a test
	log        *slog.Logger
	quieter    Quieter
	updates    Updates
	facts      facts
	work       chan struct{} // wakes Run
	jobs       *db.Lease     // of the running of jobs

	running sync.Mutex // held by whoever carries out jobs
	// below is guarded by running
	paces map[Act]*pace
}

// New checks the Config.
func New(cfg Config) (*Fleet, error) {
	if cfg.DB == nil || cfg.Now == nil {
		return nil, errors.New("making the fleet: DB and Now are needed")
	}
	if cfg.SilentDays == 0 {
		cfg.SilentDays = 14
	}
	if cfg.SilentDays < 1 || cfg.SilentDays > 400 {
		return nil, errors.New("making the fleet: silent days must be 1 to 400")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Fleet{db: cfg.DB, now: cfg.Now, silentDays: cfg.SilentDays, log: cfg.Log, quieter: cfg.Quieter, updates: cfg.Updates, work: make(chan struct{}, 1), jobs: cfg.DB.Lease("jobs", cfg.Now), looked: mostLooked, many: manyFound, owned: fewOwned, paces: map[Act]*pace{}}, nil
}

// Owner is a Schulträger.
type Owner struct {
	ID   string
	Name string
}

// School is a school of one owner.
type School struct {
	ID        string
	Owner     string
	OwnerName string
	Code      string // the authority's number, unique within the owner
	Name      string // may be empty; Title is never
	Kind      string // Schulform
	Planned   int64  // devices that it should have; 0 = not said
	Devices   int64  // that it has
}

// Title is what pages call the school.
func (s School) Title() string { return schoolTitle(s.Name, s.Kind, s.Code) }

// Opt is a value that may be unknown. Unknown is never 0.
type Opt struct {
	Value int64
	Known bool
}

// Device is one row of the list, and the head of the device's page.
type Device struct {
	ID           string
	Owner        string
	OwnerName    string
	School       string // empty = none
	SchoolCode   string
	SchoolName   string // its Title; empty = no school
	Manufacturer string
	Model        string
	Serial       string // empty where the maker wrote none of use
	OS           string // "linux", "windows", "darwin"
	Inventory    string // empty = none given
	State        State
	LastDay      time.Time // midnight UTC of the day of the last contact; zero = never
	Battery      Opt       // charge in permille
	DiskFree     Opt       // bytes free on the fullest volume
	DiskPermille Opt       // the same, in permille of that volume
	Build        string    // of the system; empty = not told
	Path         string    // code of how it reached us last; empty = not told
	Labels       []string  // by name
	Main         MainFinding
	More         int // further findings that are open and loud
	Daily        Daily
	Agent        string    // version that it came with last; empty = none yet, or not asked for
	Admitted     time.Time // when its record was made; only Fleet.Device tells it
}

// Label is what pages call the device: its inventory number, else its serial,
// else the end of its id. Never a hostname.
func (d Device) Label() string { return label(d.Inventory, d.Serial, d.ID) }

// Sort is an order of the list; ties go by label.
type Sort string

const (
	ByLabel   Sort = "label"
	ByModel   Sort = "model"
	BySchool  Sort = "school"
	ByContact Sort = "last_contact" // unknown before the oldest
	ByBattery Sort = "battery"      // unknown before the emptiest
	ByDisk    Sort = "disk_free"    // unknown before the fullest
)

// Sorts are all orders.
var Sorts = []Sort{ByLabel, ByModel, BySchool, ByContact, ByBattery, ByDisk}

// Filter says which part of the list is asked for.
type Filter struct {
	// Query is at most MaxWords words, all of which must occur in inventory number, serial,
	// model, manufacturer, or the school's code, name and kind.
	Query  string
	State  State  // empty = all
	School string // id; empty = all
	// Finding is the code of what is open about the device; empty = whatever.
	Finding string
	Label   string // that they hold, however it is spelt; empty = whatever
	// Changed is the number of a change (health.Mark.Next) since which something happened
	// to the device; 0 = whatever.
	Changed int64
	Owner   string // id; empty = all that the caller may see
	Model   string // empty = whatever
	Build   string // of the system; empty = whatever
	// Update is the word for how far they are on their way to the version that they
	// should have (Updates); empty = whatever. Revoked devices are on none.
	Update  string
	Sort    Sort // empty = ByLabel
	Desc    bool
	Cursor  string // of the page before, of the same Filter; empty = first page
	Limit   int    // 0 = 50, at most 500
	Details Details
	// Counted are the Counts of the same filter where who asks has them already; nil =
	// the first page counts.
	Counted *Counts

	updated *updated // nil = whatever
}

// Page is a part of the list. Total counts all devices of the filter as the
// first page found them; Cursor is empty on the last page.
type Page struct {
	Items  []Device
	Total  int64
	Cursor string
}

// Counts is how many devices there are by state, of those that the filter's
// Query, School and Owner leave; its State is not looked at.
type Counts struct {
	Total  int64
	States map[State]int64 // each of States has an entry
	// found are the ids of all, where they are few and had to be looked for: their
	// page need not look again.
	found   []string
	updated *updated // of the filter
}

// unknownHere hides whether a thing exists from who may not see it.
var unknownHere = access.ErrNotFound
