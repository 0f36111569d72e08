package layout

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// LauncherName is the file name of the launcher.
func LauncherName() string { return "hausmeister-launcher" + exe }

// AgentName is the file name of the agent.
func AgentName() string { return "hausmeister-agent" + exe }

// Launchers holds the launchers, one folder each, and the pointer to the one
// that is used.
func (l Layout) Launchers() string { return filepath.Join(l.Root, "launcher") }

func (l Layout) launcherPointer() string { return filepath.Join(l.Launchers(), "current") }

// Launcher is the path that the service manager runs. Where the pointer is a
// link it leads through that, and a change of the pointer is all that a change of
// launchers needs; elsewhere it names the version.
func (l Layout) Launcher() (string, error) {
	version, err := l.LauncherVersion(Plain())
	if err != nil {
		return "", err
	}
	if pointerIsLink {
		version = "current"
	}
	return filepath.Join(l.Launchers(), version, LauncherName()), nil
}

// LauncherVersion is where the pointer leads.
func (l Layout) LauncherVersion(d Disk) (string, error) {
	version, err := pointsTo(d, l.launcherPointer())
	if err != nil {
		return "", fmt.Errorf("reading which launcher is used: %w", err)
	}
	return version, CheckVersion(version)
}

// LauncherPath is where a launcher lies, whether or not it does.
func (l Layout) LauncherPath(version string) string {
	return filepath.Join(l.Launchers(), version, LauncherName())
}

// PutLauncher keeps a launcher beside the others, durably; the pointer stays.
func (l Layout) PutLauncher(d Disk, version string, want Sum, r io.Reader) error {
	path := l.LauncherPath(version)
	err := CheckVersion(version)
	if err == nil {
		err = d.Mkdir(filepath.Dir(path))
	}
	if err == nil {
		err = writeFrom(d, path, r, ProgramMode, &want)
	}
	if err == nil {
		err = d.SyncDir(l.Launchers())
	}
	if err != nil {
		return fmt.Errorf("keeping launcher %s: %w", version, err)
	}
	return nil
}

// PointLauncher makes a launcher the one that is used from the next start of the
// service on. Files are never changed in place: the one before stays.
func (l Layout) PointLauncher(d Disk, version string) error {
	err := CheckVersion(version)
	if err == nil {
		// One that is not there must not be what the service manager runs.
		var f File
		if f, err = d.Open(l.LauncherPath(version)); err == nil {
			err = errors.Join(f.Close(), setPointer(d, l.launcherPointer(), version))
		}
	}
	if err != nil {
		return fmt.Errorf("pointing to launcher %s: %w", version, err)
	}
	return nil
}
