package layout

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ProgramMode is that of programs: everybody may ask the agent how it is.
const ProgramMode = 0o755

// ErrVersion: a version that cannot be a folder's name.
var ErrVersion = errors.New("not a version like 1.2.3")

// semver is what may become a folder's name unharmed.
var semver = regexp.MustCompile(`^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(-[0-9A-Za-z.-]{1,60})?(\+[0-9A-Za-z.-]{1,60})?$`)

// CheckVersion says whether a version may name a folder; "dev" is a build's that
// nobody gave a version.
func CheckVersion(version string) error {
	if version != "dev" && !semver.MatchString(version) {
		return fmt.Errorf("%q: %w", version, ErrVersion)
	}
	return nil
}

// Versions are the good copies of an agent's programs, one folder each:
//
//	versions/<version>/<name>          the program
//	versions/<version>/<name>.sha256   its sum, as it was when it came
//	versions/<version>/good            it was settled once
//
// Nothing runs from there but a program's test of itself: what runs is the copy
// in bin/, so that a scanner that takes that one away leaves these. The sums
// are for the day on which both journals are lost; else the journal's count.
type Versions struct {
	layout Layout
	disk   Disk
	name   string
}

// VersionsOn are the copies in l of the program called name.
func (l Layout) VersionsOn(d Disk, name string) *Versions {
	return &Versions{layout: l, disk: d, name: name}
}

// Path is where a version's program lies, whether or not it does.
func (v *Versions) Path(version string) string {
	return filepath.Join(v.layout.Versions(), version, v.name)
}

func (v *Versions) sumPath(version string) string { return v.Path(version) + ".sha256" }

func (v *Versions) goodPath(version string) string {
	return filepath.Join(v.layout.Versions(), version, "good")
}

// Put keeps a program: after nil it is durable, whole, and has the sum; after an
// error or a crash there is what was there before. The same again does nothing.
func (v *Versions) Put(version string, want Sum, r io.Reader) error {
	if err := v.put(version, want, r); err != nil {
		return fmt.Errorf("keeping version %s: %w", version, err)
	}
	return nil
}

func (v *Versions) put(version string, want Sum, r io.Reader) error {
	if err := CheckVersion(version); err != nil {
		return err
	}
	if v.Check(version, want) == nil {
		return v.noteSum(version, want)
	}
	if err := v.disk.Mkdir(filepath.Dir(v.Path(version))); err != nil {
		return err
	}
	if err := v.disk.SyncDir(v.layout.Versions()); err != nil {
		return err
	}
	if err := writeFrom(v.disk, v.Path(version), r, ProgramMode, &want); err != nil {
		return err
	}
	return v.noteSum(version, want)
}

// noteSum writes the sum beside the program, if it is not there.
func (v *Versions) noteSum(version string, sum Sum) error {
	if got, err := v.sum(version); err == nil && got == sum {
		return nil
	}
	return WriteOn(v.disk, v.sumPath(version), []byte(sum.String()+"  "+v.name+"\n"), 0o644)
}

// sum reads what is noted.
func (v *Versions) sum(version string) (Sum, error) {
	f, err := v.disk.Open(v.sumPath(version))
	if err != nil {
		return Sum{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1000))
	if err := errors.Join(err, f.Close()); err != nil {
		return Sum{}, err
	}
	hex, _, _ := strings.Cut(string(b), " ")
	return ParseSum(strings.TrimSpace(hex))
}

// Open opens a version's program for who checks the sum of what he reads.
func (v *Versions) Open(version string) (File, error) {
	if err := CheckVersion(version); err != nil {
		return nil, err
	}
	return v.disk.Open(v.Path(version))
}

// Check reads a version's program and says whether it has the sum.
func (v *Versions) Check(version string, want Sum) error {
	if err := CheckVersion(version); err != nil {
		return err
	}
	got, err := SumFile(v.disk, v.Path(version))
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s: %w", v.Path(version), ErrOtherBytes)
	}
	return nil
}

// SetGood notes that a version was settled.
func (v *Versions) SetGood(version string) error {
	if v.good(version) {
		return nil
	}
	return WriteOn(v.disk, v.goodPath(version), []byte("settled\n"), 0o644)
}

func (v *Versions) good(version string) bool {
	f, err := v.disk.Open(v.goodPath(version))
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// A Kept is a program that is there and has the sum that is noted beside it.
type Kept struct {
	Version string
	Sum     Sum
	Good    bool // it was settled once
}

// Kept lists what is there and whole: the settled ones first, of these the
// newest first.
func (v *Versions) Kept() ([]Kept, error) {
	names, err := v.disk.Names(v.layout.Versions())
	if err != nil {
		return nil, err
	}
	var all []Kept
	for _, version := range names {
		sum, err := v.sum(version)
		if err != nil || v.Check(version, sum) != nil {
			continue
		}
		all = append(all, Kept{Version: version, Sum: sum, Good: v.good(version)})
	}
	slices.SortFunc(all, func(a, b Kept) int {
		if a.Good != b.Good {
			if a.Good {
				return -1
			}
			return 1
		}
		return compareVersions(b.Version, a.Version)
	})
	return all, nil
}

// Prune removes all versions but those to keep, and what crashes left in these.
// An error of one does not keep the others.
func (v *Versions) Prune(keep ...string) error {
	names, err := v.disk.Names(v.layout.Versions())
	if err != nil {
		return err
	}
	var errs []error
	for _, version := range names {
		dir := filepath.Join(v.layout.Versions(), version)
		files, err := v.disk.Names(dir)
		errs = append(errs, err)
		kept := slices.Contains(keep, version)
		for _, name := range files {
			if !kept || isTmp(name) {
				errs = append(errs, v.disk.Remove(filepath.Join(dir, name)))
			}
		}
		if !kept {
			errs = append(errs, v.disk.Remove(dir))
		}
	}
	return errors.Join(append(errs, v.disk.SyncDir(v.layout.Versions()))...)
}

// compareVersions orders by semver's rules, without build metadata.
func compareVersions(a, b string) int {
	cut := func(s string) (numbers []string, pre string) {
		s, _, _ = strings.Cut(s, "+")
		core, pre, _ := strings.Cut(s, "-")
		return strings.Split(core, "."), pre
	}
	an, ap := cut(a)
	bn, bp := cut(b)
	if c := slices.CompareFunc(an, bn, compareNumbers); c != 0 {
		return c
	}
	switch {
	case ap == bp:
		return 0
	case ap == "": // a release is newer than what led to it
		return 1
	case bp == "":
		return -1
	}
	return slices.CompareFunc(strings.Split(ap, "."), strings.Split(bp, "."), func(x, y string) int {
		xn, yn := isNumber(x), isNumber(y)
		switch {
		case xn && yn:
			return compareNumbers(x, y)
		case xn:
			return -1
		case yn:
			return 1
		}
		return strings.Compare(x, y)
	})
}

// compareNumbers compares digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// CompareVersions says whether a is older than (< 0), as, or newer than b.
func CompareVersions(a, b string) int { return compareVersions(a, b) }
