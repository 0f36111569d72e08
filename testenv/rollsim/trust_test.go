package rollsim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"hausmeister/agent/update"
	"hausmeister/agent/update/fetch"
	"hausmeister/collector/access"
	"hausmeister/proto/manifest"
	"hausmeister/testenv/tufrepo"
)

// shelf is the trusted metadata of a device, which many have alike.
type shelf struct {
	number int
	files  map[string][]byte
}

// store is the shelf as manifest reads it.
func (s *shelf) store() *tufrepo.Mem {
	m := tufrepo.NewMem()
	for name, data := range s.files {
		m.Files[name] = data
	}
	return m
}

// question is what the answer to a lookup depends on, but for the time.
type question struct {
	shelf, published int
	path             string
}

type answer struct {
	target          manifest.Target
	state           manifest.State
	after           *shelf
	bytes, requests int64
}

// library remembers what lookups ended with.
type library struct {
	mu sync.Mutex
	// below is guarded by mu
	answers map[question]answer
	shelves int
}

// lookups are update.Lookups of one device.
type lookups struct{ d *device }

// Lookup verifies, or takes what another device found that had the same files and
// asked the same collector for the same.
func (l lookups) Lookup(ctx context.Context, path string) (manifest.Target, manifest.State, error) {
	d, w := l.d, l.d.w
	q := question{d.shelf.number, w.c.published(), path}
	w.library.mu.Lock()
	defer w.library.mu.Unlock()
	a, known := w.library.answers[q]
	if known && !d.verifies() {
		if !d.connected() {
			return manifest.Target{}, manifest.State{}, fmt.Errorf("%w: no session", manifest.ErrTransport)
		}
		a.state.RefTime = w.now()
	} else {
		var err error
		if a, err = d.verify(ctx, path); err != nil {
			return a.target, a.state, err
		}
		w.library.shelves++
		a.after.number = w.library.shelves
		if !known && !d.verifies() {
			w.library.answers[q] = a
		}
	}
	d.shelf = a.after
	d.count(a.bytes, a.requests)
	return a.target, a.state, nil
}

// List is for what comes beside the program, launchers and policies, which these
// devices do not take.
func (l lookups) List(context.Context, ...string) ([]manifest.Target, manifest.State, error) {
	return nil, manifest.State{}, errors.ErrUnsupported
}

// verify is one lookup by proto/manifest, over the collector's functions.
func (d *device) verify(ctx context.Context, path string) (a answer, err error) {
	store := d.shelf.store()
	f := &fetching{d: d, a: &a}
	m, err := manifest.New(manifest.Config{Fetch: f, Fresh: f.fresh, Store: store, Root: d.w.c.repo.Root(), Build: monday.AddDate(0, -2, 0), Now: d.w.now})
	if err != nil {
		return a, err
	}
	a.target, a.state, err = m.Lookup(ctx, path)
	a.after = &shelf{files: store.Copy()}
	return a, err
}

// fetching counts what is fetched.
type fetching struct {
	d *device
	a *answer
}

func (f *fetching) get(name string, nonce []byte, root uint64) (data, fresh []byte, err error) {
	if !f.d.connected() {
		return nil, nil, fetch.ErrUnreachable
	}
	err = f.d.w.c.call(func(r *running) (err error) {
		data, fresh, err = r.gate.Metadata(context.Background(), f.d.caller, name, nonce, root)
		return err
	})
	f.a.requests++
	f.a.bytes += int64(len(data) + len(fresh))
	if errors.Is(err, access.ErrNotFound) {
		err = fmt.Errorf("%w: %s", manifest.ErrNotFound, name)
	}
	return data, fresh, err
}

// Fetch is manifest.Fetcher's.
func (f *fetching) Fetch(_ context.Context, name string) (io.ReadCloser, error) {
	data, _, err := f.get(name, nil, 0)
	return io.NopCloser(bytes.NewReader(data)), err
}

func (f *fetching) fresh(_ context.Context, nonce manifest.Nonce, root int64) ([]byte, error) {
	_, fresh, err := f.get(manifest.Timestamp+".json", nonce[:], uint64(root))
	return fresh, err
}

// trust is the shelf, to read only: update asks it for the time that was signed.
type trust struct{ d *device }

func (t trust) Read(name string, limit int64) ([]byte, error) {
	return t.d.shelf.store().Read(name, limit)
}
func (t trust) Write(string, []byte) error { return errors.New("written by lookups only") }
func (t trust) Remove(string) error        { return errors.New("written by lookups only") }

var _ update.Lookups = lookups{}
