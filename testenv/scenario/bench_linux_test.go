package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hausmeister/testenv/child"
	"hausmeister/testenv/fakes"
	"hausmeister/testenv/programs"
	"hausmeister/testenv/site"
)

// setting is a number that whoever runs a benchmark may change.
func setting(b *testing.B, name string, normal int) int {
	b.Helper()
	v := os.Getenv(name)
	if v == "" {
		return normal
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		b.Fatalf("%s=%s is not a number above 0", name, v)
	}
	return n
}

// bin is where make has put the programs as they are released.
func bin(b *testing.B, program string) string {
	b.Helper()
	root, err := programs.Root()
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(root, "bin", program)
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%v: make bench builds it", err)
	}
	return path
}

// start runs a program until the benchmark is over.
func start(b *testing.B, env []string, program string, args ...string) (*child.Child, string) {
	b.Helper()
	log := filepath.Join(b.TempDir(), program+".log")
	c, err := child.Start(child.Config{Program: bin(b, program), Args: args, Env: env, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Kill)
	return c, log
}

// startSite runs a collector until the benchmark is over.
func startSite(b *testing.B, c site.Config) *site.Site {
	b.Helper()
	c.Bin, c.Dir = filepath.Dir(bin(b, "hausmeister-collector")), b.TempDir()
	s, err := site.New(c)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Kill)
	return s
}

// until waits until done.
func until(b *testing.B, what string, within time.Duration, done func() bool) {
	b.Helper()
	for end := time.Now().Add(within); !done(); {
		if time.Now().After(end) {
			b.Fatalf("%s: not within %v", what, within)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// saidIn waits until a program wrote a line that says how long something took.
func saidIn(b *testing.B, log, what string) (took time.Duration) {
	b.Helper()
	line := regexp.MustCompile(regexp.QuoteMeta(what) + ` in (\S+)`)
	until(b, what, 5*time.Minute, func() bool {
		text, err := os.ReadFile(log)
		if err != nil {
			b.Fatal(err)
		}
		m := line.FindSubmatch(text)
		if m == nil {
			return false
		}
		if took, err = time.ParseDuration(string(m[1])); err != nil {
			b.Fatal(err)
		}
		return true
	})
	return took
}

func contains(b *testing.B, file, text string) bool {
	b.Helper()
	have, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	return strings.Contains(string(have), text)
}

// metric reads one of the collector's own numbers.
func metric(b *testing.B, s *site.Site, token, name string) float64 {
	b.Helper()
	var text string
	must(b, s.Client().Get(b.Context(), token, "/metrics", &text))
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatalf("no metric %s", name)
	return 0
}

// usage of a process, as Linux counts it.
type usage struct {
	rss, anonymous, peak float64 // bytes; peak is the highest rss since its start
	cpu                  time.Duration
	children             time.Duration // CPU of the programs that it ran and that have ended
}

func usageOf(b *testing.B, pid int) usage {
	b.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			b.Fatal(err)
		}
		return string(text)
	}
	kilobytes := func(status, field string) float64 {
		_, rest, _ := strings.Cut(status, "\n"+field+":")
		n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			b.Fatal(err)
		}
		return n * 1024
	}
	status, stat := read("status"), read("stat")
	// proc_pid_stat(5): utime, stime, cutime and cstime are 14 to 17, counted from
	// the pid; the name, which may hold spaces, is 2.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	ticks := func(fields []string) (sum time.Duration) {
		for _, f := range fields {
			n, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
		return sum
	}
	return usage{
		rss: kilobytes(status, "VmRSS"), anonymous: kilobytes(status, "RssAnon"), peak: kilobytes(status, "VmHWM"),
		cpu: ticks(fields[11:13]), children: ticks(fields[13:15]),
	}
}

// end stops a program in order, before the next one is measured.
func end(b *testing.B, c *child.Child) {
	b.Helper()
	if err := c.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		c.Kill()
	}
}

// claim sets a site up for so many devices; the token reads its metrics.
func claim(ctx context.Context, b *testing.B, s *site.Site, devices int) (claim, token string) {
	b.Helper()
	if err := s.ImportSchools(ctx, fakes.SchoolsCSV); err != nil {
		b.Fatal(err)
	}
	token, err := s.AddToken(ctx, "bench", "admin")
	if err != nil {
		b.Fatal(err)
	}
	claim, err = s.AddClaim(ctx, fakes.Schools()[0].Owner, "", devices)
	if err != nil {
		b.Fatal(err)
	}
	return claim, token
}
