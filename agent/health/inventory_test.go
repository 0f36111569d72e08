package health_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hausmeister/agent/health"
	"hausmeister/platform/sysinfo"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/inventory"
)

// shelf is a machine with programs.
type shelf struct {
	*machine
	mu    sync.Mutex
	list  []sysinfo.Program
	err   error
	asked []time.Time
	hangs bool
}

func (s *shelf) Software(ctx context.Context) ([]sysinfo.Program, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	list, err, hangs := s.list, s.err, s.hangs
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return list, err
}

func (s *shelf) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *shelf) set(f func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func newShelf(n int) *shelf {
	s := &shelf{machine: &machine{snap: desktop()}}
	for i := range n {
		s.list = append(s.list, sysinfo.Program{Name: fmt.Sprintf("program %02d", i), Version: "1." + fmt.Sprint(i)})
	}
	return s
}

func startShelf(t *testing.T, s *shelf, m *memory) *run {
	return startWith(t, s.machine, func(c *health.Config) { c.Source, c.Memory = s, m })
}

func lists(t *testing.T, s *sink) (out [][]inventory.Program) {
	t.Helper()
	for _, e := range s.entries((*hmpb.Entry).HasInventory) {
		list, err := inventory.Unpack(e.GetInventory())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, list)
	}
	return out
}

func TestInventoryOnlyWhenItChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newShelf(40), &memory{}
		r := startShelf(t, s, m)
		time.Sleep(2 * min)
		synctest.Wait()
		if s.times() != 0 {
			t.Error("the list is read while the machine still starts")
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(lists(t, r.s)); n != 1 || len(lists(t, r.s)[0]) != 40 {
			t.Fatalf("%d lists told of one that did not change", n)
		}
		if n := s.times(); n != 4 && n != 5 {
			t.Errorf("read %d times in a day", n)
		}
		if got := r.s.last()["software_count"]; got != "40" {
			t.Errorf("software_count = %q", got)
		}
		s.set(func(s *shelf) { s.list = append(s.list[:10:10], s.list[11:]...) })
		time.Sleep(7 * time.Hour)
		synctest.Wait()
		if got := lists(t, r.s); len(got) != 2 || len(got[1]) != 39 {
			t.Errorf("%d lists told after a change", len(got))
		}
		r.stop()
		// The next run knows what was told.
		r = startShelf(t, s, m)
		time.Sleep(7 * time.Hour)
		synctest.Wait()
		r.stop()
		if n := len(lists(t, r.s)); n != 0 {
			t.Errorf("%d lists told again after a restart", n)
		}
	})
}

// TestRest: memory is given back in the wake of each look, and after what is dear and
// seldom.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, begin := newShelf(40), time.Now()
		var mu sync.Mutex
		var rests []time.Duration
		r := startWith(t, s.machine, func(c *health.Config) {
			c.Source = s
			c.Rest = func() { // of a look, or of a list
				mu.Lock()
				defer mu.Unlock()
				rests = append(rests, time.Since(begin).Truncate(time.Second))
			}
		})
		time.Sleep(30 * min)
		r.stop()
		// The list of programs is read after the look at 6 min. It has rests of its own,
		// before it is told and once it was sent.
		var want []time.Duration
		for at := s10; at < 30*min; at += min {
			if want = append(want, at); at == s10+6*min {
				want = append(want, at+6*time.Second, at+11*time.Second)
			}
		}
		if d := cmp.Diff(want, rests); d != "" {
			t.Errorf("rests (-want +got):\n%s", d)
		}
		if s.times() != 1 {
			t.Errorf("the list was read %d times", s.times())
		}
	})
}

// TestRestOnBattery: each look is followed by a rest, whose garbage collection Go
// would else do in a wake of its own, and by nothing later.
func TestRestOnBattery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{snap: desktop()}
		m.set(func(s *sysinfo.Snapshot) { s.Power.Source = sysinfo.Some(sysinfo.Battery) })
		begin := time.Now()
		var rests []time.Duration
		r := startWith(t, m, func(c *health.Config) {
			c.Rest = func() { rests = append(rests, time.Since(begin).Truncate(time.Second)) }
			c.Leave = func() { t.Error("the program was left on battery") }
		})
		time.Sleep(20 * min)
		r.stop()
		var want []time.Duration
		for at := s10; at < 20*min; at += min {
			want = append(want, at)
		}
		if d := cmp.Diff(want, rests); d != "" {
			t.Errorf("rests (-want +got):\n%s", d)
		}
	})
}

// TestListOnBattery: reading the list of programs belongs to the wake of a look.
func TestListOnBattery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, begin := newShelf(40), time.Now()
		s.machine.set(func(s *sysinfo.Snapshot) { s.Power.Source = sysinfo.Some(sysinfo.Battery) })
		var mu sync.Mutex
		at := map[time.Duration]int{}
		r := startWith(t, s.machine, func(c *health.Config) {
			c.Source = s
			c.Rest = func() {
				mu.Lock()
				defer mu.Unlock()
				at[time.Since(begin).Truncate(time.Second)%min]++
			}
		})
		time.Sleep(30 * min)
		r.stop()
		if s.times() != 1 || len(at) != 1 || at[s10] <= 30 {
			t.Errorf("the list was read %d times; rests by second of the minute: %v, want all with the looks", s.times(), at)
		}
	})
}

// TestLeave: the program's pages are given back a few seconds after a rest, on mains
// only, and the looks stay where they are.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{snap: desktop()}
		begin := time.Now()
		var left []time.Duration
		r := startWith(t, m, func(c *health.Config) {
			c.Leave = func() { left = append(left, time.Since(begin).Truncate(time.Second)) }
		})
		time.Sleep(10 * min)
		synctest.Wait()
		m.set(func(s *sysinfo.Snapshot) { s.Power.Source = sysinfo.Some(sysinfo.Battery) })
		time.Sleep(10 * min)
		r.stop()
		var want []time.Duration
		for at := s10; at < 10*min; at += min {
			want = append(want, at+5*time.Second)
		}
		if d := cmp.Diff(want, left); d != "" {
			t.Errorf("the program was left (-want +got):\n%s", d)
		}
		looks := m.looks()[1:] // the first read is before the first look
		for i, at := range looks {
			if off := at.Sub(begin) - s10 - time.Duration(i)*min; off.Truncate(time.Second) != 0 {
				t.Errorf("look %d is %v off", i, off)
			}
		}
	})
}

func TestInventoryThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(3)
		s.err = errors.New("database is locked")
		r := startShelf(t, s, &memory{})
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if len(lists(t, r.s)) != 0 || r.s.last()["software_count"] != "" {
			t.Error("something was told of a list that could not be read")
		}
		if n := strings.Count(r.log.String(), "no list of programs"); n != 1 || s.times() < 4 || s.times() > 6 {
			t.Errorf("%d log lines about %d tries in 5 hours", n, s.times())
		}
		s.set(func(s *shelf) { s.err, s.hangs = nil, true }) // and this costs the looks nothing
		reads := len(r.m.looks())
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := len(r.m.looks()) - reads; n != 120 {
			t.Errorf("%d looks in 2 hours while the list hangs", n)
		}
		r.stop()
	})
}

// TestInventoryOnFullDisk is told an hour later.
func TestInventoryOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newShelf(3), &memory{}
		r := startShelf(t, s, m)
		r.s.fail(errors.New("no space left on device"))
		time.Sleep(30 * min)
		synctest.Wait()
		if m.InventoryHash() != nil {
			t.Error("a list that was not stored counts as told")
		}
		r.s.fail(nil)
		time.Sleep(time.Hour)
		r.stop()
		if n := len(lists(t, r.s)); n != 1 {
			t.Errorf("%d lists told", n)
		}
	})
}

// TestListToldAgain: within minutes where the collector may not have it, and the
// rules of the findings hear of the same.
func TestListToldAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(f *health.Facts, m *memory)
		want   int
	}{
		{"nothing", func(*health.Facts, *memory) {}, 1},
		{"another store", func(f *health.Facts, m *memory) {
			f.Store = []byte("two")
			m.SetInventoryHash(nil) // as config.Memory has it
		}, 2},
		{"given up", func(f *health.Facts, _ *memory) { f.SpoolLost = 3 }, 2},
		{"no store is known", func(f *health.Facts, _ *memory) { f.Store = nil }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m, j := newShelf(3), &memory{}, &judge{}
				var mu sync.Mutex
				facts := health.Facts{Store: []byte("one")}
				r := startWith(t, s.machine, func(c *health.Config) {
					c.Source, c.Memory, c.Findings = s, m, j
					c.About = func() health.Facts {
						mu.Lock()
						defer mu.Unlock()
						return facts
					}
				})
				time.Sleep(30 * min)
				mu.Lock()
				c.change(&facts, m)
				mu.Unlock()
				time.Sleep(10 * min)
				r.stop()
				if n := len(lists(t, r.s)); n != c.want {
					t.Errorf("%d lists told, want %d", n, c.want)
				}
				if last := j.looks[len(j.looks)-1].Agent; last.Lost != facts.SpoolLost || !bytes.Equal(last.Store, facts.Store) {
					t.Errorf("the rules heard of %d lost and store %q, want %d and %q", last.Lost, last.Store, facts.SpoolLost, facts.Store)
				}
			})
		})
	}
}

// TestListOfAReplay: who gives no memory back waits for nothing, since days are
// replayed in a moment.
func TestListOfAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(3)
		began := time.Now()
		r := health.NewReplay(health.Config{Source: s, Sink: &sink{begin: began}, Memory: &memory{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		r.List(t.Context())
		if took := time.Since(began); took != 0 || s.times() != 1 {
			t.Errorf("a list took %v, asked %d times", took, s.times())
		}
	})
}
