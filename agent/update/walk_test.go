package update_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hausmeister/agent/update"
	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/fault"
	"hausmeister/testenv/need"
	"hausmeister/testenv/tufrepo"
)

const oldVersion, newVersion = "1.0.0", "1.1.0"

var l = layout.Layout{Root: "/hm"}

// world is a device with real journal, copies, parts and metadata, whose launcher,
// collector and network are the test's.
type world struct {
	*testing.T
	fleet *tufrepo.Fleet
	tree  *fault.Tree
	trust *tufrepo.Mem
	parts update.Folder
	now   func() time.Time
	old   journal.Program

	mu sync.Mutex
	// below is guarded by mu
	notes     map[string][]byte
	entries   []*hmpb.Entry
	programs  map[string][]byte // by sum: what the network brings
	fetchErr  error
	noteErr   error
	fetched   int
	begun     int    // of those, programs
	under     string // lease of the last one
	meta      int    // requests
	onFetch   func()
	onTest    func() error
	hindrance update.Hindrance
	wish      string        // version that somebody wants a day later
	wishes    int           // made so far
	slow      time.Duration // until all bytes are here
	cut       bool          // before all bytes are here
	away      time.Duration // for which the collector sends it away; 0 = it does not
	free      uint64
	locked    bool
	trusted   time.Time
}

func sumOf(b []byte) layout.Sum { return sha256.Sum256(b) }

// newWorld runs the old version, as its launcher adopted it.
func newWorld(t *testing.T) *world {
	w := &world{T: t, tree: fault.NewTree(l.Versions(), l.Update()), trust: tufrepo.NewMem(), parts: update.Folder(t.TempDir()), now: time.Now,
		notes: map[string][]byte{}, programs: map[string][]byte{}, free: 1 << 40}
	w.fleet = tufrepo.NewFleet(time.Now)
	code := []byte("program " + oldVersion)
	w.old = journal.Program{Version: oldVersion, Sum: sumOf(code)}
	w.must(w.versions().Put(oldVersion, w.old.Sum, bytes.NewReader(code)))
	_, _, err := w.store().Do(t.Context(), journal.Event{Kind: journal.Adopt, Program: w.old, At: time.Now().UnixMilli()})
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) versions() *layout.Versions { return l.VersionsOn(w.tree, "hausmeister-agent") }

func (w *world) store() *journal.Store {
	return journal.NewStore(journal.Config{Dir: l.Update(), Disk: w.tree})
}

func (w *world) journal() journal.Journal {
	w.Helper()
	j, err := w.store().Load()
	w.must(err)
	return j
}

// release is signed and lies at the collector, in its packed form too.
func (w *world) release(r manifest.Release) manifest.Release {
	code := []byte("program " + r.Version + r.OS + r.Commit)
	if r.OS == "" {
		r.OS = "linux"
	}
	if r.Arch == "" {
		r.Arch = "amd64"
	}
	if r.Channel == "" {
		r.Channel = "stable"
	}
	if r.Product == "" {
		r.Product = manifest.ProductAgent
	}
	role := manifest.RoleStable
	if r.Channel == "canary" {
		role = manifest.RoleCanary
	}
	if r.Urgent {
		role = manifest.RoleEmergency
	}
	r.Packed = r.Dir() + "agent.zst"
	w.fleet.File(role, r.Packed, append([]byte("packed "), code...))
	r = w.fleet.Release(role, r, code)
	w.mu.Lock()
	w.programs[r.SHA256] = code
	w.mu.Unlock()
	return r
}

func offer(r manifest.Release, lease string) *hmpb.Offer {
	sum, _ := hex.DecodeString(r.SHA256)
	o := &hmpb.Offer{}
	o.SetLease(lease)
	o.SetTarget(r.Path)
	o.SetSha256(sum)
	o.SetVersion(r.Version)
	o.SetValidS(3 * 24 * 3600)
	o.SetWithinS(600)
	return o
}

// wishes are the person's, of whom there is one.
type wishes struct{ *world }

func (w wishes) Wish(version string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wish != version {
		w.wish = ""
		return ""
	}
	return strconv.Itoa(w.wishes)
}

func (w wishes) Heard(version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wish == version {
		w.wish = ""
	}
}

// postpone is what the person says: a day later.
func (w *world) postpone(version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wish = version
	w.wishes++
}

// network and disk.
func (w *world) Metadata(_ context.Context, name string, nonce []byte, root uint64) (fetch.Metadata, error) {
	w.mu.Lock()
	w.meta++
	err := w.fetchErr
	w.mu.Unlock()
	if err != nil {
		return fetch.Metadata{}, err
	}
	data, ok := w.fleet.Files()[name]
	if !ok {
		return fetch.Metadata{}, fetch.ErrNotFound
	}
	m := fetch.Metadata{Data: data}
	if nonce != nil {
		m.Freshness, err = w.fleet.Fresh(context.Background(), manifest.Nonce(nonce), int64(root))
	}
	return m, err
}

func (w *world) Program(ctx context.Context, p fetch.Plan) (s fetch.Stats, err error) {
	w.mu.Lock()
	code, err := w.programs[hex.EncodeToString(p.Program.SHA256)], w.fetchErr
	w.fetched++
	w.begun++
	w.under = p.Full.Lease
	hook, slow, away, cut := w.onFetch, w.slow, w.away, w.cut
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
	if away > 0 {
		return s, &fetch.ComeBack{After: away}
	}
	if err := w.partly(ctx, p); err != nil {
		return s, err
	}
	select {
	case <-time.After(slow):
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	if cut {
		err = fetch.ErrUnreachable
	}
	if err != nil {
		return s, err
	}
	s.Fetched = int64(len(code))
	if sum := sha256.Sum256(code); !bytes.Equal(sum[:], p.Program.SHA256) || int64(len(code)) != p.Program.Length {
		return s, fetch.ErrBytes
	}
	out, err := p.Out()
	if err != nil {
		return s, err
	}
	_, err = out.Write(code)
	p.Done(p.Full.SHA256)
	return s, errors.Join(err, out.Close())
}

// partly brings the first bytes, which stay when the rest does not come.
func (w *world) partly(ctx context.Context, p fetch.Plan) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	part, err := p.Part(p.Full.SHA256)
	if err != nil {
		return err
	}
	_, err = part.WriteAt([]byte("first bytes"), 0)
	return errors.Join(err, part.(io.Closer).Close())
}

// left are the files of what came.
func (w *world) left() (names []string) {
	w.Helper()
	entries, err := os.ReadDir(string(w.parts))
	w.must(err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (w *world) Target(_ context.Context, t fetch.Target, part fetch.Part) (int64, error) {
	w.mu.Lock()
	data, err := w.programs[hex.EncodeToString(t.SHA256)], w.fetchErr
	w.fetched++
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := part.WriteAt(data, 0)
	return int64(n), err
}

func (w *world) Append(_ context.Context, e *hmpb.Entry) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
	return uint64(len(w.entries)), nil
}

func (w *world) Read(name string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.notes[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (w *world) Write(name string, data []byte) error {
	if w.tree.Dead() {
		return fault.ErrDead
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noteErr != nil {
		return w.noteErr
	}
	w.notes[name] = bytes.Clone(data)
	return nil
}

// little is the parts' folder with as much room as the test says.
type little struct {
	update.Folder
	w *world
}

func (p little) Free() (uint64, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.free, nil
}

func (w *world) config(version string) update.Config {
	return update.Config{
		Parent: update.Attach(launched, strings.NewReader(""), io.Discard),
		Device: manifest.Device{Product: manifest.ProductAgent, Version: version, OS: "linux", Arch: "amd64", Channel: "stable"},
		Sum:    sumOf([]byte("program " + version)), Root: w.fleet.Root(), Build: time.Now().Add(-24 * time.Hour),
		Trust: w.trust, Journal: w.store(), Programs: w.versions(), Parts: little{w.parts, w}, Files: w, Fetch: w, Sink: w,
		Lock: func() (func() error, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.locked {
				return nil, layout.ErrLocked
			}
			return func() error { return nil }, nil
		},
		Selftest: func(context.Context, string) error {
			if w.onTest != nil {
				return w.onTest()
			}
			return nil
		},
		Hindrance: func() update.Hindrance { w.mu.Lock(); defer w.mu.Unlock(); return w.hindrance },
		Wishes:    wishes{w},
		Trusted:   func(at time.Time) { w.mu.Lock(); defer w.mu.Unlock(); w.trusted = at },
		Now:       w.now, Log: slog.New(slog.DiscardHandler),
	}
}

// updater of one start of the agent.
func (w *world) updater(version string) *update.Updater {
	w.Helper()
	return update.New(w.config(version))
}

// runFor runs it for a time; true when it ended for a swap.
func (w *world) runFor(u *update.Updater, d time.Duration) bool {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), d)
	defer cancel()
	err := u.Run(ctx, func() {})
	if err != nil && !errors.Is(err, update.ErrSwap) {
		w.Fatalf("Run = %v", err)
	}
	return err != nil
}

// offered runs an offer for a time.
func (w *world) offered(r manifest.Release, lease string, d time.Duration) bool {
	w.Helper()
	u := w.updater(oldVersion)
	u.Offered(offer(r, lease))
	return w.runFor(u, d)
}

// told is what the collector hears.
func (w *world) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, e := range w.entries {
		m := e.GetUpdate()
		text := journal.State(m.GetState()).String()
		if r := m.GetReason(); r != 0 {
			text += ":" + journal.Reason(r).String()
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// refused holds that a device ended an offer for a reason, with nothing changed.
func (w *world) refused(r manifest.Release, lease string, why journal.Reason) {
	w.Helper()
	if w.offered(r, lease, 2*time.Hour) {
		w.Errorf("%s was armed, want it refused for %s", r.Path, why)
	}
	if got, want := w.told(), "refused:"+why.String(); !strings.HasSuffix(got, want) {
		w.Errorf("%s: told %q, want %s at the end", r.Path, got, want)
	}
	if j := w.journal(); j.Good != w.old || j.Next.Known() || len(j.Swaps) > 0 {
		w.Errorf("%s: the journal is %+v", r.Path, j)
	}
	if err := w.versions().Check(oldVersion, w.old.Sum); err != nil {
		w.Errorf("%s: the program that runs: %v", r.Path, err)
	}
}

func inBubble(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) { f(newWorld(t)) })
}

// launcher is what it does with a good program.
func (w *world) launcher(p journal.Program) {
	w.Helper()
	w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.Alive},
		journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Hear, Program: p}, journal.Event{Kind: journal.Bound})
}

func (w *world) steps(events ...journal.Event) {
	w.Helper()
	for _, e := range events {
		e.At = time.Now().UnixMilli()
		_, _, err := w.store().Do(w.Context(), e)
		w.must(err)
	}
}

func TestWalk(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		if !w.offered(r, "lease-1", time.Hour) {
			w.Fatalf("not armed in an hour: %s, told %s", w.journal().State, w.told())
		}
		next := journal.Program{Version: newVersion, Sum: sumOf(w.programs[r.SHA256])}
		j := w.journal()
		if j.State != journal.Armed || j.Next != next || w.versions().Check(newVersion, next.Sum) != nil {
			w.Fatalf("armed: %+v", j)
		}
		w.launcher(next)
		u := w.updater(newVersion)
		w.runFor(u, 5*time.Minute)
		if got, want := w.told(), "offered waiting:schedule offered downloaded staged armed swapped trial committed"; got != want {
			w.Errorf("told %q\nwant %q", got, want)
		}
		last := w.entries[len(w.entries)-1].GetUpdate()
		if last.GetLease() != "lease-1" || last.GetFromVersion() != oldVersion || last.GetToVersion() != newVersion ||
			last.GetLauncherVersion() != "1.2.3" || len(last.GetToSha256()) != 32 {
			w.Errorf("the last step is %v", last)
		}
		if s := u.Status(); s.Off != "" || s.State != "committed" || s.Previous != oldVersion {
			w.Errorf("status %+v", s)
		}
		// All was told; the same again is no update.
		n := len(w.entries)
		u.Offered(offer(r, "lease-1"))
		if w.runFor(u, 24*time.Hour) || len(w.entries) != n {
			w.Errorf("told again: %s", w.told())
		}
	})
}

// TestCommitIsToldAtOnce: the launcher's word comes behind its step, and the gate
// waits for it.
func TestCommitIsToldAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		if !w.offered(r, "lease-1", time.Hour) {
			w.Fatalf("not armed: %s", w.told())
		}
		next := journal.Program{Version: newVersion, Sum: sumOf(w.programs[r.SHA256])}
		w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapDone}, journal.Event{Kind: journal.Start}, journal.Event{Kind: journal.Alive},
			journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Hear, Program: next})
		in, words := io.Pipe()
		c := w.config(newVersion)
		c.Parent = update.Attach(launched, in, io.Discard)
		u := update.New(c)
		ctx, cancel := context.WithCancel(w.Context())
		var running sync.WaitGroup
		running.Go(func() { u.Run(ctx, func() {}) })
		running.Go(func() { c.Parent.Run(ctx, func() {}) })
		time.Sleep(10 * time.Minute)
		w.steps(journal.Event{Kind: journal.Bound})
		io.WriteString(words, "settled\n")
		synctest.Wait()
		if got := w.told(); !strings.HasSuffix(got, "trial committed") {
			w.Errorf("told %q", got)
		}
		cancel()
		words.Close()
		running.Wait()
	})
}

// TestUntoldIsToldInTheNextSession: a step of which the launcher said no word, with
// nothing under way for which the updater would look.
func TestUntoldIsToldInTheNextSession(t *testing.T) {
	inBubble(t, func(w *world) {
		u := w.updater(oldVersion)
		ctx, cancel := context.WithCancel(w.Context())
		var running sync.WaitGroup
		running.Go(func() { u.Run(ctx, func() {}) })
		time.Sleep(10 * time.Minute)
		w.steps(journal.Event{Kind: journal.Repair, Reason: journal.Damaged})
		synctest.Wait()
		if got := w.told(); got != "" {
			t.Errorf("told %q before anybody was there", got)
		}
		u.Heard(oldVersion, w.old.Sum[:])
		synctest.Wait()
		if got := w.told(); got != "committed:damaged" {
			t.Errorf("told %q with the next session", got)
		}
		cancel()
		running.Wait()
	})
}

func TestOff(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		for _, one := range []struct {
			off    string
			change func(*update.Config)
		}{
			{update.NoLauncher, func(c *update.Config) { c.Parent = nil }},
			{update.NoRoot, func(c *update.Config) { c.Root = nil }},
			{update.NoRoot, func(c *update.Config) { c.Root = []byte(`{"signed": "by nobody"}`) }},
			{update.NoJournal, func(c *update.Config) {
				c.Journal = journal.NewStore(journal.Config{Dir: filepath.Join(l.Update(), "none"), Disk: w.tree})
			}},
		} {
			off, c := one.off, w.config(oldVersion)
			one.change(&c)
			u := update.New(c)
			u.Heard("1.0.0", []byte{1})
			u.Offered(offer(r, "lease"))
			if w.runFor(u, time.Hour) || u.Status().Off != off || w.journal().State != journal.Idle {
				w.Errorf("%s: status %+v, journal %s", off, u.Status(), w.journal().State)
			}
		}
		// A root that a package put there does as well as one that was built in.
		w.must(w.trust.Write("root.json", w.fleet.Root()))
		c := w.config(oldVersion)
		c.Root = nil
		u := update.New(c)
		u.Offered(offer(r, "lease"))
		if !w.runFor(u, time.Hour) {
			w.Errorf("with a root in the folder: %+v, told %s", u.Status(), w.told())
		}
	})
}

// clockOf makes the device's clock wrong by what is in it.
func (w *world) clockOf(off time.Duration) *atomic.Int64 {
	var wrong atomic.Int64
	wrong.Store(int64(off))
	w.now = func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }
	return &wrong
}

func TestAttack13_ClockOf1970And2099(t *testing.T) {
	for name, off := range map[string]time.Duration{"1970": -30 * 365 * 24 * time.Hour, "2099": 99 * 365 * 24 * time.Hour} {
		inBubble(t, func(w *world) {
			begin := time.Now()
			w.now = func() time.Time { return time.Now().Add(off) }
			r := w.release(manifest.Release{Version: newVersion})
			if !w.offered(r, "lease", time.Hour) {
				w.Errorf("with a clock of %s: told %s", name, w.told())
			}
			if w.trusted.Before(begin) || w.trusted.After(begin.Add(2*time.Hour)) {
				w.Errorf("with a clock of %s the time of TLS is %v, it is %v", name, w.trusted, begin)
			}
		})
	}
	// A clock that is set right while it waits for its moment.
	inBubble(t, func(w *world) {
		off := 20 * 365 * 24 * time.Hour
		w.now = func() time.Time { return time.Now().Add(off) }
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.hindrance.Battery = true
		w.runFor(u, 20*time.Minute)
		off, w.hindrance.Battery = 0, false
		if !w.runFor(w.updater(oldVersion), time.Hour) {
			w.Errorf("after the clock was set back by 20 years: told %s", w.told())
		}
	})
}

// TestAttack13_ClockSetRightAfterTheOffer: the clock is of 1970 at each start, the offer
// comes, and minutes later the network's time.
func TestAttack13_ClockSetRightAfterTheOffer(t *testing.T) {
	const late = -30 * 365 * 24 * time.Hour
	inBubble(t, func(w *world) {
		off := w.clockOf(late)
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetWithinS(3600)
		u.Offered(o)
		time.AfterFunc(2*time.Minute, func() { off.Store(0) })
		if !w.runFor(u, 2*time.Hour) || strings.Contains(w.told(), "refused") {
			t.Errorf("in the same session: told %s", w.told())
		}
	})
	for _, wrong := range []time.Duration{late, -late} { // its lease ends all the same
		inBubble(t, func(w *world) {
			off := w.clockOf(wrong)
			w.hindrance.Battery = true
			u := w.updater(oldVersion)
			u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
			time.AfterFunc(2*time.Minute, func() { off.Store(0) })
			if w.runFor(u, 71*time.Hour) || strings.Contains(w.told(), "refused") {
				t.Errorf("clock wrong by %v, while its lease of three days goes on: told %s", wrong, w.told())
			}
			if w.runFor(u, 2*time.Hour) || !strings.HasSuffix(w.told(), "refused:withdrawn") {
				t.Errorf("clock wrong by %v, behind its end: told %s", wrong, w.told())
			}
		})
	}
	inBubble(t, func(w *world) { // a start later only the collector can say whether it holds
		off := w.clockOf(late)
		w.hindrance.Battery = true
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		u := w.updater(oldVersion)
		u.Offered(o)
		w.runFor(u, 30*time.Minute)
		w.hindrance.Battery = false
		off.Store(0)
		u = w.updater(oldVersion)
		if w.runFor(u, 2*time.Hour) || !strings.HasSuffix(w.told(), "waiting:schedule") {
			t.Errorf("before anybody says so: told %s", w.told())
		}
		u.Offered(o)
		if !w.runFor(u, time.Hour) {
			t.Errorf("with the next session: told %s", w.told())
		}
	})
}

// TestAttack13_LeaseWhileAsleep: a lease that is over by a clock which was wrong for a while,
// or went on while the device slept, is one of which the collector has the next word.
func TestAttack13_LeaseWhileAsleep(t *testing.T) {
	const ahead = 40 * 24 * time.Hour
	for name, then := range map[string]func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (armed bool, told string){
		"the clock is right again": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			off.Store(0)
			return w.runFor(u, 2*time.Hour), "armed"
		},
		"it holds": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			u.Offered(o)
			w.runFor(u, 10*time.Minute)
			off.Store(0) // else what was signed has expired
			return w.runFor(u, 2*time.Hour), "armed"
		},
		"it does not": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			u.Withdrawn("")
			return !w.runFor(u, 2*time.Hour), "refused:withdrawn"
		},
		"nobody says so": func(w *world, u *update.Updater, off *atomic.Int64, o *hmpb.Offer) (bool, string) {
			return !w.runFor(u, 73*time.Hour), "refused:withdrawn"
		},
	} {
		inBubble(t, func(w *world) {
			off := w.clockOf(0)
			o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
			o.SetWithinS(3600)
			u := w.updater(oldVersion)
			u.Offered(o)
			w.runFor(u, time.Second)
			off.Store(int64(ahead))
			if w.runFor(u, 5*time.Minute); !strings.HasSuffix(w.told(), "waiting:schedule") {
				t.Errorf("%s: before: told %s", name, w.told())
			}
			if ok, told := then(w, u, off, o); !ok || !strings.HasSuffix(w.told(), told) {
				t.Errorf("%s: told %s, want %s at the end", name, w.told(), told)
			}
		})
	}
}

// TestAttack13_ClockSetWhilePostponed: a wish is for a day, whichever time the clock
// showed when it was said.
func TestAttack13_ClockSetWhilePostponed(t *testing.T) {
	for name, off := range map[string]time.Duration{"1970": -30 * 365 * 24 * time.Hour, "2099": 99 * 365 * 24 * time.Hour} {
		for _, start := range []string{"in this start", "in the next start"} {
			inBubble(t, func(w *world) {
				off := w.clockOf(off)
				o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
				u := w.updater(oldVersion)
				u.Offered(o)
				w.postpone(newVersion)
				w.runFor(u, 20*time.Minute)
				off.Store(0)
				if start != "in this start" {
					u = w.updater(oldVersion)
					u.Offered(o)
				}
				if w.runFor(u, 23*time.Hour) {
					t.Errorf("from %s, %s: armed within a day of the wish", name, start)
				}
				w.fleet.Publish()
				if !w.runFor(u, 3*time.Hour) || strings.Count(w.told(), "waiting:postponed") != 1 {
					t.Errorf("from %s, %s: a day after it: told %s", name, start, w.told())
				}
			})
		}
	}
}

// TestAttack13_PostponedIsSaidAgain: while the clock is ahead of the lease's end the device
// waits for the collector's word; then it says again that it is put off.
func TestAttack13_PostponedIsSaidAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		off := w.clockOf(0)
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, time.Second)
		w.postpone(newVersion)
		w.runFor(u, 5*time.Minute)
		off.Store(int64(40 * 24 * time.Hour))
		w.runFor(u, 5*time.Minute)
		off.Store(0)
		w.runFor(u, time.Hour)
		const want = "waiting:postponed waiting:schedule waiting:postponed"
		if got := u.Status().Waits; got != journal.Postponed.String() || !strings.HasSuffix(w.told(), want) {
			t.Errorf("with the right clock: it waits for %q, told %s", got, w.told())
		}
	})
}

func TestAttack14_StolenCollector(t *testing.T) {
	// It may offer what is signed, but not before the signed pace reaches this device.
	inBubble(t, func(w *world) {
		begin := time.Now()
		r := w.release(manifest.Release{Version: newVersion, Ramp: manifest.Ramp{T0MS: begin.Add(48 * time.Hour).UnixMilli(), PermillePerHour: 1_000_000}})
		u := w.updater(oldVersion)
		u.Offered(offer(r, "lease"))
		if w.runFor(u, 47*time.Hour) || !strings.HasSuffix(w.told(), "waiting:ramp") || w.fetched != 0 {
			w.Errorf("before its turn: told %s, %d downloads", w.told(), w.fetched)
		}
		if s := u.Status(); !s.Coming() || s.Begins.Before(begin.Add(47*time.Hour)) {
			w.Errorf("status %+v", s)
		}
		w.fleet.Publish() // as it is each day
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) || time.Now().Before(begin.Add(48*time.Hour)) {
			w.Errorf("at its turn: told %s", w.told())
		}
	})
	// What nobody signed, other bytes for a signed name, and a name of its own.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		foreign := r
		foreign.SHA256 = strings.Repeat("ab", 32)
		w.refused(foreign, "lease-1", journal.Signature)
		foreign = r
		foreign.Path = "agent/stable/1.1.0/linux-amd64/other"
		w.refused(foreign, "lease-2", journal.Withdrawn)
		foreign = r
		foreign.Version = "1.2.0"
		w.refused(foreign, "lease-3", journal.Signature)
	})
	// Yesterday's metadata, under an honest collector's word of today's.
	inBubble(t, func(w *world) {
		old := w.fleet.Files()
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		repo := &hmpb.Repository{}
		repo.SetRootVersion(1)
		repo.SetTimestampVersion(uint64(w.fleet.Drafts[tufrepo.Timestamp].Version()))
		u.Repository(repo)
		w.fleet.SetFiles(old)
		u.Offered(offer(r, "lease"))
		if w.runFor(u, 3*time.Hour) || !strings.HasSuffix(w.told(), "waiting:stale") {
			w.Errorf("with yesterday's metadata: told %s", w.told())
		}
	})
}

func TestAttack18_OtherDevice(t *testing.T) {
	inBubble(t, func(w *world) {
		for lease, r := range map[string]manifest.Release{
			"os": {Version: "1.1.1", OS: "windows"}, "arch": {Version: "1.1.2", Arch: "arm64"}, "channel": {Version: "1.1.3", Channel: "canary"},
		} {
			w.refused(w.release(r), lease, journal.WrongDevice)
		}
		w.refused(w.release(manifest.Release{Version: "1.1.4", LauncherMin: "9.0.0"}), "launcher", journal.Launcher)
		w.refused(w.release(manifest.Release{Version: "1.1.5", MinFrom: "1.0.5"}), "from", journal.From)
		// The right name, and other bytes on the way.
		r := w.release(manifest.Release{Version: newVersion})
		w.programs[r.SHA256] = []byte("something else")
		w.refused(r, "bytes", journal.WrongBytes)
		// A program that says that it cannot run here is barred.
		r = w.release(manifest.Release{Version: "1.1.6"})
		w.onTest = func() error { return update.ErrSelftest }
		w.refused(r, "test", journal.Selftest)
		w.refused(r, "test-again", journal.BarredHere)
	})
}

// tight is the parts' folder on a disk on which they take room.
type tight struct{ little }

func (p tight) Free() (uint64, error) {
	free, err := p.little.Free()
	held, heldErr := p.Held()
	return free - held, errors.Join(err, heldErr)
}

// TestAttack20_RoomForTheRest: what came is not thrown away for the room that it takes
// itself.
func TestAttack20_RoomForTheRest(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.cut, w.free = true, uint64(3*r.Length)
		c := w.config(oldVersion)
		c.Parts = tight{little{w.parts, w}}
		u := update.New(c)
		u.Offered(offer(r, "lease"))
		if w.runFor(u, 10*time.Hour) || len(w.left()) != 1 || w.begun < 2 || strings.Contains(w.told(), "space") {
			w.Errorf("cut again and again: %v here after %d downloads, told %s", w.left(), w.begun, w.told())
		}
		w.mu.Lock()
		w.cut = false
		w.mu.Unlock()
		if !w.runFor(u, 5*time.Hour) || strings.Contains(w.told(), "space") {
			w.Errorf("not cut any more: told %s", w.told())
		}
	})
}

func TestAttack20_DiskFull(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.free = uint64(3*r.Length - 1)
		if w.offered(r, "lease", 5*time.Hour) || !strings.HasSuffix(w.told(), "waiting:space") || w.fetched != 0 {
			w.Errorf("with too little room: told %s, %d downloads", w.told(), w.fetched)
		}
		w.free = uint64(3 * r.Length)
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) {
			w.Errorf("with room again: told %s", w.told())
		}
	})
	// Full where the copy is made: nothing of it stays, and it goes on later.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.tree.Plan(func(op fault.Op) fault.Fault {
			if strings.Contains(op.Name, newVersion) {
				return fault.Full
			}
			return fault.None
		})
		if w.offered(r, "lease", 5*time.Hour) || w.journal().State != journal.Downloaded {
			w.Errorf("on a full disk: %s, told %s", w.journal().State, w.told())
		}
		if left := w.left(); len(left) != 0 {
			w.Errorf("on a full disk stay %v", left)
		}
		w.tree.Plan(nil)
		w.free = 0 // what came is gone, and it does not come again before there is room
		before := w.begun
		if w.runFor(w.updater(oldVersion), 5*time.Hour) || w.begun != before {
			w.Errorf("without room: %d downloads more, told %s", w.begun-before, w.told())
		}
		w.free = 1 << 40
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) || w.begun != before+1 {
			w.Errorf("with room again: %d downloads more, told %s", w.begun-before, w.told())
		}
	})
	// Too little room for the rest of what began to come.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.cut = true
		if w.offered(r, "lease", 30*time.Minute) || len(w.left()) != 1 {
			w.Errorf("cut: %v here, told %s", w.left(), w.told())
		}
		w.cut, w.free = false, uint64(r.Length)
		if w.runFor(w.updater(oldVersion), 5*time.Hour) || len(w.left()) != 0 || !strings.HasSuffix(w.told(), "waiting:space") {
			w.Errorf("with too little room for the rest: %v stays, told %s", w.left(), w.told())
		}
	})
	// Full when the next session brings the offer again.
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.onFetch = func() { w.mu.Lock(); w.hindrance = update.Hindrance{Battery: true}; w.mu.Unlock() }
		if w.offered(r, "lease", time.Hour) || len(w.left()) != 1 {
			w.Errorf("downloaded: %v here, told %s", w.left(), w.told())
		}
		w.noteErr = &fs.PathError{Op: "write", Path: "offer.json", Err: syscall.ENOSPC}
		if w.offered(r, "lease", time.Hour) || len(w.left()) != 0 {
			w.Errorf("on a full disk stay %v", w.left())
		}
		w.noteErr, w.onFetch, w.hindrance = nil, nil, update.Hindrance{}
		if !w.offered(r, "lease", 3*time.Hour) || w.begun != 2 {
			w.Errorf("with room again: %d downloads, told %s", w.begun, w.told())
		}
	})
	inBubble(t, func(w *world) { // a launcher, for which there is no offer
		l := w.newLine()
		r := w.launcherRelease(manifest.Release{Version: "1.3.0"})
		time.Sleep(rampLasts)
		w.cut = true
		if got := w.taken(l, 24*time.Hour); got != "1.2.3" || len(w.left()) != 1 {
			w.Errorf("cut: launcher %s, %v here", got, w.left())
		}
		w.cut, w.free = false, 0
		if got := w.taken(l, 24*time.Hour); got != "1.2.3" || len(w.left()) != 0 {
			w.Errorf("without room: launcher %s, %v stays", got, w.left())
		}
		w.free = 1 << 40
		w.fleet.Publish()
		if got := w.taken(l, 24*time.Hour); got != r.Version {
			w.Errorf("with room again: launcher %s", got)
		}
	})
}

func TestAttack26_TwoAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.locked = true // by another process
		if w.offered(r, "lease", 3*time.Hour) || w.meta != 0 {
			w.Errorf("while another process has the metadata: %d requests", w.meta)
		}
		w.locked = false
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) {
			w.Errorf("when it is gone: told %s", w.told())
		}
	})
	// Another offer in the middle of a download wins.
	inBubble(t, func(w *world) {
		first, second := w.release(manifest.Release{Version: newVersion}), w.release(manifest.Release{Version: "1.2.0"})
		u := w.updater(oldVersion)
		w.onFetch = func() { w.onFetch = nil; u.Offered(offer(second, "lease-2")) }
		u.Offered(offer(first, "lease-1"))
		if !w.runFor(u, 3*time.Hour) || w.journal().Next.Version != "1.2.0" || !strings.Contains(w.told(), "refused:withdrawn offered") {
			w.Errorf("next is %v, told %s", w.journal().Next, w.told())
		}
	})
	// A third while one is armed changes nothing.
	inBubble(t, func(w *world) {
		w.offered(w.release(manifest.Release{Version: newVersion}), "lease-1", time.Hour)
		if !w.offered(w.release(manifest.Release{Version: "1.2.0"}), "lease-2", time.Hour) || w.journal().Next.Version != newVersion {
			w.Errorf("next is %v", w.journal().Next)
		}
	})
}

// TestAttack26_AnotherLeaseOfTheSameProgram: it ends a download that goes on under the one
// before, which nobody may hold any more. What came stays, and is told under the new one.
func TestAttack26_AnotherLeaseOfTheSameProgram(t *testing.T) {
	begin := func(w *world, then func(u *update.Updater, r manifest.Release)) (first, second string) {
		r := w.release(manifest.Release{Version: newVersion})
		w.slow = 3 * time.Hour
		u := w.updater(oldVersion)
		u.Offered(offer(r, "lease-1"))
		w.runFor(u, 20*time.Minute)
		first = w.told()
		time.AfterFunc(20*time.Minute, func() { then(u, r) })
		time.AfterFunc(20*time.Minute+time.Second, func() { w.mu.Lock(); w.slow = 0; w.mu.Unlock() })
		w.runFor(u, 21*time.Minute)
		return first, strings.TrimPrefix(strings.TrimPrefix(w.told(), first), " ")
	}
	inBubble(t, func(w *world) { // it replaces
		_, told := begin(w, func(u *update.Updater, r manifest.Release) { u.Offered(offer(r, "lease-2")) })
		if w.under != "lease-2" || w.begun != 3 || len(w.left()) != 1 {
			t.Errorf("%d downloads, the last under %s, with %v here", w.begun, w.under, w.left())
		}
		if told != "offered" || w.entries[len(w.entries)-1].GetUpdate().GetLease() != "lease-2" {
			t.Errorf("told %q, at last of %s", told, w.entries[len(w.entries)-1].GetUpdate().GetLease())
		}
		if !w.runFor(w.updater(oldVersion), time.Hour) {
			t.Errorf("not armed under the new lease: %s", w.told())
		}
	})
	inBubble(t, func(w *world) { // it replaces, and is withdrawn before anybody took it
		_, told := begin(w, func(u *update.Updater, r manifest.Release) {
			u.Offered(offer(r, "lease-2"))
			u.Withdrawn("lease-2")
		})
		if j := w.journal(); told != "refused:withdrawn" || j.Next.Known() || w.begun != 2 {
			t.Errorf("told %q, next is %v, %d downloads", told, j.Next, w.begun)
		}
	})
}

func TestAttack27_NotNow(t *testing.T) {
	for reason, h := range map[journal.Reason]update.Hindrance{
		journal.Support: {Support: true}, journal.Battery: {Battery: true}, journal.Metered: {Metered: true},
	} {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.hindrance = h
			u := w.updater(oldVersion)
			u.Offered(offer(r, "lease"))
			if w.runFor(u, 5*time.Hour) || !strings.HasSuffix(w.told(), "waiting:"+reason.String()) || w.fetched != 0 {
				w.Errorf("%s: told %s, %d downloads", reason, w.told(), w.fetched)
			}
			if n := strings.Count(w.told(), "waiting:"+reason.String()); n != 1 {
				w.Errorf("%s: told %d times", reason, n)
			}
			if w.meta > 60 {
				w.Errorf("%s: %d requests while it waited", reason, w.meta)
			}
			w.hindrance = update.Hindrance{}
			if !w.runFor(u, time.Hour) {
				w.Errorf("after %s: told %s", reason, w.told())
			}
		})
		inBubble(t, func(w *world) { // three persons signed that it cannot wait
			w.hindrance = h
			if !w.offered(w.release(manifest.Release{Version: newVersion, Urgent: true}), "lease", time.Hour) {
				w.Errorf("an urgent one waits for %s: told %s", reason, w.told())
			}
		})
	}
}

// TestAttack27_BeginsInTheMiddle: what speaks against an update ends it also while its bytes
// come, for as long as it lasts; one that cannot wait goes on.
func TestAttack27_BeginsInTheMiddle(t *testing.T) {
	for reason, h := range map[journal.Reason]update.Hindrance{
		journal.Support: {Support: true}, journal.Battery: {Battery: true}, journal.Metered: {Metered: true},
	} {
		for _, urgent := range []bool{false, true} {
			inBubble(t, func(w *world) {
				w.slow = time.Hour
				set := func(h update.Hindrance) func() {
					return func() { w.mu.Lock(); w.hindrance = h; w.mu.Unlock() }
				}
				var begun []time.Time
				var soon string
				w.onFetch = func() {
					if begun = append(begun, time.Now()); len(begun) == 1 {
						time.AfterFunc(10*time.Minute, set(h))
						time.AfterFunc(13*time.Minute, func() { soon = w.told() })
						time.AfterFunc(30*time.Minute, set(update.Hindrance{}))
					}
				}
				u := w.updater(oldVersion)
				u.Offered(offer(w.release(manifest.Release{Version: newVersion, Urgent: urgent}), "lease"))
				armed := w.runFor(u, 4*time.Hour)
				held := strings.HasSuffix(soon, "offered waiting:"+reason.String())
				if !armed || held == urgent || len(begun) != map[bool]int{false: 2, true: 1}[urgent] {
					t.Fatalf("%s, urgent %t: 3 minutes after it began told %s; downloads began at %v, told %s", reason, urgent, soon, begun, w.told())
				}
				if !urgent && begun[1].Sub(begun[0]) < 30*time.Minute {
					t.Errorf("%s: it goes on %v after it began, the hindrance being over after 30 minutes", reason, begun[1].Sub(begun[0]))
				}
			})
		}
	}
}

// quietly is an offer that says in which times nothing may begin, from now on.
func quietly(o *hmpb.Offer, spans ...time.Duration) *hmpb.Offer {
	var all []*hmpb.Quiet
	for i := 0; i < len(spans); i += 2 {
		all = append(all, hmpb.Quiet_builder{FromMs: new(time.Now().Add(spans[i]).UnixMilli()), ToMs: new(time.Now().Add(spans[i+1]).UnixMilli())}.Build())
	}
	o.SetQuiet(all)
	return o
}

// A device begins nothing in a lesson, whatever it has already, and whichever time its
// clock shows; after it, it does.
func TestLessons(t *testing.T) {
	for name, clock := range map[string]time.Duration{"clock right": 0, "clock a day late": -24 * time.Hour, "clock half a day early": 12 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) { // offered before, and come into a lesson while it waits for power
				w.now = func() time.Time { return time.Now().Add(clock) }
				begin := time.Now()
				r := w.release(manifest.Release{Version: newVersion})
				u := w.updater(oldVersion)
				w.hindrance = update.Hindrance{Battery: true}
				u.Offered(quietly(offer(r, "lease"), time.Hour, 7*time.Hour))
				if w.runFor(u, 2*time.Hour) {
					w.Fatal("armed while on battery")
				}
				w.hindrance = update.Hindrance{}
				u = w.updater(oldVersion) // the agent starts anew; no session brings the offer
				if w.runFor(u, 4*time.Hour) || w.fetched != 0 || !strings.HasSuffix(w.told(), "waiting:lesson") {
					w.Fatalf("in a lesson: told %s, %d downloads, want none and a wait for the lesson", w.told(), w.fetched)
				}
				if s := u.Status(); s.Waits != journal.Lesson.String() || s.Begins.Sub(begin.Add(7*time.Hour+clock)).Abs() > 2*time.Minute {
					w.Errorf("status = %+v, want it to begin with the end of the lesson", s)
				}
				if !w.runFor(u, 2*time.Hour) || time.Since(begin) < 7*time.Hour {
					w.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
				}
			})
			inBubble(t, func(w *world) { // everything is here already when the lesson comes near
				w.now = func() time.Time { return time.Now().Add(clock) }
				begin := time.Now()
				r := w.release(manifest.Release{Version: newVersion})
				u := w.updater(oldVersion)
				tested := false
				w.onTest = func() error {
					tested = true
					time.Sleep(time.Until(begin.Add(25 * time.Minute)))
					return nil
				}
				u.Offered(quietly(offer(r, "lease"), 30*time.Minute, 7*time.Hour))
				if w.runFor(u, 6*time.Hour) || !tested || w.journal().State != journal.Staged || !strings.HasSuffix(w.told(), "waiting:lesson") {
					w.Fatalf("in a lesson: %v, told %s, want it staged and waiting for the lesson", w.journal().State, w.told())
				}
				if !w.runFor(u, 2*time.Hour) || time.Since(begin) < 7*time.Hour {
					w.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
				}
			})
		})
	}
	inBubble(t, func(w *world) { // a lesson begins in the middle of the download
		begin := time.Now()
		u := w.updater(oldVersion)
		w.onFetch = func() {
			if w.journal().Fetched == 0 && time.Since(begin) < 30*time.Minute {
				time.Sleep(time.Until(begin.Add(40 * time.Minute)))
			}
		}
		u.Offered(quietly(offer(w.release(manifest.Release{Version: newVersion}), "lease"), 30*time.Minute, 7*time.Hour))
		if w.runFor(u, 6*time.Hour) || w.fetched != 1 || w.journal().State != journal.Offered || !strings.HasSuffix(w.told(), "waiting:lesson") {
			w.Fatalf("in a lesson: %v, told %s, %d downloads", w.journal().State, w.told(), w.fetched)
		}
		if !w.runFor(u, 2*time.Hour) || time.Since(begin) < 7*time.Hour {
			w.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
		}
	})
	inBubble(t, func(w *world) { // three persons signed that it cannot wait
		u := w.updater(oldVersion)
		u.Offered(quietly(offer(w.release(manifest.Release{Version: newVersion, Urgent: true}), "lease"), 0, 7*time.Hour))
		if !w.runFor(u, time.Hour) {
			w.Errorf("an urgent one waits for a lesson: told %s", w.told())
		}
	})
}

// TestAsleepIntoALesson: the clock that no one sets stands still while the device sleeps,
// so that nobody knows afterwards how long it is until a lesson.
func TestAsleepIntoALesson(t *testing.T) {
	for name, slept := range map[string]func(w *world, sleep func()){
		"waiting": func(w *world, sleep func()) {
			w.hindrance = update.Hindrance{Battery: true}
			time.AfterFunc(20*time.Minute, func() {
				sleep()
				w.mu.Lock()
				defer w.mu.Unlock()
				w.hindrance = update.Hindrance{}
			})
		},
		"in the download": func(w *world, sleep func()) {
			w.slow = time.Hour
			time.AfterFunc(20*time.Minute, sleep)
		},
	} {
		inBubble(t, func(w *world) {
			asleep := w.clockOf(0)
			w.fleet = tufrepo.NewFleet(w.now) // everybody's goes on meanwhile
			u := w.updater(oldVersion)
			slept(w, func() { asleep.Store(int64(3 * time.Hour)) })
			u.Offered(quietly(offer(w.release(manifest.Release{Version: newVersion}), "lease"), 2*time.Hour, 7*time.Hour))
			if w.runFor(u, 25*time.Minute); u.Status().Waits != journal.Lesson.String() {
				t.Errorf("%s: 5 minutes after it woke it waits for %q, told %s", name, u.Status().Waits, w.told())
			}
			fetched := w.fetched
			if w.runFor(u, 3*time.Hour) || w.fetched != fetched || w.journal().State != journal.Offered {
				t.Errorf("%s: in class: %s, %d downloads, told %s", name, w.journal().State, w.fetched-fetched, w.told())
			}
			if !w.runFor(u, 3*time.Hour) {
				t.Errorf("%s: behind the lesson: told %s", name, w.told())
			}
		})
	}
}

// TestPostponedWhileItDownloads: what the person says is heard within minutes, and ends
// the download. What came of it is kept.
func TestPostponedWhileItDownloads(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		u := w.updater(oldVersion)
		w.slow = 3 * time.Hour
		time.AfterFunc(30*time.Minute, func() { w.postpone(newVersion) })
		var soon journal.Journal
		var before, behind update.Status
		looks := make(chan bool, 2)
		time.AfterFunc(29*time.Minute, func() { before = u.Status(); looks <- true })
		time.AfterFunc(33*time.Minute, func() { soon, behind = w.journal(), u.Status(); looks <- true })
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, 24*time.Hour) {
			t.Errorf("armed %v after the offer, postponed in its first hour", time.Since(begin))
		}
		<-looks
		<-looks
		if soon.State != journal.Offered || soon.Postpones != 1 || w.fetched != 1 || w.told() != "offered waiting:schedule offered waiting:postponed" {
			t.Errorf("3 minutes after the wish: %s, postponed %d times; %d downloads, told %s", soon.State, soon.Postpones, w.fetched, w.told())
		}
		if before.Waits != "" || behind.Waits != journal.Postponed.String() {
			t.Errorf("while bytes come it waits for %q, and for %q after the wish", before.Waits, behind.Waits)
		}
		w.slow = 0
		w.fleet.Publish()
		if !w.runFor(u, 3*time.Hour) {
			t.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
		}
	})
	inBubble(t, func(w *world) { // a fourth wish ends none
		w.slow = 3 * time.Hour
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetValidS(4 * 24 * 3600)
		u.Offered(o)
		w.runFor(u, time.Second)
		for range 3 {
			w.steps(journal.Event{Kind: journal.Postpone, Wish: "before"})
		}
		time.Sleep(3 * 24 * time.Hour)
		w.fleet.Publish()
		time.AfterFunc(2*time.Hour, func() { w.postpone(newVersion) })
		if !w.runFor(u, 6*time.Hour) || w.fetched != 1 {
			t.Errorf("after %d downloads: told %s", w.fetched, w.told())
		}
	})
}

// TestReasonIsTakenBack: what an update waits for is true for as long as it is told last,
// in each state: a device that goes on says so when it does.
func TestReasonIsTakenBack(t *testing.T) {
	lately := func(w *world, want string) {
		t.Helper()
		if got := w.told(); !strings.HasSuffix(got, want) {
			t.Errorf("told %q, want %q at the end", got, want)
		}
	}
	inBubble(t, func(w *world) { // while bytes come, and not before
		w.hindrance = update.Hindrance{Battery: true}
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, 20*time.Minute)
		lately(w, "waiting:battery")
		w.hindrance, w.slow, w.fetchErr = update.Hindrance{}, time.Hour, nil
		w.away = 10 * time.Minute // the school's line is busy
		w.runFor(u, 8*time.Minute)
		lately(w, "waiting:schedule")
		if s := u.Status().Waits; s != journal.Schedule.String() {
			t.Errorf("sent away by its line it waits for %q", s)
		}
		w.away = 0
		w.runFor(u, 20*time.Minute)
		lately(w, "waiting:schedule offered")
		if s := u.Status(); s.Waits != "" || s.State != journal.Offered.String() {
			t.Errorf("while bytes come: %+v", s)
		}
		w.hindrance = update.Hindrance{Support: true} // before it goes on behind the download
		w.slow = 0
		w.runFor(u, 10*time.Minute)
		lately(w, "waiting:support")
	})
	inBubble(t, func(w *world) { // the same reason again is told again
		u := w.updater(oldVersion)
		w.slow = time.Hour
		o := quietly(offer(w.release(manifest.Release{Version: newVersion}), "lease"), 0, time.Hour, 90*time.Minute, 3*time.Hour)
		u.Offered(o)
		w.runFor(u, 140*time.Minute)
		lately(w, "waiting:lesson offered waiting:lesson")
	})
	inBubble(t, func(w *world) { // and again
		w.cut, w.slow = true, 10*time.Minute
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, 6*time.Hour)
		if n := strings.Count(w.told()+" ", "offered waiting:unreachable "); n < 3 || n < w.begun-1 { // the last one may go on
			t.Errorf("%d downloads that are cut: told %q", w.begun, w.told())
		}
	})
	inBubble(t, func(w *world) { // behind the download
		testing := make(chan string, 1)
		w.onTest = func() error {
			testing <- w.told()
			return nil
		}
		w.onFetch = func() { w.mu.Lock(); w.hindrance = update.Hindrance{Battery: true}; w.mu.Unlock() }
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.runFor(u, time.Hour)
		lately(w, "downloaded waiting:battery")
		w.hindrance = update.Hindrance{}
		w.runFor(u, time.Hour)
		if got := <-testing; !strings.HasSuffix(got, "waiting:battery downloaded") {
			t.Errorf("while it is tested: told %q", got)
		}
	})
}

// TestWishIsNotLost: it is there until the journal has it, and counts once.
func TestWishIsNotLost(t *testing.T) {
	inBubble(t, func(w *world) { // the disk says no, once
		c := w.config(oldVersion)
		c.Journal = &failing{Journal: c.Journal, kind: journal.Postpone}
		u := update.New(c)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		w.postpone(newVersion)
		if w.runFor(u, 20*time.Hour) || w.journal().Postpones != 1 {
			t.Errorf("postponed %d times, told %s", w.journal().Postpones, w.told())
		}
	})
	killed := 0
	for n := 0; ; n++ { // the agent is killed at each of the journal's operations for it
		over := false
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.postpone(newVersion)
			w.tree.Plan(fault.At(n, fault.Kill))
			w.offered(r, "lease", time.Second)
			over = !w.tree.Dead()
			w.tree.Plan(nil)
			if w.offered(r, "lease", 2*time.Hour) || w.journal().Postpones != 1 || w.wish != "" {
				t.Errorf("killed at %d: %s, postponed %d times, told %s", n, w.journal().State, w.journal().Postpones, w.told())
			}
		})
		if over {
			break
		}
		killed++
	}
	if killed < 30 {
		t.Errorf("killed at %d operations", killed)
	}
}

// failing is a journal that cannot be written for once.
type failing struct {
	update.Journal
	kind   journal.Kind
	failed bool
}

func (f *failing) Do(ctx context.Context, e journal.Event) (journal.Journal, []journal.Effect, error) {
	if e.Kind == f.kind && !f.failed {
		f.failed = true
		return journal.Journal{}, nil, errors.New("no space left on device")
	}
	return f.Journal.Do(ctx, e)
}

// TestPostponedBeforeArming: the last look for a wish is after everything that takes time.
func TestPostponedBeforeArming(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		c := w.config(oldVersion)
		said := false
		c.Hindrance = func() update.Hindrance { // asked once more in the arming itself
			if j := w.journal(); j.State == journal.Staged && !said {
				said = true
				w.postpone(newVersion)
			}
			return update.Hindrance{}
		}
		u := update.New(c)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, 20*time.Hour) || !said || u.Status().Postponable != 2 {
			t.Fatalf("%v after the offer: said %t, status %+v, told %s", time.Since(begin), said, u.Status(), w.told())
		}
		w.fleet.Publish()
		if !w.runFor(u, 10*time.Hour) || time.Since(begin) < 24*time.Hour {
			t.Errorf("armed %v after the offer, want a day: told %s", time.Since(begin), w.told())
		}
	})
}

// TestPostponedTooLate: a wish that comes when the update cannot be put off any more does
// not put off the one after it.
func TestPostponedTooLate(t *testing.T) {
	swapped := []journal.Event{{Kind: journal.SwapTry}, {Kind: journal.SwapDone}, {Kind: journal.Start}}
	for name, then := range map[string]func(w *world, next journal.Program) *update.Updater{
		"swapped in": func(w *world, next journal.Program) *update.Updater {
			w.steps(swapped...)
			u := w.updater(newVersion)
			w.runFor(u, 5*time.Minute)
			if w.wish != "" {
				t.Error("the wish still waits")
			}
			w.steps(journal.Event{Kind: journal.Alive}, journal.Event{Kind: journal.Check}, journal.Event{Kind: journal.Hear, Program: next}, journal.Event{Kind: journal.Bound})
			return u
		},
		"rolled back before anybody heard it": func(w *world, next journal.Program) *update.Updater {
			crash := journal.Event{Kind: journal.End, Reason: journal.Crashed}
			w.steps(slices.Concat(swapped, []journal.Event{crash, {Kind: journal.Start}, crash, {Kind: journal.Start}, crash, {Kind: journal.Restored}})...)
			return w.updater(oldVersion)
		},
		"withdrawn before anybody heard it": func(w *world, next journal.Program) *update.Updater {
			w.steps(journal.Event{Kind: journal.SwapTry}, journal.Event{Kind: journal.SwapFail, Reason: journal.Damaged})
			return w.updater(oldVersion)
		},
	} {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			if !w.offered(r, "lease-1", time.Hour) {
				t.Fatalf("not armed: %s", w.told())
			}
			w.postpone(newVersion)
			u := then(w, journal.Program{Version: newVersion, Sum: sumOf(w.programs[r.SHA256])})
			w.runFor(u, 24*time.Hour)
			u.Offered(offer(w.release(manifest.Release{Version: "1.2.0"}), "lease-2"))
			if !w.runFor(u, time.Hour) || strings.Contains(w.told(), "postponed") {
				t.Errorf("%s: the next one: told %s", name, w.told())
			}
		})
	}
}

// TestPostponedOverLeases: a lease is as long as a day. What was put off stays so under
// the next one, three times and not more.
func TestPostponedOverLeases(t *testing.T) {
	inBubble(t, func(w *world) {
		begin, wishes, said := time.Now(), 0, time.Time{}
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		armed := false
		for i := 0; i < 10 && !armed; i++ {
			o := offer(r, "lease-"+string(rune('a'+i)))
			o.SetValidS(24 * 3600)
			o.SetWithinS(0)
			w.postpone(newVersion)
			left := u.Status().Postponable
			w.fleet.Publish() // as it is each day
			u.Offered(o)
			if i == 0 || left > 0 {
				wishes, said = wishes+1, time.Now()
			}
			armed = w.runFor(u, 8*time.Hour) // then the device is off
			w.mu.Lock()
			w.wish = ""
			w.mu.Unlock()
			if !armed {
				time.Sleep(16*time.Hour + time.Minute)
			}
		}
		switch after := time.Since(begin); {
		case !armed:
			t.Errorf("not armed after ten wishes: %s", w.told())
		case after < 72*time.Hour || after > 73*time.Hour+30*time.Minute:
			t.Errorf("armed %v after the offer, last wish %v after it, want three days", after, said.Sub(begin))
		}
	})
}

// TestOtherLessonsWhileItDownloads: lessons that are changed hold at once.
func TestOtherLessonsWhileItDownloads(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		w.onFetch = func() {
			w.onFetch = nil
			o := offer(r, "lease")
			o.SetQuiet([]*hmpb.Quiet{hmpb.Quiet_builder{FromMs: new(time.Now().Add(-time.Minute).UnixMilli()), ToMs: new(time.Now().Add(5 * time.Hour).UnixMilli())}.Build()})
			u.Offered(o)
		}
		u.Offered(offer(r, "lease"))
		w.runFor(u, 4*time.Hour)
		if s := u.Status(); s.State != "offered" || s.Waits != "lesson" {
			t.Errorf("%s, waits for %s in a lesson that was told while it downloaded, want it offered and waiting", s.State, s.Waits)
		}
		if !w.runFor(u, 2*time.Hour) {
			t.Error("not armed after the lesson")
		}
	})
	inBubble(t, func(w *world) { // the same again, as with each session, does not
		r := w.release(manifest.Release{Version: newVersion})
		u := w.updater(oldVersion)
		same := quietly(offer(r, "lease"), 5*time.Hour, 7*time.Hour)
		w.onFetch = func() {
			if w.fetched <= 3 {
				u.Offered(same)
			}
		}
		u.Offered(same)
		if !w.runFor(u, 4*time.Hour) || w.fetched != 1 {
			t.Errorf("%d downloads, told %s", w.fetched, w.told())
		}
	})
}

func TestPostponed(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		u := w.updater(oldVersion)
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		for i := range 4 { // the fourth wish is one too many
			w.postpone(newVersion)
			if left := 2 - i; w.runFor(u, 20*time.Hour) != (i == 3) || i < 3 && u.Status().Postponable != left {
				w.Fatalf("after wish %d: %+v, told %s", i+1, u.Status(), w.told())
			}
			if i == 2 {
				break
			}
			time.Sleep(3 * time.Hour)
		}
		w.postpone(newVersion)
		w.fleet.Publish()
		if !w.runFor(u, 30*time.Hour) || time.Since(begin) < 66*time.Hour {
			w.Errorf("after three days: %v, told %s", time.Since(begin), w.told())
		}
	})
}

// TestPutOffIsShown: a lease may end before what was put off begins; until the next one it
// is known until when that is put off.
func TestPutOffIsShown(t *testing.T) {
	inBubble(t, func(w *world) {
		begin := time.Now()
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetValidS(24 * 3600)
		u.Offered(o)
		for range 3 {
			w.postpone(newVersion)
			w.runFor(u, 3*time.Minute)
		}
		if s := u.Status(); !s.PutOff.IsZero() || !s.Coming() {
			t.Errorf("under its lease: %+v", s)
		}
		w.runFor(u, 30*time.Hour)
		if s := u.Status(); s.Coming() || s.PutOff.Sub(begin).Round(time.Hour) != 72*time.Hour {
			t.Errorf("behind its lease, %v after the offer: %+v", time.Since(begin), s)
		}
		w.runFor(u, 45*time.Hour)
		if s := u.Status(); !s.PutOff.IsZero() {
			t.Errorf("%v after the offer: %+v", time.Since(begin), s)
		}
	})
}

// TestPostponedAtOnce: three wishes one behind the other are three days.
func TestPostponedAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		const day = 24 * time.Hour
		begin := time.Now()
		u := w.updater(oldVersion)
		o := offer(w.release(manifest.Release{Version: newVersion}), "lease")
		o.SetValidS(uint32(5 * day / time.Second))
		u.Offered(o)
		for i := range 3 {
			w.postpone(newVersion)
			w.runFor(u, 10*time.Minute)
			if s := u.Status(); s.Begins.Sub(begin).Round(time.Hour) != time.Duration(i+1)*day || s.Postponable != 2-i {
				t.Errorf("wish %d: it begins %v after the offer, postponable %d", i+1, s.Begins.Sub(begin), s.Postponable)
			}
		}
		for range 3 {
			if w.runFor(u, 23*time.Hour) {
				t.Errorf("armed %v after the offer", time.Since(begin))
			}
			w.fleet.Publish()
		}
		if !w.runFor(u, 6*time.Hour) {
			t.Errorf("%v after the offer: told %s", time.Since(begin), w.told())
		}
	})
}

func TestAttack38_NoLoop(t *testing.T) {
	inBubble(t, func(w *world) {
		// What was refused is not begun again under the same lease, however often a
		// collector that has not heard of it says so, and told once.
		r := w.release(manifest.Release{Version: newVersion})
		w.programs[r.SHA256] = nil
		w.refused(r, "lease", journal.WrongBytes)
		n, fetched := len(w.entries), w.fetched
		for range 5 {
			w.offered(r, "lease", time.Hour)
		}
		if len(w.entries) != n || w.fetched != fetched {
			w.Errorf("told %s, %d downloads", w.told(), w.fetched)
		}
	})
	inBubble(t, func(w *world) { // three installations a day
		for i, version := range []string{"1.1.0", "1.2.0", "1.3.0", "1.4.0"} {
			r := w.release(manifest.Release{Version: version})
			armed := w.offered(r, "lease-"+version, time.Hour)
			if armed != (i < 3) {
				w.Fatalf("installation %d: armed %t, told %s", i+1, armed, w.told())
			}
			if armed {
				w.launcher(journal.Program{Version: version, Sum: sumOf(w.programs[r.SHA256])})
			}
		}
		if !strings.HasSuffix(w.told(), "refused:too_many") {
			w.Errorf("told %s", w.told())
		}
	})
}

func TestAttack39_Downgrade(t *testing.T) {
	inBubble(t, func(w *world) {
		w.refused(w.release(manifest.Release{Version: "0.9.0"}), "older", journal.Floor)
		// A floor of any release that was seen stays, though it was for a later moment.
		far := time.Now().Add(1000 * time.Hour).UnixMilli()
		w.offered(w.release(manifest.Release{Version: "1.5.0", Floor: "1.4.0", Ramp: manifest.Ramp{T0MS: far}}), "floor", time.Hour)
		w.refused(w.release(manifest.Release{Version: "1.3.0"}), "below", journal.Floor)
	})
	inBubble(t, func(w *world) { // signed as a step back, it is one
		if !w.offered(w.release(manifest.Release{Version: "0.9.0", RollbackOf: oldVersion}), "back", time.Hour) {
			w.Errorf("a signed step back: told %s", w.told())
		}
	})
}

func TestAttack47_RevokedBeforeArming(t *testing.T) {
	for name, revoke := range map[string]func(w *world, r manifest.Release){
		"removed": func(w *world, r manifest.Release) {
			w.fleet.Drafts[manifest.RoleStable].RemoveTarget(r.Path)
			w.fleet.Publish(manifest.RoleStable)
		},
		"blocked": func(w *world, r manifest.Release) {
			w.must(w.fleet.Drafts[tufrepo.Targets].SetRules(manifest.Rules{Blocked: []string{r.SHA256}}))
			w.fleet.Publish(tufrepo.Targets)
		},
	} {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.onTest = func() error { revoke(w, r); return nil } // the last thing before arming
			w.refused(r, "lease", journal.Withdrawn)
			if got := w.told(); !strings.Contains(got, "staged refused:withdrawn") {
				w.Errorf("%s: told %s", name, got)
			}
			if w.versions().Check(newVersion, sumOf(w.programs[r.SHA256])) == nil {
				w.Errorf("%s: its copy is still there", name)
			}
		})
	}
	inBubble(t, func(w *world) { // the lease, in the middle of the download
		u := w.updater(oldVersion)
		w.onFetch = func() { u.Withdrawn("") }
		u.Offered(offer(w.release(manifest.Release{Version: newVersion}), "lease"))
		if w.runFor(u, 5*time.Hour) || !strings.HasSuffix(w.told(), "refused:withdrawn") || w.fetched != 1 {
			w.Errorf("told %s, %d downloads", w.told(), w.fetched)
		}
	})
}

// TestReachedAgain: who is offered again after a boot or in another network does not
// wait for what it took when nobody was reached.
func TestReachedAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.release(manifest.Release{Version: newVersion})
		w.fetchErr = fetch.ErrUnreachable
		u := w.updater(oldVersion)
		u.Offered(offer(r, "lease"))
		time.AfterFunc(8*time.Hour, func() { // by then it tries each two hours
			w.mu.Lock()
			w.fetchErr = nil
			w.mu.Unlock()
			u.Offered(offer(r, "lease"))
		})
		began := time.Now()
		if !w.runFor(u, 10*time.Hour) || time.Since(began) > 8*time.Hour+time.Minute {
			w.Errorf("armed after %v, told %s", time.Since(began), w.told())
		}
	})
}

func TestUnreachable(t *testing.T) {
	inBubble(t, func(w *world) {
		w.fetchErr = fetch.ErrUnreachable
		if w.offered(w.release(manifest.Release{Version: newVersion}), "lease", 10*time.Hour) || !strings.HasSuffix(w.told(), "waiting:unreachable") {
			w.Errorf("told %s", w.told())
		}
		if w.meta > 40 {
			w.Errorf("%d requests in ten hours without a network", w.meta)
		}
		w.fetchErr = nil
		if !w.runFor(w.updater(oldVersion), 3*time.Hour) {
			w.Errorf("with a network: told %s", w.told())
		}
	})
}

// TestAttack23_KilledWhilePreparing: the agent dies at each of its operations on
// journal and copies, loses what was not synced, and starts again.
func TestAttack23_KilledWhilePreparing(t *testing.T) {
	need.Plain(t)
	ops := 0
	for n := 0; n == 0 || n <= ops; n++ {
		inBubble(t, func(w *world) {
			r := w.release(manifest.Release{Version: newVersion})
			w.tree.Plan(fault.At(n-1, fault.Kill)) // the first goes through, and counts
			armed := w.offered(r, "lease", time.Hour)
			if n == 0 {
				ops = len(w.tree.Ops())
				if !armed || ops < 20 {
					w.Fatalf("armed %t after %d operations", armed, ops)
				}
				return
			}
			w.tree.Plan(nil)
			if err := w.versions().Check(oldVersion, w.old.Sum); err != nil || w.journal().Good != w.old {
				w.Errorf("killed at %d: the program that runs: %v", n, err)
			}
			// It starts again, and the collector says the same again.
			if !w.offered(r, "lease", 3*time.Hour) {
				w.Fatalf("killed at %d: not armed, %s, told %s", n, w.journal().State, w.told())
			}
			j := w.journal()
			if err := w.versions().Check(newVersion, j.Next.Sum); err != nil || j.State != journal.Armed || len(j.Swaps) != 1 {
				w.Errorf("killed at %d: %s, %d swaps, the copy: %v", n, j.State, len(j.Swaps), err)
			}
			// Every step was told, at most one of them twice.
			got := strings.Fields(w.told())
			for _, s := range []string{"offered", "downloaded", "staged", "armed"} {
				if !strings.Contains(w.told(), s) {
					w.Errorf("killed at %d: %s was never told: %v", n, s, got)
				}
			}
			if len(got) > 8 {
				w.Errorf("killed at %d: told %v", n, got)
			}
		})
	}
	t.Logf("killed at %d operations", ops)
}
