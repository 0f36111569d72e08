//go:build unix

package process_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"hausmeister/platform/process"
)

// What the children of a brood are, and take.
const (
	brood = 4
	burns = 300 * time.Millisecond
)

// held keeps the garbage collector from closing them.
var held []*os.File

// written is what the kernel counts for this process; not every file system counts.
func written() (n uint64) {
	b, _ := os.ReadFile("/proc/self/io")
	for line := range strings.Lines(string(b)) {
		if digits, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ = strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
		}
	}
	return n
}

func TestUsage(t *testing.T) { takesMuch(t, "spin") }

// TestAttack32_Descendants: what a child lets others do counts as its own.
func TestAttack32_Descendants(t *testing.T) {
	takesMuch(t, "behind")
	takesMuch(t, "orphan")
	if runtime.GOOS == "linux" { // others only know its group
		takesMuch(t, "behind", "SESSION=1")
	}
}

func takesMuch(t *testing.T, what string, env ...string) {
	t.Helper()
	c := start(t, what, append(env, "FILE="+filepath.Join(t.TempDir(), "file"))...)
	<-c.Lines()
	before := written()
	if err := os.WriteFile(filepath.Join(t.TempDir(), "own"), bytes.Repeat([]byte("x"), 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	counted := written()-before >= 4<<20
	enough := func(u process.Usage) bool {
		return u.CPU >= 100*time.Millisecond && u.Memory >= 64<<20 && (runtime.GOOS != "linux" || u.Handles >= 100) && (!counted || u.Written >= 4<<20)
	}
	var u process.Usage
	for end := time.Now().Add(2 * time.Minute); !enough(u); {
		var err error
		if u, err = c.Usage(); err != nil || time.Now().After(end) {
			t.Fatalf("%s %v: Usage = %+v, %v; want time, 64 MB of memory, 100 open files and 4 MB written", what, env, u, err)
		}
		<-time.After(10 * time.Millisecond)
	}
	c.Kill()
	for range c.Lines() {
	}
	c.Wait()
	if _, err := c.Usage(); err == nil {
		t.Error("Usage of the dead = nil")
	}
}

// TestAttack32_DescendantsThatEnded: what they took stays counted, and is counted once,
// whenever somebody looks.
func TestAttack32_DescendantsThatEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system tells nothing of those that ended")
	}
	c := start(t, "brood")
	var last process.Usage
	looks := 0
	for up := false; !up; looks++ {
		select {
		case <-c.Lines():
			up = true
		case <-time.After(20 * time.Millisecond):
		}
		u, err := c.Usage()
		if err != nil || u.CPU < last.CPU || u.Written < last.Written {
			t.Fatalf("Usage = %+v, %v after %+v", u, err, last)
		}
		last = u
	}
	// The kernel tells hundredths; a start takes some.
	if least, most := brood*(burns-20*time.Millisecond), brood*burns+400*time.Millisecond; last.CPU < least || last.CPU > most {
		t.Errorf("%d that took %v each make %v, want from %v to %v", brood, burns, last.CPU, least, most)
	}
	t.Logf("%v, in %d looks", last.CPU, looks)
}

func BenchmarkUsage(b *testing.B) {
	c, err := process.Start(b.Context(), process.Config{Path: os.Args[0], Env: append(os.Environ(), "PROCESS_TEST=echo")})
	if err != nil {
		b.Fatal(err)
	}
	<-c.Lines()
	for b.Loop() {
		if _, err := c.Usage(); err != nil {
			b.Fatal(err)
		}
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	b.ReportMetric(float64(len(all)), "processes")
	c.Kill()
	for range c.Lines() {
	}
	c.Wait()
}
