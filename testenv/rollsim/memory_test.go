package rollsim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"hausmeister/agent/update/fetch"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
)

// What a device has on its disk, in memory. After a hard end of power nothing can be
// written until it is on again.

var errOff = errors.New("the power is gone")

type disk struct {
	mu sync.Mutex
	// below is guarded by mu
	j     journal.Journal
	bin   journal.Program
	kept  map[string]layout.Kept
	notes map[string][]byte
	part  bytes.Buffer // of the update that comes
	have  map[string]int64
	offAt time.Time // when the power goes without a word; zero = never
}

// newDisk is that of a device on which the old version has run for long.
func newDisk(now time.Time) *disk {
	d := &disk{bin: v1, kept: map[string]layout.Kept{oldVersion: {Version: oldVersion, Sum: v1.Sum, Good: true}}, notes: map[string][]byte{}, have: map[string]int64{}}
	for _, e := range []journal.Event{
		{Kind: journal.Adopt, Program: v1}, {Kind: journal.Start}, {Kind: journal.Alive}, {Kind: journal.Check}, {Kind: journal.Reach}, {Kind: journal.Stop},
		{Kind: journal.Measure, Bytes: 16 << 20},
	} {
		e.At = now.UnixMilli()
		j, _, err := d.j.Step(e)
		if err != nil {
			panic(err)
		}
		d.j = j
	}
	return d
}

func (d *disk) powered(offAt time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offAt = offAt
}

func (d *disk) writable() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writableLocked()
}

func (d *disk) writableLocked() error {
	if !d.offAt.IsZero() && !time.Now().Before(d.offAt) {
		return errOff
	}
	return nil
}

// Load and Do are journal.Store's.
func (d *disk) Load() (journal.Journal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.j, nil
}

func (d *disk) Do(_ context.Context, e journal.Event) (journal.Journal, []journal.Effect, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.writableLocked(); err != nil {
		return journal.Journal{}, nil, err
	}
	j, effects, err := d.j.Step(e)
	if err != nil {
		return journal.Journal{}, nil, err
	}
	d.j = j
	return j, effects, nil
}

func (d *disk) Reserve() error { return nil }

// programs are launcher.Programs.
type programs struct{ *disk }

func (p programs) Sum() (layout.Sum, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bin.Sum, nil
}

func (p programs) Has(want journal.Program) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hasLocked(want.Version, want.Sum)
}

func (d *disk) hasLocked(version string, sum layout.Sum) error {
	k, ok := d.kept[version]
	switch {
	case !ok:
		return fmt.Errorf("%s: %w", version, fs.ErrNotExist)
	case k.Sum != sum:
		return layout.ErrOtherBytes
	}
	return nil
}

func (p programs) Swap(_ context.Context, to journal.Program) error { return p.put(to) }

func (p programs) Restore(_ context.Context, to journal.Program) error { return p.put(to) }

func (p programs) put(to journal.Program) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := errors.Join(p.writableLocked(), p.hasLocked(to.Version, to.Sum)); err != nil {
		return err
	}
	p.bin = to
	return nil
}

func (p programs) Sweep() error { return nil }

func (p programs) Prune(keep []string) error { return copies(p).Prune(keep...) }

func (p programs) SetGood(version string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k, ok := p.kept[version]; ok && p.writableLocked() == nil {
		k.Good = true
		p.kept[version] = k
	}
	return nil
}

func (p programs) Kept() (out []layout.Kept, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.kept {
		out = append(out, k)
	}
	return out, nil
}

func (p programs) Packaged() (journal.Program, string, error) { return journal.Program{}, "", nil }

// copies are update.Programs.
type copies struct{ *disk }

func (c copies) Put(version string, sum layout.Sum, r io.Reader) error {
	got, err := layout.SumOf(r)
	if err != nil {
		return err
	}
	if got != sum {
		return layout.ErrOtherBytes
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writableLocked(); err != nil {
		return err
	}
	c.kept[version] = layout.Kept{Version: version, Sum: sum}
	return nil
}

func (c copies) Check(version string, sum layout.Sum) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hasLocked(version, sum)
}

type reading struct{ *bytes.Reader }

func (reading) Write([]byte) (int, error) { return 0, fs.ErrPermission }
func (reading) Sync() error               { return nil }
func (reading) Close() error              { return nil }

func (c copies) Open(version string) (layout.File, error) {
	return reading{bytes.NewReader(text(version))}, nil
}

func (c copies) Path(version string) string { return version }

func (c copies) Prune(keep ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writableLocked(); err != nil {
		return err
	}
	for v := range c.kept {
		wanted := false
		for _, k := range keep {
			wanted = wanted || k == v
		}
		if !wanted {
			delete(c.kept, v)
		}
	}
	return nil
}

// parts are update.Parts.
type parts struct{ *disk }

type unpacking struct{ *disk }

func (u unpacking) Write(b []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.part.Write(b)
}

func (u unpacking) Close() error { return nil }

func (p parts) Part([]byte) (fetch.Part, error) { return nil, fs.ErrInvalid } // we fetch without
func (p parts) Done([]byte)                     {}

func (p parts) Out() (io.WriteCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.part.Reset()
	return unpacking(p), nil
}

func (p parts) Unpacked() (io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.part.Len() == 0 {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(p.part.Bytes()))), nil
}

func (p parts) Sweep() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.part.Reset()
	clear(p.have)
	return nil
}

func (p parts) Free() (uint64, error) { return 1 << 40, nil }
func (p parts) Held() (uint64, error) { return 0, nil }

// Read and Write are update.Files.
func (d *disk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.notes[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (d *disk) Write(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.writableLocked(); err != nil {
		return err
	}
	d.notes[name] = bytes.Clone(data)
	return nil
}

// had is how much of a file came before.
func (d *disk) had(sha256 []byte) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.have[string(sha256)]
}

func (d *disk) came(sha256 []byte, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.have[string(sha256)] = n
}
