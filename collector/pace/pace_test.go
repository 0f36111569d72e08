package pace_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/collector/pace"
)

const chunk = 8 << 10

// sent is what went over a line, and when.
type sent struct {
	mu    sync.Mutex
	at    []time.Duration // one of each chunk, rising
	begun time.Time
}

func (s *sent) chunk() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Since(s.begun))
}

// worst is the most bytes that went in any span of this length.
func (s *sent) worst(span time.Duration) (most int64) {
	first := 0
	for i, at := range s.at {
		for at-s.at[first] > span {
			first++
		}
		most = max(most, int64(i-first+1)*chunk)
	}
	return most
}

// device fetches size bytes over a line as an agent does: it comes back when told,
// spread over a quarter more, and says how long that took and how often it asked.
func device(ctx context.Context, p *pace.Pacer, l pace.Line, who string, size int64, s *sent) (took time.Duration, asked int) {
	begun := time.Now()
	for size > 0 {
		seat, wait := p.Enter(l, who, size)
		asked++
		if seat == nil {
			time.Sleep(wait + wait*time.Duration(asked%5)/20)
			continue
		}
		for size > 0 && !seat.Over() {
			if seat.Take(ctx, chunk) != nil {
				break
			}
			s.chunk()
			size -= chunk
		}
		seat.Leave()
	}
	return time.Since(begun), asked
}

// A whole school of a hundred is switched on at eight: in no span goes more than
// its share, all get their update, and nobody much later than the line needs.
func TestAttack22ASchoolWakesAtOnce(t *testing.T) {
	for _, parallel := range []int{0, 1, 20} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const devices, size = 100, 640 << 10 // a delta
				line := pace.Line{Key: "a school", Rate: 250_000, Parallel: parallel}
				random := rand.New(rand.NewPCG(8, 0)) // only asked under the lock of the Pacer
				p := pace.New(pace.Config{Random: random.Float64})
				s := &sent{begun: time.Now()}
				var wg sync.WaitGroup
				var mu sync.Mutex
				var took []time.Duration
				most := 0
				for i := range devices {
					wg.Go(func() {
						d, asked := device(t.Context(), p, line, fmt.Sprint(i), size, s)
						mu.Lock()
						defer mu.Unlock()
						took, most = append(took, d), max(most, asked)
					})
				}
				wg.Wait()
				for _, span := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute} {
					cap := int64(float64(line.Rate)*(span+100*time.Millisecond).Seconds()) + chunk
					if got := s.worst(span); got > cap {
						t.Errorf("%d bytes went in %v, want at most %d", got, span, cap)
					}
				}
				needed := time.Duration(devices*size/line.Rate) * time.Second
				slices.Sort(took)
				t.Logf("line needs %v; half had it after %v, the last after %v; a device asked %d times at most", needed, took[devices/2], took[devices-1], most)
				if last := took[devices-1]; last > needed*7/4 {
					t.Errorf("the last of %d devices had its update after %v, the line needs %v for all", devices, last, needed)
				}
				if most > 40 {
					t.Errorf("a device asked %d times", most)
				}
				if st := p.Stats(); st.Seats != 0 || st.Waiting != 0 {
					t.Errorf("left behind: %+v", st)
				}
			})
		})
	}
}

// Somebody who keeps asking without having been told to wait gets nothing before
// those who were.
func TestAttack22WhoWaitedGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := pace.Line{Key: "s", Rate: 100_000, Parallel: 1}
		p := pace.New(pace.Config{Random: func() float64 { return 0 }})
		first, _ := p.Enter(line, "first", 1_000_000)
		if first == nil {
			t.Fatal("no seat on an empty line")
		}
		if s, wait := p.Enter(line, "patient", 1_000_000); s != nil || wait < 10*time.Second || wait > 15*time.Second {
			t.Fatalf("Enter on a full line = %v, %v; want a wait of the 10.6 s that the first needs", s, wait)
		}
		if s, wait := p.Enter(line, "second", 1_000_000); s != nil || wait < 20*time.Second {
			t.Fatalf("Enter behind somebody = %v, %v; want to be behind him", s, wait)
		}
		time.Sleep(5 * time.Second)
		if s, wait := p.Enter(line, "patient", 1_000_000); s != nil || wait < 5*time.Second {
			t.Errorf("came too early: %v, %v; want the same time as before", s, wait)
		}
		time.Sleep(7 * time.Second)
		if s, wait := p.Enter(line, "patient", 1_000_000); s != nil || wait > 10*time.Second {
			t.Errorf("came in time, no seat yet: %v, %v; want to ask again soon", s, wait)
		}
		first.Leave()
		if s, _ := p.Enter(line, "pushy", 1_000_000); s != nil {
			t.Error("somebody new got the seat of whom was waiting")
		}
		s, wait := p.Enter(line, "patient", 1_000_000)
		if s == nil {
			t.Fatalf("who waited got no seat: %v", wait)
		}
		s.Leave()
	})
}

// Seats of a line get the same, and a line that is busy costs another nothing.
func TestAttack22EqualShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.New(pace.Config{})
		ctx, stop := context.WithCancel(t.Context())
		got := make([]int, 6)
		var wg sync.WaitGroup
		for i := range got {
			line := pace.Line{Key: "five", Rate: 100_000}
			if i == 5 {
				line.Key = "one"
			}
			seat, _ := p.Enter(line, fmt.Sprint(i), 1<<30)
			wg.Go(func() {
				defer seat.Leave()
				for seat.Take(ctx, chunk) == nil {
					got[i] += chunk
				}
			})
		}
		time.Sleep(100 * time.Second)
		stop()
		wg.Wait()
		for i := range 5 {
			if got[i] < 1_800_000 || got[i] > 2_000_000 {
				t.Errorf("seat %d of five got %d bytes in 100 s, want a fifth of 9.4 MB", i, got[i])
			}
		}
		if got[5] < 9_000_000 {
			t.Errorf("the only one of another line got %d bytes, want 9.4 MB", got[5])
		}
	})
}

func TestAttack22TotalOfAllLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.New(pace.Config{Rate: 200_000, Seats: 10})
		s := &sent{begun: time.Now()}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		var wg sync.WaitGroup
		in := 0
		for i := range 40 {
			seat, wait := p.Enter(pace.Line{Key: fmt.Sprint(i)}, "d", 1<<20)
			if seat == nil {
				if wait < time.Second {
					t.Errorf("told to wait for %v", wait)
				}
				continue
			}
			in++
			wg.Go(func() {
				defer seat.Leave()
				for seat.Take(ctx, chunk) == nil {
					s.chunk()
				}
			})
		}
		wg.Wait()
		if in != 10 {
			t.Errorf("%d seats, want 10", in)
		}
		if got, cap := s.worst(10*time.Second), int64(200_000*10.1)+chunk; got > cap {
			t.Errorf("%d bytes in 10 s, want at most %d", got, cap)
		}
	})
}

// A device on a bad line does not keep the seat that others wait for.
func TestAttack22ASeatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := pace.Line{Key: "s", Parallel: 1}
		p := pace.New(pace.Config{})
		seat, _ := p.Enter(line, "slow", 1<<20)
		time.Sleep(time.Hour)
		if seat.Over() {
			t.Error("the seat is over although nobody waits")
		}
		p.Enter(line, "other", 1<<20)
		if !seat.Over() {
			t.Error("the seat is not over after an hour, with somebody waiting")
		}
		seat.Leave()
		seat.Leave()
		if st := p.Stats(); st.Seats != 0 {
			t.Errorf("%d seats after leaving twice, want 0", st.Seats)
		}
	})
}

// 70,000 devices of 1,600 schools at once, then as many strangers' addresses, then
// a device that claims to be all of them: time and memory stay bounded.
func TestAttack22WholeFleetAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		p := pace.New(pace.Config{})
		seats, longest := 0, time.Duration(0)
		enter := func(key, who string) {
			seat, wait := p.Enter(pace.Line{Key: key}, who, 640<<10)
			if seat != nil {
				seats++
			}
			longest = max(longest, wait)
		}
		for i := range 70_000 {
			enter(fmt.Sprint("school ", i%1600), fmt.Sprint("device ", i))
		}
		if seats != pace.DefaultSeats {
			t.Errorf("%d seats, want %d", seats, pace.DefaultSeats)
		}
		if longest > time.Hour {
			t.Errorf("somebody was told to come back in %v", longest)
		}
		for i := range 300_000 {
			enter(fmt.Sprint("address ", i), "x")
		}
		for i := range 300_000 {
			enter("no school", fmt.Sprint("device ", i))
		}
		if longest > pace.MaxWait {
			t.Errorf("somebody was told to come back in %v, want at most %v", longest, pace.MaxWait)
		}
		if st := p.Stats(); st.Waiting > 200_000 {
			t.Errorf("%d promises", st.Waiting)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if held := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20; held > 80 {
			t.Errorf("%d MB held", held)
		} else {
			t.Logf("%d MB held for 200,000 promises and 20,000 lines", held)
		}
		runtime.KeepAlive(p)
		time.Sleep(48 * time.Hour)
		enter("school 1", "late")
		if st := p.Stats(); st.Waiting > 1 {
			t.Errorf("%d promises are kept for those who did not come", st.Waiting)
		}
	})
}

// A rate that somebody set too low still lets a device have more than what it
// gives a way up for.
// A line of which nothing is known has the rate and the seats of the settings, one
// that says its own has those.
func TestLinesOfTheSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.New(pace.Config{LineRate: 10 * chunk, LineParallel: 2})
		for name, tt := range map[string]struct {
			line  pace.Line
			seats int
			want  time.Duration
		}{
			"unknown": {pace.Line{Key: "unknown"}, 2, 10 * time.Second},
			"set":     {pace.Line{Key: "set", Rate: 100 * chunk, Parallel: 3}, 3, time.Second},
		} {
			var seats []*pace.Seat
			for i := range 5 {
				if s, _ := p.Enter(tt.line, fmt.Sprint(i), 100*chunk); s != nil {
					seats = append(seats, s)
				}
			}
			if len(seats) != tt.seats {
				t.Fatalf("%s: %d seats, want %d", name, len(seats), tt.seats)
			}
			begun := time.Now()
			for range 100 {
				if err := seats[0].Take(t.Context(), chunk); err != nil {
					t.Fatal(err)
				}
			}
			// The first piece of a burst is free, and headers are counted.
			if took := time.Since(begun); took < tt.want*95/100 || took > tt.want*115/100 {
				t.Errorf("%s: 100 pieces took %v, want about %v", name, took, tt.want)
			}
		}
	})
}

func TestLeastRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.New(pace.Config{})
		n := 0
		for i := range 20 {
			if seat, _ := p.Enter(pace.Line{Key: "s", Rate: 1}, fmt.Sprint(i), 1<<20); seat != nil {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d seats on a line of %d B/s, want 2", n, pace.MinRate)
		}
	})
}

func BenchmarkEnterAndTake(b *testing.B) {
	p := pace.New(pace.Config{Rate: 1 << 50, Seats: 1 << 20})
	for i := 0; b.Loop(); i++ {
		seat, _ := p.Enter(pace.Line{Key: fmt.Sprint(i % 1600), Rate: 1 << 40, Parallel: 100}, fmt.Sprint(i%70_000), 1<<20)
		if seat == nil {
			b.Fatal("no seat")
		}
		seat.Take(context.Background(), chunk)
		seat.Leave()
	}
}
