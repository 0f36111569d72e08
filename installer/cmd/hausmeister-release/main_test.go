package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"hausmeister/installer/release"
)

// desk is one machine with its folders.
type desk struct {
	t   *testing.T
	dir string
	now time.Time

	patience time.Duration // 0 = as the program has
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, dir: t.TempDir(), now: time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)}
	if err := os.WriteFile(filepath.Join(d.dir, "pass"), []byte("a passphrase of tests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// run a command line; DIR/ in it is the desk's folder.
func (d *desk) run(line string) (code int, stdout, stderr string) {
	d.t.Helper()
	var out, said bytes.Buffer
	c := newCLI(strings.NewReader(""), &out, &said)
	c.now, c.cost = func() time.Time { return d.now }, release.Cost{Passes: 1, MemoryKiB: 8, Threads: 1}
	if d.patience > 0 {
		c.patience = d.patience
	}
	args := []string{"--repo", d.dir + "/repo", "--drafts", d.dir + "/drafts", "--record", d.dir + "/record", "--who", "tester"}
	for f := range strings.FieldsSeq(line) {
		args = append(args, strings.ReplaceAll(strings.ReplaceAll(f, "DIR/", d.dir+"/"), "_", " "))
	}
	return c.run(args), out.String(), said.String()
}

func (d *desk) must(code int, line string) string {
	d.t.Helper()
	got, out, said := d.run(line)
	if got != code {
		d.t.Fatalf("%s: exit %d, want %d\n%s%s", line, got, code, out, said)
	}
	return out + said
}

// TestEveryChangeNeedsAReason goes over all verbs that there are: whatever is not
// in the list of those that only look refuses without --reason, and with a blank
// one, before it does anything.
func TestEveryChangeNeedsAReason(t *testing.T) {
	c := newCLI(nil, &bytes.Buffer{}, &bytes.Buffer{})
	parser, err := c.parser(func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	for _, leaf := range parser.Model.Leaves(true) {
		verb := strings.TrimPrefix(verbOf(leaf.FullPath()), "hausmeister-release ")
		verbs = append(verbs, verb)
		if slices.Contains(readOnly, verb) {
			continue
		}
		for _, reason := range []string{"", " --reason= ", " --reason=_"} {
			d := newDesk(t)
			code, _, said := d.run(verb + argumentsOf(leaf) + reason)
			if code != exitUsage || !strings.Contains(said, "needs --reason") {
				t.Errorf("%s%s: exit %d, %s", verb, reason, code, said)
			}
			if left, err := os.ReadDir(d.dir); err != nil || len(left) != 1 {
				t.Errorf("%s without a reason left %v, %v", verb, left, err)
			}
		}
	}
	for _, r := range readOnly {
		if !slices.Contains(verbs, r) {
			t.Errorf("%s only looks, but is no verb: %v", r, verbs)
		}
	}
}

// argumentsOf a verb, so that it parses.
func argumentsOf(leaf *kong.Node) string {
	out := ""
	for _, p := range leaf.Positional {
		if p.Required {
			out += " 1"
		}
	}
	for _, f := range leaf.Flags {
		if f.Required {
			out += " --" + f.Name + "=1"
		}
	}
	return out
}

// TestExitCodes has one case for each of them.
func TestExitCodes(t *testing.T) {
	d := newDesk(t)
	d.must(exitUsage, "nonsense")
	d.must(exitUsage, "keys init anna --role root --reason=as_asked") // no terminal to ask
	d.must(0, "keys init anna --role root --out DIR/sticks --passphrase-file DIR/pass --reason=ceremony")
	d.must(exitRefused, "keys init anna --role root --out DIR/sticks --passphrase-file DIR/pass --reason=again")
	d.must(exitRefused, "keys init bert --role root,stable --out DIR/sticks --passphrase-file DIR/pass --reason=two_groups")
	d.must(exitRefused, "root init --people DIR/sticks --reason=too_few")
	d.must(exitNotFound, "expiry")
	d.must(exitNotFound, "verify") // no folder of that name
	d.must(exitNotFound, "audit export --out DIR/export.json")
	if err := os.Mkdir(filepath.Join(d.dir, "repo"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := d.must(0, "verify"); !strings.Contains(got, "nothing is published yet") {
		t.Errorf("verify of an empty repository: %s", got)
	}
	d.must(exitNotFound, "publish --reason=nothing_there")
	d.must(exitNotFound, "online trust DIR/missing.json --state DIR/online --reason=as_asked")
	if err := os.WriteFile(filepath.Join(d.dir, "blocker"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.must(exitFailed, "keys init carla --role root --out DIR/blocker/x --passphrase-file DIR/pass --reason=no_folder")
	if got := d.must(0, "audit verify"); !strings.Contains(got, "1 entries") {
		t.Errorf("audit verify: %s", got)
	}
	record := filepath.Join(d.dir, "record")
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(record, bytes.Replace(data, []byte("ceremony"), []byte("Ceremony"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	d.must(exitUnverified, "audit verify")
	d.must(exitUnverified, "keys init dirk --role root --out DIR/sticks --passphrase-file DIR/pass --reason=chain_is_broken")

	code, _, said := d.run("--json audit verify")
	var told struct {
		Error string
		Exit  int
	}
	if err := json.Unmarshal([]byte(said), &told); err != nil || code != exitUnverified || told.Error != "unverified" || told.Exit != exitUnverified {
		t.Errorf("--json audit verify: exit %d, %s, %v", code, said, err)
	}
}

// founded is the ceremony: keys of all persons, and a first root that the online
// process trusts. Everything is signed and nothing published.
func (d *desk) founded() {
	d.t.Helper()
	pass := " --passphrase-file DIR/pass --reason=testing"
	for person, roles := range map[string]string{
		"anna": "root", "bert": "root", "carla": "root", "dirk": "root", "emma": "root", "frieda": "targets", "georg": "targets", "hanna": "targets",
		"ivo": "targets", "jana": "canary,stable,launcher,emergency,policy", "karl": "canary,stable,launcher,emergency,policy", "lena": "canary,stable,launcher,emergency,policy",
	} {
		d.must(0, "keys init "+person+" --role "+roles+" --out DIR/people"+pass)
	}
	d.must(0, "online init --state DIR/online --out DIR/people --reason=testing")
	d.must(0, "root init --people DIR/people --reason=testing")
	for role, people := range map[string][]string{
		"root": {"anna", "bert", "carla"}, "targets": {"frieda", "georg"}, "canary": {"jana", "karl"}, "stable": {"jana", "karl"},
		"policy": {"jana", "karl"}, "launcher": {"jana", "karl", "lena"}, "emergency": {"jana", "karl", "lena"},
	} {
		digest := strings.TrimSpace(d.must(0, "digest DIR/drafts/"+role+".json"))
		for _, p := range people { // each a copy of his own
			d.must(0, "--record DIR/"+p+".record sign DIR/drafts/"+role+".json --out DIR/"+role+"."+p+".json --digest "+digest+" --key DIR/people/"+p+".key"+pass)
			d.must(0, "collect DIR/"+role+"."+p+".json --reason=testing")
		}
	}
	d.must(0, "online trust DIR/drafts/root.json --state DIR/online --reason=testing")
}

// TestExpiring is the sixth code: everything published, and time goes by.
func TestExpiring(t *testing.T) {
	d := newDesk(t)
	d.founded()
	pass := " --passphrase-file DIR/pass --reason=testing"
	d.must(0, "root verify")
	d.must(exitRefused, "sign DIR/drafts/stable.json --digest 00000000 --key DIR/people/jana.key"+pass)
	d.must(exitUnverified, "sign DIR/drafts/stable.json --digest 00000000 --key DIR/people/jana.key --passphrase-file DIR/people/jana.pub --reason=wrong_passphrase")
	// The socket is not there: failed, and nothing is published.
	if got := d.must(exitFailed, "publish --socket DIR/none --reason=testing"); strings.Contains(got, "nil") {
		t.Errorf("publish without the online process: %s", got)
	}
	d.must(0, "publish --dry-run --socket DIR/none --reason=testing")
	if got := d.must(0, "expiry"); !strings.Contains(got, "root") {
		t.Errorf("expiry: %s", got)
	}
	d.now = d.now.Add(3*365*24*time.Hour - 20*24*time.Hour)
	if got := d.must(exitExpiring, "expiry"); !strings.Contains(got, "19 days") && !strings.Contains(got, "20 days") {
		t.Errorf("expiry 20 days before the end: %s", got)
	}
}

// TestCeremoniesWithinASecond: each has its transcript, whatever the clock says.
func TestCeremoniesWithinASecond(t *testing.T) {
	d := newDesk(t)
	pass := " --passphrase-file DIR/pass --reason=testing"
	for person, roles := range map[string]string{
		"anna": "root", "bert": "root", "carla": "root", "dirk": "root", "emma": "root", "frieda": "targets", "georg": "targets", "hanna": "targets",
		"ivo": "targets", "jana": "canary,stable,launcher,emergency,policy", "karl": "canary,stable,launcher,emergency,policy", "lena": "canary,stable,launcher,emergency,policy",
	} {
		d.must(0, "keys init "+person+" --role "+roles+" --out DIR/people"+pass)
	}
	d.must(0, "online init --state DIR/online --out DIR/people --reason=testing")
	d.must(0, "root init --people DIR/people --reason=testing")
	for _, person := range []string{"mona", "nina"} {
		d.must(0, "keys init "+person+" --role stable --out DIR/more"+pass)
		if got := d.must(0, "keys add DIR/more/"+person+".pub --reason=testing"); !strings.Contains(got, " of "+person) {
			t.Errorf("keys add does not name %s:\n%s", person, got)
		}
	}
	d.must(exitRefused, "keys init jana --role stable --out DIR/people"+pass)
	d.must(0, "keys init jana --role stable --out DIR/more"+pass)
	if got := d.must(exitRefused, "keys add DIR/more/jana.pub --reason=testing"); !strings.Contains(got, "is one person") {
		t.Errorf("a second key of jana:\n%s", got)
	}
	files, err := filepath.Glob(d.dir + "/drafts/ceremony-*.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all += string(data)
	}
	for _, want := range []string{"ceremony of keys: root init", "person: mona", "person: nina"} {
		if len(files) != 3 || strings.Count(all, want) != 1 {
			t.Errorf("%q stands %d times in %d transcripts, want once in 3", want, strings.Count(all, want), len(files))
		}
	}
}
