package sysinfo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// speed starts a program, so once a minute is enough.
func (d *darwin) speed(ctx context.Context) (speed, error) {
	return d.keptSpeed.get(50*time.Second, func() (speed, error) {
		out, err := program(ctx, "/usr/bin/pmset", "-g", "therm")
		if err != nil {
			return speed{}, err
		}
		s, err := parseTherm(out)
		if errors.As(err, new(errAbsent)) { // an answer too: not to be asked for each time
			return speed{limit: None[int64](NotSupported), throttled: None[int64](NotSupported)}, nil
		}
		return s, err
	})
}

func (*darwin) disks(ctx context.Context) ([]Disk, error) {
	out, err := program(ctx, "/usr/sbin/diskutil", "list", "-plist", "physical")
	if err != nil {
		return nil, err
	}
	names, err := parseWholeDisks(out)
	if err != nil {
		return nil, err
	}
	var all []Disk
	for _, name := range names {
		out, err := program(ctx, "/usr/sbin/diskutil", "info", "-plist", name)
		if err != nil {
			return nil, err
		}
		disk, ok, err := parseDiskInfo(out)
		if err != nil {
			return nil, err
		}
		if ok {
			disk.Name = numbered("disk", len(all)+1)
			all = append(all, disk)
		}
	}
	if len(all) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return all, nil
}

func (*darwin) updates(context.Context) (Updates, error) {
	u := Updates{Security: None[int64](NotSupported), Last: None[time.Time](NotSupported)}
	b, err := file("/Library/Preferences/com.apple.SoftwareUpdate.plist")
	if err != nil {
		return Updates{}, err
	}
	if u.Pending, err = parsePending(b); err != nil {
		return Updates{}, err
	}
	if b, err = file("/Library/Receipts/InstallHistory.plist"); err == nil {
		u.Last, err = parseInstallHistory(b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		u.Last = None[time.Time](why(err))
	}
	return u, nil
}

func (*darwin) encryption(ctx context.Context) (Guard, error) {
	out, err := program(ctx, "/usr/bin/fdesetup", "status")
	if err != nil {
		return "", err
	}
	return parseFileVault(out)
}

func (*darwin) firewall(ctx context.Context) (Guard, error) {
	out, err := program(ctx, "/usr/libexec/ApplicationFirewall/socketfilterfw", "--getglobalstate")
	if err != nil {
		return "", err
	}
	return parseFirewall(out)
}

// xprotects are the places of the built-in protection's patterns; macOS 15
// brings its own ones to the second.
var xprotects = []string{
	"/Library/Apple/System/Library/CoreServices/XProtect.bundle/Contents/Info.plist",
	"/private/var/protected/xprotect/XProtect.bundle/Contents/Info.plist",
}

// antivirus is XProtect, which cannot be switched off; how old its patterns are
// shows in the time of the file that names their version. Other products are
// not known here.
func (*darwin) antivirus(context.Context) (antivirus, error) {
	var newest time.Time
	for _, path := range xprotects {
		if fi, err := os.Stat(path); err == nil && fi.ModTime().After(newest) {
			newest = fi.ModTime()
		}
	}
	if newest.IsZero() {
		return antivirus{}, errNotSupported
	}
	return antivirus{guard: On, age: Some(max(int64(time.Since(newest).Seconds()), 0))}, nil
}

func (*darwin) secureBoot(ctx context.Context) (Guard, error) {
	out, err := program(ctx, "/usr/sbin/system_profiler", "-json", "SPiBridgeDataType")
	if err != nil {
		return "", err
	}
	return parseSecureBoot(out)
}

// tpm: a Mac's secure enclave is another thing.
func (*darwin) tpm(context.Context) (string, error) { return "", errAbsent{NoHardware} }

// crashes looks at the machine's own reports; those of people's programs lie in
// their home folders.
func (*darwin) crashes(context.Context) (Crashes, error) {
	const dir = "/Library/Logs/DiagnosticReports"
	f, err := os.Open(dir)
	if err != nil {
		return Crashes{}, err
	}
	defer f.Close()
	const most = 10_000
	entries, err := f.ReadDir(most)
	if len(entries) == 0 && err != nil && !isEnd(err) {
		return Crashes{}, err
	}
	var reports []reportFile
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() {
			reports = append(reports, reportFile{e.Name(), fi.ModTime()})
		}
	}
	return crashesOf(reports, time.Now()), nil
}

func (*darwin) printers(ctx context.Context) ([]Printer, error) {
	out, err := program(ctx, "/usr/bin/lpstat", "-p")
	if len(out) == 0 && err != nil {
		return nil, errAbsent{NoHardware} // "No destinations added" ends it with 1
	}
	return parseQueues(out)
}

// software are the applications of the machine, each by its own description.
// Those in people's home folders are theirs.
func (*darwin) software(ctx context.Context) ([]Program, error) {
	var ps []Program
	found := false
	for _, dir := range []string{"/Applications", "/Applications/Utilities", "/System/Applications", "/System/Applications/Utilities"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		found = true
		for _, e := range entries {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if !strings.HasSuffix(e.Name(), ".app") {
				continue
			}
			b, err := file(filepath.Join(dir, e.Name(), "Contents/Info.plist"))
			if err != nil {
				continue // an application for a telephone has its own form
			}
			if p, err := parseApp(b, e.Name()); err == nil {
				ps = append(ps, p)
			}
		}
	}
	if !found {
		return nil, errors.New("no folder of applications can be read")
	}
	return eachOnce(ps), nil
}
