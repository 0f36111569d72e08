package sysinfo

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// What Windows' interfaces answer, apart from calling them, so that it is tested
// on every system.

// A row is one object that WMI answers with, by property. 64-bit numbers come as
// text; a property without a value is missing.
type row map[string]any

func (r row) number(name string) (int64, bool) {
	switch v := r[name].(type) {
	case int8:
		return int64(v), true
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

func (r row) text(name string) string {
	s, _ := r[name].(string)
	return s
}

func (r row) yes(name string) bool {
	b, _ := r[name].(bool)
	return b
}

// comError gives the reason of a COM or WMI error code; text is what the system
// says about it.
func comError(code uint32, text string) error {
	switch code {
	case 0x80041003, // WBEM_E_ACCESS_DENIED
		0x80070005: // E_ACCESSDENIED
		return fmt.Errorf("%s: %w", text, fs.ErrPermission)
	case 0x80041002, // WBEM_E_NOT_FOUND
		0x8004100c, // WBEM_E_NOT_SUPPORTED
		0x8004100e, // WBEM_E_INVALID_NAMESPACE
		0x80041010, // WBEM_E_INVALID_CLASS
		0x80041013, // WBEM_E_PROVIDER_LOAD_FAILURE: of a class that no driver of this machine serves
		0x80041017, // WBEM_E_INVALID_QUERY: an older Windows whose class lacks a property
		0x80040154, // REGDB_E_CLASSNOTREG
		0x800401f3, // CO_E_CLASSSTRING
		0x80070032, // ERROR_NOT_SUPPORTED
		0x80004001: // E_NOTIMPL
		return errAbsent{NotSupported}
	}
	return fmt.Errorf("code %#08x: %s", code, text)
}

// parseBootEvent reads event 100 of Diagnostics-Performance: when a boot began
// and the milliseconds until the machine was at rest (BootTime is the sum of the
// main path, up to the desktop, and of what still started behind it).
func parseBootEvent(b []byte) (began time.Time, took time.Duration, err error) {
	var event struct {
		Data []struct {
			Name  string `xml:"Name,attr"`
			Value string `xml:",chardata"`
		} `xml:"EventData>Data"`
	}
	if err := xml.Unmarshal(b, &event); err != nil {
		return time.Time{}, 0, fmt.Errorf("reading the boot event: %w", err)
	}
	for _, d := range event.Data {
		switch d.Name {
		case "BootStartTime":
			began, err = time.Parse(time.RFC3339Nano, d.Value)
		case "BootTime":
			var ms uint64
			ms, err = strconv.ParseUint(d.Value, 10, 32)
			took = time.Duration(ms) * time.Millisecond
		}
		if err != nil {
			return time.Time{}, 0, fmt.Errorf("reading the boot event's %s: %w", d.Name, err)
		}
	}
	if began.IsZero() || took == 0 {
		return time.Time{}, 0, errors.New("the boot event has no time or duration")
	}
	return began, took, nil
}

// bootTook is the duration of the boot that this run began with, by the newest
// event. Windows does not log every boot, and writes some minutes after it; the
// event of an older one says nothing of this.
func bootTook(began time.Time, took time.Duration, booted, now time.Time) (time.Duration, error) {
	const slack = 10 * time.Minute // a clock that was set in between
	switch {
	case !began.Before(booted.Add(-slack)):
		return took, nil
	case now.Sub(booted) < 20*time.Minute:
		return 0, errAbsent{Unread}
	}
	return 0, errAbsent{NotSupported}
}

// encryptionOf judges by Win32_EncryptableVolume: the system's volume and other
// fixed ones. A volume that is locked (2) is encrypted; one whose protection is
// suspended says 0, as its key lies in the clear.
func encryptionOf(volumes []row) (Guard, error) {
	protected, all := 0, 0
	for _, v := range volumes {
		const system, fixed = 0, 1
		kind, ok := v.number("VolumeType")
		if !ok || kind != system && (kind != fixed || v.text("DriveLetter") == "") {
			continue
		}
		status, ok := v.number("ProtectionStatus")
		if !ok {
			continue
		}
		all++
		if status == 1 || status == 2 {
			protected++
		}
	}
	if all == 0 {
		return "", errAbsent{NotSupported}
	}
	return share3(protected, all), nil
}

// share3 is On when all of them do, Off when none does.
func share3(some, all int) Guard {
	switch some {
	case all:
		return On
	case 0:
		return Off
	}
	return Partly
}

// running says of a product of the security center whether it is on. The bits
// of productState are not documented; 0x1000 is set in each state that has been
// seen of a product that runs (off: 0x0000, snoozed 0x2000, expired 0x3000).
func running(product row) bool {
	state, ok := product.number("productState")
	return ok && state&0xf000 == 0x1000
}

// firewallOf judges by the three profiles of Windows' own firewall, or by one
// that took its place.
func firewallOf(profiles []bool, others []row) Guard {
	on := 0
	for _, p := range profiles {
		if p {
			on++
		}
	}
	for _, o := range others {
		if running(o) {
			return On
		}
	}
	return share3(on, len(profiles))
}

// antivirusOf judges by the products of the security center, which servers do
// not have, and by Defender's own state, which is nil where there is no Defender.
// Defender steps back when another product runs; then its patterns are not the
// ones that count, and the other does not tell the age of its own.
func antivirusOf(products []row, defender row) (antivirus, error) {
	if len(products) == 0 && defender == nil {
		return antivirus{}, errAbsent{NotSupported}
	}
	a := antivirus{guard: Off, age: None[int64](NotSupported)}
	for _, p := range products {
		if running(p) {
			a.guard = On
		}
	}
	if defender == nil || !defender.yes("AntivirusEnabled") {
		return a, nil
	}
	switch {
	case defender.yes("RealTimeProtectionEnabled"):
		a.guard = On
	case a.guard == Off:
		a.guard = Partly // it scans when asked, and nobody asks
	}
	const never = 65535 // also told as 2^32-1
	if days, ok := defender.number("AntivirusSignatureAge"); ok && days >= 0 && days < never {
		a.age = Some(days * 24 * 60 * 60)
	}
	return a, nil
}

// meteredBy reads NLM_CONNECTION_COST: fixed and variable plans, roaming, and a
// plan that is used up cost by volume.
func meteredBy(cost uint32) (bool, error) {
	const (
		unknown, unrestricted, fixed, variable = 0, 1, 2, 4
		overLimit, roaming                     = 0x10000, 0x40000
	)
	if cost == unknown {
		return false, errAbsent{NotSupported}
	}
	return cost&(fixed|variable|overLimit|roaming) != 0 && cost&unrestricted == 0, nil
}

// printerState reads the Status and Attributes of a PRINTER_INFO_2. Toner that
// runs low still prints.
func printerState(status, attributes uint32) PrinterState {
	const (
		paused      = 0x1
		trouble     = 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x800 | 0x40000 | 0x80000 | 0x100000 | 0x200000 | 0x400000
		offline     = 0x80 | 0x1000 | 0x2000000
		busy        = 0x100 | 0x200 | 0x400 | 0x4000
		workOffline = 0x400 // of the attributes
	)
	switch {
	case status&paused != 0:
		return PrinterStopped
	case status&offline != 0 || attributes&workOffline != 0:
		return PrinterOffline
	case status&trouble != 0:
		return PrinterTrouble
	case status&busy != 0:
		return Printing
	}
	return PrinterReady
}

// onPaper tells a printer from a driver that writes files or sends them away.
func onPaper(driver string) bool {
	driver = strings.ToLower(driver)
	for _, no := range []string{"pdf", "xps document writer", "fax", "onenote", "easy print"} {
		if strings.Contains(driver, no) {
			return false
		}
	}
	return true
}

// renamesWait says whether PendingFileRenameOperations holds a file that is to
// be put in the place of another at the next start. Pairs without a second
// member only delete: installers leave those behind all the time.
func renamesWait(pairs []string) bool {
	for i := 1; i < len(pairs); i += 2 {
		if pairs[i] != "" {
			return true
		}
	}
	return false
}

// osUpdate is one update that waits, or one that was installed.
type osUpdate struct {
	security, definition bool
	date                 time.Time
}

// Categories of Windows Update (learn.microsoft.com, "Windows Update categories").
const (
	securityUpdates   = "0fa1201d-4330-4fa8-8ae9-b877473b6441"
	definitionUpdates = "e0789628-ce08-4437-be74-2495b842f43b"
)

// categorize looks at the categories' ids and at MsrcSeverity, which is empty
// for what closes no hole.
func (u *osUpdate) categorize(categories []string, severity string) {
	u.security = severity != ""
	for _, c := range categories {
		switch strings.ToLower(c) {
		case securityUpdates:
			u.security = true
		case definitionUpdates:
			u.definition = true
		}
	}
}

// updatesOf counts without the patterns of the antivirus, which come every day
// and have a reading of their own.
func updatesOf(waiting, installed []osUpdate) Updates {
	var pending, security int64
	for _, w := range waiting {
		if w.definition {
			continue
		}
		pending++
		if w.security {
			security++
		}
	}
	u := Updates{Pending: Some(pending), Security: Some(security), Last: None[time.Time](NotSupported)}
	for _, p := range installed {
		if last, _ := u.Last.Get(); !p.definition && p.date.After(last) {
			u.Last = Some(p.date)
		}
	}
	return u
}

// uninstall is one entry of the registry's list of what can be removed.
type uninstall struct {
	name, version, release, parent string
	system                         bool
}

// programsOf leaves out what Windows does not show in its own list: parts of
// the system, and patches of something else.
func programsOf(entries []uninstall) []Program {
	var ps []Program
	for _, e := range entries {
		name := clean(e.name)
		if name == "" || e.system || e.parent != "" {
			continue
		}
		switch e.release {
		case "Update", "Hotfix", "Security Update", "Update Rollup", "Service Pack":
			continue
		}
		ps = append(ps, Program{name, clean(e.version)})
	}
	return eachOnce(ps)
}
