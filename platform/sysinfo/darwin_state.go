package sysinfo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"howett.net/plist"
)

// What macOS' programs and files say of disks, updates and protection; like
// darwin_parse.go apart from calling them.

// parseWholeDisks reads `diskutil list -plist physical`.
func parseWholeDisks(out []byte) ([]string, error) {
	var list struct {
		WholeDisks []string `plist:"WholeDisks"`
	}
	if _, err := plist.Unmarshal(out, &list); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range list.WholeDisks {
		// The name becomes an argument of the next call.
		if number, ok := strings.CutPrefix(n, "disk"); ok && number != "" && strings.Trim(number, "0123456789") == "" {
			names = append(names, n)
		}
	}
	return names, nil
}

// parseDiskInfo reads `diskutil info -plist diskN`; ok is false for what is not
// built in. The log of an NVMe disk is in it, under a key that promises nothing.
// Apple sets the threshold of the spare blocks to 99 of 100, so the spare says
// less about health than the status does.
func parseDiskInfo(out []byte) (d Disk, ok bool, err error) {
	var info struct {
		Internal bool              `plist:"Internal"`
		Kind     string            `plist:"VirtualOrPhysical"`
		Status   string            `plist:"SMARTStatus"`
		Solid    bool              `plist:"SolidState"`
		Log      map[string]uint64 `plist:"SMARTDeviceSpecificKeysMayVaryNotGuaranteed"`
	}
	if _, err := plist.Unmarshal(out, &info); err != nil {
		return Disk{}, false, err
	}
	if !info.Internal || info.Kind == "Virtual" {
		return Disk{}, false, nil
	}
	d = blankDisk("", NotSupported)
	switch info.Status {
	case "Verified":
		d.Health = Some(DiskOK)
	case "Failing":
		d.Health = Some(DiskFailing)
	}
	if !info.Solid {
		d.Wear, d.Spare = None[int64](NoHardware), None[int64](NoHardware)
	}
	value := func(key string, most uint64) (int64, bool) {
		v, ok := info.Log[key]
		return int64(v), ok && v <= most
	}
	if v, ok := value("PERCENTAGE_USED", 255); ok {
		d.Wear = Some(10 * v)
	}
	if v, ok := value("AVAILABLE_SPARE", 100); ok {
		d.Spare = Some(10 * v)
	}
	if v, ok := value("MEDIA_ERRORS_0", 1<<62); ok {
		d.Errors = Some(v)
	}
	if v, ok := value("POWER_ON_HOURS_0", 1<<24); ok && v > 0 {
		d.PowerOn = Some(3600 * v)
	}
	return d, true, nil
}

// parseTherm reads `pmset -g therm`. Apple silicon names no limit.
func parseTherm(out []byte) (speed, error) {
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		name, v, ok := strings.Cut(sc.Text(), "=")
		if !ok || strings.Trim(name, " \t-") != "CPU_Speed_Limit" {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil || n < 0 || n > 100 {
			return speed{}, errors.New("pmset told a limit that is none")
		}
		return speed{limit: Some(10 * n), throttled: None[int64](NotSupported)}, nil
	}
	return speed{}, errNotSupported
}

// parseSignal reads the strength out of `wdutil info`, whose other lines name
// networks and addresses and are passed over. 0 is an adapter without a network.
func parseSignal(out []byte) (int64, error) {
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		name, v, ok := strings.Cut(sc.Text(), ":")
		if !ok || strings.TrimSpace(name) != "RSSI" {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "dBm")), 10, 64)
		if err == nil && n < 0 && n >= -120 {
			return n, nil
		}
	}
	return 0, errNotSupported
}

// parsePending reads /Library/Preferences/com.apple.SoftwareUpdate.plist: what
// the system found at its own last search. The count is also right when the list
// is empty, as it is after an update that the system prepares by itself. Apple
// does not say which of them close a hole.
func parsePending(b []byte) (pending Opt[int64], err error) {
	var p struct {
		Recommended []struct {
			Key string `plist:"Product Key"`
		} `plist:"RecommendedUpdates"`
		Count *int64    `plist:"LastRecommendedUpdatesAvailable"`
		Last  time.Time `plist:"LastSuccessfulDate"`
	}
	if _, err := plist.Unmarshal(b, &p); err != nil {
		return None[int64](Failed), err
	}
	switch {
	case p.Count != nil && *p.Count >= 0:
		return Some(max(*p.Count, int64(len(p.Recommended)))), nil
	case p.Last.IsZero(): // it has never looked
		return None[int64](NotSupported), nil
	}
	return Some(int64(len(p.Recommended))), nil
}

// parseInstallHistory reads /Library/Receipts/InstallHistory.plist: when the
// system installed one of its own updates. Patterns and other data that it
// fetches silently carry a content type, or names that end so.
func parseInstallHistory(b []byte) (Opt[time.Time], error) {
	var entries []struct {
		Date    time.Time `plist:"date"`
		Name    string    `plist:"displayName"`
		Process string    `plist:"processName"`
		Content string    `plist:"contentType"`
	}
	if _, err := plist.Unmarshal(b, &entries); err != nil {
		return None[time.Time](Failed), err
	}
	last := None[time.Time](NotSupported)
	for _, e := range entries {
		process := strings.ToLower(strings.ReplaceAll(e.Process, " ", ""))
		if process != "softwareupdated" && process != "softwareupdate" && process != "macosinstaller" {
			continue
		}
		data := e.Content == "config-data" || strings.HasPrefix(e.Name, "XProtect") || strings.HasPrefix(e.Name, "MRT") ||
			strings.Contains(e.Name, "ConfigData") || strings.Contains(e.Name, "Compatibility") || strings.HasPrefix(e.Name, "Gatekeeper")
		if t, _ := last.Get(); !data && e.Date.After(t) {
			last = Some(e.Date)
		}
	}
	return last, nil
}

// parseFileVault reads `fdesetup status`. While it encrypts, "On" stands already
// above the progress.
func parseFileVault(out []byte) (Guard, error) {
	text := string(out)
	switch {
	case strings.Contains(text, "Encryption in progress"), strings.Contains(text, "Decryption in progress"):
		return Partly, nil
	case strings.Contains(text, "FileVault is On"):
		return On, nil
	case strings.Contains(text, "FileVault is Off"):
		return Off, nil
	}
	return "", errors.New("fdesetup says neither on nor off")
}

// parseFirewall reads `socketfilterfw --getglobalstate`; state 2 lets nothing in.
func parseFirewall(out []byte) (Guard, error) {
	_, state, ok := strings.Cut(string(out), "(State = ")
	switch {
	case ok && strings.HasPrefix(state, "0"):
		return Off, nil
	case ok && (strings.HasPrefix(state, "1") || strings.HasPrefix(state, "2")):
		return On, nil
	}
	return "", errors.New("socketfilterfw tells no state")
}

// parseSecureBoot reads `system_profiler -json SPiBridgeDataType`. The words are
// in the system's language; those of other languages than these are absent
// rather than guessed.
func parseSecureBoot(out []byte) (Guard, error) {
	var report struct {
		Bridges []struct {
			SecureBoot string `json:"ibridge_secure_boot"`
		} `json:"SPiBridgeDataType"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return "", err
	}
	if len(report.Bridges) == 0 {
		return "", errAbsent{NoHardware} // before the T2 chip
	}
	switch report.Bridges[0].SecureBoot {
	case "Full Security":
		return On, nil
	case "Medium Security", "Reduced Security": // signed, but also what is old or by others
		return Partly, nil
	case "No Security", "Permissive Security":
		return Off, nil
	}
	return "", errNotSupported
}

// reportFile is a file of /Library/Logs/DiagnosticReports, by name and time.
type reportFile struct {
	name string
	at   time.Time
}

// crashesOf counts the reports of the last 30 days by the kind of file; their
// names begin with the program's and are looked at for the kinds that are no
// crash. Nothing on a Mac says that the power went away.
func crashesOf(reports []reportFile, now time.Time) Crashes {
	var system, programs int64
	for _, r := range reports {
		if now.Sub(r.at) > 30*24*time.Hour {
			continue
		}
		switch {
		case strings.HasSuffix(r.name, ".panic"), strings.HasPrefix(r.name, "panic-full-"), strings.HasPrefix(r.name, "Kernel-"):
			system++
		case strings.HasPrefix(r.name, "JetsamEvent"), strings.HasPrefix(r.name, "ExcUserFault"), strings.HasPrefix(r.name, "ExcResource"), strings.HasPrefix(r.name, "stacks-"):
		case strings.HasSuffix(r.name, ".ips"), strings.HasSuffix(r.name, ".crash"):
			programs++
		}
	}
	return Crashes{System: Some(system), Programs: Some(programs), PowerOffs: None[int64](NotSupported)}
}

// parseQueues reads `lpstat -p` of CUPS in the C locale; a line that follows,
// indented, is the printer's own message.
func parseQueues(out []byte) ([]Printer, error) {
	var ps []Printer
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		line := sc.Text()
		if strings.HasPrefix(line, "printer ") {
			ps = append(ps, Printer{numbered("printer", len(ps)+1), queueState(line)})
			continue
		}
		if len(ps) == 0 || line == "" || line[0] != ' ' && line[0] != '\t' {
			continue
		}
		last := &ps[len(ps)-1]
		if s := messageState(strings.ToLower(line)); s != "" && last.State != PrinterStopped {
			last.State = s
		}
	}
	if len(ps) == 0 {
		return nil, errAbsent{NoHardware}
	}
	return ps, nil
}

// queueState reads a line behind the queue's name, which may hold such words.
func queueState(line string) PrinterState {
	f := strings.Fields(line)
	rest := ""
	if len(f) > 2 {
		rest = strings.Join(f[2:], " ")
	}
	switch {
	case strings.HasPrefix(rest, "disabled"):
		return PrinterStopped
	case strings.HasPrefix(rest, "now printing"):
		return Printing
	}
	return PrinterReady
}

func messageState(line string) PrinterState {
	for _, w := range []string{"offline", "not responding", "unable to locate", "not connected", "unreachable"} {
		if strings.Contains(line, w) {
			return PrinterOffline
		}
	}
	for _, w := range []string{"paper", "jam", "toner-empty", "marker-supply-empty", "cover", "door", "media-empty", "media-needed"} {
		if strings.Contains(line, w) {
			return PrinterTrouble
		}
	}
	return ""
}

// parseVersion reads the system's SystemVersion.plist: "13.3.1", and "(a)" after
// a rapid security response.
func parseVersion(b []byte) (release, extra string, err error) {
	var v struct {
		Version string `plist:"ProductVersion"`
		Extra   string `plist:"ProductVersionExtra"`
	}
	if _, err := plist.Unmarshal(b, &v); err != nil {
		return "", "", err
	}
	return clean(v.Version), clean(v.Extra), nil
}

// parseApp reads an application's Contents/Info.plist.
func parseApp(b []byte, folder string) (Program, error) {
	var app struct {
		Name    string `plist:"CFBundleDisplayName"`
		Short   string `plist:"CFBundleName"`
		Version string `plist:"CFBundleShortVersionString"`
		Build   string `plist:"CFBundleVersion"`
	}
	if _, err := plist.Unmarshal(b, &app); err != nil {
		return Program{}, err
	}
	p := Program{clean(app.Name), clean(app.Version)}
	if p.Name == "" {
		p.Name = clean(app.Short)
	}
	if p.Name == "" {
		p.Name = clean(strings.TrimSuffix(folder, ".app"))
	}
	if p.Version == "" {
		p.Version = clean(app.Build)
	}
	return p, nil
}
