package sysinfo

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Inside the package, since no real system hangs on demand.

// stuck is a machine of which some groups hang.
type stuck struct {
	unsupported
	release chan struct{}
}

func (s stuck) volumes(context.Context) ([]Volume, error) {
	<-s.release // deaf to any context, like a driver
	return []Volume{{Name: "/"}}, nil
}

func (s stuck) temperatures(ctx context.Context) ([]Temperature, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (stuck) cpuTimes(context.Context) (cpuTimes, error) { return cpuTimes{1, 2}, nil }
func (stuck) cores(context.Context) (int64, error)       { return 4, nil }
func (stuck) load1(context.Context) (int64, error)       { panic("a broken driver") }
func (stuck) memory(context.Context) (Memory, error)     { return Memory{Total: Some[int64](7)}, nil }
func (stuck) power(context.Context) (Power, error)       { return noBattery(), nil }
func (stuck) links(context.Context) ([]Link, error)      { return nil, fs.ErrPermission }
func (stuck) bootTime(context.Context) (time.Time, error) {
	return time.Time{}, errAbsent{NotSupported}
}
func (stuck) identity(context.Context) (Identity, error) { return Identity{OS: "x"}, nil }
func (stuck) self(context.Context) (footprint, error)    { return footprint{}, errors.ErrUnsupported }

func readerOf(s source, within time.Duration) *Reader {
	r := &Reader{now: time.Now, probes: probes(s)}
	for _, p := range r.probes {
		p.within = within
	}
	return r
}

func TestHangingGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := stuck{release: make(chan struct{})}
		r := readerOf(src, 4*time.Second)
		begin := time.Now()
		s := r.Read(t.Context())
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("the first Read took %v, want the limit and the grace", took)
		}
		if want := []string{"volumes", "temperatures"}; !slices.Equal(s.CutOff, want) {
			t.Errorf("cut off %v, want %v", s.CutOff, want)
		}
		for what, c := range map[string]struct{ got, want Absence }{
			"volumes": {s.Volumes.Why, TimedOut}, "temperatures": {s.Temperatures.Why, TimedOut},
			"load": {s.CPU.Load1.Why, Failed}, "links": {s.Links.Why, Denied},
			"boot": {s.BootTime.Why, NotSupported}, "self": {s.Self.Memory.Why, NotSupported},
			"memory": {s.Memory.Total.Why, Present}, "cores": {s.CPU.Cores.Why, Present},
		} {
			if c.got != c.want {
				t.Errorf("%s: absence %d, want %d", what, c.got, c.want)
			}
		}
		if s.CouldNot["load"] == nil || s.CouldNot["links"] == nil || s.CouldNot["boot"] != nil {
			t.Errorf("could not %v, want load and links", s.CouldNot)
		}

		// The one that is stuck is not begun again: no goroutine more at each tick.
		for range 50 {
			begin := time.Now()
			s := r.Read(t.Context())
			if s.Volumes.Why != TimedOut || s.Memory.Total.Why != Present {
				t.Fatalf("volumes %+v, memory %+v", s.Volumes, s.Memory)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Fatalf("a later Read took %v", took)
			}
		}
		synctest.Wait()
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if n := bytes.Count(stacks, []byte("sysinfo.stuck.volumes(")); n != 1 {
			t.Errorf("%d goroutines hang in volumes after 51 reads, want 1:\n%s", n, stacks)
		}
		close(src.release)
		synctest.Wait()
		if s := r.Read(t.Context()); s.Volumes.Why != Present {
			t.Errorf("volumes = %+v when it answers again", s.Volumes)
		}
	})
}

// counting counts how often it is asked for what hardly changes.
type counting struct {
	stuck
	asked *int
	fails *bool
}

func (c counting) volumes(context.Context) ([]Volume, error)           { return nil, nil }
func (c counting) temperatures(context.Context) ([]Temperature, error) { return nil, nil }
func (c counting) identity(context.Context) (Identity, error) {
	*c.asked++
	if *c.fails {
		return Identity{}, errors.New("broken")
	}
	return Identity{OS: "x"}, nil
}

func TestSeldomRead(t *testing.T) {
	asked, fails := 0, true
	now := time.Unix(1e9, 0)
	r := readerOf(counting{asked: &asked, fails: &fails}, time.Second)
	r.now = func() time.Time { return now }
	read := func(wantAsked int) {
		t.Helper()
		r.Read(t.Context())
		if asked != wantAsked {
			t.Errorf("asked %d times, want %d", asked, wantAsked)
		}
	}
	read(1)
	read(1) // a failure is dear too
	now = now.Add(6 * time.Minute)
	read(2) // but not kept as long as an answer
	fails = false
	now = now.Add(6 * time.Minute)
	read(3)
	now = now.Add(59 * time.Minute)
	read(3)
	now = now.Add(2 * time.Minute)
	read(4)
	now = now.Add(-24 * time.Hour) // the clock was set: what was kept may be of any age
	read(5)
}

// slow is a machine whose package manager takes its time.
type slow struct {
	stuck
	takes *time.Duration
}

func (slow) volumes(context.Context) ([]Volume, error)           { return nil, nil }
func (slow) temperatures(context.Context) ([]Temperature, error) { return nil, nil }
func (s slow) updates(ctx context.Context) (Updates, error) {
	select {
	case <-time.After(*s.takes):
		return Updates{Pending: Some[int64](7)}, nil
	case <-ctx.Done():
		return Updates{}, ctx.Err()
	}
}

// TestDearestGroup: it holds nobody up, and is named when it never ends.
func TestDearestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := 30 * time.Second
		r := readerOf(slow{takes: &takes}, 5*time.Second)
		read := func(what string, want Opt[int64], most time.Duration, cutOff bool) {
			t.Helper()
			begin := time.Now()
			s := r.Read(t.Context())
			if took := time.Since(begin); s.Updates.Pending != want || took > most || slices.Contains(s.CutOff, "updates") != cutOff {
				t.Errorf("%s: pending %+v after %v, cut off %v; want %+v within %v", what, s.Updates.Pending, took, s.CutOff, want, most)
			}
		}
		read("at the start", None[int64](Unread), 0, false)
		time.Sleep(5 * time.Minute)
		read("begun", None[int64](Unread), 2*time.Second, false)
		read("under way", None[int64](Unread), 0, false)
		time.Sleep(time.Minute)
		read("answered", Some[int64](7), 0, false)
		time.Sleep(11 * time.Hour)
		read("kept", Some[int64](7), 0, false)
		takes = time.Hour
		time.Sleep(time.Hour)
		read("begun again", Some[int64](7), 2*time.Second, false) // what was known holds
		time.Sleep(3 * time.Minute)
		read("hung", None[int64](TimedOut), 0, true)
		read("named, and not begun anew", None[int64](TimedOut), 0, true)
		takes = 0
		time.Sleep(2 * time.Hour)
		read("well again", Some[int64](7), 0, false)
	})
}

func TestIdentifyAsksForNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		id := readerOf(stuck{}, time.Second).Identify(t.Context())
		if id.OS != "x" || time.Since(begin) != 0 {
			t.Errorf("Identify = %+v after %v", id, time.Since(begin))
		}
	})
}

func TestUsableSerial(t *testing.T) {
	for _, c := range []struct {
		maker, model, serial string
		want                 Opt[string]
	}{
		{"FUJITSU CLIENT COMPUTING LIMITED", "LIFEBOOK A3510", " YLXX012345 ", Some("YLXX012345")},
		{"Dell Inc.", "PowerEdge R6515", "7N62AI2", Some("7N62AI2")},
		{"ASUS", "All Series", "System Serial Number", None[string](NoHardware)},
		{"ASUS", "All Series", "To be filled by O.E.M.", None[string](NoHardware)},
		{"Gigabyte", "B550", "Default string", None[string](NoHardware)},
		{"Gigabyte", "B550", "default string 2", None[string](NoHardware)},
		{"HP", "x", "", None[string](NoHardware)},
		{"HP", "x", "   ", None[string](NoHardware)},
		{"HP", "x", "00000000", None[string](NoHardware)},
		{"HP", "x", "........", None[string](NoHardware)},
		{"HP", "x", "-_-_-", None[string](NoHardware)},
		{"HP", "x", "12", None[string](NoHardware)},
		{"HP", "x", "0123456789", None[string](NoHardware)},
		{"HP", "x", "N/A", None[string](NoHardware)},
		{"HP", "x", "ABC\x00\x07\xff123", Some("ABC123")},
		{"QEMU", "Standard PC (Q35 + ICH9, 2009)", "5CG0123ABC", None[string](NoHardware)},
		{"VMware, Inc.", "VMware Virtual Platform", "VMware-56 4d 8b", None[string](NoHardware)},
		{"innotek GmbH", "VirtualBox", "VirtualBox-1234", None[string](NoHardware)},
		{"Microsoft Corporation", "Virtual Machine", "1234-5678-9012", None[string](NoHardware)},
		{"Microsoft Corporation", "Surface Pro 7", "012345678957", Some("012345678957")},
		{"Parallels Software International Inc.", "Parallels Virtual Platform", "Parallels-AA", None[string](NoHardware)},
	} {
		if got := usableSerial(c.maker, c.model, c.serial); got != c.want {
			t.Errorf("usableSerial(%q, %q, %q) = %+v, want %+v", c.maker, c.model, c.serial, got, c.want)
		}
	}
}

func TestClean(t *testing.T) {
	long := string(slices.Repeat([]rune("ä"), 100))
	for in, want := range map[string]string{
		"  Hewlett   Packard\t\n": "Hewlett Packard",
		"a\u202eb\x1b[0m":         "ab[0m",
		long:                      long[:128],
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// smbios makes a table of two structures: type 0, and type 1 with the texts.
func smbios(texts ...string) []byte {
	b := []byte{0, 4, 0, 0, 'x', 0, 0, 1, 8, 1, 0, 1, 2, 3, 4}
	for _, s := range texts {
		b = append(append(b, s...), 0)
	}
	return append(b, 0, 127, 4, 2, 0, 0, 0)
}

func raw(table []byte) []byte {
	return append([]byte{0, 3, 2, 0, byte(len(table)), byte(len(table) >> 8), 0, 0}, table...)
}

func TestSMBIOS(t *testing.T) {
	got, err := parseRawSMBIOS(raw(smbios("LENOVO", "20N3S4EV00", "ThinkPad T490", "PF0DEMO1")))
	want := smbiosSystem{"LENOVO", "20N3S4EV00", "ThinkPad T490", "PF0DEMO1"}
	if err != nil || got != want {
		t.Errorf("parseRawSMBIOS = %+v, %v; want %+v", got, err, want)
	}
	if got.model() != "ThinkPad T490" {
		t.Errorf("model of a Lenovo = %q", got.model())
	}
	if got, err := parseSMBIOS(smbios("Acme")); err != nil || got != (smbiosSystem{maker: "Acme"}) {
		t.Errorf("strings that are not there: %+v, %v", got, err)
	}
	whole := raw(smbios("A", "B", "C", "D"))
	for n := range whole[:20] {
		if _, err := parseRawSMBIOS(whole[:n]); err == nil {
			t.Errorf("a table cut to %d bytes was taken", n)
		}
	}
}

func FuzzSMBIOS(f *testing.F) {
	f.Add(raw(smbios("LENOVO", "20N3S4EV00", "ThinkPad T490", "PF0DEMO1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseRawSMBIOS(b)
		if err != nil && s != (smbiosSystem{}) {
			t.Errorf("an error and %+v", s)
		}
	})
}

func TestWindowsName(t *testing.T) {
	for _, c := range []struct {
		product, display string
		build            uint32
		want             string
	}{
		{"Windows 10 Pro", "22H2", 19045, "Windows 10 Pro 22H2"},
		{"Windows 10 Education", "24H2", 26100, "Windows 11 Education 24H2"},
		{"Windows Server 2022 Standard", "21H2", 20348, "Windows Server 2022 Standard 21H2"},
		{"Windows 10 Enterprise LTSB", "", 14393, "Windows 10 Enterprise LTSB"},
	} {
		v := windowsVersion{registered: c.product, release: c.display, number: c.build}
		if got := v.name(); got != c.want {
			t.Errorf("name of %+v = %q, want %q", v, got, c.want)
		}
	}
}

func TestWindowsVersion(t *testing.T) {
	v := windowsVersion{registered: "Windows 10 Education", release: "24H2", major: 10, number: 26100, revision: 4061}
	if v.product() != "Windows 11 Education" || v.build() != "10.0.26100.4061" || v.patch() != "26100.4061" {
		t.Errorf("%+v is %q, %q, %q", v, v.product(), v.build(), v.patch())
	}
}
