package memory

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hausmeister/testenv/need"
)

// resident tells a field of /proc/self/status in bytes.
func resident(t *testing.T, field string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+field+":")
	if !found {
		t.Fatalf("no %s in /proc/self/status", field)
	}
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

func TestGiveBack(t *testing.T) {
	need.Plain(t) // the detector keeps memory of its own for all of ours
	// Both kinds of memory: our own, and all of the program's file.
	own := make([]byte, 32<<20)
	for i := range own {
		own[i] = byte(i)
	}
	runtime.KeepAlive(own)
	own = nil
	touchProgram(t)
	anonymous, file := resident(t, "RssAnon"), resident(t, "RssFile")
	if err := GiveBack(); err != nil {
		t.Fatalf("GiveBack() = %v", err)
	}
	if now := resident(t, "RssAnon"); now > anonymous-24<<20 {
		t.Errorf("%d bytes of our own are resident after GiveBack, of %d", now, anonymous)
	}
	if now := resident(t, "RssFile"); now > file*19/20 {
		t.Errorf("%d bytes of files are resident after GiveBack, of %d", now, file)
	}
	// The program goes on, here with all that it has.
	touchProgram(t)
	if now := resident(t, "RssFile"); now < file*7/10 {
		t.Errorf("%d bytes of files are resident after all was touched again, of %d", now, file)
	}
}

// touchProgram lets the kernel map all of the program that pure finds.
func touchProgram(t *testing.T) {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := pure(smaps, self)
	if len(all) < 2 {
		t.Fatalf("%d mappings of %s, want code and constants at least", len(all), self)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for _, m := range all {
		if _, err := mem.ReadAt(make([]byte, m.to-m.from), int64(m.from)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPure(t *testing.T) {
	const rest = "Rss:                5372 kB\nPrivate_Dirty:         0 kB\n"
	swapped := func(line, anonymous, swap string) string {
		return line + "\n" + rest + "Anonymous:          " + anonymous + " kB\nFilePmdMapped:         0 kB\nSwap:               " + swap + " kB\nSwapPss:                0 kB\nVmFlags: rd ex mr mw me\n"
	}
	head := func(line, anonymous string) string { return swapped(line, anonymous, "0") }
	const file = "/opt/hausmeister/agent"
	smaps := head("00400000-0094f000 r-xp 00000000 fe:00 1234                               "+file, "0") +
		head("0094f000-00f1f000 r--p 0054f000 fe:00 1234                               "+file, "0") +
		head("00f1f000-00f20000 r--p 00b1f000 fe:00 1234                               "+file, "4") + // changed at the start, then made read only
		head("00f20000-00f87000 rw-p 00b20000 fe:00 1234                               "+file, "0") +
		head("00f87000-02fd0000 rw-p 00000000 00:00 0 ", "0") +
		head("7f0000000000-7f0000001000 r--p 00000000 fe:00 99                       /usr/lib/locale/C.utf8", "0") +
		head("7f0000002000-7f0000001000 r--p 00000000 fe:00 1234                     "+file, "0") + // no range
		head("7f0000003000-7f0000004000 r--s 00000000 fe:00 1234                     "+file, "0") +
		swapped("7f0000006000-7f0000007000 r--p 00b1f000 fe:00 1234                     "+file, "0", "4") + // changed at the start, then swapped out
		swapped("7f0000007000-7f0000009000 r--p 00b1f000 fe:00 1234                     "+file, "4", "4") +
		"7f0000005000-7f0000006000 r--p 00000000 fe:00 1234                     " + file + "\n" + rest + "Anonymous:          0 kB\n" // cut off
	want := []mapping{{0x400000, 0x94f000}, {0x94f000, 0xf1f000}}
	if got := pure([]byte(smaps), file); !slices.Equal(got, want) {
		t.Errorf("pure() = %x, want %x", got, want)
	}
	if got := pure([]byte(smaps), file+" (deleted)"); len(got) != 0 {
		t.Errorf("pure() of another file = %x, want none", got)
	}
}
