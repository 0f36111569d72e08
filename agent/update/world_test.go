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
	"strconv"
	"strings"
	"sync"
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
