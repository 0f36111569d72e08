package rollsim_test

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hausmeister/collector/access"
	"hausmeister/collector/audit"
	"hausmeister/collector/calendar"
	"hausmeister/collector/db"
	"hausmeister/collector/enroll"
	"hausmeister/collector/fleet"
	"hausmeister/collector/health"
	"hausmeister/collector/rollout"
	"hausmeister/proto/ident"
)

var (
	migrations = []db.Migrations{access.Migrations, audit.Migrations, enroll.Migrations, fleet.Migrations, health.Migrations, rollout.Migrations}
	system     = access.System("test")
	nolog      = slog.New(slog.DiscardHandler)
	// monday is day 0 of each simulation: no holidays for weeks.
	monday = time.Date(2027, 1, 11, 0, 0, 0, 0, calendar.Berlin)
)

// The fleet: schools of 50 devices, owners of some schools, models as in a fleet of
// lent notebooks. Of every sixth owner's schools the lines are slow.
const (
	ofASchool    = 50
	ofAnOwner    = 8 // schools
	slowRate     = 40_000
	slowParallel = 2
)

var models = []struct {
	name  string
	until float64 // share of the fleet, cumulated
}{{"A3510", .5}, {"U7411", .75}, {"T490", .9}, {"X13", .95}, {"E14", 1}}

// record is a device as the collector's database has it.
type record struct {
	id, owner, school, model string
}

// template is a database with a fleet in it, which each simulation copies.
type template struct {
	path    string
	records []record
	owners  []string
}

var (
	makingTemplates sync.Mutex
	templates       = map[int]*template{} // by size; guarded by makingTemplates
)

// scratch is a folder in memory where there is one: what a disk does to a collector is
// measured elsewhere, and here each of thousands of commits would wait for it.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hm-rollsim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fleets makes the templates of so many devices, outside of all bubbles, and while no
// other test runs: their ids say who comes when, and are the same in each run, since
// they are drawn from a source that is everybody's.
func fleets(t testing.TB, sizes ...int) {
	t.Helper()
	makingTemplates.Lock()
	defer makingTemplates.Unlock()
	for _, n := range sizes {
		if templates[n] != nil {
			continue
		}
		dir, err := os.MkdirTemp("", "hm-rollsim-")
		must(t, err)
		f := &template{path: filepath.Join(dir, "fleet.db")}
		everybodys := crand.Reader
		crand.Reader = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
		err = f.fill(n)
		crand.Reader = everybodys
		must(t, err)
		templates[n] = f
	}
}

// fleetOf is a template that fleets made.
func fleetOf(t testing.TB, n int) *template {
	t.Helper()
	makingTemplates.Lock()
	defer makingTemplates.Unlock()
	if templates[n] == nil {
		t.Fatalf("no fleet of %d devices was made", n)
	}
	return templates[n]
}

// TestMain removes the templates.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range templates {
		os.RemoveAll(filepath.Dir(f.path))
	}
	os.Exit(code)
}

func (f *template) fill(n int) error {
	ctx := context.Background()
	d, err := db.Open(ctx, db.Config{Path: f.path, Migrations: migrations, Log: nolog})
	if err != nil {
		return err
	}
	defer d.Close()
	fl, err := fleet.New(fleet.Config{DB: d, Now: func() time.Time { return monday.AddDate(0, -6, 0) }})
	if err != nil {
		return err
	}
	lines := "schul_id;schultraeger;schulform;name;geraete\n"
	schools := (n + ofASchool - 1) / ofASchool
	for i := range schools {
		lines += fmt.Sprintf("%d;Stadt %c;G;Schule %d;%d\n", 5000+i, 'A'+i/ofAnOwner, i, ofASchool)
	}
	if _, err := fl.ImportSchools(ctx, system, strings.NewReader(lines)); err != nil {
		return err
	}
	list, err := fl.Schools(ctx, system)
	if err != nil {
		return err
	}
	owners, err := fl.Owners(ctx, system)
	if err != nil {
		return err
	}
	for _, o := range owners {
		f.owners = append(f.owners, o.ID)
	}
	for from := 0; from < n; from += 500 {
		var some []record
		err := d.Write(ctx, func(tx *db.Tx) error {
			some = nil
			for i := from; i < min(n, from+500); i++ {
				s := list[i%len(list)]
				r := record{owner: s.Owner, school: s.ID, model: modelOf(i)}
				hw := ident.Hardware{Manufacturer: "HM", Model: r.model, Serial: fmt.Sprintf("SN%06d", i), OS: "linux"}
				var err error
				if r.id, _, err = fl.Admit(ctx, tx, system, r.owner, r.school, hw); err != nil {
					return err
				}
				some = append(some, r)
			}
			return nil
		})
		if err != nil {
			return err
		}
		f.records = append(f.records, some...)
	}
	return nil
}

func modelOf(device int) string {
	x := share("model", 0, device)
	for _, m := range models {
		if x < m.until {
			return m.name
		}
	}
	return models[len(models)-1].name
}

// copyTo puts the database into a folder.
func (f *template) copyTo(dir string) (string, error) {
	to := filepath.Join(dir, "hausmeister.db")
	in, err := os.Open(f.path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return "", err
	}
	return to, out.Close()
}

// share is a number in [0, 1) that belongs to a device and a matter: the same whenever
// it is asked.
func share(what string, seed uint64, device int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %d", what, seed, device)
	return rand.New(rand.NewPCG(h.Sum64(), seed)).Float64()
}

// span is when a device is on.
type span struct {
	from, to time.Time
	hard     bool // at its end the power is gone, not the system shut down
}

// Of the fleet 15 % are silent: a third was off before it began and stays so, a third
// goes for good some time in the first two days, a third goes then and is away for days.
const silent = 0.15

// rhythm is when a device is on in so many days.
func rhythm(seed uint64, device, days int) (out []span) {
	r := rand.New(rand.NewPCG(seed, uint64(device)))
	hours := func(from, spread float64) time.Duration {
		return time.Duration((from + r.Float64()*spread) * float64(time.Hour))
	}
	never := monday.AddDate(1, 0, 0)
	gone, back := never, never
	if x := share("silent", seed, device); x < silent/3 {
		return nil
	} else if x < silent*2/3 {
		gone = monday.Add(hours(13, 2*24))
	} else if x < silent {
		gone = monday.Add(hours(13, 2*24))
		back = gone.Add(hours(3*24, 6*24))
	}
	for day := range days {
		midnight := calendar.DayOf(monday.AddDate(0, 0, day)).At(0)
		s := span{midnight.Add(hours(7, 2)), midnight.Add(hours(14.5, 6)), r.Float64() < 0.1}
		likely := 0.9
		if d := midnight.Weekday(); d == time.Saturday || d == time.Sunday {
			s = span{midnight.Add(hours(9, 3)), midnight.Add(hours(13, 8)), s.hard}
			likely = 0.4
		}
		if r.Float64() >= likely {
			continue
		}
		if s.from.Before(gone) && s.to.After(gone) {
			s.to = gone
		} else if !s.from.Before(gone) && s.from.Before(back) {
			continue
		}
		out = append(out, s)
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
