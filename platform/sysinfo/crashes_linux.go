package sysinfo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"
)

// crashDays is how far back they are counted.
const crashDays = 30 * 24 * time.Hour

func (l *linux) crashes(ctx context.Context) (Crashes, error) {
	since := l.now().Add(-crashDays)
	offs, err := l.powerOffs(ctx, since)
	if ctx.Err() != nil {
		return Crashes{}, ctx.Err()
	}
	return Crashes{System: l.systemCrashes(since), Programs: l.programCrashes(since), PowerOffs: orNone(offs, err)}, nil
}

// systemCrashes counts what a panic leaves: the kernel's last words in the
// firmware's store, moved to disk by systemd-pstore at the next boot, or a dump
// of kdump's (Debian: /var/crash/202611240815/dump..., Fedora:
// /var/crash/127.0.0.1-2026-11-24-08:15:00/vmcore). All of one panic is one.
func (l *linux) systemCrashes(since time.Time) Opt[int64] {
	var ts []time.Time
	store := l.exists("/sys/fs/pstore") || l.exists("/var/lib/systemd/pstore") || l.exists("/var/crash")
	if !store {
		return None[int64](NotSupported)
	}
	if _, err := l.names("/sys/fs/pstore"); errors.Is(err, fs.ErrPermission) {
		return None[int64](Denied)
	}
	for _, p := range []string{
		"/sys/fs/pstore/dmesg-*", "/var/lib/systemd/pstore/dmesg*", "/var/lib/systemd/pstore/*/dmesg*", "/var/lib/systemd/pstore/*/*/dmesg*",
		"/var/crash/*/vmcore*", "/var/crash/*/dump*", "/var/crash/*/dmesg*", "/var/crash/*/kexec-dmesg*",
	} {
		ts = append(ts, l.changedSince(p, since)...)
	}
	slices.SortFunc(ts, time.Time.Compare)
	return Some(occasions(ts, 15*time.Minute))
}

// programCrashes counts the dumps of systemd-coredump, which keeps them for two
// weeks and within a share of the disk, or apport's reports. A name holds the
// program's and the user's: only their number is taken.
func (l *linux) programCrashes(since time.Time) Opt[int64] {
	const dumps, reports = "/var/lib/systemd/coredump", "/var/crash"
	if !l.exists(dumps) && !l.exists(reports) {
		return None[int64](NotSupported)
	}
	n := len(l.changedSince(dumps+"/core.*", since)) + len(l.changedSince(reports+"/*.crash", since))
	return Some(int64(n))
}

// changedSince gives the times of at most 10,000 files.
func (l *linux) changedSince(pattern string, since time.Time) (ts []time.Time) {
	for i, f := range l.glob(pattern) {
		if i == 10_000 {
			break
		}
		if st, err := os.Stat(l.path(f)); err == nil && !st.ModTime().Before(since) {
			ts = append(ts, st.ModTime())
		}
	}
	return ts
}

// powerOffs counts boots that no shutdown went before: by wtmp where the system
// keeps it, else by the journal: wtmp cannot hold times after 2038, and Debian 13,
// Ubuntu 25.10 and openSUSE write none any more (github.com/osquery/osquery issue
// 8749, github.com/MichaIng/DietPi issue 7823).
func (l *linux) powerOffs(ctx context.Context, since time.Time) (int64, error) {
	var turns []turn
	var denied error
	for _, f := range []string{"/var/log/wtmp.1", "/var/log/wtmp"} {
		b, err := l.tail(f, 16<<10*utmpSize)
		if errors.Is(err, fs.ErrPermission) {
			denied = err
		}
		turns = append(turns, parseWtmp(b)...)
	}
	boot, err := l.bootTime(ctx)
	if err != nil {
		return 0, err
	}
	// The running boot must be in it, else nobody writes it any more. Without a
	// battery for its clock a machine believes its last time at first.
	for _, t := range turns {
		if t.boot && t.at.After(boot.Add(-24*time.Hour)) {
			return hardOffs(turns, since), nil
		}
	}
	if denied != nil {
		return 0, denied
	}
	if ids, _ := l.names("/var/log/journal"); len(ids) == 0 {
		return 0, errNotSupported // kept in memory only, or no journal
	}
	out, err := l.ask(ctx, "journalctl", append([]string{
		"--quiet", "--no-pager", "--system", "--output=json", "--output-fields=_BOOT_ID,MESSAGE_ID",
		"--since=@" + strconv.FormatInt(since.Unix(), 10),
	}, bootMessages...)...)
	if err != nil && len(out) == 0 {
		return 0, err
	}
	return journalOffs(out), nil
}

// The journal's own messages (systemd's catalog, sd-messages.h): the journal
// started, the journal stopped, the system shuts down. Several matches of one
// field are any of them.
const (
	journalStart = "f77379a8490b408bbe5f6940505a777b"
	journalStop  = "d93fb3c9c24d451a97cea615ce59c00b"
	shuttingDown = "98268866d1d54a499c4e98921d93bc40"
)

var bootMessages = []string{"MESSAGE_ID=" + journalStart, "MESSAGE_ID=" + journalStop, "MESSAGE_ID=" + shuttingDown}

// journalOffs counts boots whose last such message is a start. The last boot
// runs still.
func journalOffs(out []byte) (n int64) {
	var boots []string
	ended, shut := make(map[string]bool), make(map[string]bool)
	for line := range bytes.Lines(out) {
		var e struct {
			Boot    string `json:"_BOOT_ID"`
			Message string `json:"MESSAGE_ID"`
		}
		if json.Unmarshal(line, &e) != nil || e.Boot == "" {
			continue
		}
		if _, known := ended[e.Boot]; !known {
			boots = append(boots, e.Boot)
		}
		// The journal starts anew within a boot too, when it is updated; once the
		// system shuts down there is no way back.
		shut[e.Boot] = shut[e.Boot] || e.Message == shuttingDown
		ended[e.Boot] = shut[e.Boot] || e.Message == journalStop
	}
	for _, b := range boots[:max(len(boots)-1, 0)] {
		if !ended[b] {
			n++
		}
	}
	return n
}
