package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Layout is the set of folders under one root.
type Layout struct {
	Root string
}

// Default is the layout of an installed agent on this operating system.
func Default() Layout { return Layout{Root: defaultRoot()} }

// Versions holds one folder per installed version.
func (l Layout) Versions() string { return filepath.Join(l.Root, "versions") }

// State holds identity, keys and settings; owner only.
func (l Layout) State() string { return filepath.Join(l.Root, "state") }

// Update holds the journal of updates and what is staged; owner only.
func (l Layout) Update() string { return filepath.Join(l.State(), "update") }

// Bin holds the programs that run.
func (l Layout) Bin() string { return filepath.Join(l.Root, "bin") }

// Program is the agent that runs: a copy of one of the versions.
func (l Layout) Program() string { return filepath.Join(l.Bin(), AgentName()) }

// Packaged is the file in which a package notes its agent's version and sum.
func (l Layout) Packaged() string { return filepath.Join(l.Root, "packaged") }

// Spool holds the reports; owner only.
func (l Layout) Spool() string { return filepath.Join(l.Root, "spool") }

// Log holds the log files; owner only.
func (l Layout) Log() string { return filepath.Join(l.Root, "log") }

// Public holds what everybody at this machine may read.
func (l Layout) Public() string { return filepath.Join(l.Root, "public") }

// Wishes is where everybody at this machine may put a file, which only the
// administrator reads and removes: what is in it is a wish and nothing more.
func (l Layout) Wishes() string { return filepath.Join(l.Root, "wishes") }

// rights of a folder beside its owner's, who may do everything.
type rights int

const (
	forNobody  rights = iota
	forReaders        // everybody may read
	forWishes         // everybody may put a file there, and none of another's away
)

// ErrForeign is the answer of Create for a folder that cannot be trusted: not a
// plain folder, or owned by somebody who may change its rights behind our back.
var ErrForeign = errors.New("not a folder of ours")

// Create makes the folders that are missing and sets the rights of all.
func (l Layout) Create() error {
	for _, f := range []struct {
		path   string
		rights rights
	}{
		{l.Root, forReaders},
		{l.Versions(), forReaders},
		{l.Bin(), forReaders},
		{l.Launchers(), forReaders},
		{l.State(), forNobody},
		{l.Update(), forNobody},
		{l.Spool(), forNobody},
		{l.Log(), forNobody},
		{l.Public(), forReaders},
		{l.Wishes(), forWishes},
	} {
		if err := createDir(f.path, f.rights); err != nil {
			return fmt.Errorf("creating folder %s: %w", f.path, err)
		}
	}
	return nil
}

// Check refuses folders in which somebody but us and the administrator could put
// a program or a journal of his own. Create mends what can be mended; this says
// whether all is well now, before anything in them is run.
func (l Layout) Check() error {
	for _, path := range []string{l.Root, l.Versions(), l.Bin(), l.Launchers(), l.State(), l.Update()} {
		if err := checkFolder(path); err != nil {
			return fmt.Errorf("looking at who may write: %w", err)
		}
	}
	return nil
}

// createDir makes one folder, or takes over one that is there, with its rights.
func createDir(path string, r rights) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return ErrForeign
	}
	return takeOver(path, info, r)
}
