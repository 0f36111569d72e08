package sysinfo

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Package lists older than this say little of what is pending now: a holiday's
// length and a bit.
const staleLists = 50 * 24 * time.Hour

// updates asks the package manager what it would install, from the lists that
// it has: never over the network, whose use is the manager's own business.
func (l *linux) updates(ctx context.Context) (Updates, error) {
	switch {
	case l.hasDpkg():
		return l.aptUpdates(ctx)
	case l.hasRPM():
		return l.rpmUpdates(ctx)
	}
	return Updates{}, errNotSupported
}

func (l *linux) aptUpdates(ctx context.Context) (Updates, error) {
	u := Updates{Pending: None[int64](NotSupported), Security: None[int64](NotSupported), Last: l.lastDpkg()}
	// A list has the archive's own time; when it was fetched shows in its folders.
	_, found := l.newest("/var/lib/apt/lists/*Packages*")
	fetched, _ := l.newest("/var/lib/apt/lists", "/var/lib/apt/lists/partial", "/var/lib/apt/periodic/update-success-stamp")
	if !found || l.now().Sub(fetched) > staleLists {
		return u, nil // it would say that nothing is pending
	}
	// A simulation needs neither the lock nor root. With new packages, since a
	// new kernel is one; not dist-upgrade, which would also remove some. The planner
	// would write its log each time.
	out, err := l.ask(ctx, "apt-get", "-s", "-q", "-o", "Debug::NoLocking=true",
		"-o", "Dir::Log::Planner=/dev/null", "--with-new-pkgs", "upgrade")
	if err != nil {
		if errors.As(err, new(errAbsent)) {
			return u, nil
		}
		return u, err
	}
	pending, security := parseApt(string(out))
	u.Pending, u.Security = Some(pending), Some(security)
	return u, nil
}

// parseApt counts lines of the form
//
//	Inst bash [5.2.15-2+b8] (5.2.15-2+b10 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])
//
// of which those without an installed version are new packages that come along.
// A hole is closed by what comes from an archive of that name: "-security" at
// the end of Debian's, Ubuntu's and Mint's (esm: "-security" too).
func parseApt(text string) (pending, security int64) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Inst ")
		if !ok {
			continue
		}
		_, rest, _ = strings.Cut(rest, " ")
		if !strings.HasPrefix(rest, "[") {
			continue
		}
		pending++
		_, origins, _ := strings.Cut(rest, "(")
		origins, _, _ = strings.Cut(origins, "[")
		if slices.ContainsFunc(strings.FieldsFunc(origins, func(r rune) bool { return r == ' ' || r == ',' }), func(o string) bool {
			return strings.HasSuffix(o, "-security") || strings.HasPrefix(o, "Debian-Security:")
		}) {
			security++
		}
	}
	return pending, security
}

// lastDpkg is when dpkg last replaced a package by another version. Its log is
// rotated monthly, and compressed a month later; Debian keeps twelve.
func (l *linux) lastDpkg() Opt[time.Time] {
	for _, f := range []string{"/var/log/dpkg.log", "/var/log/dpkg.log.1"} {
		// The last pages as a rule have one. The whole month's megabyte is read only
		// where they have none.
		for _, most := range []int64{32 << 10, 1 << 20} {
			text, err := l.tail(f, most)
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if err != nil {
				return None[time.Time](why(err))
			}
			if t, ok := lastUpgrade(text); ok {
				return Some(t)
			}
			if int64(len(text)) < most {
				break
			}
		}
	}
	for n := 2; n <= 12; n++ {
		text, err := l.unzipped("/var/log/dpkg.log." + strconv.Itoa(n) + ".gz")
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if t, ok := lastUpgrade(text); ok { // of what could be read, if it is damaged
			return Some(t)
		}
	}
	return None[time.Time](NotSupported)
}

// longestLog bounds what is read of a compressed log; a month has about a megabyte.
const longestLog = 2 << 20

// unzipped reads the begin of a compressed file.
func (l *linux) unzipped(p string) ([]byte, error) {
	f, err := os.Open(l.path(p))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, longestLog))
}

// lastUpgrade finds the last line "2026-11-24 06:12:33 upgrade bash:amd64 old new";
// the time is the machine's local one. It looks from the end.
func lastUpgrade(log []byte) (last time.Time, found bool) {
	for {
		at := bytes.LastIndex(log, []byte(" upgrade "))
		if at < 0 {
			return last, false
		}
		log = log[:at]
		line := log[bytes.LastIndexByte(log, '\n')+1:]
		if t, err := time.ParseInLocation(time.DateTime, string(line), time.Local); err == nil {
			return t, true
		}
	}
}

// tail reads at most the last bytes of a file.
func (l *linux) tail(p string, most int64) ([]byte, error) {
	f, err := os.Open(l.path(p))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(size, most))
	n, err := f.ReadAt(text, size-int64(len(text)))
	if errors.Is(err, io.EOF) { // it was cut off meanwhile
		err = nil
	}
	return text[:n], err
}

// newest is the latest change of the files that the patterns find.
func (l *linux) newest(patterns ...string) (t time.Time, found bool) {
	for _, p := range patterns {
		for _, f := range l.glob(p) {
			if st, err := os.Stat(l.path(f)); err == nil && st.ModTime().After(t) {
				t, found = st.ModTime(), true
			}
		}
	}
	return t, found
}

// rpmUpdates asks dnf (4 or 5) from its cache only (-C). Without a cache, as
// where only PackageKit updates, the count is absent.
func (l *linux) rpmUpdates(ctx context.Context) (Updates, error) {
	u := Updates{Pending: None[int64](NotSupported), Security: None[int64](NotSupported), Last: None[time.Time](NotSupported)}
	// rpm does not tell a replaced package from a new one: either way something was installed.
	out, err := l.ask(ctx, "rpm", "-qa", "--qf", `%{INSTALLTIME}\n`)
	if t, ok := newestTime(string(out)); ok {
		u.Last = Some(t)
	} else if err != nil && !errors.As(err, new(errAbsent)) {
		u.Last = None[time.Time](why(err))
	}
	cache, found := l.newest("/var/cache/dnf/*/repodata/repomd.xml", "/var/cache/libdnf5/*/repodata/repomd.xml")
	if !found || l.now().Sub(cache) > staleLists {
		return u, nil
	}
	for _, c := range []struct {
		into *Opt[int64]
		args []string
	}{
		{&u.Pending, []string{"-q", "-C", "check-update"}},
		{&u.Security, []string{"-q", "-C", "check-update", "--security"}},
	} {
		out, err := l.ask(ctx, "dnf", c.args...)
		switch n := parseDNF(out); {
		case errors.As(err, new(errAbsent)):
			return u, nil
		case ctx.Err() != nil:
			return u, ctx.Err()
		case err != nil && n == 0: // it ends with 100 when there are some
			*c.into = None[int64](why(err))
		default:
			*c.into = Some(n)
		}
	}
	return u, nil
}

// parseDNF counts lines "bash.x86_64  5.2.37-1.fc42  updates"; what follows
// "Obsoleting Packages" is counted already. A version may begin with a letter,
// a sentence between the lines may have three words.
func parseDNF(out []byte) (n int64) {
	for line := range bytes.Lines(out) {
		if bytes.HasPrefix(line, []byte("Obsoleting")) {
			break
		}
		f := bytes.Fields(line)
		if len(f) != 3 || line[0] == ' ' {
			continue
		}
		dot := bytes.LastIndexByte(f[0], '.')
		if dot > 0 && slices.Contains([]string{"x86_64", "noarch", "i686", "aarch64"}, string(f[0][dot+1:])) {
			n++
		}
	}
	return n
}
