package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
	"hausmeister/platform/swap"
)

// Installed are the programs of an installation.
type Installed struct {
	layout   layout.Layout
	disk     layout.Disk
	versions *layout.Versions
	swapper  *swap.Swapper
	trusted  func() error
}

// InstalledConfig says where they are.
type InstalledConfig struct {
	Layout layout.Layout
	Disk   layout.Disk
	// Swap is for tests: its engine and so on; target and disk are set here.
	Swap swap.Config
	// Trusted says whether nobody but the administrator may write there; nil = the
	// layout's Check.
	Trusted func() error
}

// NewInstalled makes them; nothing is touched.
func NewInstalled(c InstalledConfig) (*Installed, error) {
	c.Swap.Target, c.Swap.Disk = c.Layout.Program(), c.Disk
	s, err := swap.New(c.Swap)
	if err != nil {
		return nil, err
	}
	if c.Trusted == nil {
		c.Trusted = c.Layout.Check
	}
	return &Installed{
		layout: c.Layout, disk: c.Disk, swapper: s, trusted: c.Trusted,
		versions: c.Layout.VersionsOn(c.Disk, layout.AgentName()),
	}, nil
}

// Sum is that of what bin/ holds.
func (i *Installed) Sum() (layout.Sum, error) { return i.swapper.Sum() }

// Has says whether there is a whole copy.
func (i *Installed) Has(p journal.Program) error { return i.versions.Check(p.Version, p.Sum) }

func (i *Installed) open(p journal.Program) func() (layout.File, error) {
	return func() (layout.File, error) { return i.versions.Open(p.Version) }
}

// size is how much room a copy takes; what cannot be asked is asked by writing.
func (i *Installed) size(p journal.Program) (n uint64) {
	f, err := i.versions.Open(p.Version)
	if err != nil {
		return 0
	}
	defer f.Close()
	m, _ := io.Copy(io.Discard, f)
	return uint64(m)
}

// Swap puts a copy in the place of what runs.
func (i *Installed) Swap(ctx context.Context, p journal.Program) error {
	return i.swapper.Swap(ctx, i.open(p), i.size(p), p.Sum)
}

// Restore puts it there whatever is there.
func (i *Installed) Restore(ctx context.Context, p journal.Program) error {
	if err := i.versions.Check(p.Version, p.Sum); err != nil {
		return err
	}
	return i.swapper.Restore(ctx, i.open(p), p.Sum)
}

// Path is where a copy lies.
func (i *Installed) Path(p journal.Program) string { return i.versions.Path(p.Version) }

// Sweep removes what swaps that were cut left beside what runs.
func (i *Installed) Sweep() error { return i.swapper.Sweep() }

// Prune removes all copies but those of these versions.
func (i *Installed) Prune(keep []string) error { return i.versions.Prune(keep...) }

// SetGood notes that a version was settled.
func (i *Installed) SetGood(version string) error { return i.versions.SetGood(version) }

// Kept are the whole copies, the best first.
func (i *Installed) Kept() ([]layout.Kept, error) { return i.versions.Kept() }

// Packaged reads the package's note: version, sum.
func (i *Installed) Packaged() (p journal.Program, note string, err error) {
	f, err := i.disk.Open(i.layout.Packaged())
	if errors.Is(err, fs.ErrNotExist) {
		return journal.Program{}, "", nil
	} else if err != nil {
		return journal.Program{}, "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1000))
	if err := errors.Join(err, f.Close()); err != nil {
		return journal.Program{}, "", err
	}
	note = strings.TrimSpace(string(b))
	version, digits, _ := strings.Cut(note, " ")
	sum, err := layout.ParseSum(digits)
	if err == nil {
		err = layout.CheckVersion(version)
	}
	if err != nil {
		return journal.Program{}, "", fmt.Errorf("reading %s: %w", i.layout.Packaged(), err)
	}
	return journal.Program{Version: version, Sum: sum}, note, nil
}

// Trusted says whether nobody but the administrator may write where programs lie.
func (i *Installed) Trusted() error { return i.trusted() }

// Note is the line that a package or an installation by hand leaves for us.
func Note(p journal.Program) string { return p.Version + " " + p.Sum.String() + "\n" }
