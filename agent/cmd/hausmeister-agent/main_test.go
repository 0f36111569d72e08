package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"hausmeister/agent"
	"hausmeister/agent/link"
	"hausmeister/agent/link/path"
	"hausmeister/agent/update"
	"hausmeister/agent/update/journal"
	"hausmeister/platform/service"
	"hausmeister/proto/finding"
	"hausmeister/proto/hmpb"
	"hausmeister/proto/ident"
	"hausmeister/proto/reading"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hausmeister-agent": main})
}

// TestScripts runs the program as a program.
func TestScripts(t *testing.T) {
	claim := ident.FormatClaim(ident.Claim{Host: "127.0.0.1", Port: 9, CA: ident.Fingerprint{1}, Secret: ident.Secret{2}})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("LANG", "en_US.UTF-8")
			e.Setenv("CLAIM", claim)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exitCmd, "eventually": eventually},
	})
}

// exitCmd runs the program and compares its exit code: exits CODE ARGS...
func exitCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	err := ts.Exec("hausmeister-agent", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("hausmeister-agent %s: exit %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// eventually waits for a file that another process writes.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	for began := time.Now(); ; {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		if time.Since(began) > 20*time.Second {
			ts.Fatalf("%s does not get %q: %v", args[0], args[1], err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// keys are those of both languages.
func keys(t *testing.T) map[string]string {
	de, en := wordsFor("de").texts, wordsFor("en").texts
	if d := cmp.Diff(slices.Sorted(maps.Keys(de)), slices.Sorted(maps.Keys(en))); d != "" {
		t.Fatalf("keys of German and English differ:\n%s", d)
	}
	places := regexp.MustCompile(`%[a-z]`)
	for key := range de {
		if d, e := places.FindAllString(de[key], -1), places.FindAllString(en[key], -1); !slices.Equal(d, e) {
			t.Errorf("%s has places %v in German, %v in English", key, d, e)
		}
		if strings.TrimSpace(de[key]) == "" || strings.TrimSpace(en[key]) == "" {
			t.Errorf("%s is empty", key)
		}
	}
	return de
}

// TestTextsAreComplete: every key that the program can ask for is there, and no other.
func TestTextsAreComplete(t *testing.T) {
	texts := keys(t)
	used := map[string]bool{}
	need := func(prefix string, names ...string) {
		for _, name := range names {
			used[prefix+name] = true
		}
	}
	need("error.", constants(t, "../../enroll", "Word")...)
	need("problem.", constants(t, "../../link", "Problem")...)
	need("error.", constants(t, "../../link/path", "Obstacle")...)
	need("transport.", path.QUIC, path.TCP, path.TCPProxy)
	need("state.", append(constants(t, "../../link", "State"), string(agent.StateNotEnrolled))...)
	need("service.", constants(t, "../../../platform/service", "Status")...)
	for _, name := range hmpb.Absent_name {
		need("absent.", name)
	}
	for _, v := range verbs() {
		need("verb.", v.name)
	}
	// What stands in the source as a literal.
	source, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	patterns := map[string]*regexp.Regexp{
		"":       regexp.MustCompile(`(?:text|say|done)\("([a-z_]+)"|"((?:un)?installed|started|stopped)"`),
		"label.": regexp.MustCompile(`line\("([a-z_]+)"`),
		"error.": regexp.MustCompile(`code: "([a-z_]+)"`),
	}
	for _, name := range source {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for prefix, re := range patterns {
			for _, m := range re.FindAllStringSubmatch(string(data), -1) {
				need(prefix, strings.Join(m[1:], ""))
			}
		}
	}
	need("role.", "admin", "support", "read") // a device does not know collector/access
	need("flag.", "json", "dir", "lang", "file", "replace", "claim", "dial", "version")
	need("updates_off.", update.NoLauncher, update.NoRoot, update.NoJournal)
	for _, s := range journal.States {
		need("update.", s.String())
	}
	for r := journal.Signature; r <= journal.Operator; r++ {
		switch r { // the others end an update before anybody waits for it
		case journal.Stale, journal.Ramp, journal.Space, journal.Held, journal.Disk, journal.Battery, journal.Metered, journal.Support,
			journal.Postponed, journal.Schedule, journal.Unreachable, journal.Lesson:
			need("wait.", r.String())
		}
	}
	for r := journal.Signature; r <= journal.Writes+1; r++ {
		switch r { // that of all others keeps what is offered away, or waits for something
		case journal.Stale, journal.BarredHere, journal.Ramp, journal.Withdrawn, journal.Battery, journal.Metered, journal.Support,
			journal.Postponed, journal.Schedule, journal.Unreachable, journal.Lesson:
		default:
			need("why.", r.String())
		}
	}
	need("doctor.", constants(t, ".", "outcome")...)
	need("mend.", constants(t, "../../update/train", "Outcome")...)
	need("verdict.", constants(t, ".", "verdict")...)
	need("check.", "name", "udp", "tcp", "proxy", "inspection", "clock", "agent", "settings", "rights", "spool", "disk")
	var have, want []string
	for key := range texts {
		have = append(have, key)
	}
	for key := range used {
		want = append(want, key)
	}
	slices.Sort(have)
	slices.Sort(want)
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("keys (-used +there):\n%s", d)
	}
}

// constants are the values of a package's constants of a named string type,
// but the empty one.
func constants(t *testing.T, dir, typ string) []string {
	t.Helper()
	var values []string
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			id, isType := spec.Type.(*ast.Ident)
			lit, isLit := spec.Values[0].(*ast.BasicLit)
			if isType && isLit && id.Name == typ {
				if v, err := strconv.Unquote(lit.Value); err == nil && v != "" {
					values = append(values, v)
				}
			}
			return true
		})
	}
	if len(values) < 3 {
		t.Fatalf("%d constants of type %s in %s: looked in the wrong place?", len(values), typ, dir)
	}
	return values
}

// TestDoctorOnTheAgent: what is said about the agent fits what is known of lock,
// service and enrolment, and only an agent that must run and does not is a failure.
func TestDoctorOnTheAgent(t *testing.T) {
	yes, no := new(true), new(false)
	status := func(state link.State, running *bool, s service.Status) shown {
		return shown{Status: agent.Status{State: state}, Running: running, Service: s}
	}
	for _, c := range []struct {
		name     string
		status   shown
		enrolled bool // as the identity says
		code     outcome
		verdict  verdict
	}{
		{"runs", status(link.Connected, yes, service.Running), true, agentRuns, good},
		{"runs, not connected", status(link.Waiting, yes, service.Running), true, agentRuns, good},
		{"runs without a service", status(link.Connected, yes, service.NotInstalled), true, agentRuns, good},
		{"stopped", status(link.Stopped, no, service.Stopped), true, agentStopped, bad},
		{"no service", status(link.Stopped, no, service.NotInstalled), true, agentNoService, bad},
		{"fails again and again", status(link.Stopped, no, service.Failing), true, agentFails, bad},
		{"said nothing yet, but is enrolled", status(agent.StateNotEnrolled, no, service.Stopped), true, agentStopped, bad},
		{"the identity may not be read", status(link.Stopped, no, service.Stopped), false, agentStopped, bad},
		{"not enrolled", status(agent.StateNotEnrolled, no, service.NotInstalled), false, agentIdle, warn},
		{"not enrolled, waits for it", status(agent.StateNotEnrolled, yes, service.Running), false, agentRuns, good},
		{"may not know", status(link.Connected, nil, ""), true, agentUnknown, warn},
	} {
		for _, lang := range []string{"de", "en"} {
			v := &visit{p: &program{words: wordsFor(lang)}, status: c.status, known: true, enrolled: c.enrolled}
			v.agent()
			if len(v.checks) != 1 || v.checks[0].Code != c.code || v.checks[0].Verdict != c.verdict || !strings.Contains(v.checks[0].Text, ".") {
				t.Errorf("%s: %+v, want %s, %s", c.name, v.checks, c.code, c.verdict)
			}
		}
	}
}

func TestLanguage(t *testing.T) {
	tests := []struct {
		env  map[string]string
		want string
	}{
		{nil, "de"},
		{map[string]string{"LANG": "de_DE.UTF-8"}, "de"},
		{map[string]string{"LANG": "en_GB.UTF-8"}, "en"},
		{map[string]string{"LANG": "C"}, "en"},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "fr_FR"}, "en"},
	}
	for _, tt := range tests {
		if got := language(func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("language of %v = %s, want %s", tt.env, got, tt.want)
		}
	}
}

func TestValues(t *testing.T) {
	number := func(unit reading.Unit, n int64) agent.ReportReading {
		return agent.ReportReading{Unit: unit, Number: &n}
	}
	text := func(name, s string) agent.ReportReading { return agent.ReportReading{Name: name, Text: &s} }
	tests := []struct {
		v      agent.ReportReading
		de, en string
	}{
		{number(reading.Bytes, 0), "0 B", "0 B"},
		{number(reading.Bytes, 8201293824), "7,6 GB", "7.6 GB"},
		{number(reading.Bytes, 256<<30), "256 GB", "256 GB"},
		{number(reading.Permille, 614), "61,4 %", "61.4%"},
		{number(reading.MilliCelsius, -4500), "-4,5 °C", "-4.5 °C"},
		{number(reading.BitPerSecond, 1_000_000_000), "1.000 Mbit/s", "1,000 Mbit/s"},
		{number(reading.Count, 1234567), "1.234.567", "1,234,567"},
		{number(reading.Milli, 1500), "1,50", "1.50"},
		{number(reading.Milliseconds, 21_400), "21,4 s", "21.4 s"},
		{number(reading.Seconds, 9000), "2,5 Stunden", "2.5 hours"},
		{number(finding.Days, 14), "14 Tage", "14 days"},
		{number(reading.PerMinute, 2100), "2.100 U/min", "2,100 rpm"},
		{number(reading.MilliwattHours, 43_500), "43,5 Wh", "43.5 Wh"},
		{number(reading.DecibelMilliwatts, -61), "-61 dBm", "-61 dBm"},
		{text("battery_state", "charging"), "wird geladen", "charging"},
		{text("os_name", "Debian"), "Debian", "Debian"},
		{agent.ReportReading{Absent: "ABSENT_NO_HARDWARE"}, "hat das Gerät nicht", "the device has none"},
	}
	for _, tt := range tests {
		for lang, want := range map[string]string{"de": tt.de, "en": tt.en} {
			got := strings.ReplaceAll(wordsFor(lang).value(tt.v), nbsp, " ")
			if tt.v.Name == "battery_state" { // the table's word, whatever it is
				row, _ := reading.ByName("battery_state")
				word, ok := row.CodeWord("charging")
				want = map[string]string{"de": word.DE, "en": word.EN}[lang]
				if !ok {
					t.Fatal("no word for charging")
				}
			}
			if got != want {
				t.Errorf("value of %+v in %s = %q, want %q", tt.v, lang, got, want)
			}
		}
	}
}

// TestClockGoes: how wrong a clock is and which way, in units that people use.
func TestClockGoes(t *testing.T) {
	const day = 24 * time.Hour
	unit := regexp.MustCompile(`([0-9]) (\pL)`)
	for _, c := range []struct {
		offset time.Duration // the right time minus the clock's
		de, en string
	}{
		{49 * time.Minute, "geht 49 Minuten nach", "is 49 minutes slow"},
		{-61 * time.Second, "geht 61 Sekunden vor", "is 61 seconds fast"},
		{-(2*time.Hour + 40*time.Minute), "geht 3 Stunden vor", "is 3 hours fast"},
		{50 * time.Hour, "geht 2 Tage nach", "is 2 days slow"},
		{20786 * day, "geht 57 Jahre nach", "is 57 years slow"},
	} {
		// No line breaks between number and unit.
		c.de, c.en = unit.ReplaceAllString(c.de, "$1"+nbsp+"$2"), unit.ReplaceAllString(c.en, "$1"+nbsp+"$2")
		if de, en := wordsFor("de").clockGoes(c.offset), wordsFor("en").clockGoes(c.offset); de != c.de || en != c.en {
			t.Errorf("clockGoes(%v) = %q, %q; want %q, %q", c.offset, de, en, c.de, c.en)
		}
	}
}

// TestReportsCounted: one is not several.
func TestReportsCounted(t *testing.T) {
	for n, want := range map[uint64][4]string{
		0:    {"0 Meldungen warten", "0 reports waiting", "0 Meldungen mussten", "0 reports had"},
		1:    {"Eine Meldung wartet", "1 report waiting", "Eine Meldung musste", "1 report had"},
		1200: {"1.200 Meldungen warten", "1,200 reports waiting", "1.200 Meldungen mussten", "1,200 reports had"},
	} {
		de, en := wordsFor("de"), wordsFor("en")
		if got := [4]string{de.reportsWait(n), en.reportsWait(n), de.reportsDropped(n), en.reportsDropped(n)}; got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestFirstClaim(t *testing.T) {
	const claim = "hausmeister://host:443/#v=1&ca=x&s=y"
	for _, text := range []string{claim, claim + "\n", "Guten Tag,\n\nder Code:\n  " + claim + "  \nGruß", "> " + claim, "\ufeff" + claim} {
		if got, err := firstClaim(strings.NewReader(text)); err != nil || got != claim {
			t.Errorf("firstClaim(%q) = %q, %v", text, got, err)
		}
	}
	if got, err := firstClaim(strings.NewReader(" \n\n")); err == nil {
		t.Errorf("firstClaim of nothing = %q", got)
	}
}

func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	l := &logFile{path: filepath.Join(dir, "agent.log")}
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range 3 * logMax / len(line) {
		if n, err := l.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	l.Close()
	total := int64(0)
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, _ error) error {
		if info, err := d.Info(); err == nil && !d.IsDir() {
			total += info.Size()
			if info.Size() > logMax {
				t.Errorf("%s has %d bytes", d.Name(), info.Size())
			}
		}
		return nil
	})
	if total < logMax || total > 2*logMax {
		t.Errorf("%d bytes of log kept", total)
	}
	nowhere := &logFile{path: filepath.Join(dir, "missing", "agent.log")}
	if n, err := nowhere.Write(line); n != len(line) || err != nil {
		t.Errorf("Write without a folder = %d, %v; a log that cannot be written stops nothing", n, err)
	}
}

// TestFailures: every error has a text and an exit code that says what to do.
func TestFailures(t *testing.T) {
	for _, name := range constants(t, "../../enroll", "Word") {
		if _, ok := wordsFor("de").texts["error."+name]; !ok {
			t.Errorf("no text for %s", name)
		}
	}
	for _, lang := range []string{"de", "en"} {
		got := wordsFor(lang).text("error.connection_inspected", "Schulfilter")
		if !strings.Contains(got, "Schulfilter") || strings.Contains(got, "%!") {
			t.Errorf("text of an inspected connection: %s", got)
		}
	}
	b, err := json.Marshal(shown{})
	if err != nil || !strings.Contains(string(b), `"running":null`) {
		t.Errorf("status without rights = %s, %v; want running null", b, err)
	}
}
